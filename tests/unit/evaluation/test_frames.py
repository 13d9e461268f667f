"""Broken evaluation tables are named, not swallowed."""

from math import nan

import pandas as pd
import pytest

from evaluation.frames import check_layers, check_mapping, check_networks, read_table
from strata.errors import ArtefactError, SchemaError


def broken(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    frame = frame.copy()
    frame[column] = frame[column].astype(object)
    frame.loc[frame.index[1], column] = value
    return frame


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("kind", "magic", "kind is magic, must be one of mixed, mixed-annette, refined"),
        ("kind", None, "kind is empty"),
        ("mapping", "guessed", "mapping is guessed"),
        ("measured_s", 0.0, "measured_s of inception_v1"),
        ("measured_s", nan, "must be finite and above 0"),
        ("estimated_s", "fast", "estimated_s of inception_v1"),
        ("mapping", "predicted", "two rows for set table2, network inception_v1"),
    ],
)
def test_networks(networks, column, value, message):
    with pytest.raises(SchemaError, match=message):
        check_networks(broken(networks, column, value))


def test_absent_columns_are_listed(networks):
    with pytest.raises(SchemaError, match="here: no column ops, spread"):
        check_networks(networks.drop(columns=["ops", "spread"]), "here")


def test_layers_may_be_timed_at_zero_but_not_below(layers):
    check_layers(broken(layers, "measured_s", 0.0))
    with pytest.raises(SchemaError, match="0 or more"):
        check_layers(broken(layers, "measured_s", -1.0))


def test_layers_get_mapping_and_status(layers):
    checked = check_layers(layers.drop(columns=["mapping", "status"]))
    assert set(checked["mapping"]) == {"predicted"}
    assert set(checked["status"]) == {"matched"}
    with pytest.raises(SchemaError, match="status is lost"):
        check_layers(broken(layers, "status", "lost"))


def test_unknown_times_are_empty_and_no_zeros(networks, layers):
    unknown = broken(broken(layers, "status", "untimed"), "estimated_s", nan)
    assert check_layers(unknown)["estimated_s"].isna().sum() == 1
    with pytest.raises(SchemaError, match=r"here: estimated_s of .*/.* is 0, must be empty where"):
        check_layers(broken(unknown, "estimated_s", 0), "here")
    with pytest.raises(SchemaError, match=r"estimated_s of .* is nan"):
        check_layers(broken(layers, "estimated_s", nan))
    without = networks.drop(columns="untimed")
    assert set(check_networks(without)["untimed"]) == {0}
    with pytest.raises(SchemaError, match="untimed of inception_v1/roofline is -1"):
        check_networks(broken(networks, "untimed", -1))


def test_mapping_counts_must_add_up(mapping):
    with pytest.raises(SchemaError, match="average_pooling do not add up to samples 61"):
        check_mapping(broken(mapping, "samples", 61))


def test_read_table(tmp_path, networks):
    path = tmp_path / "networks.parquet"
    with pytest.raises(ArtefactError, match="no such table"):
        read_table(path, check_networks)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(ArtefactError, match="not a readable table"):
        read_table(path, check_networks)
    networks.to_parquet(path)
    pd.testing.assert_frame_equal(read_table(path, check_networks), networks)
