"""Layer models on numbers worked by hand, their parameters' rules, and their JSON form."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from model_gen.overlap_fit import MYRIAD_X, MYRIAD_X_AVERAGES
from strata.blocking import ENGINE_TERMS, START_TERMS, PoolBlocking
from strata.errors import ArtefactError, SchemaError
from strata.execution import FEATURES
from strata.forest import Forest
from strata.layer_model_json import layer_model_from_dict, layer_model_to_dict
from strata.layer_models import (
    KINDS,
    Mixed,
    MixedAnnette,
    Overlap,
    Refined,
    Roofline,
    Statistical,
    Unrolling,
    base_and_columns,
    mixed_names,
)

ROOFLINE = Roofline(1e12, 1e10, 5e-6)
REFINED = Refined(ROOFLINE, (Unrolling("channels", 16, 0.0),))


def always(value: float) -> Forest:
    """A forest that always answers the value."""
    one = np.array([-1])
    return Forest(one, np.zeros(1), one, one, np.array([value]), np.array([0]))


def leaf(u: float) -> Forest:
    """A forest that always answers log(u)."""
    return always(float(np.log(u)))


STATISTICAL = Statistical(ROOFLINE, leaf(0.1), ("ops",))
ANNETTE = MixedAnnette(REFINED, always(0.5), ("ops", "bytes"))


def engine(
    refined: Refined = REFINED, *, start_s=0.0, tile_s=0.0, overlap=1.0, **scales: float
) -> Overlap:
    """An engine with the scales given and 0 for all others."""
    names = ("compute", "absorbed", "input", "output", "weight", "padded")
    given = {f"{name}_scale": scales.get(name, 0.0) for name in names}
    tiles = (tile_s,) * len(refined.unrolling)
    return Overlap(refined, start_s, tiles, **given, overlap=overlap)


ADDED = engine(start_s=1e-4, compute=1.0, input=1.0)
MIXED = Mixed(ADDED, ROOFLINE, leaf(2.0), ("channels_tiles",))


def rows(*values: dict[str, float]) -> np.ndarray:
    return np.array([[value.get(name, 1.0) for name in FEATURES] for value in values])


# compute-bound (2 ms against 0.1 ms) and memory-bound (0.1 ms against 5 ms), x/s = 12/16
LAYERS = rows(
    {"ops": 2e9, "bytes": 1e6, "input_elements": 1e6, "channels": 12},
    {"ops": 1e8, "bytes": 5e7, "input_elements": 5e7, "channels": 12},
)
NOTHING = rows({"ops": 0, "bytes": 0})


@pytest.mark.parametrize(
    ("model", "times", "efficiencies"),
    [
        (ROOFLINE, [2e-3, 5e-3], [1, 1]),
        (REFINED, [2e-3 / 0.75, 5e-3], [0.75, 0.75]),
        (STATISTICAL, [2e-2, 5e-3], [0.1, 0.1]),
        (ANNETTE, [2e-3 / 0.375, 5e-3], [0.375, 0.375]),
    ],
)
def test_worked_layers(model, times, efficiencies):
    assert model.time_s(LAYERS) == pytest.approx(times)
    assert model.efficiency(LAYERS) == pytest.approx(efficiencies)
    assert model.bound(LAYERS).tolist() == ["compute", "memory"]
    # attained: 2e9 / (1e12 T) and 1e8 / (1e12 * 5 ms) = 0.02
    assert model.utilisation(LAYERS) == pytest.approx([2e-3 / times[0], 0.02])


def test_the_mixed_model_scales_a_sum():
    # twice (0.1 ms + 2 ms / 0.75 + 0.1 ms) and twice (0.1 ms + 0.1 ms / 0.75 + 5 ms)
    times = [2 * (1e-4 + 2e-3 / 0.75 + 1e-4), 2 * (1e-4 + 1e-4 / 0.75 + 5e-3)]
    assert MIXED.time_s(LAYERS) == pytest.approx(times)
    assert MIXED.efficiency(LAYERS) == pytest.approx([2e-3 / times[0], 1e-4 / times[1]])


def test_data_move_at_rates_of_their_own():
    base = engine(input=1.0, output=2.0, weight=9.0)
    # 1e6 elements in at 1e10 a second, 1e5 out at half of it, 2e5 weights at a ninth
    layer = rows({"input_elements": 1e6, "output_elements": 1e5, "weight_elements": 2e5})
    assert base.time_s(layer) == pytest.approx([1e-4 + 2e-5 + 9 * 2e-5])


def test_an_input_that_is_padded_unevenly_is_copied_first():
    # 1e6 elements at a third of 1e10 a second, then as without
    base = engine(input=1.0, padded=3.0)
    even, uneven = rows(*({"input_elements": 1e6, "uneven_padding": each} for each in (0, 2)))
    assert base.time_s(np.array([even, uneven])) == pytest.approx([1e-4, 4e-4])


@pytest.mark.parametrize(("p", "expected_s"), [(1, 7e-4), (2, 5e-4), (64, 4e-4)])
def test_computing_and_moving_overlap_by_p(p, expected_s):
    # 3e8 operations at 1e12 (12 channels of 16: over 0.75), 4e6 elements at 1e10
    layer = rows({"ops": 2.25e8, "channels": 12, "input_elements": 4e6})
    base = engine(compute=1.0, input=1.0, overlap=p)
    assert base.time_s(layer) == pytest.approx([expected_s], rel=1e-6)


def test_every_tile_of_a_dimension_takes_a_start():
    # 33 channels on 16: three tiles of 1 us, beside 4 us for the layer
    base = engine(start_s=4e-6, tile_s=1e-6)
    assert base.time_s(rows({"channels": 33})) == pytest.approx([7e-6])


def test_an_engine_that_neither_computes_nor_moves_takes_its_start():
    assert engine(start_s=4e-6, compute=1.0, overlap=64.0).time_s(NOTHING) == pytest.approx([4e-6])


def test_absorbed_work_may_run_on_another_engine():
    base = engine(absorbed=4.0)
    # 8 outputs of 1e6 MACs each by the root; 1e6 more MACs were absorbed: 2e6 ops at 1e12
    layer = rows({"filters": 8, "macs": 9e6, "macs_per_output": 1e6, "ops": 2e7})
    assert base.time_s(layer) == pytest.approx([4 * 2e-6])


def test_the_mixed_model_never_falls_below_a_roof():
    fast = Mixed(engine(compute=1.0), ROOFLINE, leaf(1e-6), ("ops",))
    assert fast.time_s(LAYERS) == pytest.approx([2e-3, 5e-3])


def test_trees_of_the_mixed_model_see_how_an_extent_fills_the_array():
    # 33 channels on 16: three tiles, one channel over
    one = np.array([0, -1, -1])
    forest = Forest(
        one,
        np.array([0.1, 0.0, 0.0]),
        np.array([1, -1, -1]),
        np.array([2, -1, -1]),
        np.array([0.0, 0.0, np.log(3.0)]),
        np.array([0]),
    )
    base = engine(Refined(ROOFLINE, (Unrolling("channels", 16, 1.0),)), compute=1.0)
    model = Mixed(base, ROOFLINE, forest, ("channels_remainder",))
    layers = rows({"ops": 2e9, "channels": 32}, {"ops": 2e9, "channels": 36})
    assert model.time_s(layers) == pytest.approx([2e-3, 6e-3])


@pytest.mark.parametrize("model", [ROOFLINE, REFINED, STATISTICAL, ANNETTE, MIXED])
def test_a_row_without_work_takes_the_floor_and_never_zero(model):
    assert model.time_s(NOTHING) == pytest.approx([5e-6])


def test_operations_that_only_move_data_scale_the_bandwidth():
    roofline = Roofline(None, 1e10, 1e-6)
    # 1e6 bytes at 1e10 B/s take 0.1 ms; at 10% of that, 1 ms
    layer = rows({"ops": 0, "bytes": 1e6})
    assert Statistical(roofline, leaf(0.1), ("ops",)).time_s(layer) == pytest.approx([1e-3])
    mixed = MixedAnnette(Refined(roofline, REFINED.unrolling), always(0.1), ("ops",))
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
@pytest.mark.parametrize("model", [ROOFLINE, REFINED, STATISTICAL, ANNETTE, MIXED])
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
        lambda: engine(start_s=-1.0, compute=1.0),
        engine,
        lambda: engine(compute=float("nan")),
        lambda: engine(compute=1.0, overlap=0.5),
        lambda: engine(compute=1.0, overlap=float("inf")),
        lambda: Overlap(REFINED, 1.0, (), 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        lambda: Mixed(MIXED.base, ROOFLINE, leaf(1.0), ("filters_tiles",)),
    ],
)
def test_parameters_outside_their_domain_are_refused(make):
    with pytest.raises(SchemaError):
        make()


@pytest.mark.parametrize("model", [ROOFLINE, REFINED, STATISTICAL, ANNETTE, MIXED])
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
    assert set(KINDS) == {model.kind for model in (ROOFLINE, REFINED, STATISTICAL, ANNETTE, MIXED)}


def test_columns_of_the_mixed_models_trees_by_hand():
    base = engine(compute=1.0, input=2.0)
    layer = rows(
        {"ops": 1e9, "channels": 16, "width": 10, "filters": 8, "output_width": 5}
        | {"output_height": 4, "weight_elements": 1152, "input_elements": 1000}
        | {"output_elements": 160}
    )
    expected = {
        "base_compute_s": 1e-3,
        "base_memory_s": 2e-7,  # 1,000 elements, twice as slow as 1e10 a second
        "compute_to_memory": 5e3,
        "input_row_elements": 160,
        "output_row_elements": 40,
        "output_pixels": 20,
        "filter_elements": 144,
        "working_set_elements": 1160,
        "channels_in_vectors": 4.0,  # 16 channels on 64 lanes
        "channels_tiles": 1,
    }
    _, columns = base_and_columns(layer, base, tuple(expected))
    found = columns[0]
    assert found == pytest.approx(list(expected.values()))
    assert set(expected) <= set(mixed_names(base))


def cut_engine() -> Overlap:
    """The engine above for layers that are cut into blocks: 2 us a stage, 1 ns a cycle."""
    seconds = {"stages": 2e-6, "block_cycles": 1e-9}
    of_blocks = tuple(seconds.get(name, 0.0) for name in (*START_TERMS, *ENGINE_TERMS))
    return replace(ADDED, blocking=MYRIAD_X, blocking_s=of_blocks)


def test_an_engine_of_blocks_takes_time_for_its_stages_and_cycles():
    layer = rows(
        {"height": 37, "width": 37, "channels": 48, "filters": 64, "kernel_height": 3}
        | {"output_height": 37, "output_width": 37, "kernel_width": 3, "weight_elements": 27648}
    )
    base = cut_engine()
    plain, cut = ADDED.parts(layer), base.parts(layer)
    assert cut[0] - plain[0] == pytest.approx(2e-6)
    assert cut[1] - plain[1] == pytest.approx(1e-9 * 119 * 37 * 37)
    assert cut[2] == plain[2]
    names = ("stages", "block_channels", "channels")
    assert set(names) <= set(mixed_names(base))
    base_s, columns = base_and_columns(layer, base, names)
    assert columns.tolist() == [[1, 4, 48]]
    assert base_s == pytest.approx(base.time_s(layer))
    assert "stages" not in mixed_names(ADDED)


def test_an_engine_of_blocks_is_stored_and_read_again():
    stored: dict[str, Forest] = {}

    def store(forest: Forest) -> str:
        stored["forest"] = forest
        return "forest"

    averages = replace(cut_engine(), blocking=MYRIAD_X_AVERAGES)
    model = replace(MIXED, base=averages, feature_names=("pass_pixels",))
    written = json.loads(json.dumps(layer_model_to_dict(model, store)))
    again = layer_model_from_dict(written, stored, "here")
    assert isinstance(again, Mixed)
    assert again.base == model.base
    # a model without blocks says nothing of them
    assert "blocking" not in layer_model_to_dict(MIXED, store)["base"]


@pytest.mark.parametrize("missing", [each.name for each in fields(PoolBlocking)])
def test_a_rule_for_poolings_that_lacks_a_limit_is_refused(missing):
    model = replace(MIXED, base=cut_engine(), feature_names=("pass_pixels",))
    written = layer_model_to_dict(model, lambda forest: "forest")
    del written["base"]["blocking"]["pooling"][missing]
    with pytest.raises(ArtefactError, match=missing):
        layer_model_from_dict(written, {"forest": model.forest}, "here")


def test_every_term_of_blocks_has_its_seconds():
    with pytest.raises(SchemaError, match="3 seconds per term of blocks, must be 13"):
        replace(cut_engine(), blocking_s=(1.0, 1.0, 1.0))
    with pytest.raises(SchemaError, match="must be 0"):
        replace(ADDED, blocking_s=(1.0,))
