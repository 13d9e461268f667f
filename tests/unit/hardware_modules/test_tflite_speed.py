"""How long a single-layer graph of the default plan takes to become an int8 model.

pytest -m slow -s tests/unit/hardware_modules/test_tflite_speed.py
"""

import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.config import load_config
from benchmark.make_plan import plan_cases
from graph_gen.benchmarks import BENCHMARKS, build
from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.tflite_writer import write_int8

LIMIT_S = 0.05


def single_layer_graphs():
    config = load_config(Path(__file__).parents[3] / "config" / "default.yaml")
    for case in plan_cases(config, None, None):
        if BENCHMARKS[case.benchmark].operation is None:
            continue
        graph = build(case.benchmark, case.settings)
        if not any(unsupported(layer) for layer in graph.layers):
            yield case, graph


@pytest.mark.slow
def test_single_layer_graphs_take_50_ms_at_most_at_the_95th_percentile():
    times_s = {}
    for case, graph in single_layer_graphs():
        start_s = time.perf_counter()
        write_int8(graph)
        times_s[case.case_id] = (time.perf_counter() - start_s, case.benchmark, case.settings)
    taken_s = np.array([time_s for time_s, *_ in times_s.values()])
    print(f"{len(taken_s)} graphs: mean {taken_s.mean():.4f} s, ", end="")
    print(f"95th percentile {np.percentile(taken_s, 95):.4f} s, ", end="")
    print(f"{(taken_s > LIMIT_S).sum()} above {LIMIT_S} s:")
    for time_s, benchmark, settings in sorted(times_s.values(), key=lambda row: -row[0])[:8]:
        print(f"{time_s:.3f} s {benchmark} {settings}")
    assert taken_s.mean() <= LIMIT_S
    assert np.percentile(taken_s, 95) <= LIMIT_S
