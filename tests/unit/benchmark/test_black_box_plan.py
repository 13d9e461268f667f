"""Nested graphs of every micro-kernel row, and the platforms that ask for them."""

from collections import Counter
from pathlib import Path

import pytest

from benchmark.black_box_plan import FOLLOWERS, nest_id, nested_cases
from benchmark.config import load_platform
from benchmark.plan import make_case
from graph_gen.benchmarks import BENCHMARKS, build
from strata.errors import SchemaError

ROW = {"height": 8, "width": 8, "channels": 16, "filters": 16, "kernel": 3, "kernels": 3}
FILES = Path(__file__).parents[3] / "config" / "platforms"


def test_every_row_stands_once_per_number_of_kernels_with_its_tags():
    case = make_case("convolution", ROW, {"sweep": "filters", "sweep_group": "g"})
    found = nested_cases([case], [1, 2, 4])
    assert [each.settings["kernels"] for each in found] == [1, 2, 4]
    assert {nest_id(each.benchmark, each.settings) for each in found} == {
        nest_id("convolution", ROW)
    }
    assert all(each.tags == case.tags for each in found)


@pytest.mark.parametrize(
    ("changes", "tags", "mirrored"),
    [
        ({"filters": 24}, {}, True),
        ({}, {}, False),  # equal channels stand in a chain as they are
        ({"filters": 24, "stride": 2}, {}, False),  # nothing brings the extent back
        ({"filters": 24, "groups": 8}, {}, True),
        ({"filters": 8, "groups": 8}, {}, False),  # its mirror image is a depthwise one
        ({"filters": 24}, {"sweep": "width", "sweep_group": "g"}, True),
    ],
)
def test_convolutions_of_unequal_channels_are_followed_by_their_mirror_image(
    changes, tags, mirrored
):
    found = nested_cases([make_case("convolution", ROW | changes, tags)], [2])[0]
    assert ("back" in found.settings) == mirrored
    graph = build("convolution", found.settings)
    tails = [layer for layer in graph.layers if layer.name.startswith("tail")]
    if mirrored:
        assert len(tails) == 1
        assert [layer.output_shape[1] for layer in graph.layers if "/" in layer.name] == [
            *(24, 16, 24, 16)
        ]
        assert graph["kernel_1"].inputs == ("back_0/relu",)


@pytest.mark.parametrize("swept", ["channels", "filters"])
def test_where_the_mirror_image_has_steps_of_its_own_the_padded_kernel_is_measured_too(swept):
    case = make_case("convolution", ROW | {"filters": 24}, {"sweep": swept, "sweep_group": "g"})
    found = nested_cases([case], [1, 4])
    assert [(each.settings.get("back"), each.settings["kernels"]) for each in found] == [
        ("mirrored", 1),
        ("mirrored", 4),
        (None, 1),
        (None, 4),
    ]
    assert all(each.tags == case.tags for each in found)


def test_every_kind_of_activation_stands_in_some_chains():
    rows = [ROW | {"filters": size, "activation": "swish"} for size in range(17, 257)]
    swept = make_case("convolution", ROW, {"sweep": "filters", "sweep_group": "g"})
    found = nested_cases([*(make_case("convolution", row) for row in rows), swept], [4])
    found = [each for each in found if "back" in each.settings]  # others are shapes of pairs
    kinds = Counter(each.settings.get("activation") for each in found)
    assert None not in kinds  # no copies of the swept one
    assert kinds.pop("swish") == 240
    assert len(kinds) == 10
    assert set(kinds.values()) == {12}


def test_numbers_beyond_a_benchmarks_limits_are_halved_until_legal():
    heavy = {"channels": 8192, "filters": 2048, "kernels": 1}  # 16.8 M weights of at most 67 M
    found = nested_cases([make_case("dense", heavy)], [1, 8])
    assert [each.settings["kernels"] for each in found] == [1, 4]


