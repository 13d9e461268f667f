"""How layers become nodes, whatever a platform's rules are."""

from simulators.grouping import group_layers, is_view
from strata import operations as op
from strata.builder import GraphBuilder


def residual():
    builder = GraphBuilder("residual")
    source = builder.input(1, 8, 8, 8, name="in")
    first = builder.convolution(source, 8, 3, activation="relu", name="first")
    second = builder.convolution(first, 8, 3, name="second")
    total = builder.add(op.Elementwise("add"), second, first, name="sum")
    flat = builder.add(op.Flatten(), total, name="flat")
    builder.dense(flat, 10, name="dense")
    return builder.build()


def activations(candidate):
    return isinstance(candidate.layer.parameters, op.Activation) and candidate.only_consumer


def test_nothing_joins_where_the_rule_says_no():
    groups = group_layers(residual(), lambda candidate: False)
    assert [group.executed.name for group in groups] == [
        "first",
        "first/relu",
        "second",
        "sum",
        "dense",
    ]


def test_activations_join_and_views_are_seen_through():
    groups = {g.executed.name: g for g in group_layers(residual(), activations)}
    assert [layer.name for layer in groups["first"].executed.layers] == ["first", "first/relu"]
    assert groups["first"].producers == ("input:in",)
    assert groups["sum"].producers == ("second", "first")
    assert groups["dense"].producers == ("sum",)


def test_a_sum_joins_the_convolution_that_comes_last():
    def rule(candidate):
        joins_sum = candidate.layer.operation == "add" and candidate.producer.name == "second"
        return activations(candidate) or joins_sum

    groups = group_layers(residual(), rule)
    names = [[layer.name for layer in group.executed.layers] for group in groups]
    assert names == [["first", "first/relu"], ["second", "sum"], ["dense"]]
    assert groups[1].producers == ("first",)


def test_only_consumer_is_false_for_shared_tensors_and_outputs():
    seen = {}

    def rule(candidate):
        seen[candidate.layer.name, candidate.producer.name] = candidate.only_consumer
        return False

    builder = GraphBuilder("outputs")
    source = builder.input(1, 8, 8, 8, name="in")
    first = builder.convolution(source, 8, 1, name="first")
    builder.add(op.Activation("relu"), first, name="relu")
    group_layers(builder.build(("first", "relu")), rule)
    assert seen == {("relu", "first"): False}
    group_layers(residual(), rule)
    assert seen["sum", "first/relu"] is False
    assert seen["sum", "second"] is True


def test_the_order_of_axes_in_a_description_moves_nothing():
    builder = GraphBuilder("channels_last")
    image = builder.input(1, 8, 8, 3, name="image")
    first = builder.add(op.Transpose((0, 3, 1, 2)), image, name="to_channels_first")
    builder.convolution(first, 4, 1, name="conv")
    odd = builder.add(op.Transpose((0, 2, 1, 3)), first, name="rows_for_columns")
    graph = builder.build()
    assert is_view(graph["to_channels_first"])
    assert not is_view(graph[odd])
    groups = group_layers(graph, lambda candidate: False)
    assert [(group.executed.name, group.producers) for group in groups] == [
        ("conv", ("input:image",)),
        ("rows_for_columns", ("input:image",)),
    ]
