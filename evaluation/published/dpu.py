"""Data sets of DPUs: profiles per node, the vendor's model zoo, tutorials, drawn networks."""

import re

from evaluation.published.data_set import Aim, DataSet, Measurement, Row
from graph_gen.published import build_published
from graph_gen.published_dpu_ultra96 import ultra96_network
from graph_gen.published_dpu_zoo import is_thinned, zoo_group

_TOTAL = "__TOTAL__"
# Rates and start-up costs that product guides leave open; see simulators/dpu/hardware.
_DEVICE = (
    "read_bytes_per_s",
    "write_bytes_per_s",
    "transfer_start_s",
    "convolution_start_cycles",
    "alu_start_cycles",
    "node_start_s",
)


# PG338, table of architectures: pixel, input channel and output channel parallelism.
_ARRAYS = {
    "B512": (4, 8, 8),
    "B800": (4, 10, 10),
    "B1024": (8, 8, 8),
    "B1152": (4, 12, 12),
    "B1600": (8, 10, 10),
    "B2304": (8, 12, 12),
    "B3136": (8, 14, 14),
    "B4096": (8, 16, 16),
}


def stated_hardware(text: str) -> dict[str, float]:
    """What a set-up such as "3 * B4096 @ 287MHz" states: clock, array. Nothing if it states none.

    Depthwise and pooling engines have half the pixel parallelism (PG338).
    """
    stated: dict[str, float] = {}
    if clock := re.search(r"(\d+(?:\.\d+)?)\s*MHz", text):
        stated["clock_hz"] = float(clock[1]) * 1e6
    array = re.search(r"\bB\d+\b|(?<=x)B\d+\b", text)
    if array and array[0] in _ARRAYS:
        pixels, channels, filters = _ARRAYS[array[0]]
        stated |= {
            "pixel_parallel": pixels,
            "channel_parallel": channels,
            "filter_parallel": filters,
            "alu_pixel_parallel": pixels // 2,
        }
    return stated


def _digits(text: str) -> int:
    """Significant digits of a number as it was written."""
    return len(text.split("e")[0].replace(".", "").lstrip("-0"))


def node_seconds(row: Row) -> float:
    """A node's time from its row: as printed, or sharper from its operations and their rate.

    Short nodes are printed as 0.02 ms; operations and operations per second of the same row have
    more digits and give the same time. 0 where the time is printed as 0: too short to be told.
    """
    printed_s = row.number("runtime_ms") * 1e-3
    if printed_s < 0:
        raise row.fault("runtime_ms", f"{printed_s * 1e3:g} must not be negative")
    if not printed_s or not row.optional("workload_MOP") or not row.optional("perf_GOPS"):
        return printed_s
    work, rate = row.number("workload_MOP"), row.number("perf_GOPS")
    sharp = min(_digits(row.text("workload_MOP")), _digits(row.text("perf_GOPS")))
    if work > 0 and rate > 0 and sharp > _digits(row.text("runtime_ms")):
        return work / rate * 1e-3
    return printed_s


def _read_node(row: Row) -> tuple[Measurement, ...]:
    if row.text("node") == _TOTAL:
        return ()
    network, set_up = row.text("network"), row.text("setup")
    return (
        Measurement(
            network=network,
            group=network,
            set_up=set_up,
            published_s=node_seconds(row),
            source=row.optional("source")
            or f"github.com/{row.optional('repo')}, {row.optional('ref')}",
            graph_key=network,
            build=lambda: build_published(network),
            hardware=stated_hardware(set_up),
            node=row.text("node"),
            node_ops=row.number("workload_MOP") * 1e6 if row.optional("workload_MOP") else 0.0,
            line=row.line,
        ),
    )


DPU_NODES = DataSet(
    name="dpu_nodes",
    title="DPU B4096 on ZCU102: profiles per node",
    device="DPU B4096",
    platform="dpu",
    hardware="dpuczdx8g_b4096_zcu102",
    file="dpu_layers.csv",
    columns=("network", "setup", "node", "workload_MOP", "runtime_ms", "perf_GOPS"),
    read=_read_node,
    constants=_DEVICE,
    # the profiling mode starts every node on its own: an interrupt and a call of the driver
    changes={"node_start_s": 10e-6},
    aim=Aim(10.0),
)