def test_networks_stay_as_they_are():
    row = {"height": 16, "width": 16, "channels": 8, "filters": 8}
    case = make_case("convnet", row)
    assert nested_cases([case], [1, 4]) == [case]


def test_a_nested_graph_holds_no_more_weights_than_allowed():
    rows = {"height": 8, "width": 8, "channels": 32, "filters": 64, "kernel": 3}
    case = make_case("convolution", rows)
    # 18,432 weights and 64 biases, mirrored 18,432 and 32: 36,960 a time
    for limit, most in ((150_000, 4), (147_000, 2), (50_000, 1), (0, 1)):
        found = nested_cases([case], [1, 4], limit)
        assert max(each.settings["kernels"] for each in found) == most


@pytest.mark.parametrize("path", sorted(FILES.glob("*_black_box.yaml")), ids=lambda path: path.stem)
def test_a_black_box_wraps_the_platform_it_is_like(path):
    hidden = load_platform(path)
    profiled = load_platform(path.with_name(path.name.replace("_black_box", "")))
    assert (hidden.module, hidden.options["module"]) == ("black_box", profiled.module)
    assert hidden.black_box.kernels == [1, 4]
    inner = hidden.options.get("options", {})
    assert all(profiled.options[key] == value for key, value in inner.items())
    assert hidden.sweeps == profiled.sweeps


def test_numbers_that_do_not_grow_are_refused(tmp_path):
    path = tmp_path / "box.yaml"
    path.write_text("module: 'null'\nblack_box: {kernels: [4, 1]}\n")
    with pytest.raises(SchemaError, match=r"black_box.kernels.*numbers that grow"):
        load_platform(path)


def test_every_kind_of_activation_stands_in_chains_of_others_samples():
    kinds = ["swish"] * 10 + ["relu"] * 230
    samples = [
        make_case("convolution", ROW | {"height": 6 + i, "width": 4, "activation": kind})
        for i, kind in enumerate(kinds)
    ]  # too narrow for pairs
    found = Counter(case.settings["activation"] for case in nested_cases(samples, [2]))
    assert min(found.values()) == 12
    assert found["swish"] == 12
    assert found["relu"] == 230


def shapes(count, **changes):
    """Samples of convolutions, each of another height."""
    return [
        make_case("convolution", ROW | {"height": 8 + i, "filters": 36} | changes)
        for i in range(count)
    ]


def test_pairs_stand_in_chains_and_so_do_both_layers_alone():
    found = nested_cases(shapes(160), [1, 4])
    pairs = [case for case in found if case.benchmark == "pair"]
    counts = Counter((case.settings["producer"], case.settings["follower"]) for case in pairs)
    assert set(counts.values()) == {32}  # sixteen shapes of two numbers of kernels
    assert {follower for _, follower in counts} == set(FOLLOWERS)
    known = {case.case_id for case in found}
    for case in pairs:
        own = case.settings
        shape = {key: own[key] for key in ("height", "width", "channels", "kernels")}
        first = shape | {"kernel": own["kernel"], "activation": own["activation"]}
        # 16 channels and 36 filters have as many weights as 24 of both
        assert own["channels"] == 24
        first |= {"filters": 24} if own["producer"] == "convolution" else {}
        second = shape | ({"kernel": own["window"]} if own["follower"] != "add" else {})
        second |= {"activation": "none"} if own["follower"] == "depthwise_convolution" else {}
        assert make_case(own["producer"], first).case_id in known
        assert (
            make_case({"add": "additions"}.get(own["follower"], own["follower"]), second).case_id
            in known
        )


@pytest.mark.parametrize(
    ("samples", "pairs"),
    [
        *((shapes(80), 8), (shapes(79), 0), (shapes(160, width=5), 0)),
        *((shapes(160, stride=2), 0), (shapes(160, groups=4), 0)),
    ],
)
def test_too_few_shapes_decide_nothing_and_are_not_measured(samples, pairs):
    found = nested_cases(samples, [1])
    additions = [case for case in found if case.settings.get("follower") == "add"]
    assert len(additions) == 2 * pairs


