import pytest
from dpu_graphs import BOARD, compiled, nodes

from simulators import dpu
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer


@pytest.fixture
def builder() -> GraphBuilder:
    return GraphBuilder("net")


def features(builder: GraphBuilder, channels: int = 32, size: int = 56) -> str:
    """A feature map that another convolution made and that is read twice, so nothing joins it."""
    layer = builder.convolution(builder.input(1, 3, size, size), channels, 3, name="stem")
    builder.convolution(layer, 8, 1, name="aside")
    return layer


def engine(builder: GraphBuilder, name: str) -> str:
    return next(layer.engine for layer in compiled(builder).layers if layer.name == name)


def reason(builder: GraphBuilder, name: str) -> str:
    layer = next(layer for layer in compiled(builder).layers if layer.name == name)
    assert layer.engine == "host"
    assert layer.host_reason is not None
    return layer.host_reason


def test_normalisation_and_relu_fold_into_the_convolution(builder):
    builder.convolution(features(builder), 32, 3, normalise=True, activation="relu", name="c")
    assert nodes(compiled(builder))["c"] == ("c/normalise", "c/relu")


@pytest.mark.parametrize(
    ("kind", "kernel", "joins"), [("max", 2, True), ("max", 3, True), ("max", 4, False)]
)
def test_small_max_pooling_vanishes_into_the_convolution(builder, kind, kernel, joins):
    layer = builder.convolution(features(builder), 32, 3, activation="relu", name="c")
    builder.pooling(layer, kind, kernel, 2, name="p")
    assert ("p" in nodes(compiled(builder))["c"]) == joins


def test_average_pooling_stands_alone_unless_it_is_global(builder):
    layer = builder.convolution(features(builder, size=7), 32, 3, name="c")
    builder.pooling(layer, "average", 2, name="p")
    other = builder.convolution(layer, 32, 3, name="d")
    builder.add(op.GlobalPooling("average"), other, name="g")
    found = nodes(compiled(builder))
    assert found["p"] == ()
    assert found["d"] == ("g",)
    assert engine(builder, "p") == "pooling"


def test_a_global_pooling_costs_its_pass_with_and_without_its_axes():
    def passes(keep: bool):
        builder = GraphBuilder("pooled")
        layer = builder.convolution(features(builder, size=7), 32, 3, name="c")
        builder.add(op.GlobalPooling("average", keep), layer, name="g")
        return next(layer.node.alu for layer in compiled(builder).layers if layer.name == "c")

    (alu,) = passes(True)
    assert (alu.height, alu.width, alu.channels, alu.window.taps) == (1, 1, 32, 49)
    assert passes(False) == (alu,)


def test_pooling_of_a_tensor_that_others_read_stands_alone(builder):
    builder.pooling(features(builder), "max", 2, name="p")
    assert nodes(compiled(builder))["p"] == ()


def test_depthwise_follows_pointwise_in_one_node(builder):
    layer = builder.convolution(features(builder), 96, 1, activation="relu6", name="expand")
    builder.depthwise(layer, 3, normalise=True, activation="relu6", name="d")
    assert nodes(compiled(builder))["expand"] == ("expand/relu6", "d", "d/normalise", "d/relu6")


def test_depthwise_whose_rows_do_not_fit_on_chip_stands_alone(builder):
    # 8 + 2 rows x 512 columns x 4 groups = 20,480 of 16,384 words
    layer = builder.convolution(features(builder, 16, 512), 64, 1, name="expand")
    builder.depthwise(layer, 3, name="d")
    assert nodes(compiled(builder))["d"] == ()
    assert engine(builder, "d") == "depthwise"


def test_one_addition_joins_a_second_does_not(builder):
    skip = features(builder)
    one = builder.add(
        op.Elementwise("add"), builder.convolution(skip, 32, 3, name="c"), skip, name="a"
    )
    relu = builder.add(op.Activation("relu"), one, name="r")
    other = builder.convolution(skip, 32, 1, name="other")
    builder.convolution(other, 8, 1, name="keeps other from joining")
    builder.add(op.Elementwise("add"), relu, other, name="b")
    found = nodes(compiled(builder))
    assert found["c"] == ("a", "r")
    assert found["b"] == ()
    assert engine(builder, "b") == "elementwise"


