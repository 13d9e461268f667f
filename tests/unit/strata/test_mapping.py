"""The mapping model applied: trees decide, groups follow."""

import numpy as np
import pytest

from strata import operations as op
from strata.builder import GraphBuilder
from strata.edges import EDGE_FEATURES, Context, candidate_edges, edge_features
from strata.errors import ArtefactError
from strata.forest import Forest
from strata.mapping import MappingModel, apply_mapping, mapping_from_parts, mapping_to_parts
from strata.placement import PLACEMENT_FEATURES


def constant(value: float) -> Forest:
    """A tree of one leaf."""
    leaf = np.array([-1], dtype=np.int32)
    return Forest(leaf, np.zeros(1), leaf, leaf, np.array([value]), np.array([0], dtype=np.int32))


def split(feature: str, threshold: float, below: float, above: float) -> Forest:
    """A tree of one test."""
    return Forest(
        np.array([EDGE_FEATURES.index(feature), -1, -1], dtype=np.int32),
        np.array([threshold, 0.0, 0.0]),
        np.array([1, -1, -1], dtype=np.int32),
        np.array([2, -1, -1], dtype=np.int32),
        np.array([0.0, below, above]),
        np.array([0], dtype=np.int32),
    )


def names(executed):
    return [[layer.name for layer in group.layers] for group in executed]


def chain(width: int = 64):
    builder = GraphBuilder("chain")
    x = builder.input(1, 8, width, width, name="in")
    x = builder.convolution(x, 16, 3, name="conv", activation="relu")
    builder.pooling(x, "max", 2, name="pool")
    return builder.build()


def test_without_trees_every_layer_executes_alone():
    assert names(apply_mapping(chain(), MappingModel())) == [["conv"], ["conv/relu"], ["pool"]]


def test_a_pairs_tree_fuses_and_the_group_grows():
    mapping = MappingModel(
        {
            "convolution->activation": constant(1.0),
            "convolution->max_pooling": split("producer_width", 100, 1.0, 0.0),
        }
    )
    assert names(apply_mapping(chain(64), mapping)) == [["conv", "conv/relu", "pool"]]
    assert names(apply_mapping(chain(128), mapping)) == [["conv", "conv/relu"], ["pool"]]


def test_an_unseen_pair_falls_back_to_the_tree_of_any_producer():
    mapping = MappingModel({"*->activation": constant(1.0)})
    assert names(apply_mapping(chain(), mapping)) == [["conv", "conv/relu"], ["pool"]]


def test_a_layer_joins_an_input_only_by_a_tree_of_its_own_and_is_not_executed_then():
    builder = GraphBuilder("channels last")
    x = builder.input(1, 8, 8, 3, name="in")
    x = builder.add(op.Transpose((0, 3, 1, 2)), x, name="transpose")
    builder.convolution(x, 8, 3, name="conv")
    graph = builder.build()
    anyone = MappingModel({"*->transpose": constant(1.0)})
    assert names(apply_mapping(graph, anyone)) == [["transpose"], ["conv"]]
    learned = MappingModel({"input->transpose": constant(1.0)})
    assert names(apply_mapping(graph, learned)) == [["conv"]]


def test_an_addition_joins_one_operand_only():
    builder = GraphBuilder("add")
    x = builder.input(1, 8, 8, 8, name="in")
    a = builder.convolution(x, 8, 3, name="a")
    b = builder.convolution(x, 8, 3, name="b")
    builder.add(op.Elementwise("add"), a, b, name="sum")
    mapping = MappingModel({"convolution->add": split("operand_is_latest", 0.5, 0.2, 0.9)})
    assert names(apply_mapping(builder.build(), mapping)) == [["a"], ["b", "sum"]]


def test_a_layer_cannot_join_a_group_whose_end_it_does_not_read():
    builder = GraphBuilder("tapped")
    x = builder.input(1, 8, 8, 8, name="in")
    a = builder.convolution(x, 8, 3, name="a", activation="relu")
    builder.pooling("a", "max", 2, name="pool")  # reads the convolution before its activation
    assert a == "a/relu"
    mapping = MappingModel({"*->activation": constant(1.0), "*->max_pooling": constant(1.0)})
    assert names(apply_mapping(builder.build(), mapping)) == [["a", "a/relu"], ["pool"]]


def halves(*order: str):
    """A tensor of 16 channels and readers of its halves, added in the order of their names."""
    low, high = (1, 8, 6, 6), (1, 16, 6, 6)
    layers = {
        "first": (op.Slice((0, 0, 0, 0), low, (1, 1, 1, 1)), ["source"]),
        "second": (op.Slice((0, 8, 0, 0), high, (1, 1, 1, 1)), ["source"]),
        "quarter": (op.Slice((0, 0, 0, 0), (1, 4, 6, 6), (1, 1, 1, 1)), ["first"]),
        "relu first": (op.Activation("relu"), ["first"]),
        "relu second": (op.Activation("relu"), ["second"]),
        "relu": (op.Activation("relu"), ["source"]),
    }
    builder = GraphBuilder("halves")
    builder.convolution(builder.input(1, 8, 8, 8, name="in"), 16, 3, name="source")
    for name in order:
        parameters, inputs = layers[name]
        builder.add(parameters, *inputs, name=name)
    return builder.build()


