"""Made-up evaluation tables: 12 + 6 named networks and 34 sampled ones, all four model kinds."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from strata.execution import FEATURES, feature_matrix, make_executed
from strata.forest import Forest
from strata.layer import make_layer
from strata.layer_models import Mixed, Overlap, Refined, Roofline, Statistical, Unrolling
from strata.operations import Convolution

TABLE2 = {
    **{"inception_v1": 3.2, "inception_v2": 4.0, "inception_v3": 11.4, "inception_v4": 24.5},
    **{"resnet18": 3.7, "resnet50": 7.7, "fpn_cityscapes": 8.9, "openpose": 189.7},
    **{"mobilenet_v1": 1.1, "mobilenet_v2": 1.2, "yolo_v2": 34.0, "yolo_v3": 65.4},
}
KERAS = {"vgg16": 31.0, "densenet121": 5.7, "efficientnet_b0": 0.8, "nasnet_mobile": 1.1}
ERROR = {"roofline": -0.32, "refined": -0.25, "statistical": 0.06, "mixed": -0.03}
SHARES = {"convolution": 0.8, "depthwise_convolution": 0.08, "max_pooling": 0.05, "concat": 0.04}


def _networks() -> pd.DataFrame:
    generator = np.random.default_rng(7)
    sampled = {f"nasbench_{i:02}": 1.5 + 0.1 * i for i in range(34)}
    rows = []
    for name, gops in (TABLE2 | KERAS | sampled).items():
        data_set = "table2" if name in TABLE2 else "keras" if name in KERAS else "nasbench"
        measured_s = gops / 95 * generator.uniform(0.8, 1.3)
        noise = generator.normal(0, 0.05)
        for kind, mapping in product(ERROR, ("predicted", "oracle")):
            bias = ERROR[kind] * (0.8 if mapping == "oracle" else 1) + noise
            rows.append(
                {
                    **{"set": data_set, "network": name, "measured_s": measured_s, "kind": kind},
                    **{"mapping": mapping, "estimated_s": measured_s * (1 + bias)},
                    **{"ops": int(gops * 1e9), "rounds": 20, "spread": 0.006, "untimed": 0},
                }
            )
    return pd.DataFrame(rows)


def _layers(networks: pd.DataFrame) -> pd.DataFrame:
    generator = np.random.default_rng(8)
    rows = []
    for network in networks.to_dict("records"):
        shared = {name: network[name] for name in ("set", "network", "kind", "mapping")}
        for operation, share in SHARES.items():
            measured_s = share * network["measured_s"]
            error = ERROR[network["kind"]] + generator.normal(0, 0.08)
            rows.append(
                {
                    **shared,
                    **{"layer": f"{operation}_1", "operation": operation, "share": share},
                    **{"measured_s": measured_s, "estimated_s": measured_s * (1 + error)},
                    **{"executed_kind": operation, "status": "matched"},
                }
            )
        rows.append(
            {
                **shared,
                **{"layer": "reorder_1", "operation": "reorder", "share": 0.01},
                **{"measured_s": 0.01 * network["measured_s"], "estimated_s": 0.0},
                **{"executed_kind": "Reorder", "status": "missing"},
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def networks() -> pd.DataFrame:
    return _networks()


@pytest.fixture(scope="session")
def layers() -> pd.DataFrame:
    return _layers(_networks())


@pytest.fixture(scope="session")
def mapping() -> pd.DataFrame:
    rows = [
        ("validation", "convolution", "max_pooling", 0, 0, 90, 0),
        ("validation", "convolution", "average_pooling", 0, 0, 60, 0),
        ("validation", "convolution", "add", 80, 5, 100, 15),
        ("validation", "convolution", "activation", 300, 0, 0, 0),
        ("networks", "convolution", "add", 70, 2, 20, 8),
        ("networks", "dense", "activation", 3, 0, 2, 1),
        ("validation_insertion", "convolution", "concat", 4, 1, 5, 0),
    ]
    names = ("true_positive", "false_positive", "true_negative", "false_negative")
    return pd.DataFrame(
        [
            {
                **{"set": data_set, "producer_operation": producer},
                **{"consumer_operation": consumer, "samples": sum(counts)},
                **dict(zip(names, counts, strict=True)),
            }
            for data_set, producer, consumer, *counts in rows
        ]
    )


def make_forest(nodes: list[tuple], roots: tuple[int, ...] = (0,)) -> Forest:
    """Nodes as (feature, threshold, left, right) or as leaves (value,)."""
    full = [(-1, 0.0, -1, -1, node[0]) if len(node) == 1 else (*node, 0.0) for node in nodes]
    feature, threshold, left, right, value = zip(*full, strict=True)
    return Forest(
        *(np.array(feature), np.array(threshold, dtype=float), np.array(left), np.array(right)),
        *(np.array(value, dtype=float), np.array(roots)),
    )


@pytest.fixture(scope="session")
def forest_of():
    """Builds a forest from its nodes: `make_forest`."""
    return make_forest


@pytest.fixture(scope="session")
def pooling_tree() -> Forest:
    """if a <= 64: (if b <= 32.5: fused else 25% fused) else: not fused; names a, b."""
    return make_forest([(0, 64.0, 1, 2), (1, 32.5, 3, 4), (0.0,), (1.0,), (0.25,)])


@pytest.fixture(scope="session")
def convolution_models() -> dict:
    """All four kinds of a 100 Gop/s array of 16 channels x 12 filters."""
    roofline = Roofline(1e11, 2e10, 1e-6)
    refined = Refined(roofline, (Unrolling("channels", 16, 0.1), Unrolling("filters", 12, 0.3)))
    few = np.log(0.6)
    steps = [(0, 6e7, 1, 2), (few - 0.5,), (0, 4e8, 3, 4), (few,), (few + 0.3,)]
    forest = make_forest(steps)
    slower = make_forest([(0, 6e7, 1, 2), (0.5 - few,), (0, 4e8, 3, 4), (-few,), (0.1,)])
    base = Overlap(refined, 0.0, (0.0, 0.0), 1.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    return {
        "roofline": roofline,
        "refined": refined,
        "statistical": Statistical(roofline, forest, ("ops",)),
        "mixed": Mixed(base, roofline, slower, ("ops",)),
    }


@pytest.fixture(scope="session")
def convolution_table(convolution_models: dict) -> pd.DataFrame:
    """30 measured 3x3 convolutions at 28x28 and 4 at 56x56."""
    generator = np.random.default_rng(9)
    executed = []
    for index in range(34):
        side = 28 if index < 30 else 56
        channels, filters = (int(n) for n in generator.integers(8, 256, 2))
        parameters = Convolution(filters, (3, 3), padding=(1, 1, 1, 1))
        shapes = ((1, channels, side, side),)
        executed.append(make_executed([make_layer("c", parameters, ("x",), shapes)]))
    matrix = feature_matrix(executed)
    table = pd.DataFrame(matrix, columns=list(FEATURES))
    noise = generator.normal(1, 0.05, len(table))
    return table.assign(time_s=convolution_models["mixed"].time_s(matrix) * noise)
