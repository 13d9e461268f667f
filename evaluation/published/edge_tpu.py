"""Data sets of Edge TPUs: Coral's pages, NAS-Bench-201 cells, chains, sweeps, CIFAR networks.

One set per device and set-up, so that each starts from the description of its own host and link.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from evaluation.published.data_set import Aim, DataSet, Measurement, Row
from graph_gen.published_edge_tpu import build_edge_tpu
from graph_gen.published_edge_tpu_cells import live_edges, parse_architecture
from strata.errors import SchemaError, UnsupportedLayer
from strata.graph import Graph

_DEVICE = "Edge TPU"
_NETWORKS_AIM = Aim(15.0, 0.97)
_CELLS_AIM = Aim(12.0, 0.95)
# What a host, its driver and its link cost: never the chip.
_START = ("run_start_s",)
_LINK = (*_START, "link_in_bytes_per_s")
_BOTH_WAYS = (*_LINK, "link_out_bytes_per_s")
# The chip's open numbers that only cells of a thousand small networks tell apart.
_CHIP = ("pooling_cycles_per_tap", "border_exchange_cycles", "layer_start_cycles")

Read = Callable[[Row], tuple[Measurement, ...]]


def _refused(reason: str) -> Graph:
    raise UnsupportedLayer(reason)


def _measurement(
    row: Row,
    name: str,
    column: str,
    set_up: str,
    *,
    group: str = "",
    build_name: str = "",
    note: str = "",
) -> Measurement:
    """A whole network's time in milliseconds of a column."""
    build_name = build_name or name
    return Measurement(
        network=name,
        group=group or name,
        set_up=set_up,
        published_s=row.positive(column) * 1e-3,
        source=row.optional("source") or "as in the file",
        graph_key=build_name.lower(),
        build=partial(build_edge_tpu, build_name),
        note=note,
        line=row.line,
    )


def _uncovered(measurement: Measurement, reason: str) -> Measurement:
    """The measurement as one that cannot be compared."""
    key = f"{measurement.graph_key} ({reason})"
    return replace(measurement, graph_key=key, build=partial(_refused, reason))


def coral_group(name: str) -> str:
    """One network under all spellings of its name; sizes and widths are part of the name."""
    return " ".join(re.findall(r"[a-z]+|\d+(?:\.\d+)?", name.lower()))


# Both links carry 500 MB/s at most (5 GT/s, 8 of 10 bits).
_DOUBTS = {
    "inception resnet v 2 299 x 299": "shorter than the link needs for its 48 MB of parameters "
    "that do not fit the chip: doubtful"
}


def _reads_coral(link: str, set_up: str) -> Read:
    """Rows whose device names a link (`usb` or `pcie`)."""

    def read(row: Row) -> tuple[Measurement, ...]:
        device = row.text("device").lower()
        found = "usb" if "usb" in device else "pcie" if re.search("pcie|dev board", device) else ""
        if found != link or not row.optional("latency_ms"):
            return ()
        name = f"{row.text('network')} {row.text('input_hw')}"
        group = coral_group(name)
        return (
            _measurement(
                row,
                name,
                "latency_ms",
                set_up,
                group=group,
                build_name=f"Coral {name}",
                note=_DOUBTS.get(group, ""),
            ),
        )

    return read


_CORAL_COLUMNS = ("network", "input_hw", "device", "latency_ms")

CORAL_USB = DataSet(
    name="edge_tpu_coral_usb3",
    title="Edge TPU USB Accelerator, USB 3, desktop: Coral's networks",
    device=_DEVICE,
    platform="edge_tpu",
    hardware="coral_usb3",
    file="edgetpu_coral_networks.csv",
    columns=_CORAL_COLUMNS,
    read=_reads_coral("usb", "desktop, USB 3"),
    constants=_LINK,
    aim=_NETWORKS_AIM,
)
CORAL_PCIE = DataSet(
    name="edge_tpu_coral_pcie",
    title="Edge TPU of the Dev Board, PCIe: Coral's networks",
    device=_DEVICE,
    platform="edge_tpu",
    hardware="coral_pcie",
    file="edgetpu_coral_networks.csv",
    columns=_CORAL_COLUMNS,
    read=_reads_coral("pcie", "Dev Board, PCIe"),
    constants=_START,  # three networks stream, one doubtful: too few to fit the link without one
    aim=_NETWORKS_AIM,
)


