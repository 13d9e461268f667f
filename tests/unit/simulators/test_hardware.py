"""Hardware descriptions: every number sourced, every fault told with its path."""

import pytest
from pydantic import PositiveFloat, PositiveInt

from simulators.hardware import Hardware, Source, find_hardware, load_hardware
from strata.errors import SchemaError


class Toy(Hardware):
    """A machine of two numbers."""

    clock_hz: PositiveFloat
    lanes: PositiveInt
    sizes_bytes: tuple[int, ...] = (1,)


LEGAL = """
schema_version: 1
name: toy
clock_hz: {value: 2.5e+8, kind: declared, source: "a data sheet, table 3"}
lanes: {value: 16, kind: assumed, source: "between 8 and 32, calibrated on nothing yet"}
"""


def written(tmp_path, text):
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    return path


def test_numbers_and_sources_are_read(tmp_path):
    toy = load_hardware(Toy, written(tmp_path, LEGAL))
    assert (toy.clock_hz, toy.lanes) == (2.5e8, 16)
    assert toy.sources["clock_hz"] == Source("declared", "a data sheet, table 3")
    assert toy.assumed == ("lanes",)


def test_changed_keeps_the_rest_and_the_sources(tmp_path):
    toy = load_hardware(Toy, written(tmp_path, LEGAL)).changed(clock_hz=3e8)
    assert (toy.clock_hz, toy.lanes) == (3e8, 16)
    assert toy.assumed == ("lanes",)


def test_changing_to_an_illegal_number_is_refused(tmp_path):
    toy = load_hardware(Toy, written(tmp_path, LEGAL))
    with pytest.raises(SchemaError, match="toy: lanes is -1"):
        toy.changed(lanes=-1)
    with pytest.raises(SchemaError, match="no number 'colour'; legal: clock_hz, lanes"):
        toy.changed(colour=1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lanes:", "lines:", r"key 'lines' is unknown; legal: clock_hz, lanes, sizes_bytes"),
        (
            "value: 16, kind",
            "value: -16, kind",
            r"key 'lanes.value' is -16; legal: numbers, 0 or more",
        ),
        (', source: "a data sheet, table 3"', "", r"key 'clock_hz.source' is missing"),
        ('"a data sheet, table 3"', '""', r"key 'clock_hz.source' is ''"),
        ('"a data sheet, table 3"', '"    "', r"key 'clock_hz.source' is '    '"),
        ("kind: assumed", "kind: guessed", r"key 'lanes.kind' is 'guessed'"),
        ("kind: assumed", "sort: 1, kind: assumed", r"key 'lanes.sort' is unknown"),
        (
            '{value: 2.5e+8, kind: declared, source: "a data sheet, table 3"}',
            "2.5e+8",
            r"key 'clock_hz' is 250000000.0; legal: \{value: ..., kind: ..., source: ...\}",
        ),
        ("value: 2.5e+8", "value: fast", r"key 'clock_hz' is 'fast'"),
        ("value: 2.5e+8", "value: 0", r"key 'clock_hz' is 0"),
        ("value: 2.5e+8", "value: .inf", r"key 'clock_hz' is inf"),
        ("value: 16", "value: yes", r"key 'lanes.value' is True; legal: numbers, 0 or more"),
        ("schema_version: 1", "schema_version: 2", r"key 'schema_version' is 2"),
        ("name: toy", "name: Toy Machine", r"key 'name' is 'Toy Machine'"),
    ],
)
def test_a_fault_names_the_field(tmp_path, old, new, message):
    assert old in LEGAL
    with pytest.raises(SchemaError, match=message) as caught:
        load_hardware(Toy, written(tmp_path, LEGAL.replace(old, new)))
    assert "toy.yaml" in str(caught.value)


def test_a_missing_number_is_named(tmp_path):
    text = "\n".join(line for line in LEGAL.splitlines() if not line.startswith("lanes"))
    with pytest.raises(SchemaError, match="key 'lanes' is missing"):
        load_hardware(Toy, written(tmp_path, text))


def test_negative_numbers_in_lists_are_refused(tmp_path):
    line = 'sizes_bytes: {value: [4, -1], kind: declared, source: "a data sheet"}\n'
    with pytest.raises(SchemaError, match=r"key 'sizes_bytes.value' is \[4, -1\]"):
        load_hardware(Toy, written(tmp_path, LEGAL + line))


def test_descriptions_are_found_by_name_or_path(tmp_path):
    path = written(tmp_path, LEGAL)

    def read(found):
        return load_hardware(Toy, found)

    assert find_hardware(tmp_path, "toy", read, "toy_platform").lanes == 16
    assert find_hardware(tmp_path, str(path), read, "toy_platform").lanes == 16
    with pytest.raises(SchemaError, match="toy_platform: no hardware description 'other'; legal"):
        find_hardware(tmp_path, "other", read, "toy_platform")
    with pytest.raises(SchemaError, match="no such file"):
        find_hardware(tmp_path, str(tmp_path / "none.yaml"), read, "toy_platform")