def test_a_pair_is_one_layer_behind_the_other():
    row = {"height": 8, "width": 8, "channels": 16, "kernel": 3, "follower": "add", "kernels": 2}
    graph = build("pair", row)
    assert graph["follower_1"].inputs == ("kernel_1/relu", "follower_0")
    assert graph["kernel_1"].inputs == ("follower_0",)
    assert len(graph.successors["kernel_1/relu"]) == 1


def test_additions_are_a_chain_in_which_none_can_join_what_feeds_it():
    rows = {"height": 8, "width": 8, "channels": 12}
    found = nested_cases([make_case("add", rows)], [1, 2, 4])
    assert [case.benchmark for case in found] == ["additions"] * 3
    less, _, more = (build(case.benchmark, case.settings) for case in found)
    kinds = [Counter(layer.operation for layer in graph.layers) for graph in (less, more)]
    assert kinds[1] - kinds[0] == Counter({"add": 3})
    assert more["kernel_3"].inputs == ("kernel_1", "kernel_2")
    for graph in (less, more):
        for layer in graph.layers:
            if layer.operation == "add":
                feeds = [name for name in layer.inputs if not name.startswith("kernel")]
                assert all(len(graph.successors[name]) > 1 for name in feeds)


FILLED = 64_512


@pytest.mark.parametrize(
    ("benchmark", "settings"),
    [
        ("convolution", ROW),
        ("depthwise_convolution", {**ROW, "channels": 400}),
        ("dense", {"channels": 64, "filters": 64}),
        ("transposed_convolution", {**ROW, "kernel": 4}),
    ],
)
def test_samples_stand_also_beside_a_layer_that_fills_a_memory(benchmark, settings):
    keys = set(BENCHMARKS[benchmark].settings)
    case = make_case(benchmark, {key: settings[key] for key in settings if key in keys})
    found = nested_cases([case], (1, 4), filled=FILLED)
    assert [each.settings.get("filled", 0) for each in found] == [0, 0, FILLED, FILLED]
    bare, _, one, four = (build(each.benchmark, each.settings) for each in found)
    # the same kernels, and one layer beside them that neither reads them nor is read
    assert one.weight_elements - bare.weight_elements == 128 * FILLED + FILLED
    assert {layer.name for layer in one.layers} - {layer.name for layer in bare.layers} == {
        "filler_input",
        "filler",
    }
    for graph in (one, four):
        assert "filler" in graph.outputs
        assert graph["filler"].inputs == ("filler_input",)


@pytest.mark.parametrize(
    ("benchmark", "changes", "tags"),
    [
        ("convolution", {}, {"sweep": "filters", "sweep_group": "g"}),  # of unrolling, in the chip
        ("convolution", {"channels": 2}, {}),  # 304 weights: nothing of 8.3 million is seen
        ("convolution", {"channels": 2048, "filters": 2048}, {}),  # is fetched without a filler
        ("max_pooling", {}, {}),  # has no weights
    ],
)
def test_what_needs_no_filler_has_none(benchmark, changes, tags):
    keys = set(BENCHMARKS[benchmark].settings)
    settings = {key: value for key, value in (ROW | changes).items() if key in keys}
    found = nested_cases([make_case(benchmark, settings, tags)], (1, 4), filled=FILLED)
    assert found
    assert not any(each.settings.get("filled") for each in found)


def test_sweeps_leave_room_in_the_memory_that_a_filler_would_take():
    """Eight kernels of 1.2 million weights (mirrored) do not fit beside each other, four do."""
    sweep = {"sweep": "filters", "sweep_group": "g"}
    case = make_case("convolution", ROW | {"channels": 256, "filters": 512}, sweep)
    kernels = [
        [each.settings["kernels"] for each in nested_cases([case], (1, 4), filled=filled)]
        for filled in (0, FILLED)
    ]
    assert kernels == [[1, 4, 1, 4], [1, 2, 1, 4]]
