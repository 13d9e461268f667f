"""What Intel's compiler decided about the layers of published NCS2 reports, beside our compilation.

Every row of a report (layer, execution status, execution type) is held against the row that the
plugin would print of the plan compiled here. No times: they check compiler and importer alone.

Two comparisons are made. `counters` adds the stages of a plan up per layer as the plugin does for
its report (hardware_modules.ncs2_report): what is only a matter of names follows from that rule.
`naive` takes the stage that characterises the layer.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from evaluation.published.data_set import Row, read_rows
from graph_gen.published import build_published
from hardware_modules.ncs2_plan import graph_plan
from hardware_modules.ncs2_report import EXECUTED, EXTRA, NOT_RUN, OPTIMIZED_OUT, layer_rows
from hardware_modules.ncs2_toolchain import Toolchain
from simulators.ncs2.engine import HARDWARE_STAGE
from simulators.ncs2.plan import Plan, Stage
from strata.errors import StrataError
from strata.graph import Graph

# Profiles with times, and the one-pixel benchmark whose times say nothing.
FILES = ("ncs2_layers.csv", "ncs2_layers_benchmark.csv")
# Where a layer differs from its report before the compiler's first pass, the importer decided.
IMPORT = "import (nGraph, before the first pass)"
_COLUMNS = ("network", "layer", "exec_status", "ov_layer_type", "ov_exec_type")
_NO_ROW = ("", "")

Decision = tuple[str, str]  # execution status, execution type


@dataclass(frozen=True, slots=True)
class LayerDecision:
    """One row of a report: what was published, what our compilation gives, and who decided.

    `counters` and `naive` are empty where a comparison finds no row; `decided_by` is the compiler
    pass after which the layer's row no longer changes. `reason` says why nothing was compiled.
    """

    network: str
    layer: str
    published_type: str
    published: Decision
    layer_type: str = ""
    counters: Decision = _NO_ROW
    naive: Decision = _NO_ROW
    decided_by: str = ""
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Same execution status and type, by the plugin's own addition of stages."""
        return self.counters == self.published

    @property
    def agrees_naively(self) -> bool:
        """Same execution status and type, by the stage that characterises the layer."""
        return self.naive == self.published


def _decisions(plan: Plan, graph: Graph) -> dict[str, tuple[str, Decision]]:
    """Layer type and decision by layer, as the plugin's counters name them."""
    rows = layer_rows(plan, graph, (0.0,) * len(plan.stages))
    return {row.name: (row.layer_type, (row.status, row.execution_type)) for row in rows}


def naive_decisions(plan: Plan, graph: Graph) -> dict[str, Decision]:
    """The layer's hardware operation, else its first stage that runs, else its first stage.

    What is injected into any of its hardware operations is told; without a stage the layer is
    optimised out. Stages that the compiler added without a layer share one row.
    """
    hosts = {stage.injected_into: stage.type for stage in plan.stages if stage.injected_into}
    stages: dict[str, list[Stage]] = {}
    for stage in plan.stages:
        if not stage.injected_into:
            stages.setdefault(stage.layer or EXTRA, []).append(stage)
    found: dict[str, Decision] = {}
    for name, own in stages.items():
        main = max(own, key=lambda stage: (stage.type == HARDWARE_STAGE, stage.runs))
        injected = next((hosts[stage.name] for stage in own if stage.name in hosts), "")
        suffix = f" + injected[{injected}]" if injected else ""
        found[name] = EXECUTED if main.runs else NOT_RUN, main.type + suffix
    for layer in graph.layers:
        default = (NOT_RUN, "NONE") if layer.name in graph.inputs else (OPTIMIZED_OUT, "<none>")
        found.setdefault(layer.name, default)
    return found


def deciding_passes(passes: Mapping[str, str], graph: Graph) -> dict[str, str]:
    """By layer, the pass after which its row is the final one; `IMPORT` if it always was.

    `passes` are the compiler's dumps by name ("15_mergeHwStages") in their order.
    """
    steps = [
        (_pass_name(key), _decisions(graph_plan(text, graph), graph))
        for key, text in passes.items()
    ]
    layers = {layer for _, rows in steps for layer in rows}
    return {
        layer: _last_change([(step, rows.get(layer)) for step, rows in steps]) for layer in layers
    }


def _pass_name(key: str) -> str:
    return key.partition("_")[2]


def _last_change(events: Sequence[tuple[str, object]]) -> str:
    """The step after which the value stays the last one."""
    decided = IMPORT
    for (_, before), (step, after) in pairwise(events):
        if before != after:
            decided = step
    return decided


def _imported_types(passes: Mapping[str, str], graph: Graph) -> dict[str, str]:
    """Layer types before the compiler's first pass."""
    first = graph_plan(next(iter(passes.values())), graph)
    return {layer: kind for layer, (kind, _) in _decisions(first, graph).items()}