VIEWS = MappingModel(
    fusion={"convolution->slice": constant(1.0), "convolution->activation": constant(1.0)}
)


@pytest.mark.parametrize(
    "order",
    [
        ("first", "second", "relu first", "relu second"),
        ("first", "relu first", "second", "relu second"),
        ("first", "quarter", "second", "relu second"),
        ("second", "relu second", "first", "quarter"),
    ],
)
def test_slices_of_one_tensor_join_its_group_in_any_order(order):
    assert names(apply_mapping(halves(*order), VIEWS)) == [["source", *order]]


def test_who_reads_the_whole_tensor_does_not_join_behind_a_part_of_it():
    assert names(apply_mapping(halves("first", "relu"), VIEWS)) == [["source", "first"], ["relu"]]


def test_a_slice_and_its_reader_find_the_group_as_if_no_other_slice_had_joined_it():
    graph = halves("first", "relu first", "second", "relu second")
    context = Context(graph)
    group = [graph[name] for name in ("source", "first", "relu first")]
    groups = {layer.name: group for layer in group}
    (edge,) = candidate_edges(context, graph["second"], groups)
    assert edge.group == (graph["source"],)
    (alone,) = candidate_edges(context, graph["first"], {"source": group[:1]})
    assert edge_features(context, edge) == edge_features(context, alone)
    group.append(graph["second"])
    (edge,) = candidate_edges(context, graph["relu second"], {"second": group})
    assert edge.group == (graph["source"], graph["second"])
    # what has no group has no edge
    assert not list(candidate_edges(context, graph["second"], {}))


def test_inserted_conversions_follow_the_tensor_they_convert_once():
    mapping = MappingModel(
        {"*->activation": constant(1.0)},
        {"input->convolution": constant(1.0), "convolution->output": constant(0.0)},
    )
    builder = GraphBuilder("two readers")
    x = builder.input(1, 8, 8, 8, name="in")
    builder.convolution(x, 8, 3, name="a")
    builder.convolution(x, 8, 3, name="b")
    executed = apply_mapping(builder.build(), mapping)
    assert names(executed) == [["in/reorder"], ["a"], ["b"]]
    assert executed[0].operation == "reorder"
    assert executed[0].work.bytes == 2 * 8 * 8 * 8 * 4  # read and written once, 4 bytes each


def test_parts_round_trip_and_other_features_are_refused():
    mapping = MappingModel(
        {
            "convolution->max_pooling": split("producer_width", 100, 1.0, 0.0),
            "*->activation": constant(1.0),
        },
        {"input->convolution": constant(0.75)},
        moves_strides=True,
        operand_order="last",
        joins_shared=False,
    )
    data, arrays = mapping_to_parts(mapping)
    again = mapping_from_parts(data, arrays)
    assert again.moves_strides
    assert again.operand_order == "last"
    assert not again.joins_shared
    del data["joins_shared"]  # as of models made before it was asked
    assert mapping_from_parts(data, arrays).joins_shared
    with pytest.raises(ArtefactError, match=r"order is 'any', legal: .*likeliest"):
        mapping_from_parts({**data, "operand_order": "any"}, arrays)
    for first, second in zip(arrays.values(), mapping_to_parts(again)[1].values(), strict=True):
        np.testing.assert_array_equal(first, second)  # saving what was loaded changes nothing
    for width in (64, 128):
        assert names(apply_mapping(chain(width), again)) == names(
            apply_mapping(chain(width), mapping)
        )
    with pytest.raises(ArtefactError, match="other edge features"):
        mapping_from_parts({**data, "edge_features": ["width"]}, arrays)


def test_an_empty_mapping_round_trips():
    again = mapping_from_parts(*mapping_to_parts(MappingModel()))
    assert again.fusion == {}
    assert not again.moves_strides


def test_features_of_a_file_go_by_their_names():
    tree = split(EDGE_FEATURES[3], 0.5, 0.0, 1.0)
    data, arrays = mapping_to_parts(MappingModel({"convolution->add": tree}))
    column = EDGE_FEATURES.index("consumer_kernel")
    shuffled = {**data, "edge_features": ["operand_index", "consumer_kernel"]}
    again = mapping_from_parts(shuffled, {**arrays, "feature": np.array([1, -1, -1])})
    assert again.fusion["convolution->add"].feature.tolist() == [column, -1, -1]
    with pytest.raises(ArtefactError):
        mapping_from_parts(shuffled, arrays)  # its fourth feature, of two
    for name in ("edge_features", "placement_features"):
        with pytest.raises(ArtefactError, match=f"other {name.replace('_', ' ')}, such as 'more'"):
            mapping_from_parts({**data, name: [*data[name], "more"]}, arrays)


