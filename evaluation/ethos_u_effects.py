"""Command: what Vela's decisions inside a network are worth on an Ethos-U.

Vela compiles each network again with parts of its scheduler off, and every operation of it again
as a network of its own. All cycles are that compiler's estimates, not measurements on silicon.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmark.config import load_platform, platform_file
from evaluation.ethos_u_figure import effects_figure
from evaluation.plot_style import save_figure
from evaluation.table_format import Table, to_text, write_table
from graph_gen.zoo import ZOO
from hardware_modules import ethos_u
from hardware_modules.ethos_u_compiler import Vela, missing
from hardware_modules.ethos_u_report import operations, rows_of
from hardware_modules.tflite_writer import write_int8
from strata import operations as op
from strata.console import exits_cleanly
from strata.errors import SchemaError, StrataError, UnsupportedLayer, legal
from strata.execution import make_executed
from strata.graph import Graph, make_graph
from strata.importer import load_network
from strata.layer import make_layer

CONFIGURATIONS = Path(__file__).resolve().parents[1] / "config" / "default.yaml"
# what is switched off in Vela's scheduler, by its own names
CHANGES: dict[str, tuple[str, ...]] = {
    "no cascading": ("Cascading",),
    "no weight buffering": ("WeightBuffering",),
    "neither": ("Cascading", "WeightBuffering"),
    "no grouping": ("Grouping",),
}
VENDOR = "Estimates of Arm's compiler Vela {version} ({name}), not measurements on silicon."
Answer = Mapping[str, Any]
Row = dict[str, Any]
Compile = Callable[[Graph, tuple[str, ...]], tuple[Answer, Sequence[Sequence[str]]]]


@dataclass(frozen=True, slots=True)
class Effects:
    """One network: its row of effects, its rows of `place_rows` and those of `alone_rows`."""

    effect: Row
    places: list[Row] = field(default_factory=list)
    alone: list[Row] = field(default_factory=list)


def with_vela(vela: Vela) -> Compile:
    """Compiling a graph with parts of the scheduler off: Vela's answer, layers per operator."""
    whole = vela.configuration

    def compiled(graph: Graph, off: tuple[str, ...]) -> tuple[Answer, Sequence[Sequence[str]]]:
        vela.configuration = replace(whole, disabled=off)
        model = write_int8(graph)
        return vela.compile(model.content), model.layers

    return compiled


def _seconds(answer: Answer, cycles: float) -> float:
    return cycles / float(answer["clock_hz"])


def place_rows(answer: Answer) -> list[Row]:
    """Per NPU operation that costs cycles: time, memory of its first input and of its output, and
    whether it runs in a cascade.
    """
    details = {row["id"]: row for row in rows_of(answer, "perf_debug")}
    found = []
    for row in rows_of(answer, "perf"):
        cycles, detail = float(row["op_cycles"] or 0), details.get(row["id"], {})
        if cycles:
            found.append(
                {
                    "time_s": _seconds(answer, cycles),
                    "reads": detail.get("ifm_memory") or "?",
                    "writes": detail.get("ofm_memory") or "?",
                    "cascaded": float(detail.get("cascade") or 0) > 0,
                }
            )
    return found


def _share(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> float:
    """Percent of the time in the rows that are wanted."""
    known = list(rows)
    total_s = sum(row["time_s"] for row in known)
    part_s = sum(row["time_s"] for row in known if wanted(row))
    return 100 * part_s / total_s if total_s else float("nan")


def _in_sram(row: Row) -> bool:
    return {row["reads"], row["writes"]} == {"Sram"}


def effect_row(answer: Answer, changed: Mapping[str, Answer | None]) -> Row:
    """A network's time, cascades and places, and its cycles under CHANGES over those it has."""
    places = place_rows(answer)
    total = answer["total_cycles"]
    return {
        "time (ms)": 1e3 * _seconds(answer, total),
        "cascades": answer["cascades"],
        "operations in them": answer["cascaded_operations"],
        "time in cascades (%)": _share(places, lambda row: row["cascaded"]),
        "time from and to SRAM (%)": _share(places, _in_sram),
    } | {
        f"{name} (x)": each["total_cycles"] / total if each and total else float("nan")
        for name, each in changed.items()
    }


def part(graph: Graph, names: Iterable[str]) -> Graph:
    """Some layers of a graph as a network of their own; what they read becomes its inputs.

    The layers keep their names, and with them their weights.
    """
    chosen = set(names)
    layers = [layer for layer in graph.layers if layer.name in chosen]
    read = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in chosen)
    inputs = [
        make_layer(
            name, op.Input(graph[name].output_shape), activation_bits=graph[name].activation_bits
        )
        for name in read
    ]
    return make_graph(f"{graph.name}: {layers[0].name}", [*inputs, *layers])


