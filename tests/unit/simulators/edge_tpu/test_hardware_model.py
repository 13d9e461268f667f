"""Hardware descriptions of Edge TPUs: what is shipped, and what is refused."""

from pathlib import Path

import pytest

from simulators.edge_tpu import EdgeTpu, hardware_names, load
from simulators.edge_tpu.hardware_model import FOLDER
from strata.errors import SchemaError


def test_shipped_descriptions() -> None:
    assert {"coral_usb3", "coral_pcie", "mensa_baseline"} <= set(hardware_names())


@pytest.mark.parametrize("name", hardware_names())
def test_every_number_has_a_source(name: str) -> None:
    machine = load(name)
    fields = set(EdgeTpu.model_fields) - {"schema_version", "name", "description"}
    assert set(machine.sources) == fields
    assert machine.name == name
    assert all(len(source.text) > 5 for source in machine.sources.values())


def test_the_chips_calibrated_numbers_are_marked() -> None:
    assert {
        "depthwise_cycles_per_tap",
        "pooling_cycles_per_tap",
        "layer_start_cycles",
        "border_exchange_cycles",
        "instruction_bytes_per_layer",
        "run_start_s",
    } <= set(load("coral_usb3").assumed)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(SchemaError, match="coral_usb3"):
        load("coral_usb4")


def test_a_description_is_read_from_a_path(tmp_path: Path) -> None:
    text = (FOLDER / "coral_usb3.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("name: coral_usb3", "name: mine"))
    assert load(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cells: {value: 64", "cells: {value: -64", "cells"),
        ("cells: {value: 64", "cells: {value: 0", "cells"),
        ("cells: {", "celles: {", "celles"),
        (
            "tile_rows: {value: 4, kind: declared",
            "tile_rows: {value: 4, kind: guessed",
            "tile_rows",
        ),
    ],
)
def test_faults_name_the_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (FOLDER / "coral_usb3.yaml").read_text()
    assert old in text
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(SchemaError, match=message) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


def test_parameters_must_come_from_somewhere() -> None:
    with pytest.raises(SchemaError, match="link_in_bytes_per_s"):
        load("coral_usb3").changed(link_in_bytes_per_s=0.0)