@pytest.mark.parametrize("names", ["hue", 3, None, {"hue": 1}, [1], [["hue"]]])
@pytest.mark.parametrize("key", ["edge_features", "placement_features"])
def test_features_that_are_no_names_are_refused_in_one_line(key, names):
    data, arrays = mapping_to_parts(MappingModel({"convolution->add": constant(1.0)}))
    with pytest.raises(ArtefactError, match=f"{key.replace('_', ' ')} are no list of names"):
        mapping_from_parts({**data, key: names}, arrays)


def test_a_tree_that_reads_beyond_its_features_is_refused():
    beyond = max(len(PLACEMENT_FEATURES), len(EDGE_FEATURES))
    tree = split(EDGE_FEATURES[0], 0.5, 0.0, 1.0)
    data, arrays = mapping_to_parts(MappingModel(placement={"convolution->host": tree}))
    with pytest.raises(ArtefactError):
        mapping_from_parts(data, {**arrays, "feature": np.array([beyond, -1, -1])})


def test_alignments_of_an_operand_by_hand():
    builder = GraphBuilder("net")
    source = builder.input(1, 3, 40, 30)
    convolution = builder.convolution(source, 96, 3, padding=1, name="convolution")
    builder.add(op.Pooling("max", (3, 3), (2, 2), (1, 1, 0, 0)), convolution, name="pool")
    graph = builder.build()
    context = Context(graph)
    groups = {"convolution": [graph["convolution"]]}
    (edge,) = candidate_edges(context, graph["pool"], groups)
    row = dict(zip(EDGE_FEATURES, edge_features(context, edge), strict=True))
    # 40 = 8 * 5, 30 = 2 * 15, 96 = 32 * 3
    assert row["operand_height_alignment"] == 8
    assert row["operand_width_alignment"] == 2
    assert row["operand_channel_alignment"] == 32
    assert row["consumer_padding"] == 1


def test_an_operand_knows_which_others_could_be_joined_as_well():
    """Three maps side by side, the second of which something else reads too: it cannot merge."""
    builder = GraphBuilder("side by side")
    source = builder.input(1, 8, 8, 8, name="input")
    for name in ("one", "two", "three"):
        builder.convolution(source, 8, 1, name=name)
    builder.add(op.Concat(1), "one", "two", "three", name="concat")
    builder.add(op.GlobalPooling("average"), "two", name="reader")
    graph = builder.build()
    context, groups = Context(graph), {layer.name: [layer] for layer in graph.layers}
    found = list(candidate_edges(context, graph["concat"], groups))
    assert [(edge.producer.name, edge.earlier, edge.later) for edge in found] == [
        ("one", 0, 1),
        ("two", 1, 1),
        ("three", 1, 0),
    ]
    values = dict(zip(EDGE_FEATURES, edge_features(context, found[1]), strict=True))
    assert (values["earlier_candidates"], values["later_candidates"]) == (1, 1)
    assert values["operand_inputs"] == 1  # a convolution reads one tensor


@pytest.mark.parametrize(
    ("order", "host"), [("likeliest", "two"), ("first", "one"), ("last", "two")]
)
def test_a_layer_joins_the_operand_that_the_order_says(order, host):
    """Both operands are likely, the second more so."""
    builder = GraphBuilder("sum")
    source = builder.input(1, 8, 8, 8, name="input")
    for name in ("one", "two"):
        builder.convolution(source, 8, 1, name=name)
    builder.add(op.Elementwise("add"), "one", "two", name="sum")
    tree = split("operand_index", 0.5, 0.6, 0.9)
    mapping = MappingModel({"convolution->add": tree}, operand_order=order)
    executed = apply_mapping(builder.build(), mapping)
    joined = next(each for each in executed if len(each.layers) > 1)
    assert joined.name == host


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("shared", ["by a reader", "as an output", ""])
def test_a_result_that_others_read_too_keeps_layers_out(joins, shared):
    builder = GraphBuilder("fork")
    source = builder.input(1, 8, 8, 8, name="input")
    builder.convolution(source, 8, 1, name="a")
    builder.add(op.Activation("relu"), "a", name="b")
    if shared == "by a reader":
        builder.convolution("a", 8, 1, name="c")
    graph = builder.build(outputs=["a", "b"] if shared == "as an output" else None)
    mapping = MappingModel({"convolution->activation": constant(1.0)}, joins_shared=joins)
    groups = names(apply_mapping(graph, mapping))
    assert (["a", "b"] in groups) == (joins or not shared)
