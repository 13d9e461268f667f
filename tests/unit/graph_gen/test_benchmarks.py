import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from graph_gen.benchmarks import BENCHMARKS, build
from strata import operations as op
from strata.errors import SchemaError
from strata.graph import Graph

MICRO_KERNELS = {name: item for name, item in BENCHMARKS.items() if item.operation}


def kernels(graph):
    return [
        layer for layer in graph.layers if layer.name.startswith("kernel") and "/" not in layer.name
    ]


def test_the_names_other_rooms_rely_on():
    assert set(BENCHMARKS) == {
        *("convolution", "depthwise_convolution", "transposed_convolution", "max_pooling"),
        *("average_pooling", "dense", "add", "concat", "convnet", "fcnet", "moved", "pooled"),
        *("pair", "additions", "cells", "stems"),
        *("tangles", "architectures"),
    }
    assert all(item.operation == name for name, item in MICRO_KERNELS.items())


def test_convolutions_of_unequal_channels_are_branches_of_one_tensor():
    row = {
        "height": 28,
        "width": 20,
        "channels": 12,
        "filters": 30,
        "kernel": 3,
        "stride": 2,
        "groups": 3,
    }
    graph = build("convolution", row | {"dilation": 2, "activation": "swish", "kernels": 3})
    # SAME, span 5: height needs (14 - 1) * 2 + 5 - 28 = 3 rows, width (10 - 1) * 2 + 5 - 20 = 3
    expected = op.Convolution(30, (3, 3), (2, 2), (2, 2), (1, 1, 2, 2), groups=3)
    assert len(kernels(graph)) == 3
    for layer in kernels(graph):
        assert (layer.parameters, layer.inputs) == (expected, ("input",))
        assert layer.output_shape == (1, 30, 14, 10)
        assert graph[f"{layer.name}/swish"].inputs == (layer.name,)
    assert all(graph[name].output_shape == (1, 30, 1, 1) for name in graph.outputs)


def test_convolutions_that_keep_their_shape_are_a_chain():
    row = {
        "height": 7,
        "width": 7,
        "channels": 16,
        "filters": 16,
        "kernel": 5,
        "activation": "none",
    }
    graph = build("convolution", row)
    assert [layer.inputs[0] for layer in kernels(graph)] == [
        *("input", "kernel_0", "kernel_1", "kernel_2")
    ]
    assert all(layer.output_shape == (1, 16, 7, 7) for layer in kernels(graph))
    assert graph.outputs == ("tail_3",)


def test_a_strided_1x1_convolution_shares_its_input_with_an_unstrided_reader():
    row = {"height": 8, "width": 8, "channels": 4, "filters": 8, "kernel": 1, "stride": 2}
    graph = build("convolution", row)
    assert graph["keep"].inputs == ("input",)
    assert isinstance(graph["keep"].parameters, op.GlobalPooling)


def test_depthwise_convolutions():
    graph = build(
        "depthwise_convolution", {"height": 9, "width": 9, "channels": 6, "kernel": 3, "stride": 2}
    )
    for layer in kernels(graph):
        assert layer.operation == "depthwise_convolution"
        assert layer.output_shape == (1, 6, 5, 5)


# (before, after): kernel - stride rows are cut off, the smaller half of them before
@pytest.mark.parametrize(
    ("kernel", "stride", "sides"), [(4, 2, (1, 1)), (3, 2, (0, 1)), (2, 2, (0, 0)), (9, 4, (2, 3))]
)
def test_transposed_convolutions_enlarge_by_their_stride(kernel, stride, sides):
    row = {"height": 9, "width": 5, "channels": 6, "filters": 10, "kernel": kernel}
    graph = build("transposed_convolution", row | {"stride": stride, "activation": "relu"})
    assert len(kernels(graph)) == 4
    for layer in kernels(graph):
        assert layer.operation == "transposed_convolution"
        assert layer.inputs == ("input",)
        assert layer.output_shape == (1, 10, 9 * stride, 5 * stride)
        assert layer.parameters.padding == (sides[0], sides[0], sides[1], sides[1])
        assert graph.successors[layer.name] == (f"{layer.name}/relu",)
    assert all(graph[name].output_shape == (1, 10, 1, 1) for name in graph.outputs)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_poolings_read_different_tensors(kind):
    graph = build(
        f"{kind}_pooling", {"height": 15, "width": 8, "channels": 40, "kernel": 3, "stride": 2}
    )
    found = kernels(graph)
    # height: (8 - 1) * 2 + 3 - 15 = 2, one row each side; width: (4 - 1) * 2 + 3 - 8 = 1
    expected = op.Pooling(kind, (3, 3), (2, 2), (1, 0, 1, 1))
    assert all(layer.parameters == expected for layer in found)
    assert all(layer.output_shape == (1, 40, 8, 4) for layer in found)
    assert len({layer.inputs for layer in found}) == len(found) == 4
    assert graph["input"].output_shape == (1, 8, 15, 8)


