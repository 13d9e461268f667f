"""The tidy table: one row per key, whatever is rerun, crashes or runs at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import nan

import pytest
from filelock import FileLock

from evaluation import summary
from evaluation.summary import COLUMNS, SummaryRow, append_summary, read_summary
from strata.errors import ArtefactError, SchemaError

ROW = SummaryRow("cpu", "table2", "networks/predicted", "mixed", "mape", 4.25, "%", 12)


def test_header_once_and_rows_added(tmp_path):
    path = tmp_path / "evaluation" / "summary.csv"
    append_summary(path, [ROW])
    append_summary(path, [replace(ROW, metric="mae", value=0.001, unit="s")])
    assert path.read_text().splitlines() == [
        "platform,data_set,subject,model,metric,value,unit,n",
        "cpu,table2,networks/predicted,mixed,mape,4.25,%,12",
        "cpu,table2,networks/predicted,mixed,mae,0.001,s,12",
    ]


def test_rerun_replaces_in_place(tmp_path):
    path = tmp_path / "summary.csv"
    append_summary(path, [ROW, replace(ROW, model="roofline", value=30.0)])
    before = path.read_text()
    append_summary(path, [ROW])
    assert path.read_text() == before
    append_summary(path, [replace(ROW, value=5.5, n=13)])
    frame = read_summary(path)
    assert frame["value"].tolist() == [5.5, 30.0]
    assert frame["n"].tolist() == [13, 12]


def test_values_survive_exactly_and_nan_stays_nan(tmp_path):
    path = tmp_path / "summary.csv"
    append_summary(path, [replace(ROW, value=0.1 + 0.2), replace(ROW, metric="mcc", value=nan)])
    append_summary(path, [replace(ROW, metric="f1")])
    first, second = read_summary(path)["value"].tolist()[:2]
    assert first == 0.1 + 0.2
    assert second != second
    assert ",nan," in path.read_text()


def test_names_that_look_like_something_else_stay_text(tmp_path):
    path = tmp_path / "summary.csv"
    odd = replace(ROW, platform="null", data_set="007", subject="NA", model="1e3")
    append_summary(path, [odd])
    append_summary(path, [odd])
    assert read_summary(path)[["platform", "data_set", "subject", "model"]].to_numpy().tolist() == [
        ["null", "007", "NA", "1e3"]
    ]


def test_writers_at_once_lose_nothing(tmp_path):
    path = tmp_path / "summary.csv"
    rows = [replace(ROW, subject=f"network/{i}") for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: append_summary(path, [row]), rows))
    assert sorted(read_summary(path)["subject"]) == sorted(row.subject for row in rows)


def test_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "summary.csv"
    append_summary(path, [ROW])
    before = path.read_text()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(summary.pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        append_summary(path, [replace(ROW, value=9.0)])
    assert path.read_text() == before
    assert {entry.name for entry in tmp_path.iterdir()} <= {"summary.csv", "summary.csv.lock"}


def test_a_lock_held_too_long_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "summary.csv"
    monkeypatch.setattr(summary, "LOCK_TIMEOUT_S", 0.01)
    with FileLock(f"{path}.lock"), pytest.raises(ArtefactError, match="locked by another"):
        append_summary(path, [ROW])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, replace(ROW, value=1.0)], "two rows"),
        ([replace(ROW, platform="")], "must not be empty"),
        ([replace(ROW, unit="")], "must not be empty"),
        ([replace(ROW, value=float("inf"))], "finite"),
        ([replace(ROW, n=-1)], "0 or more"),
    ],
)
def test_bad_rows_write_nothing(tmp_path, rows, message):
    with pytest.raises(SchemaError, match=message):
        append_summary(tmp_path / "summary.csv", rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n", "a,n\n1,2\n", "", ",".join(COLUMNS) + "\nx,y,z,m,k,text,%,1\n"]
)
def test_a_file_that_is_no_summary_is_named_and_kept(tmp_path, content):
    path = tmp_path / "summary.csv"
    path.write_text(content)
    with pytest.raises(ArtefactError, match=r"summary\.csv"):
        append_summary(path, [ROW])
    assert path.read_text() == content