def test_an_addition_behind_a_transposed_convolution_stands_alone(builder):
    skip = features(builder)
    layer = builder.add(op.TransposedConvolution(32, (1, 1)), skip, name="t")
    builder.add(op.Elementwise("add"), layer, skip, name="a")
    assert nodes(compiled(builder))["a"] == ()


def test_the_added_tensor_is_read(builder):
    skip = features(builder)
    builder.add(op.Elementwise("add"), builder.convolution(skip, 32, 3, name="c"), skip, name="a")
    layer = next(layer for layer in compiled(builder).layers if layer.name == "c")
    assert layer.node.residual == 32 * 56 * 56
    assert layer.node.stored == 32 * 56 * 56


def test_a_concatenation_of_channels_is_an_address(builder):
    skip = features(builder)
    left, right = (builder.convolution(skip, 16, 1, name=name) for name in ("left", "right"))
    builder.add(op.Concat(1), left, right, name="c")
    layers = compiled(builder).layers
    assert "c" not in [layer.name for layer in layers]
    left_node = next(layer.node for layer in layers if layer.name == "left")
    assert left_node.stored == 16 * 56 * 56  # its own half


def test_a_concatenation_of_rows_is_a_copy(builder):
    skip = features(builder)
    left, right = (builder.convolution(skip, 16, 1, name=name) for name in ("left", "right"))
    builder.add(op.Concat(2), left, right, name="c")
    assert engine(builder, "c") == "memory"


def test_explicit_padding_goes_into_the_convolution(builder):
    padded = builder.add(op.Pad((0, 0, 1, 1), (0, 0, 1, 1)), features(builder), name="pad")
    builder.convolution(padded, 32, 3, padding="valid", name="c")
    assert nodes(compiled(builder))["c"] == ("pad",)


def test_a_dense_layer_behind_a_flatten_runs_on_the_array(builder):
    flat = builder.add(op.Flatten(), features(builder, 8, 7))
    builder.dense(flat, 10, name="d")
    node = next(layer.node for layer in compiled(builder).layers if layer.name == "d")
    assert (node.channels, node.filters, node.height, node.width) == (8 * 49, 10, 1, 1)


def test_a_dense_layer_too_long_for_a_weight_bank_adds_up_in_passes(builder):
    builder.dense(builder.input(1, 40_000), 10, name="d")  # 2500 words of 2048
    node = next(layer.node for layer in compiled(builder).layers if layer.name == "d")
    assert (node.channels, node.phases) == (20_000, 2)


def test_a_transposed_convolution_is_one_small_convolution_per_interleaved_output(builder):
    builder.add(op.TransposedConvolution(12, (4, 4), (2, 2)), features(builder, 16, 7), name="t")
    node = next(layer.node for layer in compiled(builder).layers if layer.name == "t")
    assert (node.phases, node.window.kernel) == (4, (2, 2))
    assert node.stored == 16 * 16 * 16  # 16 x 16 pixels, 12 filters padded to a word


def refused_convolutions():
    return {
        "kernel 17 x 17 is larger than 16 x 16": op.Convolution(8, (17, 17)),
        "stride 9 x 9 is larger than 8 x 8": op.Convolution(8, (3, 3), (9, 9)),
        "a convolution in 2 groups": op.Convolution(8, (3, 3), groups=2),
        "64 filters per channel|2 filters per channel": op.Convolution(64, (3, 3), groups=32),
        "dilation 200 times 32 channels is more than 4096": op.Convolution(
            8, (1, 1), dilation=(200, 200)
        ),
        "5000 channels are more than 4096": op.Convolution(5000, (1, 1)),
    }


@pytest.mark.parametrize("why", refused_convolutions())
def test_convolutions_beyond_the_instruction_set_run_on_the_host(builder, why):
    builder.add(refused_convolutions()[why], features(builder), name="x")
    assert any(part in reason(builder, "x") for part in why.split("|"))