def test_dense_layers_have_inputs_of_their_own():
    graph = build("dense", {"channels": 100, "filters": 30, "kernels": 2})
    assert [layer.input_shapes for layer in kernels(graph)] == [((1, 100),), ((1, 100),)]
    assert [layer.output_shape for layer in kernels(graph)] == [(1, 30), (1, 30)]
    assert len(graph.inputs) == 2


@pytest.mark.parametrize("count", [1, 2, 4])
def test_operands_of_additions_are_read_twice(count):
    graph = build("add", {"height": 6, "width": 5, "channels": 24, "kernels": count})
    assert len(kernels(graph)) == count
    for layer in kernels(graph):
        assert layer.output_shape == (1, 24, 6, 5)
        assert all(len(graph.successors[producer]) >= 2 for producer in layer.inputs)


# two inputs: 16 + 8; a third adds 16 channels, a fourth 8 more
@pytest.mark.parametrize(("inputs", "channels"), [(2, 24), (3, 40), (4, 48)])
def test_concatenations_alternate_their_channels(inputs, channels):
    row = {"height": 6, "width": 5, "channels": 16, "filters": 8, "inputs": inputs}
    graph = build("concat", row)
    assert all(layer.output_shape == (1, channels, 6, 5) for layer in kernels(graph))
    assert all(len(layer.inputs) == inputs for layer in kernels(graph))
    assert len({layer.inputs for layer in kernels(graph)}) == 4


def test_every_convolution_of_the_convnet_is_normalised_and_activated():
    graph = build("convnet", {"height": 32, "width": 24, "channels": 8, "filters": 16, "stride": 2})
    for layer in graph.layers:
        if isinstance(layer.parameters, op.Convolution):
            assert graph.successors[layer.name] == (f"{layer.name}/normalise",)
            assert graph.successors[f"{layer.name}/normalise"] == (f"{layer.name}/relu",)
    # 32 x 24 halved by the stem, by pool_1, by down and pool_3
    assert graph["stem"].output_shape == (1, 16, 16, 12)
    assert graph["add_2"].output_shape == (1, 16, 16, 12)
    assert graph["depthwise"].operation == "depthwise_convolution"
    assert graph["depthwise"].output_shape == (1, 16, 8, 6)
    assert graph["pointwise"].output_shape == (1, 8, 8, 6)
    assert graph["concat"].output_shape == (1, 24, 4, 3)
    assert graph["dense"].output_shape == (1, 100)


def test_a_pooled_convolution_has_the_pooling_as_its_only_follower():
    row = {"height": 17, "width": 40, "channels": 24, "filters": 16, "kernel": 5, "pool_kernel": 3}
    graph = build("pooled", row)
    assert graph["input"].output_shape == (1, 8, 17, 40)
    assert graph["convolution"].output_shape == (1, 16, 17, 40)
    assert graph.successors["convolution"] == ("convolution/activation",)
    assert graph.successors["convolution/activation"] == ("pool",)
    # (17 - 3) // 2 + 1 and (40 - 3) // 2 + 1
    assert graph["pool"].output_shape == (1, 16, 8, 19)
    bare = build("pooled", row | {"activation": "none", "kind": "average", "padding": "same"})
    assert bare.successors["convolution"] == ("pool",)
    assert bare["pool"].operation == "average_pooling"
    assert bare["pool"].output_shape == (1, 16, 9, 20)
    shared = build("pooled", row | {"readers": 2})
    assert set(shared.successors["convolution/activation"]) == {"pool", "beside"}
    assert len(shared.outputs) == 2


def test_fcnet():
    graph = build(
        "fcnet", {"height": 14, "width": 14, "channels": 3, "filters": 64, "units": 50, "layers": 2}
    )
    shapes = [graph[name].output_shape for name in ("convolution", "flatten", "dense_1")]
    assert shapes == [(1, 64, 14, 14), (1, 64), (1, 50)]
    assert graph["softmax"].output_shape == (1, 1000)


