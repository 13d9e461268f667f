"""The null platform's rule, by hand."""

import pytest

from hardware_modules.null import NullModule
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError


def profile_of(builder, **options):
    module = NullModule.from_options(options)
    graph = builder.build()
    return module.parse(module.profile(module.compile(graph), 2, 1), graph)


def test_time_is_node_plus_operations_plus_bytes():
    builder = GraphBuilder("one")
    builder.convolution(builder.input(1, 2, 4, 4, name="in"), 3, 1, name="only", activation="relu")
    profile = profile_of(builder, node_s=1.0, s_per_op=1e-3, s_per_byte=1e-6)
    (node,) = profile.nodes
    # 48 outputs x 2 channels = 96 MACs = 192 operations, ReLU 48: 240 operations.
    # bytes: input 32 x 4 = 128, weights (6 + 3) x 4 = 36, output 48 x 4 = 192: 356.
    assert node.time_s == pytest.approx(1.0 + 0.240 + 356e-6)
    assert node.layers == ("only", "only/relu")
    assert node.producers == ("input:in",)
    assert profile.samples_s == (node.time_s, node.time_s)


def test_an_activation_read_beside_another_reader_stays_apart():
    builder = GraphBuilder("two readers")
    first = builder.convolution(builder.input(1, 2, 4, 4, name="in"), 2, 1, name="first")
    active = builder.add(op.Activation("relu"), first, name="active")
    builder.add(op.Elementwise("add"), first, active, name="add")
    assert [node.layers for node in profile_of(builder).nodes] == [
        ("first",),
        ("active",),
        ("add",),
    ]


def test_reshapes_cost_nothing_and_are_looked_through():
    builder = GraphBuilder("flat")
    flat = builder.add(op.Flatten(), builder.input(1, 2, 2, 2, name="in"), name="flat")
    builder.dense(flat, 3, name="dense")
    (node,) = profile_of(builder).nodes
    assert (node.layers, node.producers) == (("dense",), ("input:in",))


def test_an_option_of_the_wrong_type_is_refused():
    with pytest.raises(SchemaError, match="'node_s' is 'fast'; legal: float"):
        NullModule.from_options({"node_s": "fast"})
