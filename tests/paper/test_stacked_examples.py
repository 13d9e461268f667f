"""A fused group and a whole network worked by hand through ANNETTE's equations and section 5.2.

A 3x3 convolution with bias, 8 to 16 channels on a 16x16 map, then ReLU, then 2x2 max pooling, all
in 32 bits. By hand:

    convolution   16*16*16 * 8*9 = 294,912 MACs = 589,824 operations
    ReLU          16*16*16       =   4,096 operations
    pooling       16*8*8 * 2*2   =   4,096 operations
    input         8*16*16*4      =   8,192 bytes
    weights       (8*16*9+16)*4  =   4,672 bytes
    between       16*16*16*4     =  16,384 bytes
    output        16*8*8*4       =   4,096 bytes
"""

import math

import numpy as np
import pytest

from strata import operations as op
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.execution import feature_matrix, make_executed
from strata.forest import Forest
from strata.layer_models import (
    Mixed,
    MixedAnnette,
    Overlap,
    Refined,
    Roofline,
    Statistical,
    Unrolling,
)
from strata.mapping import MappingModel
from strata.platform_model import Header, NetworkOverhead, PlatformModel


def leaf(value: float) -> Forest:
    """A forest of one leaf."""
    none, zero = np.array([-1]), np.array([0])
    return Forest(none, np.array([0.0]), zero, zero, np.array([value]), zero)


OPS, MOVED_BYTES = 598_016, 16_960
COMPUTE_BOUND = Roofline(598.016e6, 33.92e6, 1e-6)  # fused: 1 ms of compute, 0.5 ms of memory
MEMORY_BOUND = Roofline(598.016e6, 8.48e6, 1e-6)  # fused: 1 ms of compute, 2 ms of memory
# 16 filters on 32 elements: ceil(0.5) / 0.5 = 2, so 1 / (0.5 + 2 * 0.5) = 2/3
UNROLLED = (Unrolling("filters", 32, 0.5),)


def network():
    builder = GraphBuilder("block")
    image = builder.input(1, 8, 16, 16, name="image")
    builder.convolution(image, 16, 3, name="convolution")
    builder.add(op.Activation("relu"), "convolution", name="relu")
    builder.pooling("relu", "max", 2, name="pooling")
    return builder.build()


def group(*names):
    graph = network()
    return make_executed([graph[name] for name in names])


def matrix():
    return feature_matrix([group("convolution", "relu", "pooling")])


def time_ms(model):
    (time_s,) = model.time_s(matrix())
    return 1e3 * time_s


def test_operations_of_a_fused_group_add_up():
    assert group("convolution").work.ops == 589_824
    assert group("convolution", "relu", "pooling").work.ops == OPS == 589_824 + 4_096 + 4_096


def test_a_fused_group_moves_its_input_weights_and_last_output_only():
    alone = [group(name).work.bytes for name in ("convolution", "relu", "pooling")]
    assert alone == [8_192 + 4_672 + 16_384, 2 * 16_384, 16_384 + 4_096]
    fused = group("convolution", "relu", "pooling").work.bytes
    assert fused == MOVED_BYTES == 8_192 + 4_672 + 4_096
    # each of the two tensors between is neither written nor read
    assert sum(alone) - fused == 4 * 16_384


def test_an_absorbed_addition_still_reads_its_other_operand():
    builder = GraphBuilder("residual")
    image = builder.input(1, 8, 16, 16, name="image")
    other = builder.input(1, 16, 16, 16, name="other")
    builder.convolution(image, 16, 3, name="convolution")
    builder.add(op.Elementwise("add"), "convolution", other, name="sum")
    graph = builder.build()
    work = make_executed([graph["convolution"], graph["sum"]]).work
    assert work.ops == 589_824 + 4_096
    assert work.bytes == 8_192 + 4_672 + 16_384 + 16_384


@pytest.mark.parametrize(("peaks", "expected_ms"), [(COMPUTE_BOUND, 1.0), (MEMORY_BOUND, 2.0)])
def test_equation_1_under_either_roof(peaks, expected_ms):
    assert time_ms(peaks) == pytest.approx(expected_ms)


