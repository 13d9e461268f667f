"""Command: what effects inside a network cost on the NCS2, and what ignoring each would.

Intel's compiler keeps tensors in CMX or DDR, injects copies into other operations, and merges some
poolings. Its plans are changed, or made anew, and the machine is asked again; so is a platform
model whose answers about poolings are replaced.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from evaluation.table_format import Table, to_text, write_table
from graph_gen.published_ncs2 import UNSEEN
from graph_gen.zoo import ZOO
from hardware_modules.ncs2_plan import layer_of
from hardware_modules.ncs2_toolchain import Toolchain, missing
from simulators import ncs2
from simulators.ncs2.engine import HARDWARE_STAGE
from simulators.ncs2.plan import Plan, Stage
from simulators.ncs2.software import COPY_STAGE
from strata.console import exits_cleanly
from strata.errors import UnsupportedLayer
from strata.estimate import estimate
from strata.forest import Forest
from strata.graph import Graph
from strata.layer import Layer
from strata.platform_model import PlatformModel
from strata.platforms import load_platform

NETWORKS: dict[str, Callable[[], Graph]] = {name: entry.build for name, entry in ZOO.items()} | {
    name: UNSEEN[name] for name in ("vgg16", "tiny_yolo_v3")
}
UNMERGED = {"MYRIAD_HW_POOL_CONV_MERGE": "NO"}
POOLING_TREES = ("convolution->max_pooling", "*->max_pooling")
_LEAF = np.array([-1])
_YES = Forest(_LEAF, np.array([0.0]), _LEAF, _LEAF, np.array([1.0]), np.array([0]))


@dataclass(frozen=True, slots=True)
class Compiled:
    """A network, the compiler's plan of it, and its plan with no pooling merged."""

    graph: Graph
    plan: Plan
    unmerged: Plan


def _changed(plan: Plan, change: Callable[[Stage], Stage]) -> Plan:
    return replace(plan, stages=tuple(map(change, plan.stages)))


def engine_reads(plan: Plan, location: str) -> Plan:
    """The plan with the input of every stage on the engine in one place: CMX, or BSS for DDR."""

    def change(stage: Stage) -> Stage:
        if stage.type != HARDWARE_STAGE:
            return stage
        first, *others = stage.inputs
        return replace(stage, inputs=(replace(first, location=location), *others))

    return _changed(plan, change)


def injected_alone(plan: Plan) -> Plan:
    """The plan with injected stages one after another, beside nothing."""
    return _changed(plan, lambda stage: replace(stage, injected_into=None))


def injected_free(plan: Plan) -> Plan:
    """The plan with injected stages that do nothing."""
    return _changed(plan, lambda each: replace(each, execution=-1) if each.injected_into else each)


CHANGES: dict[str, Callable[[Plan], Plan]] = {
    "all from CMX": lambda plan: engine_reads(plan, "CMX"),
    "all from DDR": lambda plan: engine_reads(plan, "BSS"),
    "injected alone": injected_alone,
    "injected free": injected_free,
}


def latency_s(plan: Plan, machine: ncs2.Ncs2) -> float:
    """Seconds of a synchronous inference."""
    return ncs2.network_s(ncs2.stage_times(plan, machine), plan, machine)


def _percent(flags: list[bool]) -> float:
    return 100 * sum(flags) / len(flags) if flags else float("nan")


def residence_row(compiled: Compiled, machine: ncs2.Ncs2) -> dict[str, Any]:
    """A network's latency, its share of engine stages that read DDR and of copies that run beside
    another stage, and what each of CHANGES does to the latency."""
    plan = compiled.plan
    base_s = latency_s(plan, machine)
    engine = [stage for stage in plan.stages if stage.type == HARDWARE_STAGE]
    copies = [stage for stage in plan.stages if stage.type == COPY_STAGE and stage.runs]
    return {
        "latency (ms)": 1e3 * base_s,
        "stages reading DDR (%)": _percent([not each.inputs[0].on_chip for each in engine]),
        "copies injected (%)": _percent([each.injected_into is not None for each in copies]),
    } | {
        f"{name} (%)": 100 * (latency_s(change(plan), machine) / base_s - 1)
        for name, change in CHANGES.items()
    }


def _poolings(graph: Graph) -> list[Layer]:
    return [layer for layer in graph.layers if layer.operation == "max_pooling"]


def pooling_counts(graph: Graph, plan: Plan) -> dict[str, int]:
    """Maximum poolings, those merged into a convolution, and of these in one hardware operation.

    Merged is a pooling without stages of its own whose convolution has the pooling's. Where no
    tiling is left, that is an operation of its own under the convolution's name.
    """
    layers = {layer.name for layer in graph.layers}
    operations: dict[str | None, set[str]] = defaultdict(set)
    for stage in plan.stages:
        operations[layer_of(stage.layer, layers)].add(str(stage.attributes.get("hwOpType", "")))
    counts = {"max poolings": 0, "merged": 0, "in one operation": 0}
    for layer in _poolings(graph):
        counts["max poolings"] += 1
        host = layer
        while host.name not in operations and host.inputs:
            host = graph[host.inputs[0]]
        found = operations.get(host.name, set()) & {"POOL", "CONV_POOL"}
        counts["merged"] += host is not layer and bool(found)
        counts["in one operation"] += host is not layer and found == {"CONV_POOL"}
    return counts