def alone_rows(
    graph: Graph, answer: Answer, layers: Sequence[Sequence[str]], compile_part: Compile
) -> list[Row]:
    """Per operation with layers and a time: seconds in the network, and compiled alone.

    Left out are operations that Vela refuses, or leaves in part on the CPU, when they are alone.
    """
    rows = []
    for each in operations(answer, layers).values():
        held = [graph[name] for name in each.layers if name in graph]
        if each.left or not each.cycles or not held:
            continue
        try:
            alone, _ = compile_part(part(graph, each.layers), ())
        except UnsupportedLayer:
            continue
        if not alone["cpu_operations"]:
            rows.append(
                {
                    "operation": make_executed(held).operation,
                    "inside_s": _seconds(answer, each.cycles),
                    "alone_s": _seconds(alone, alone["total_cycles"]),
                }
            )
    return rows


def network_effects(graph: Graph, compiled: Compile) -> tuple[Effects, list[str]]:
    """All that is measured of a network, and one line for each change that Vela refuses.

    UnsupportedLayer if it refuses the network as it is.
    """
    answer, layers = compiled(graph, ())
    notes = []
    if left := answer["cpu_operations"]:
        notes.append(f"{graph.name}: {left} operators stay on the CPU and have no time here")
    changed: dict[str, Answer | None] = {}
    for name, off in CHANGES.items():
        try:
            changed[name] = compiled(graph, off)[0]
        except UnsupportedLayer as error:
            changed[name] = None
            notes.append(f"{graph.name}, {name}: {error}")
    effect = effect_row(answer, changed)
    return Effects(effect, place_rows(answer), alone_rows(graph, answer, layers, compiled)), notes


def effect_table(found: Mapping[str, Effects | None]) -> Table:
    """Rows by network; the last sums counts and averages shares and ratios."""
    rows = [{"network": name} | (each.effect if each else {}) for name, each in found.items()]
    frame = pd.DataFrame(rows)
    last: Row = {"network": "sum, mean"}
    for column in frame.columns[1:]:
        if column.endswith(("(%)", "(x)")):
            last[column] = frame[column].mean()
        elif not column.endswith("(ms)"):
            last[column] = frame[column].sum()
    frame = pd.concat([frame, pd.DataFrame([last])], ignore_index=True)
    note = "(x): cycles with a part of Vela's scheduler off, over the cycles of its own plan."
    return Table("effects", "Parts of Vela's scheduler", frame, (note,))


def alone_table(rows: Iterable[Row]) -> Table:
    """Per operation: time inside networks and compiled alone, ratio of sums and median ratio."""
    frame = pd.DataFrame(rows, columns=["operation", "inside_s", "alone_s"])
    frame["ratio"] = frame["alone_s"] / frame["inside_s"]
    found = [
        {
            "operation": operation,
            "n": len(group),
            "inside (ms)": 1e3 * group["inside_s"].sum(),
            "alone (ms)": 1e3 * group["alone_s"].sum(),
            "alone over inside": group["alone_s"].sum() / group["inside_s"].sum(),
            "median ratio": group["ratio"].median(),
            "90% of ratios below": group["ratio"].quantile(0.9),
        }
        for operation, group in [*frame.groupby("operation"), ("all", frame)]
        if len(group)
    ]
    note = "Alone: an operation's layers compiled as a network of their own, same weights."
    return Table("alone", "Operations alone and in their networks", pd.DataFrame(found), (note,))