def _read_zoo(row: Row) -> tuple[Measurement, ...]:
    name, dpu = row.text("name"), " ".join(row.text("dpu").split())
    return (
        Measurement(
            network=name,
            group=zoo_group(name),
            set_up=f"{row.text('software')}, {row.text('board')}, {dpu}",
            published_s=row.positive("e2e_latency_ms_1thread") * 1e-3,
            source=row.optional("source") or "Xilinx, Vitis AI Model Zoo, performance tables",
            graph_key=name,
            build=lambda: build_published(name),
            hardware=stated_hardware(dpu),
            note="thinned uniformly to its operations" if is_thinned(name) else "",
            line=row.line,
        ),
    )


DPU_ZOO = DataSet(
    name="dpu_zoo",
    title="DPU B4096 on ZCU102 and ZCU104: vendor's model zoo, end to end, one thread",
    device="DPU B4096",
    platform="dpu",
    hardware="dpuczdx8g_b4096_zcu102",
    file="dpu_networks_e2e.csv",
    columns=("software", "board", "dpu", "name", "e2e_latency_ms_1thread"),
    read=_read_zoo,
    constants=(*_DEVICE, "input_element_s"),
    set_up_constants=("run_start_s",),
    aim=Aim(10.0, 0.98),
)


def _read_ultra96(row: Row) -> tuple[Measurement, ...]:
    model, size = row.text("model"), row.integer("size")
    filters, units = row.integers("conv_channels"), row.integers("dense_units")
    key = f"{model} {size} {filters} {units}"
    return (
        Measurement(
            network=f"{model} {size}x{size} ({row.optional('step') or row.line})",
            group=key,
            set_up="Ultra96",
            published_s=row.positive("latency_ms") * 1e-3,
            source=row.optional("source") or "Serendi-pity1995, thesis repository on GitHub",
            graph_key=key,
            build=lambda: ultra96_network(model, size, filters, units),
            line=row.line,
        ),
    )


DPU_ULTRA96 = DataSet(
    name="dpu_ultra96",
    title="DPU B2304 on Ultra96: networks of drawn widths",
    device="DPU B2304",
    platform="dpu",
    hardware="dpu_b2304_ultra96",
    file="dpu_ultra96_networks.csv",
    columns=("model", "size", "latency_ms", "conv_channels", "dense_units"),
    read=_read_ultra96,
    constants=("clock_hz", *_DEVICE, "input_element_s", "run_start_s"),
    folds=5,
    aim=Aim(8.0, 0.99),
)


def _tutorial_group(network: str) -> str:
    """Data sets and variants of upsampling do not make another network."""
    return re.sub(r"_(cifar10|fmnist|baseline|pruned|cats_dogs)|ups$", "", network)


def _read_tutorial(row: Row) -> tuple[Measurement, ...]:
    if row.integer("threads") != 1:
        return ()
    network, method = row.text("network"), row.text("method")
    host = "C++, images in memory" if "get_dpu_fps" in method else "Python, host copies"
    return (
        Measurement(
            network=network,
            group=_tutorial_group(network),
            set_up=f"{row.text('board')}, Vitis AI {row.text('vitis_ai')}, {host}",
            published_s=1.0 / row.positive("fps"),
            source=f"github.com/{row.text('source')}, branch {row.text('branch')}",
            graph_key=network,
            build=lambda: build_published(network),
            line=row.line,
        ),
    )


DPU_TUTORIALS = DataSet(
    name="dpu_tutorials",
    title="DPU B4096 on ZCU102: tutorial networks, one thread",
    device="DPU B4096",
    platform="dpu",
    hardware="dpuczdx8g_b4096_zcu102",
    file="dpu_device_only_fps.csv",
    columns=("source", "branch", "vitis_ai", "board", "network", "threads", "fps", "method"),
    read=_read_tutorial,
    constants=(*_DEVICE, "input_element_s"),
    set_up_constants=("run_start_s",),
)

DATA_SETS: tuple[DataSet, ...] = (DPU_NODES, DPU_ZOO, DPU_ULTRA96, DPU_TUTORIALS)