def pooling_row(compiled: Compiled, machine: ncs2.Ncs2) -> dict[str, Any]:
    """A network's merged poolings, and the change of its latency with none merged."""
    base_s, unmerged_s = (latency_s(p, machine) for p in (compiled.plan, compiled.unmerged))
    return pooling_counts(compiled.graph, compiled.plan) | {
        "latency (ms)": 1e3 * base_s,
        "none merged (%)": 100 * (unmerged_s / base_s - 1),
    }


def mapping_variants(model: PlatformModel) -> dict[str, PlatformModel]:
    """The model as it is, with poolings never merged into convolutions, and always."""
    fusion = model.mapping.fusion
    never = {key: tree for key, tree in fusion.items() if key not in POOLING_TREES}
    always = fusion | dict.fromkeys(POOLING_TREES, _YES)
    return {"as it is": model} | {
        name: replace(model, mapping=replace(model.mapping, fusion=trees))
        for name, trees in (("never", never), ("always", always))
    }


def model_row(
    compiled: Compiled, machine: ncs2.Ncs2, variants: Mapping[str, PlatformModel]
) -> dict[str, Any]:
    """Per variant the poolings that it merges and the error of its total against the machine."""
    true_s = latency_s(compiled.plan, machine)
    poolings = {layer.name for layer in _poolings(compiled.graph)}
    found = {name: estimate(compiled.graph, model) for name, model in variants.items()}
    return {
        f"merged {name}": sum(len(poolings & {*layer.absorbed}) for layer in each.layers)
        for name, each in found.items()
    } | {f"{name} (%)": 100 * (each.total_s / true_s - 1) for name, each in found.items()}


def effect_table(
    name: str, title: str, rows: Mapping[str, dict[str, Any]], note: str, errors: bool = False
) -> Table:
    """Rows by network; the last sums counts and averages percentages (if errors, absolute)."""
    frame = pd.DataFrame([{"network": network} | row for network, row in rows.items()])
    last: dict[str, Any] = {"network": "sum, mean absolute error" if errors else "sum, mean"}
    for column in frame.columns[1:]:
        if column.endswith("(%)"):
            last[column] = (frame[column].abs() if errors else frame[column]).mean()
        elif not column.endswith("(ms)"):
            last[column] = frame[column].sum()
    return Table(name, title, pd.concat([frame, pd.DataFrame([last])], ignore_index=True), (note,))


def effect_tables(
    found: Mapping[str, Compiled | None], machine: ncs2.Ncs2, model: PlatformModel | None = None
) -> list[Table]:
    """All tables; that of the stacked model only with a platform model."""

    def rows(row: Callable[..., dict[str, Any]], *others: Any) -> dict[str, dict[str, Any]]:
        return {name: row(each, machine, *others) if each else {} for name, each in found.items()}

    title = "CMX, DDR and injected stages: change of the latency"
    note = "Only places, or what runs beside what, are changed: the compiler would tile anew."
    tables = [effect_table("residence", title, rows(residence_row), note)]
    title = "Poolings merged into convolutions: change of the latency"
    note = "None merged: compiled again with MYRIAD_HW_POOL_CONV_MERGE=NO."
    tables.append(effect_table("pooling", title, rows(pooling_row), note))
    if model is not None:
        title = "Stacked model and merged poolings: error of the latency against the machine"
        note = f"Never, always: the trees {' and '.join(POOLING_TREES)} replaced."
        errors = rows(model_row, mapping_variants(model))
        tables.append(effect_table("model", title, errors, note, errors=True))
    return tables


def compile_networks(toolchain: Toolchain) -> tuple[dict[str, Compiled | None], list[str]]:
    """The networks by name, and one line for each that the compiler refuses."""
    networks: dict[str, Compiled | None] = dict.fromkeys(NETWORKS)
    refusals = []
    for name, build in NETWORKS.items():
        graph = build()
        try:
            plan, unmerged = (toolchain.compile(graph, options=o).plan for o in ({}, UNMERGED))
            networks[name] = Compiled(graph, plan, unmerged)
        except UnsupportedLayer as error:
            refusals.append(f"{name} is refused: {error}")
    return networks, refusals


@exits_cleanly
def command(
    output: Annotated[Path, typer.Option(help="Folder of the tables.")],
    platform: Annotated[str | None, typer.Option(help="NCS2 platform model.")] = None,
) -> None:
    """Measure what in-network effects of the NCS2 cost, through Intel's compiler (a minute).

    Example: python -m evaluation.ncs2_effects --output effects --platform ncs2
    """
    if reason := missing():
        typer.echo(f"error: {reason}", err=True)
        raise typer.Exit(1)
    model = load_platform(platform) if platform else None
    toolchain = Toolchain()
    try:
        networks, refusals = compile_networks(toolchain)
    finally:
        toolchain.close()
    output.mkdir(parents=True, exist_ok=True)
    for table in effect_tables(networks, ncs2.load("myriad_x_ncs2"), model):
        whole = replace(table, notes=(*table.notes, *refusals))
        write_table(whole, output)
        typer.echo(to_text(whole) + "\n\n")


if __name__ == "__main__":
    typer.run(command)