def cell_group(cell: str) -> str:
    """Cells that differ in dead branches alone are one network."""
    try:
        edges = live_edges(parse_architecture(cell))
    except SchemaError:
        return cell
    return " ".join(f"{edge.source}-{edge.target}:{edge.operation}" for edge in edges)


def _reads_cells(column: str, set_up: str) -> Read:
    """Rows that have a time in the column."""

    def read(row: Row) -> tuple[Measurement, ...]:
        if not row.optional(column):
            return ()
        cell = row.text("arch_str")
        number = row.optional("nb201_index") or str(row.line)
        return (
            _measurement(
                row,
                f"NAS-Bench-201 {number}",
                column,
                set_up,
                group=cell_group(cell),
                build_name=f"NAS-Bench-201 {cell}",
            ),
        )

    return read


def _cells(name: str, title: str, hardware: str, column: str, set_up: str) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        device=_DEVICE,
        platform="edge_tpu",
        hardware=hardware,
        file="nb201_networks.csv",
        columns=("arch_str", column),
        read=_reads_cells(column, set_up),
        constants=(*_START, *_CHIP),
        folds=5,
        aim=_CELLS_AIM,
    )


NAS_EAGLE = _cells(
    "edge_tpu_nas201_eagle",
    "Edge TPU, USB: NAS-Bench-201 cells (EAGLE)",
    "coral_usb3_eagle",
    "eagle_edgetpu_int8_ms",
    "EAGLE",
)
NAS_HARDWARE = _cells(
    "edge_tpu_nas201_hwnasbench",
    "Edge TPU of the Dev Board: NAS-Bench-201 cells (HW-NAS-Bench)",
    "coral_pcie_hwnas",
    "hwnasbench_coral_edgetpu_ms",
    "HW-NAS-Bench",
)


# The parameter bytes published for every one of these chains are those of five equal layers.
_SIX_LAYERS = re.compile(r"x6(?=, Dense\(\d+\); input 6912)")
_SIX_LAYERS_NOTE = "five equal layers, as its published parameter bytes say"


def chain_network(text: str) -> str:
    """The name that builds the chain a text describes."""
    return _SIX_LAYERS.sub("x5", text)


def _read_chain(row: Row) -> tuple[Measurement, ...]:
    if row.text("device") != "Edge TPU" or not row.optional("time_ms"):
        return ()
    text = row.text("network")
    build_name = chain_network(text)
    found = _measurement(
        row,
        text.removeprefix("Keras Sequential: "),
        "time_ms",
        "PCIe card",
        build_name=build_name,
        note=_SIX_LAYERS_NOTE if build_name != text else "",
    )
    if row.integer("batch") != 1:
        return (_uncovered(found, "several images at once are not simulated"),)
    return (found,)


CHAINS = DataSet(
    name="edge_tpu_chains",
    title="Edge TPU, PCIe card: chains of convolutions and of dense layers",
    device=_DEVICE,
    platform="edge_tpu",
    hardware="coral_pcie_card",
    file="edgetpu_synthetic.csv",
    columns=("device", "batch", "time_ms", "network"),
    read=_read_chain,
    constants=(*_START, "link_out_bytes_per_s"),
    folds=5,
    aim=_CELLS_AIM,
)


def _device_count(row: Row) -> int:
    """Edge TPUs that shared the network; 1 where the file does not say."""
    if row.optional("n_tpus"):
        return row.integer("n_tpus")
    many = re.search(r"(\d+)(?:x| independent copies)", row.text("device"))
    return int(many[1]) if many else 1