def place_table(rows: Iterable[Row]) -> Table:
    """Per place of the feature maps, in a cascade or not: operations, time and its share."""
    frame = pd.DataFrame(rows, columns=["reads", "writes", "cascaded", "time_s"])
    found = [
        {
            "reads": reads,
            "writes": writes,
            "in a cascade": "yes" if cascaded else "no",
            "n": len(group),
            "time (ms)": 1e3 * group["time_s"].sum(),
            "of all time (%)": 100 * group["time_s"].sum() / frame["time_s"].sum(),
        }
        for (reads, writes, cascaded), group in frame.groupby(["reads", "writes", "cascaded"])
    ]
    note = "Operations of the NPU that cost cycles. Reads: of two inputs, the first."
    return Table("places", "Where feature maps lie", pd.DataFrame(found), (note,))


def effect_tables(found: Mapping[str, Effects | None], notes: Sequence[str]) -> list[Table]:
    """All tables; `notes` are told below each."""
    known = [each for each in found.values() if each]
    tables = [
        effect_table(found),
        alone_table(row for each in known for row in each.alone),
        place_table(row for each in known for row in each.places),
    ]
    return [replace(table, notes=(*table.notes, *notes)) for table in tables]


def chosen_networks(names: Sequence[str]) -> dict[str, Callable[[], Graph]]:
    """How to get each network: names of the zoo, or files; all of the zoo without any.

    SchemaError for what is neither.
    """

    def reader(file: str) -> Callable[[], Graph]:
        return lambda: load_network(file)

    found = {}
    for name in names or ZOO:
        if name not in ZOO and not Path(name).is_file():
            raise SchemaError(f"no network '{name}'; legal: a file, or {legal(ZOO)}")
        found[name] = ZOO[name].build if name in ZOO else reader(name)
    return found


def ethos_u_platform(name: str) -> ethos_u.EthosUModule:
    """The module of a platform in config/platforms; SchemaError unless it is an Ethos-U."""
    file = platform_file(CONFIGURATIONS, name)
    platform = load_platform(file)
    if platform.module != ethos_u.NAME:
        raise SchemaError(
            f"{file}: module is '{platform.module}'; legal here: platforms of {ethos_u.NAME}"
        )
    return ethos_u.EthosUModule.from_options(platform.options)


def measure(
    networks: Mapping[str, Callable[[], Graph]], compiled: Compile
) -> tuple[dict[str, Effects | None], list[str]]:
    """Effects per network, None where Vela refuses it, and what is to be said of them."""
    found: dict[str, Effects | None] = {}
    notes: list[str] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        every = progress.add_task("networks", total=len(networks))
        for name, build in networks.items():
            progress.update(every, description=name)
            try:
                found[name], told = network_effects(build(), compiled)
                notes += told
            except UnsupportedLayer as error:
                found[name] = None
                notes.append(f"{name} is refused: {error}")
            progress.advance(every)
    return found, notes


@exits_cleanly
def command(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Networks of the zoo, or files. Default: the zoo.")
    ] = None,
    config: Annotated[
        str, typer.Option(help="Platform in config/platforms whose module is ethos_u.")
    ] = "ethos_u55_256",
    output: Annotated[Path, typer.Option(help="Folder of the tables and the figure.")] = Path(
        "results/ethos_u_effects"
    ),
) -> None:
    """Measure what Vela's decisions inside networks are worth: cascades, buffering, places.

    Example: python -m evaluation.ethos_u_effects --config ethos_u65_512 resnet18 mobilenet_v2
    """
    module, chosen = ethos_u_platform(config), chosen_networks(networks or [])
    if reason := missing():
        raise StrataError(reason)
    try:
        found, notes = measure(chosen, with_vela(module.vela))
    finally:
        module.vela.close()
    vendor = VENDOR.format(version=module.vela.version, name=config)
    output.mkdir(parents=True, exist_ok=True)
    for table in effect_tables(found, [vendor, *notes]):
        write_table(table, output)
        typer.echo(to_text(table) + "\n\n")
    known = {name: (each.effect, each.places) for name, each in found.items() if each}
    if known:
        save_figure(effects_figure(known, tuple(CHANGES), vendor), output, "effects")


if __name__ == "__main__":
    typer.run(command)
