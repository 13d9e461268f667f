"""What fitting costs: tables grown to a size, a process timed, verdicts only at the aim's size."""

import sys

import numpy as np
import pandas as pd
import pytest

from evaluation.fit_cost import Cost, cost_of, cost_table, grow_tables, grown
from model_gen.tables import check_table
from strata.errors import ArtefactError, FitError
from strata.execution import FEATURES


def _table(rows=20):
    random = np.random.default_rng(0)
    sizes = {name: random.integers(0, 200, rows).astype(float) for name in FEATURES}
    times = random.uniform(1e-5, 1e-3, rows)
    return pd.DataFrame({"case_id": [f"c{i // 2}" for i in range(rows)], **sizes, "time_s": times})


def test_a_grown_table_is_a_legal_one_of_the_size_asked_for():
    table = _table()
    found = check_table(grown(table, 500, 1), "grown")
    assert len(found) == 500
    codes = table[list(FEATURES)].to_numpy() < 16
    assert codes.any()
    small = found[list(FEATURES)].to_numpy()
    assert set(small[small < 12]) <= set(table[list(FEATURES)].to_numpy().ravel())


def test_a_row_drawn_again_is_a_case_of_its_own_and_not_the_same_row():
    found = grown(_table(4), 100, 1)
    assert found["case_id"].nunique() > 20
    assert found[list(FEATURES)].drop_duplicates().shape[0] > 90


def test_a_longer_table_is_cut():
    assert len(grown(_table(50), 10, 0)) == 10


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="no layer tables"):
        grow_tables(tmp_path, tmp_path / "out", 100)


def test_a_process_is_timed_and_its_memory_is_its_largest():
    code = "import time; block = b'1' * 80_000_000; time.sleep(1)"
    found = cost_of([sys.executable, "-c", code], 1)
    assert 1 <= found.wall_s < 15
    assert 80e6 < found.memory_bytes < 150e6
    assert found.processor_s < found.wall_s


def test_processes_that_it_starts_count_too():
    held = "import time; block = b'1' * 80_000_000; time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}]); {held}"
    found = cost_of([sys.executable, "-c", f"block = b'1' * 80_000_000; {code}"], 1)
    assert 160e6 < found.memory_bytes < 250e6


def test_a_process_that_fails_is_one_line():
    with pytest.raises(FitError, match="ended with 3: enough"):
        cost_of([sys.executable, "-c", "print('enough'); raise SystemExit(3)"], 1)


def test_verdicts_stand_at_the_aims_rows_only():
    cost = Cost(wall_s=200.0, processor_s=390.0, memory_bytes=2**30, load=0.1)
    judged = cost_table(cost, {"add": 10}, 35000, "p").frame.set_index("What")["Verdict"]
    assert judged["Wall time (s)"] == "MISSED"
    assert judged["Memory, most at a time (GiB)"] == "reached"
    few = cost_table(cost, {"add": 10}, 1000, "p").frame
    assert set(few["Verdict"]) == {""}
