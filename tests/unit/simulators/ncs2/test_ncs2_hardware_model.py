import shutil
from pathlib import Path

import pytest

from simulators import ncs2
from simulators.ncs2 import hardware_model
from strata.errors import SchemaError

SHIPPED = Path(hardware_model.__file__).parent / "hardware" / "myriad_x_ncs2.yaml"


@pytest.mark.parametrize("name", ncs2.hardware_names())
def test_every_description_states_a_source_for_every_number(name):
    machine = ncs2.load(name)
    numbers = set(machine.model_dump()) - {"schema_version", "name", "description"}
    assert set(machine.sources) == numbers
    assert machine.name == name
    assert all(len(source.text) > 12 for source in machine.sources.values())


def test_a_few_dozen_numbers_are_enough():
    assert len(ncs2.load("myriad_x_ncs2").sources) <= 36


def test_an_unknown_description_names_the_legal_ones():
    with pytest.raises(SchemaError, match=r"'ncs3'; legal: myriad_x_ncs2"):
        ncs2.load("ncs3")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("value: 700.0e+6", "value: -1", "clock_hz.value"),
        ("value: 700.0e+6", "value: 0", "clock_hz"),
        ("value: 700.0e+6", "value: fast", "clock_hz"),
        ("clock_hz:", "clock_mhz:", "'clock_mhz' is unknown"),
        ("kind: declared", "kind: guessed", "kind"),
        ("row_cycles:", "# row_cycles:", "row_cycles"),
    ],
)
def test_a_faulty_description_is_refused_in_one_line(tmp_path, old, new, told):
    path = tmp_path / "mine.yaml"
    shutil.copy(SHIPPED, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SchemaError, match=told) as error:
        ncs2.load(str(path))
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)