def compare(
    network: str, rows: Iterable[Row], plan: Plan, graph: Graph, passes: Mapping[str, str]
) -> list[LayerDecision]:
    """The rows of one report beside a plan. `passes` may be empty: then nobody is named."""
    counters, naive = _decisions(plan, graph), naive_decisions(plan, graph)
    decided = deciding_passes(passes, graph)
    imported = _imported_types(passes, graph) if passes else {}
    found = []
    for row in rows:
        layer, kind = row.text("layer"), row.text("ov_layer_type")
        layer_type, decision = counters.get(layer, ("", _NO_ROW))
        one = LayerDecision(
            network,
            layer,
            kind,
            _published(row),
            layer_type,
            decision,
            naive.get(layer, _NO_ROW),
            decided.get(layer, IMPORT) if passes else "",
        )
        if passes and not one.agrees and imported.get(layer) != kind:
            one = replace(one, decided_by=IMPORT)
        found.append(one)
    return found


def _published(row: Row) -> Decision:
    return row.text("exec_status"), row.text("ov_exec_type")


def report_rows(folder: Path) -> dict[str, list[Row]]:
    """Rows of the reports that lie in `folder`, by network, in the order of the files."""
    networks: dict[str, list[Row]] = {}
    for file in FILES:
        if (folder / file).exists():
            for row in read_rows(folder / file, _COLUMNS):
                networks.setdefault(row.text("network"), []).append(row)
    return networks


def mapping_rows(folder: Path, toolchain: Toolchain) -> list[LayerDecision]:
    """Every row of every report; a network that cannot be built or compiled has its reason."""
    found: list[LayerDecision] = []
    for network, rows in report_rows(folder).items():
        try:
            graph = build_published(network)
            compiled = toolchain.compile(graph, passes=True)
        except StrataError as error:
            found += [_not_compiled(network, row, str(error)) for row in rows]
            continue
        found += compare(network, rows, compiled.plan, graph, compiled.passes)
    return found


def _not_compiled(network: str, row: Row, reason: str) -> LayerDecision:
    published = _published(row)
    return LayerDecision(
        network, row.text("layer"), row.text("ov_layer_type"), published, reason=reason
    )


def agreement_frame(rows: Sequence[LayerDecision]) -> pd.DataFrame:
    """Per network and in all: layers, those that agree, and in percent; both comparisons."""
    networks = list(dict.fromkeys(row.network for row in rows))
    records = []
    for network in (*networks, "all"):
        chosen = [row for row in rows if network in (row.network, "all")]
        agree, naive = (
            sum(map(bool, flags))
            for flags in zip(*((row.agrees, row.agrees_naively) for row in chosen), strict=True)
        )
        records.append(
            {
                "network": network,
                "layers": len(chosen),
                "agree": agree,
                "agree (%)": 100 * agree / len(chosen),
                "agree naively": naive,
                "agree naively (%)": 100 * naive / len(chosen),
            }
        )
    return pd.DataFrame(records)


def _text(decision: Decision) -> str:
    return " ".join(decision) if any(decision) else "no row"


def disagreement_frame(rows: Sequence[LayerDecision]) -> pd.DataFrame:
    """Layers that differ, and the pass (or the import) in which our compiler's decision falls."""
    return pd.DataFrame(
        [
            {
                "network": row.network,
                "layer": row.layer,
                "published": f"{row.published_type}: {_text(row.published)}",
                "compiled": f"{row.layer_type}: {_text(row.counters)}"
                if row.layer_type
                else "no row",
                "decided by": row.decided_by,
                "reason": row.reason,
            }
            for row in rows
            if not row.agrees
        ],
        columns=["network", "layer", "published", "compiled", "decided by", "reason"],
    )


def decision_frame(rows: Sequence[LayerDecision]) -> pd.DataFrame:
    """What the compiler decided, how often, and in which pass, over the layers that agree."""
    counts = Counter(
        (row.published_type, *row.published, row.decided_by) for row in rows if row.agrees
    )
    return pd.DataFrame(
        [(*key, count) for key, count in sorted(counts.items())],
        columns=["layer type", "execution status", "execution type", "decided by", "layers"],
    )


def layer_frame(rows: Sequence[LayerDecision]) -> pd.DataFrame:
    """Every row of every report."""
    return pd.DataFrame(
        {
            "network": [row.network for row in rows],
            "layer": [row.layer for row in rows],
            "layer type": [row.published_type for row in rows],
            "published": [_text(row.published) for row in rows],
            "compiled": [_text(row.counters) for row in rows],
            "naively": [_text(row.naive) for row in rows],
            "agrees": ["yes" if row.agrees else "no" for row in rows],
            "decided by": [row.decided_by for row in rows],
        }
    )
