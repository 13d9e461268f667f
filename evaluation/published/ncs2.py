"""Data sets of Myriad X: per-layer profiles, single layers, NAS-Bench-201 cells, RVC2 networks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from evaluation.metrics import mape
from evaluation.published.data_set import Aim, DataSet, Measurement, Row
from evaluation.published.edge_tpu import cell_group
from evaluation.published.results import Result
from graph_gen.published import build_published
from graph_gen.published_edge_tpu_cells import nas_bench_201
from strata.builder import GraphBuilder
from strata.graph import Graph

_HARDWARE = "myriad_x_ncs2"
_DEVICE = "Myriad X"
# What the profiles settle: engine, memories, copies, conversion and softmax.
_PROFILED = (
    "stage_start_s",
    "pixel_cycles",
    "row_cycles",
    "pool_descriptor_cycles",
    "pool_pixel_cycles",
    "maximum_tap_cycles",
    "average_tap_cycles",
    "weight_bytes_per_s",
    "ddr_bytes_per_s",
    "ddr_row_s",
    "copy_start_s",
    "copy_row_s",
    "copy_bytes_per_s",
    "convert_start_s",
    "convert_cycles",
    "softmax_cycles",
)
# One network under two importers: never one for fitting and the other for judging.
_GROUPS = {"cf_inceptionv1": "InceptionV1", "tf_inceptionv1": "InceptionV1"}
_CONVOLUTION = "Convolution"


def _read_layer(row: Row, groups: Mapping[str, str] = _GROUPS) -> tuple[Measurement, ...]:
    if row.text("exec_status") != "EXECUTED":
        return ()
    network = row.text("network")
    return (
        Measurement(
            network=network,
            group=groups.get(network, network),
            set_up="NCS2, FP16, one request",
            published_s=row.positive("measured_ms") * 1e-3,
            source=row.text("source"),
            graph_key=network,
            build=partial(build_published, network),
            node=row.text("layer"),
            note=row.text("ov_layer_type"),
            line=row.line,
        ),
    )


NCS2_LAYERS = DataSet(
    name="ncs2_layers",
    title="NCS2: profiles per layer of InceptionV1 (two variants) and InceptionV3",
    device=_DEVICE,
    platform="ncs2",
    hardware=_HARDWARE,
    file="ncs2_layers.csv",
    columns=("network", "layer", "exec_status", "ov_layer_type", "measured_ms", "source"),
    read=_read_layer,
    constants=_PROFILED,
    aim=Aim(15.0),
)
NCS2_LAYERS_APART = replace(
    NCS2_LAYERS,
    name="ncs2_layers_apart",
    title="NCS2: the same profiles, the variants of InceptionV1 taken for two networks",
    read=partial(_read_layer, groups={}),
)


@dataclass(frozen=True, slots=True)
class ProfileScore:
    """Errors in percent on one profiled network that calibration did not see."""

    network: str
    layers: int
    convolutions_mape: float
    layers_mape: float
    sum_error: float


def profile_scores(result: Result) -> tuple[ProfileScore, ...]:
    """Scores of a result of the per-layer sets, by network in the order of the file."""
    networks = np.array([case.measurement.network for case in result.cases])
    convolutions = np.array([case.measurement.note == _CONVOLUTION for case in result.cases])
    published_s, predicted_s = result.published_s, result.unseen.simulated_s
    scores = []
    for network in dict.fromkeys(networks.tolist()):
        mine = networks == network
        kernel = mine & convolutions
        scores.append(
            ProfileScore(
                network,
                int(mine.sum()),
                mape(published_s[kernel], predicted_s[kernel]),
                mape(published_s[mine], predicted_s[mine]),
                100 * float(predicted_s[mine].sum() / published_s[mine].sum() - 1),
            )
        )
    return tuple(scores)


_SINGLE = "layer"


def _single_layer(kind: str, size: tuple[int, int, int], filters: int, kernel: int) -> Graph:
    """A network of one layer; `size` is channels, height, width."""
    builder = GraphBuilder(f"{kind} {size} {filters} {kernel}")
    channels, height, width = size
    if kind == "FullyConnected":
        builder.dense(builder.input(1, channels, name="input"), filters, name=_SINGLE)
        return builder.build()
    image = builder.input(1, channels, height, width, name="input")
    if kind == "DepthwiseConv":
        builder.depthwise(image, kernel, name=_SINGLE)
    else:
        builder.convolution(image, filters, kernel, activation="relu", name=_SINGLE)
    return builder.build()


def _read_single(row: Row) -> tuple[Measurement, ...]:
    """Times of convolutions are printed: they are those of all stages of the one-layer network."""
    kind = row.text("kind").split(" ")[0]
    size = row.integer("channels"), row.integer("height"), row.integer("width")
    filters = row.integer("filters") if row.optional("filters") else 0
    kernel = row.integer("kernel") if row.optional("kernel") else 0
    name = f"{kind} {size[0]}x{size[1]}x{size[2]}, filters {filters}, kernel {kernel}"
    return (
        Measurement(
            network=name,
            group=name,
            set_up=kind,
            published_s=row.positive("time_ms") * 1e-3,
            source=row.text("source"),
            graph_key=name,
            build=partial(_single_layer, kind, size, filters, kernel),
            node=None if row.text("time_from") == "printed" else _SINGLE,
            line=row.line,
        ),
    )


NCS2_SINGLE = DataSet(
    name="ncs2_single_layers",
    title="NCS2: thirty single layers",
    device=_DEVICE,
    platform="ncs2",
    hardware=_HARDWARE,
    file="ncs2_single_layers.csv",
    columns=("kind", "width", "height", "channels", "filters", "kernel", "time_ms", "time_from"),
    read=_read_single,
    set_up_constants=("stage_start_s", "copy_start_s"),
    changes={"run_start_s": 0.0, "link_bytes_per_s": 1e15},  # the stick's own stages alone
    aim=Aim(15.0),
)


def _read_cell(row: Row) -> tuple[Measurement, ...]:
    if not row.optional("nnmeter_myriadx_ms"):
        return ()
    cell = row.text("arch_str")
    return (
        Measurement(
            network=f"NAS-Bench-201 {row.optional('nb201_index') or row.line}",
            group=cell_group(cell),
            set_up="nn-Meter, OpenVINO 2019",
            published_s=row.positive("nnmeter_myriadx_ms") * 1e-3,
            source=row.optional("source") or "as in the file",
            graph_key=cell,
            build=partial(nas_bench_201, cell),
            line=row.line,
        ),
    )


NCS2_CELLS = DataSet(
    name="ncs2_nas201",
    title="Myriad X: NAS-Bench-201 cells (nn-Meter)",
    device=_DEVICE,
    platform="ncs2",
    hardware=_HARDWARE,
    file="nb201_networks.csv",
    columns=("arch_str", "nnmeter_myriadx_ms"),
    read=_read_cell,
    constants=(
        "stage_start_s",
        "software_start_s",
        "injected_software_s",
        "activation_cycles",
        "run_start_s",
        "pixel_cycles",
        "pool_pixel_cycles",
        "average_tap_cycles",
    ),
    folds=5,
    aim=Aim(10.0, 0.95),
)


def _read_camera(row: Row) -> tuple[Measurement, ...]:
    if "RVC2" not in row.text("device"):
        return ()
    network = row.text("network")
    name = f"{network} {row.text('input')}"
    return (
        Measurement(
            network=name,
            group=network,
            set_up="RVC2, two requests in flight",
            published_s=row.positive("latency_ms") * 1e-3,
            source=row.text("source"),
            graph_key=name,
            build=partial(build_published, name),
            line=row.line,
        ),
    )


NCS2_CAMERA = DataSet(
    name="ncs2_rvc2",
    title="Luxonis RVC2 (Myriad X on a camera board), two requests in flight: order only",
    device=_DEVICE,
    platform="ncs2",
    hardware=_HARDWARE,
    file="ncs2_networks.csv",
    columns=("network", "input", "device", "latency_ms", "source"),
    read=_read_camera,
    constants=("function_cycles",),
    changes={"run_start_s": 0.0, "link_bytes_per_s": 1e15},  # images come from the camera
    aim=Aim(100.0, 0.97),
)

DATA_SETS: tuple[DataSet, ...] = (
    NCS2_LAYERS,
    NCS2_LAYERS_APART,
    NCS2_SINGLE,
    NCS2_CELLS,
    NCS2_CAMERA,
)
