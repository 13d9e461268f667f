"""The machine: tile counts worked by hand, both levels, whole inferences, SCALE-Sim's cycles."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_gen.published_edge_tpu_chains import convolution_chain
from simulators.edge_tpu import (
    CEILINGS,
    EdgeTpu,
    EdgeTpuExecutable,
    EdgeTpuLayer,
    analyse,
    compile_graph,
    hardware_names,
    load,
    network_s,
    simulate,
)
from simulators.edge_tpu.tiling import tile, tile_of
from simulators.performance import disagreements
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

CORAL = load("coral_usb3")


def convolution(
    filters: int, channels: int, size: tuple[int, int], kernel: int = 1, **options: object
) -> Graph:
    builder = GraphBuilder("convolution")
    source = builder.input(1, channels, *size)
    builder.convolution(source, filters, kernel, name="it", bias=False, **options)  # type: ignore[arg-type]
    return builder.build()


def compiled(graph: Graph, machine: EdgeTpu = CORAL) -> EdgeTpuExecutable:
    return compile_graph(graph, machine)


def only(graph: Graph, machine: EdgeTpu = CORAL) -> EdgeTpuLayer:
    (layer,) = compiled(graph, machine).layers
    assert isinstance(layer, EdgeTpuLayer)
    return layer


def time_s(graph: Graph, machine: EdgeTpu = CORAL) -> float:
    return sum(layer.time_s for layer in analyse(compiled(graph, machine), machine))


def test_a_map_is_dealt_out_to_a_grid_of_four_by_four_tiles() -> None:
    assert tile_of(only(convolution(64, 4, (28, 30))).task, CORAL) == (7, 8)
    assert tile_of(only(convolution(64, 4, (5, 1))).task, CORAL) == (1, 1)  # rows over all tiles
    assert tile_of(only(convolution(64, 4, (1, 1))).task, CORAL) == (1, 1)


def test_cycles_of_a_convolution_by_hand() -> None:
    """14 x 14 map: 4 x 4 positions per tile. 100 filters: 2 blocks of 64. 3 x 3 taps of 30
    channels: 9 * 8 products of 4. So 4 rows, each 4 * 72 cycles, twice."""
    layer = only(convolution(100, 30, (14, 14), 3))
    tiling = tile(layer.task, layer.cached_bytes, False, CORAL)
    assert (tiling.rows_of_pass, tiling.blocks, tiling.cycles_per_row) == ((4,), 2, 4 * 72)
    (performance,) = analyse(compiled(convolution(100, 30, (14, 14), 3)), CORAL)
    cycles = performance.ceilings_s["array fragmentation"] * CORAL.clock_hz
    assert cycles == pytest.approx(2 * 4 * 4 * 72)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_time_steps_with_every_64_filters(step: int) -> None:
    def cycles(filters: int) -> float:
        (layer,) = analyse(compiled(convolution(filters, 64, (32, 32), 3)), CORAL)
        return layer.ceilings_s["array fragmentation"] * CORAL.clock_hz

    first = 64 * step + 1
    assert cycles(first) == cycles(first + 63) == pytest.approx((step + 1) * 64 * 9 * 16)
    assert cycles(first + 64) > cycles(first + 63)


def test_a_full_array_runs_at_the_peak() -> None:
    (layer,) = analyse(compiled(convolution(256, 256, (64, 64), 3)), CORAL)
    assert layer.binding in ("peak", "array fragmentation")
    assert layer.ceilings_s["peak"] == pytest.approx(layer.ceilings_s["array fragmentation"])
    assert CORAL.peak_macs_per_s == 2.048e12


def test_a_dense_layer_is_bound_by_the_weight_bus_or_what_it_feeds() -> None:
    builder = GraphBuilder("dense")
    builder.dense(builder.input(1, 1024), 1024)
    (layer,) = analyse(compiled(builder.build()), CORAL)
    bus_s = 1024 * 1024 / (CORAL.weight_bus_bytes_per_cycle * CORAL.clock_hz)
    assert layer.ceilings_s["weight-delivery bus"] == pytest.approx(bus_s)
    assert layer.ceilings_s["weight-delivery bus"] > 10 * layer.ceilings_s["peak"]


def test_streamed_parameters_are_the_layers_own_time() -> None:
    """25 MB of dense weights cannot be cached: they cross the link in every run."""
    builder = GraphBuilder("large")
    builder.dense(builder.input(1, 25088), 1024, name="it")
    executable = compiled(builder.build())
    (layer,) = analyse(executable, CORAL)
    assert executable.streamed_bytes == 25088 * 1024
    assert layer.binding == "host link"
    assert layer.time_s == pytest.approx(25088 * 1024 / CORAL.link_in_bytes_per_s, rel=0.01)


@pytest.mark.parametrize(("filters", "passes"), [(480, 4), (512, 4), (632, 4), (642, 6), (742, 8)])
def test_passes_over_large_maps_fetch_streamed_parameters_again(filters: int, passes: int) -> None:
    """On 64 x 64 maps published times contain the link's time for the streamed parameters 4, 6
    and 8 times over (docs/edge_tpu.md)."""
    machine = load("coral_pcie_card")
    executable = compiled(convolution_chain(5, filters, 3, (64, 64, 3)), machine)
    layers = [layer for layer in executable.layers if layer.streamed_bytes]  # type: ignore[attr-defined]
    for layer in layers:
        tiling = tile(layer.task, layer.streamed_bytes, True, machine)  # type: ignore[attr-defined]
        assert len(tiling.rows_of_pass) == passes


def test_a_small_map_needs_one_pass() -> None:
    layer = only(convolution(512, 512, (14, 14), 3))
    assert len(tile(layer.task, 512 * 512 * 9, True, CORAL).rows_of_pass) == 1


def test_an_inference_is_start_transfers_and_layers() -> None:
    graph = convolution(1, 3, (256, 256), stride=(256, 256))
    executable = compiled(graph)
    assert executable.input_bytes == 3 * 256 * 256
    assert executable.output_bytes == 4  # one channel, padded
    layers_s = [layer.time_s for layer in analyse(executable, CORAL)]
    expected = (
        CORAL.run_start_s
        + 3 * 256 * 256 / CORAL.link_in_bytes_per_s
        + sum(layers_s)
        + 4 / CORAL.link_out_bytes_per_s
    )
    assert network_s(layers_s, executable, CORAL) == pytest.approx(expected)


def test_a_network_on_the_host_costs_no_start_of_the_device() -> None:
    builder = GraphBuilder("host")
    builder.add(op.Activation("gelu"), builder.input(1, 8, 4, 4))
    executable = compiled(builder.build())
    (layer,) = analyse(executable, CORAL)
    assert layer.binding == "host"
    assert network_s([layer.time_s], executable, CORAL) == layer.time_s


def test_set_ups_share_the_chip() -> None:
    set_up = {
        "name", "description", "clock_hz", "balanced_placement", "link_in_bytes_per_s",
        "link_out_bytes_per_s", "run_start_s", "host_ops_per_s", "host_bytes_per_s", "host_layer_s",
    }  # fmt: skip
    corals = [load(name).model_dump() for name in hardware_names() if name.startswith("coral")]
    assert len(corals) >= 5
    chips = [{key: coral[key] for key in coral.keys() - set_up} for coral in corals]
    assert all(chip == chips[0] for chip in chips)


def test_the_mensa_baseline_is_the_papers() -> None:
    mensa = load("mensa_baseline")
    assert mensa.cells * mensa.macs_per_cell == 64 * 64
    assert mensa.peak_macs_per_s == pytest.approx(2e12)
    assert mensa.tile_parameter_bytes == 4 * 2**20
    assert mensa.tile_activation_bytes == 2 * 2**20
    assert (mensa.dram_bytes_per_s, mensa.link_in_bytes_per_s) == (32e9, 0)
    builder = GraphBuilder("large")
    builder.dense(builder.input(1, 8192), 1024)
    executable = compiled(builder.build(), mensa)
    (layer,) = analyse(executable, mensa)
    assert layer.ceilings_s["DRAM"] == pytest.approx(8192 * 1024 / 32e9)


# SCALE-Sim 3.0.0 (PyPI), 64 x 64 array, weight stationary, 4 MB memories, ESTIMATE BANDWIDTH mode:
# "Total Cycles" of its COMPUTE_REPORT.csv. Input size, kernel, channels, filters, stride; valid
# padding.
SCALE_SIM = [
    (16, 1, 64, 64, 1, 445),
    (16, 3, 64, 64, 1, 3473),
    (14, 1, 256, 128, 1, 3087),
    (9, 3, 128, 256, 1, 17207),
    (28, 1, 192, 64, 1, 2921),
    (30, 3, 64, 100, 1, 17531),
    (7, 1, 512, 512, 1, 15295),
    (16, 5, 64, 64, 1, 8349),
    (29, 3, 64, 128, 2, 6947),
    (1, 1, 1024, 1000, 1, 48895),
]


def array_alone() -> EdgeTpu:
    """SCALE-Sim's 64 x 64 array: no start, no bus that could bind; per fold 64 cycles to load the
    weights, which nothing overlaps there, and 126 of skew."""
    return load("mensa_baseline").changed(
        cells=64,
        macs_per_cell=64,
        array_fill_cycles=64 + 126,
        weight_bus_bytes_per_cycle=1e12,
        activation_bus_bytes_per_cycle=1e12,
        layer_start_cycles=0,
    )


@pytest.mark.parametrize(("size", "kernel", "channels", "filters", "stride", "cycles"), SCALE_SIM)
def test_weight_stationary_cycles_are_scale_sims(
    size: int, kernel: int, channels: int, filters: int, stride: int, cycles: int
) -> None:
    """SCALE-Sim counts from cycle 0: its total is one less than the number of cycles."""
    machine = array_alone()
    graph = convolution(
        filters, channels, (size, size), kernel, stride=(stride, stride), padding="valid"
    )
    executable = compiled(graph, machine)
    (step,) = simulate(executable, machine)
    (closed,) = analyse(executable, machine)
    assert step.time_s * machine.clock_hz == pytest.approx(cycles + 1, abs=0.5)
    assert closed.time_s * machine.clock_hz == pytest.approx(cycles + 1, abs=0.5)


def test_scale_sim_packs_taps_and_channels_into_one_axis() -> None:
    """48 channels, 3 x 3: SCALE-Sim folds 432 products into 7 times 64 rows, 2701 cycles; here
    every tap has a fold of its own, 9 of them with 16 idle rows."""
    machine = array_alone()
    executable = compiled(convolution(64, 48, (16, 16), 3, padding="valid"), machine)
    (step,) = simulate(executable, machine)
    fold = 14 * 14 + 190
    assert 7 * fold - 1 == 2701
    assert step.time_s * machine.clock_hz == pytest.approx(9 * fold, abs=0.5)


sizes = st.integers(1, 70)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 3, 5]))
def test_more_work_never_takes_less_time(
    height: int, width: int, channels: int, filters: int, kernel: int
) -> None:
    def cost(h: int, w: int, c: int, f: int, k: int) -> float:
        return time_s(convolution(f, c, (h, w), k))

    least = cost(height, width, channels, filters, kernel) * (1 - 1e-9)
    assert least > 0
    assert cost(height + 1, width, channels, filters, kernel) >= least or height * width == width
    assert cost(height, width, channels + 1, filters, kernel) >= least
    assert cost(height, width, channels, filters + 1, kernel) >= least
    assert cost(height, width, channels, filters, kernel + 2) >= least


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["link_in_bytes_per_s", "weight_bus_bytes_per_cycle", "clock_hz"]),
    st.floats(1.0, 16.0),
    st.integers(1, 2000),
    st.integers(1, 2000),
)
def test_a_faster_machine_is_never_slower(
    field: str, factor: float, inputs: int, units: int
) -> None:
    builder = GraphBuilder("dense")
    builder.dense(builder.input(1, inputs), units)
    faster = CORAL.changed(**{field: getattr(CORAL, field) * factor})
    assert time_s(builder.build(), faster) <= time_s(builder.build()) * (1 + 1e-9)


LAYERS = st.sampled_from(
    [
        op.Pooling("max", (3, 3), (2, 2), (1, 1, 1, 1)),
        op.Pooling("average", (2, 2)),
        op.GlobalPooling("average"),
        op.Activation("swish"),
        op.Activation("hard_swish"),
        op.Elementwise("multiply", (1,)),
        op.BatchNormalization(),
        op.Softmax(1),
        op.Resize("linear", (32, 32)),
        op.TransposedConvolution(7, (3, 3), (2, 2)),
        op.Convolution(66, (5, 5), (2, 2), (1, 1), (2, 2, 2, 2)),
        op.Convolution(12, (3, 3), padding=(1, 1, 1, 1), groups=2),
        op.Convolution(4, (3, 3), padding=(1, 1, 1, 1), groups=4),
        op.Pad((0, 0, 1, 1), (0, 0, 1, 1)),
        op.Transpose((0, 1, 3, 2)),
    ]
)


@settings(max_examples=80, deadline=None)
@given(LAYERS, st.sampled_from(hardware_names()), st.integers(2, 40), st.integers(2, 40))
def test_every_layer_takes_time_and_both_levels_agree(
    parameters: op.Parameters, name: str, height: int, width: int
) -> None:
    builder = GraphBuilder("one")
    builder.add(parameters, builder.input(1, 4, height, width))
    machine = load(name)
    executable = compiled(builder.build(), machine)
    closed, steps = analyse(executable, machine), simulate(executable, machine)
    for layer, step in zip(closed, steps, strict=True):
        assert layer.time_s > 0
        assert math.isfinite(layer.time_s)
        assert layer.binding in CEILINGS
        assert set(layer.ceilings_s) <= set(CEILINGS)
        assert step.steps >= 1
    assert disagreements(closed, steps) == []


def test_an_lstm_computes_its_gates_step_by_step() -> None:
    def cost(steps: int) -> float:
        builder = GraphBuilder("lstm")
        builder.add(op.Lstm(128), builder.input(1, steps, 64))
        executable = compiled(builder.build())
        (layer,) = executable.layers
        assert layer.cached_bytes == 4 * 128 * (64 + 128)  # type: ignore[attr-defined]
        (performance,) = analyse(executable, CORAL)
        return performance.ceilings_s["array fragmentation"]

    assert cost(10) == pytest.approx(10 * cost(1))


def test_activations_beyond_all_memories_are_spilled() -> None:
    """Out over the slow way of the link and back over the fast one, or both ways to DRAM."""
    graph = convolution(64, 64, (512, 512), 1)
    layer, executable = only(graph), compiled(graph)
    assert layer.spilled_bytes > 0
    assert executable.notes[-1] == (
        f"layer 'it': {layer.spilled_bytes} bytes of activations are spilled: "
        "activations exceed on-chip memory"
    )
    (performance,) = analyse(executable, CORAL)
    ways_s = 1 / CORAL.link_out_bytes_per_s + 1 / CORAL.link_in_bytes_per_s
    assert performance.ceilings_s["on-chip memory"] == pytest.approx(layer.spilled_bytes * ways_s)
    mensa = load("mensa_baseline")
    (performance,) = analyse(compiled(graph, mensa), mensa)
    spilled = only(graph, mensa).spilled_bytes
    assert performance.ceilings_s["on-chip memory"] == pytest.approx(2 * spilled / 32e9)


def test_the_mensa_array_loads_its_weights_once() -> None:
    """A block of 64 x 64 bytes takes 64 cycles on its bus; the fill is the skew alone."""
    mensa = load("mensa_baseline")
    (layer,) = analyse(compiled(convolution(64, 64, (1, 1)), mensa), mensa)
    cycles = layer.time_s * mensa.clock_hz
    assert cycles == pytest.approx(mensa.layer_start_cycles + 64 + (1 + 126) + 1, abs=0.5)
