"""Layer tables: what models can be fitted to, and one clear line for everything else."""

import numpy as np
import pandas as pd
import pytest

from model_gen.tables import (
    check_table,
    hashed_share,
    read_table,
    table_matrix,
    undisturbed,
)
from strata.errors import ArtefactError, FitError
from strata.execution import FEATURES


def table(rows: int = 3) -> pd.DataFrame:
    values = pd.DataFrame({name: np.arange(1.0, rows + 1) for name in FEATURES})
    return values.assign(case_id=[f"case{i}" for i in range(rows)], time_s=1e-4)


def test_shares_are_even_and_another_purpose_holds_out_other_cases():
    one, other = ([hashed_share(f"{purpose} {i}") for i in range(4000)] for purpose in "ab")
    counts, _ = np.histogram(one, bins=10, range=(0, 1))
    assert counts == pytest.approx(400, abs=80)  # four standard deviations
    both = np.mean((np.array(one) < 0.2) & (np.array(other) < 0.2))
    assert both == pytest.approx(0.04, abs=0.013)


def test_sound_table_passes_with_optional_columns():
    sound = table().assign(sweep="", sweep_group="", layer="conv_1", kind="Convolution")
    assert check_table(sound, "t") is sound


def test_matrix_is_in_the_order_of_features():
    shuffled = table()[sorted(table().columns)]
    shuffled["bytes"] = 7.0
    assert table_matrix(shuffled)[:, FEATURES.index("bytes")].tolist() == [7.0] * 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.drop(columns="ops"), "lacks column ops"),
        (lambda t: t.drop(columns="time_s"), "lacks column time_s"),
        (lambda t: t.assign(colour=1), "unknown column colour"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.assign(time_s=[1e-4, 0.0, 1e-4]), "time_s of row 1 is 0.0"),
        (lambda t: t.assign(time_s=[1e-4, 1e-4, -1e-4]), "time_s of row 2"),
        (lambda t: t.assign(time_s=[np.nan, 1e-4, 1e-4]), "time_s of row 0 is nan"),
        (lambda t: t.assign(width=[1.0, np.inf, 1.0]), "width of row 1 is inf"),
        (lambda t: t.assign(width=[1.0, 1.0, -3.0]), "width of row 2"),
        (lambda t: t.assign(width=["a", "b", "c"]), "column width holds"),
        (lambda t: t.assign(case_id=["a", None, "b"]), "case_id of row 1"),
    ],
)
def test_unusable_table_is_named(change, named):
    with pytest.raises(FitError, match=f"^convolution.parquet: {named}") as caught:
        check_table(change(table()), "convolution.parquet")
    assert "\n" not in str(caught.value)


def test_reading_back(tmp_path):
    table().to_parquet(tmp_path / "add.parquet")
    assert read_table(tmp_path / "add.parquet").equals(table())


def test_missing_and_corrupt_files(tmp_path):
    with pytest.raises(ArtefactError, match="no such layer table"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(ArtefactError, match=r"bad\.parquet: not a readable") as caught:
        read_table(tmp_path / "bad.parquet")
    assert "\n" not in str(caught.value)


def test_rows_measured_beside_other_work_are_left_out_unless_most_were():
    loads = pd.DataFrame({"other_core_load": [0.0, None, 0.9, 0.1]})
    kept, note = undisturbed(loads)
    assert list(kept.index) == [0, 1, 3]
    assert note == "1 rows measured beside other work were left out"
    kept, note = undisturbed(pd.DataFrame({"other_core_load": [0.9, 0.9, 0.0]}))
    assert (len(kept), note) == (3, "67% of the rows were measured beside other work, and used")
    quiet = pd.DataFrame({"other_core_load": [0.0]})
    assert undisturbed(quiet)[1] is None
    bare = pd.DataFrame({"time_s": [1.0]})
    assert undisturbed(bare)[1] is None
