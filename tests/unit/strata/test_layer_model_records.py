"""Layer models on numbers worked by hand, their parameters' rules, and their JSON form."""

import json

import numpy as np
import pytest

from strata.errors import ArtefactError, SchemaError
from strata.execution import FEATURES
from strata.forest import Forest
from strata.layer_models import (
    KINDS,
    Mixed,
    Refined,
    Roofline,
    Statistical,
    Unrolling,
    layer_model_from_dict,
    layer_model_to_dict,
)

ROOFLINE = Roofline(1e12, 1e10, 5e-6)
REFINED = Refined(ROOFLINE, (Unrolling("channels", 16, 0.0),))


def leaf(u: float) -> Forest:
    """A forest that always answers log(u)."""
    one = np.array([-1])
    return Forest(one, np.zeros(1), one, one, np.log([u]), np.array([0]))


STATISTICAL = Statistical(ROOFLINE, leaf(0.1), ("ops",))
MIXED = Mixed(REFINED, leaf(0.5), ("ops", "bytes"))


def rows(*values: dict[str, float]) -> np.ndarray:
    return np.array([[value.get(name, 1.0) for name in FEATURES] for value in values])


# compute-bound (2 ms against 0.1 ms) and memory-bound (0.1 ms against 5 ms), x/s = 12/16
LAYERS = rows(
    {"ops": 2e9, "bytes": 1e6, "channels": 12}, {"ops": 1e8, "bytes": 5e7, "channels": 12}
)
NOTHING = rows({"ops": 0, "bytes": 0})


@pytest.mark.parametrize(
    ("model", "times", "efficiencies"),
    [
        (ROOFLINE, [2e-3, 5e-3], [1, 1]),
        (REFINED, [2e-3 / 0.75, 5e-3], [0.75, 0.75]),
        (STATISTICAL, [2e-2, 5e-3], [0.1, 0.1]),
        (MIXED, [2e-3 / 0.375, 5e-3], [0.375, 0.375]),
    ],
)
def test_worked_layers(model, times, efficiencies):
    assert model.time_s(LAYERS) == pytest.approx(times)
    assert model.efficiency(LAYERS) == pytest.approx(efficiencies)
    assert model.bound(LAYERS).tolist() == ["compute", "memory"]
    # attained: 2e9 / (1e12 T) and 1e8 / (1e12 * 5 ms) = 0.02
    assert model.utilisation(LAYERS) == pytest.approx([2e-3 / times[0], 0.02])


@pytest.mark.parametrize("model", [ROOFLINE, REFINED, STATISTICAL, MIXED])
def test_a_row_without_work_takes_the_floor_and_never_zero(model):
    assert model.time_s(NOTHING) == pytest.approx([5e-6])


def test_operations_that_only_move_data_scale_the_bandwidth():
    roofline = Roofline(None, 1e10, 1e-6)
    # 1e6 bytes at 1e10 B/s take 0.1 ms; at 10% of that, 1 ms
    layer = rows({"ops": 0, "bytes": 1e6})
    assert Statistical(roofline, leaf(0.1), ("ops",)).time_s(layer) == pytest.approx([1e-3])
    mixed = Mixed(Refined(roofline, REFINED.unrolling), leaf(0.1), ("ops",))
    assert mixed.time_s(layer) == pytest.approx([1e-3])
    assert mixed.bound(layer).tolist() == ["memory"]
    assert mixed.utilisation(layer) == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("matrix", "named"),
    [
        (np.ones((2, 3)), r"\(2, 3\)"),
        (np.ones(len(FEATURES)), "must be"),
        (rows({"ops": np.nan}), "ops of row 0 is nan"),
        (rows({}, {"bytes": -1.0}), "bytes of row 1 is -1.0"),
    ],
)
@pytest.mark.parametrize("model", [ROOFLINE, REFINED, STATISTICAL, MIXED])
def test_unusable_matrix_is_refused(model, matrix, named):
    with pytest.raises(SchemaError, match=named):
        model.time_s(matrix)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Roofline(0.0, 1.0, 1.0),
        lambda: Roofline(1.0, -1.0, 1.0),
        lambda: Roofline(1.0, 1.0, 0.0),
        lambda: Roofline(float("inf"), 1.0, 1.0),
        lambda: Unrolling("colour", 16, 0.5),
        lambda: Unrolling("channels", 0, 0.5),
        lambda: Unrolling("channels", 16, 1.5),
        lambda: Statistical(ROOFLINE, leaf(0.5), ("colour",)),
    ],
)
def test_parameters_outside_their_domain_are_refused(make):
    with pytest.raises(SchemaError):
        make()


@pytest.mark.parametrize("model", [ROOFLINE, REFINED, STATISTICAL, MIXED])
def test_json_form_gives_the_model_back(model):
    forests: dict[str, Forest] = {}

    def store(forest):
        forests["one"] = forest
        return "one"

    data = json.loads(json.dumps(layer_model_to_dict(model, store)))
    again = layer_model_from_dict(data, forests, "bundle")
    assert again.kind == model.kind
    assert np.array_equal(again.time_s(LAYERS), model.time_s(LAYERS))


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"kind": "magic"},
        {"kind": ["roofline"]},
        {"kind": "roofline"},
        {"kind": "roofline", "peak_ops_per_s": "1", "peak_bytes_per_s": 1.0, "floor_s": 1.0},
        {"kind": "roofline", "peak_ops_per_s": 10**400, "peak_bytes_per_s": 1.0, "floor_s": 1.0},
        {"kind": "refined", "roofline": 3, "unrolling": []},
        {"kind": "refined", "unrolling": []},
        {"kind": "statistical", "roofline": {}, "forest": "none", "feature_names": []},
        {"kind": "statistical", "roofline": {}, "forest": [], "feature_names": []},
        {"kind": "mixed", "refined": {"kind": "roofline"}, "forest": "one", "feature_names": []},
        {"kind": "mixed", "refined": {"kind": "mixed"}, "forest": "one", "feature_names": 3},
    ],
)
def test_malformed_json_form_is_one_line(data):
    with pytest.raises(ArtefactError, match=r"^bundle: ") as caught:
        layer_model_from_dict(data, {"one": leaf(0.5)}, "bundle")
    assert "\n" not in str(caught.value)


def test_kinds_are_those_of_the_models():
    assert set(KINDS) == {model.kind for model in (ROOFLINE, REFINED, STATISTICAL, MIXED)}