@pytest.mark.parametrize(
    ("benchmark", "row", "words"),
    [
        ("convolutions", {}, ["convolutions", "depthwise_convolution"]),
        ("dense", {"channels": 0, "filters": 1}, ["channels", "1 to 65536"]),
        ("dense", {"channels": 65536, "filters": 65536}, ["channels=65536", "67108864"]),
        ("add", {"height": 2048, "width": 2048, "channels": 5}, ["height=2048", "16777216"]),
        ("max_pooling", {"height": 1, "width": 1, "channels": 1, "kernel": 17}, ["kernel", "16"]),
        (
            "transposed_convolution",
            {"height": 1, "width": 1, "channels": 1, "filters": 1, "kernel": 1},
            ["kernel=1", "stride=2"],
        ),
        ("cells", {}, ["seed", "missing"]),
        ("cells", {"seed": -1}, ["seed", "-1"]),
        ("cells", {"seed": 1, "size": 7}, ["size", "32"]),
    ],
)
def test_illegal_rows_are_one_line(benchmark, row, words):
    with pytest.raises(SchemaError) as error:
        build(benchmark, row)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def rows(benchmark):
    def values(setting):
        if setting.choices:
            return st.sampled_from(setting.choices)
        # mostly small, so that most rows pass the limits on tensors and weights
        small = st.integers(setting.minimum, min(setting.maximum, setting.minimum + 64))
        return st.one_of(small, small, small, st.integers(setting.minimum, setting.maximum))

    return st.fixed_dictionaries({n: values(s) for n, s in BENCHMARKS[benchmark].settings.items()})


@pytest.mark.parametrize("benchmark", sorted(set(BENCHMARKS) - {"cells"}))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
@given(st.data())
def test_every_legal_row_builds_or_names_its_limit(benchmark, data):
    row = data.draw(rows(benchmark))
    try:
        graph = build(benchmark, row)
    except SchemaError as error:
        event(f"refused: {error}"[:40])
        return
    assert isinstance(graph, Graph)
    assert graph.content_hash == build(benchmark, row).content_hash
    if benchmark in MICRO_KERNELS:
        found = kernels(graph)
        assert len(found) == row["kernels"]
        assert {layer.operation for layer in found} == {benchmark}
        assert len({(layer.parameters, layer.input_shapes) for layer in found}) == 1
        assert found[0].input_shapes[0][1] == row["channels"]


# shapes of a tensor of 24 channels, 12 rows, 10 columns, by hand
MOVES = {
    "truncate": (1, 12, 12, 10),
    "crop": (1, 24, 11, 9),
    "frame": (1, 24, 14, 12),
    "enlarge_nearest": (1, 24, 36, 30),
    "enlarge_linear": (1, 24, 36, 30),
    "rescale": (1, 24, 12, 10),
    "multiply": (1, 24, 12, 10),
    "subtract": (1, 24, 12, 10),
    "normalise": (1, 24, 12, 10),
    "shuffle": (1, 24, 12, 10),
}
READERS = BENCHMARKS["moved"].settings["reader"].choices


def test_all_moves_are_looked_at():
    assert set(MOVES) == set(BENCHMARKS["moved"].settings["move"].choices)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("move", MOVES)
def test_a_moved_tensor_has_the_shape_of_its_move_and_is_read(move, reader):
    row = {"height": 12, "width": 10, "channels": 20, "filters": 24, "factor": 3}
    for pooled in (0, 1):
        graph = build("moved", row | {"move": move, "reader": reader, "pooled": pooled})
        assert graph["source"].output_shape == (1, 24, 12, 10)
        # a shuffle is three layers: split, swap and merge
        first = next(layer for layer in graph.layers if layer.name.startswith("moved"))
        assert first.inputs == ("source/pool" if pooled else "source/activation",)
        assert graph["moved"].output_shape == MOVES[move]
        assert graph["reader"].inputs[0] == "moved"
        assert graph.outputs == ("tail/pool",)
    reads = {"add": MOVES[move][1], "concat": 2 * MOVES[move][1]}
    assert graph["tail"].input_shapes[0][1] == reads.get(reader, graph["reader"].output_shape[1])
    assert len(graph["reader"].inputs) == (2 if reader in reads else 1)


@pytest.mark.parametrize("seed", range(4))
def test_stems_are_shorter_than_the_networks_of_the_same_seed(seed):
    row = {"seed": seed, "size": 64, "megamacs": 300}
    stem, whole = build("stems", row), build("cells", row)
    assert len(stem.layers) < len(whole.layers)
    # a stem is cells with one stage
    assert stem.content_hash == build("cells", row | {"stages": 1}).content_hash