def _reads_sparta(usb: bool, set_up: str) -> Read:
    """Rows of the USB device on the Raspberry Pi, or of the PCIe card."""

    def read(row: Row) -> tuple[Measurement, ...]:
        if ("usb" in row.text("device").lower()) != usb or not row.optional("latency_ms"):
            return ()
        network, size = row.text("network"), row.optional("input")
        name = f"{network.split('(')[0].strip()} {size}".strip()
        build_name = f"SPARTA {network} {size}".strip()
        found = _measurement(row, name, "latency_ms", set_up, build_name=build_name)
        if "pruned" in network and "unpruned" not in row.optional("set"):
            return (_uncovered(found, "which channels were pruned is not published"),)
        if (count := _device_count(row)) > 1:
            return (_uncovered(found, f"{count} Edge TPUs in a pipeline are not simulated"),)
        return (found,)

    return read


_SPARTA_COLUMNS = ("device", "network", "input", "latency_ms", "n_tpus")

RESOLUTIONS = DataSet(
    name="edge_tpu_resolutions",
    title="Edge TPU, PCIe card: a synthetic network of 26 MiB at many resolutions",
    device=_DEVICE,
    platform="edge_tpu",
    hardware="coral_pcie_card",
    file="edgetpu_sparta.csv",
    columns=_SPARTA_COLUMNS,
    read=_reads_sparta(False, "PCIe card"),
    constants=_START,
    aim=_CELLS_AIM,
)
CIFAR = DataSet(
    name="edge_tpu_cifar",
    title="Edge TPU, USB 3, Raspberry Pi 4: CIFAR-100 networks",
    device=_DEVICE,
    platform="edge_tpu",
    hardware="coral_usb3_raspberry_pi4",
    file="edgetpu_sparta.csv",
    columns=_SPARTA_COLUMNS,
    read=_reads_sparta(True, "Raspberry Pi 4, USB 3"),
    constants=_LINK,
)

_SWEEP_COLUMN = re.compile(r"(?:(?P<mode>\d+W)_)?EdgeTPU_USB(?P<usb>[23])")


def _sweep_network(text: str) -> str:
    """The network's text as the builder knows it: a lone word is the name of a file."""
    return text if " " in text else f"{text}.tflite"


def _reads_sweep(usb: str) -> Read:
    """Rows of one kind of USB; the board's power mode is the set-up."""

    def read(row: Row) -> tuple[Measurement, ...]:
        match = _SWEEP_COLUMN.fullmatch(row.text("column"))
        if match is None or match["usb"] != usb or not row.optional("time_ms"):
            return ()  # a CPU's time, the other link's, or none
        text = row.text("network")
        set_up = f"Jetson, {match['mode'] or 'power mode not stated'}, USB {usb}"
        found = _measurement(row, text, "time_ms", set_up, build_name=_sweep_network(text))
        if text.startswith("old test"):
            return (_uncovered(found, "the size of its input is not published"),)
        return (found,)

    return read


def _sweeps(usb: str, hardware: str) -> DataSet:
    return DataSet(
        name=f"edge_tpu_sweeps_usb{usb}",
        title=f"Edge TPU, USB {usb}, Jetson: transfers, convolutions, dense layers",
        device=_DEVICE,
        platform="edge_tpu",
        hardware=hardware,
        file="edgetpu_op_sweeps.csv",
        columns=("network", "column", "time_ms"),
        read=_reads_sweep(usb),
        set_up_constants=_BOTH_WAYS,
        folds=5,
    )


SWEEPS_USB3 = _sweeps("3", "coral_usb3_jetson_nano")
SWEEPS_USB2 = _sweeps("2", "coral_usb2_jetson_nano")

DATA_SETS: tuple[DataSet, ...] = (
    CORAL_USB,
    CORAL_PCIE,
    NAS_EAGLE,
    NAS_HARDWARE,
    CHAINS,
    RESOLUTIONS,
    CIFAR,
    SWEEPS_USB3,
    SWEEPS_USB2,
)