@pytest.mark.parametrize(("peaks", "expected_ms"), [(COMPUTE_BOUND, 1.5), (MEMORY_BOUND, 2.0)])
def test_equation_2_under_either_roof(peaks, expected_ms):
    """u_eff = 2/3: 1.5 ms of compute; 2 ms of memory are longer."""
    assert Refined(peaks, UNROLLED).efficiency(matrix()) == pytest.approx(2 / 3)
    assert time_ms(Refined(peaks, UNROLLED)) == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("u_stat", "peaks", "expected_ms"),
    [
        (0.8, COMPUTE_BOUND, 1.25),
        (0.8, MEMORY_BOUND, 2.0),  # 1.25 ms of compute under 2 ms of memory
        (0.4, MEMORY_BOUND, 2.5),  # 2.5 ms of compute: the memory roof no longer binds
    ],
)
def test_equation_5_takes_the_maximum_whatever_binds_the_roofline(u_stat, peaks, expected_ms):
    model = Statistical(peaks, leaf(math.log(u_stat)), ("ops",))
    assert time_ms(model) == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("u_stat", "peaks", "expected_ms"),
    [
        (0.8, COMPUTE_BOUND, 1.875),  # 1 / (2/3 * 0.8)
        (0.8, MEMORY_BOUND, 2.0),
        (0.4, MEMORY_BOUND, 3.75),  # 1 / (2/3 * 0.4)
    ],
)
def test_equation_6_takes_the_maximum_whatever_binds_the_roofline(u_stat, peaks, expected_ms):
    model = MixedAnnette(Refined(peaks, UNROLLED), leaf(u_stat), ("ops",))
    assert time_ms(model) == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("factor", "peaks", "expected_ms"),
    [
        (1.2, COMPUTE_BOUND, 1.8),  # 1.5 ms of refined compute
        (0.5, COMPUTE_BOUND, 1.0),  # 0.75 ms would beat the compute roof of 1 ms
        (0.5, MEMORY_BOUND, 2.0),  # nor does anything beat the memory roof of 2 ms
    ],
)
def test_the_learned_factor_takes_no_time_below_either_roof(factor, peaks, expected_ms):
    # the 1.5 ms of refined compute alone: data move meanwhile
    scales = (1.0, 0.0, 0.0, 0.0, 0.0)
    starts = (0.0, (0.0,) * len(UNROLLED))
    base = Overlap(Refined(peaks, UNROLLED), *starts, *scales, overlap=1.0)
    model = Mixed(base, peaks, leaf(math.log(factor)), ("ops",))
    assert time_ms(model) == pytest.approx(expected_ms)


def stacked(fuses: bool) -> PlatformModel:
    """A platform that fuses all of the block or nothing, at 0.1 ms a network, 0.05 ms a layer."""
    answer = leaf(1.0 if fuses else 0.0)
    pairs = ("convolution->activation", "convolution->max_pooling", "activation->max_pooling")
    models = {
        "convolution": {"roofline": COMPUTE_BOUND, "refined": Refined(COMPUTE_BOUND, UNROLLED)},
        "activation": {"roofline": Roofline(4.096e6, 65.536e6, 1e-6)},  # 1 ms; 0.5 ms of memory
        "max_pooling": {"roofline": Roofline(4.096e6, 10.24e6, 1e-6)},  # 1 ms; 2 ms of memory
    }
    return PlatformModel(
        Header("by hand", "0", "2026-01-01T00:00:00+00:00", "test", 0),
        models,
        MappingModel(dict.fromkeys(pairs, answer)),
        NetworkOverhead(per_network_s=0.1e-3, per_layer_s=0.05e-3),
    )


def test_the_stacked_total_is_the_sum_over_the_mapped_layers():
    """Fused: 1.5 ms in one layer. Apart: 1.5 * 589,824/598,016 + 1 + 2 ms in three."""
    fused = estimate(network(), stacked(True), "refined")
    assert [layer.name for layer in fused.layers] == ["convolution"]
    assert fused.total_s == pytest.approx(1.5e-3 + 0.1e-3 + 0.05e-3)
    apart = estimate(network(), stacked(False), "refined")
    assert [layer.name for layer in apart.layers] == ["convolution", "relu", "pooling"]
    convolution_s = 1.5e-3 * 589_824 / 598_016
    assert apart.layers_s == pytest.approx(convolution_s + 1e-3 + 2e-3)
    assert apart.total_s == pytest.approx(apart.layers_s + 0.1e-3 + 3 * 0.05e-3)


def test_the_roofline_answers_where_the_chosen_kind_is_not_there():
    """Section 6: the highest possible number of layers is always estimated."""
    found = estimate(network(), stacked(False), "refined")
    assert [layer.model_used for layer in found.layers] == ["refined", "roofline", "roofline"]
    assert [layer.fell_back for layer in found.layers] == [False, True, True]