def test_a_filter_larger_than_its_weight_bank_runs_on_the_host(builder):
    layer = builder.convolution(builder.input(1, 3, 16, 16), 256, 1)
    builder.add(op.Convolution(8, (15, 15)), layer, name="x")
    assert reason(builder, "x") == "a filter takes 3600 words of a weight bank that has 2048"


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        (op.Pooling("max", (9, 9)), "kernel 9 x 9 is larger than 8 x 8"),
        (op.Pooling("average", (2, 3)), "average pooling over 2 x 3, not a square"),
        (op.GlobalPooling("average"), "kernel 56 x 56 is larger than 8 x 8"),
        (op.Softmax(1), "the instruction set has no softmax"),
        (op.Activation("sigmoid"), "the instruction set has no sigmoid"),
        (op.Activation("hard_swish"), "the instruction set has no hard_swish"),
        (op.Elementwise("add", (1,)), "an addition of a constant"),
        (op.Resize("cubic", (112, 112)), "cubic interpolation"),
        (op.Resize("nearest", (60, 60)), "a change of size from 56 x 56 to 60 x 60"),
        (op.Transpose((0, 1, 3, 2)), "the instruction set has no transpositions"),
    ],
)
def test_operations_without_an_instruction_run_on_the_host(builder, parameters, why):
    builder.add(parameters, features(builder), name="x")
    assert reason(builder, "x").startswith(why)


def test_a_squeeze_and_excite_product_runs_on_the_host(builder):
    layer = features(builder)
    pooled = builder.add(op.GlobalPooling("average"), layer)
    builder.add(op.Elementwise("multiply"), layer, pooled, name="x")
    assert reason(builder, "x") == "the instruction set has no elementwise multiply"


def test_host_layers_are_told_and_cost_time(builder):
    builder.add(op.Softmax(1), features(builder), name="s")
    executable = compiled(builder)
    assert executable.notes == ("s: on the host, the instruction set has no softmax",)
    times = {found.name: found for found in dpu.analyse(executable, BOARD)}
    assert times["s"].binding == "host"
    assert times["s"].time_s > BOARD.host_start_s


def test_nothing_joins_a_layer_on_the_host(builder):
    layer = builder.add(op.Convolution(32, (17, 17)), features(builder), name="x")
    builder.add(op.Activation("relu"), layer, name="r")
    assert nodes(compiled(builder))["x"] == ()


def test_a_layer_of_unknown_type_is_refused(builder):
    builder.add(op.Opaque("Mystery", (1, 8)), features(builder), name="x")
    graph = builder.build()
    why = "layer 'x': of type 'Mystery', which neither DPU nor host can run"
    assert dpu.unsupported(graph, BOARD) == why
    with pytest.raises(UnsupportedLayer, match="Mystery"):
        dpu.compile_graph(graph, BOARD)


def test_all_layers_but_views_run_once(builder):
    layer = builder.convolution(features(builder), 32, 3, normalise=True, activation="relu")
    builder.dense(builder.add(op.Flatten(), builder.pooling(layer, "max", 2)), 10)
    graph = builder.build()
    ran = [inner.name for node in compiled(builder).layers for inner in node.executed.layers]
    views = (op.Input, op.Flatten)
    assert sorted(ran) == sorted(
        layer.name for layer in graph.layers if not isinstance(layer.parameters, views)
    )


@pytest.mark.parametrize("shape", [(1, 8), (1, 5, 8), (1, 8, 6, 6)])
@pytest.mark.parametrize("parameters", [op.Elementwise("add"), op.Concat(-1)])
def test_pairs_of_any_rank_take_time(builder, shape, parameters):
    left, right = builder.input(*shape, name="l"), builder.input(*shape, name="r")
    builder.add(parameters, left, right, name="x")
    executable = compiled(builder)
    assert dpu.analyse(executable, BOARD)[0].time_s > 0
    assert dpu.simulate(executable, BOARD)[0].time_s > 0
