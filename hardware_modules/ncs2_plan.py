"""The compiler's plan in the terms of a graph: its layer names, and facts about each layer."""

import re
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from string import printable, whitespace
from typing import Any
from urllib.parse import quote, unquote

from hardware_modules.ncs2_dump import read_plan
from simulators.ncs2.engine import HARDWARE_STAGE
from simulators.ncs2.plan import Operand, Plan, Stage
from strata.graph import Graph
from strata.graph_json import graph_to_dict

PART = "//"  # between a layer's name and the part of it that a stage computes
# What names of operands and the compiler's lists of names give another meaning.
_SAFE = "".join(sorted(set(printable) - set('%,;"\\@<>[]{}|') - set(whitespace)))
# What the compiler calls the graph's layers, for it would mangle some names.
_LAYER = re.compile(r"\blayer(\d{5,})")
# What nGraph calls layers that nobody named: their type and a counter of the process.
_UNNAMED = re.compile(r"(?<![\w/])([A-Z][A-Za-z]*)_\d+(?![\w/])")
_AXES = "NCDHW"  # outermost first, as graphs have them


def printed_name(layer: str) -> str:
    """A layer's name inside an operand's or a stage's; `layer_name` undoes it."""
    return quote(layer, safe=_SAFE)


def layer_name(name: str) -> str:
    """The layer that `printed_name` printed so."""
    return unquote(name)


def compiler_names(graph: Graph) -> dict[str, str]:
    """By layer, the name under which the compiler gets it.

    In the order of the graph's own names: the compiler takes inputs and outputs in that order.
    """
    return {name: f"layer{place:05}" for place, name in enumerate(_sorted_names(graph))}


def _sorted_names(graph: Graph) -> list[str]:
    return sorted(layer.name for layer in graph.layers)


def graph_record(graph: Graph) -> dict[str, Any]:
    """The graph as the worker reads it."""
    record, names = graph_to_dict(graph), compiler_names(graph)
    for layer in record["layers"]:
        layer["name"] = names[layer["name"]]
        layer["inputs"] = [names[name] for name in layer.get("inputs", ())]
    outputs = [names[name] for name in graph.outputs]
    return {**record, "name": printed_name(graph.name), "outputs": outputs}


def layer_of(name: str, layers: Container[str]) -> str | None:
    """The graph's layer that a name of the compiler's is, or is a part of; None for its own."""
    base = name.rpartition(PART)[0]
    return name if name in layers else base if base in layers else None


def _nearest(start: str, steps: Mapping[str, Sequence[str]], layers: Container[str]) -> str | None:
    """The graph's layer nearest to one of the compiler's own, along the given steps."""
    pending, seen = [start], {start}
    while pending:
        for name in steps.get(pending.pop(0), ()):
            if found := layer_of(name, layers):
                return found
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return None


def _part_names(plan: Plan, layers: Container[str]) -> dict[str, str]:
    """Names for the layers into which the compiler split one of `layers`: LAYER//1, LAYER//2.

    The last of them has the layer's own name, so the others are found upstream of it. The
    compiler numbers them by a counter of its process: their own names differ from run to run.
    """
    own = [stage.layer for stage in plan.stages if stage.layer]
    own = [name for name in dict.fromkeys(own) if layer_of(name, layers) is None]
    if not own:
        return {}
    readers: dict[str, list[str]] = defaultdict(list)
    maker: dict[str, str] = {}
    stages = [stage for stage in without_injected(plan) if stage.layer]
    for stage in stages:
        maker.update((operand.name, stage.layer) for operand in stage.outputs)
    for stage in stages:
        for operand in stage.inputs:
            if operand.name in maker:
                readers[maker[operand.name]].append(stage.layer)
    makers: dict[str, list[str]] = defaultdict(list)
    for name, others in readers.items():
        for other in others:
            makers[other].append(name)
    counts: Counter[str] = Counter()
    parts: dict[str, str] = {}
    for name in own:
        if owner := _nearest(name, readers, layers) or _nearest(name, makers, layers):
            counts[owner] += 1
            parts[name] = f"{owner}{PART}{counts[owner]}"
    return parts


def _translated(name: str, layers: Sequence[str]) -> str:
    """A name of the compiler's with the graph's layers' names in it."""

    def ours(found: re.Match[str]) -> str:
        place = int(found[1])
        return layers[place] if place < len(layers) else found[0]

    return _LAYER.sub(ours, name)


def graph_plan(dump: str, graph: Graph) -> Plan:
    """The plan in a dump, with the graph's own names: printed ones in names of operands and stages.

    Without the graph's number in its process: the same graph has the same plan everywhere.
    """
    plan = read_plan(dump)
    layers = _sorted_names(graph)
    printed = [printed_name(name) for name in layers]

    def operands(given: Sequence[Operand]) -> tuple[Operand, ...]:
        return tuple(replace(each, name=_translated(each.name, printed)) for each in given)

    stages = tuple(
        replace(
            stage,
            name=_translated(stage.name, printed),
            layer=_translated(stage.layer, layers),
            inputs=operands(stage.inputs),
            outputs=operands(stage.outputs),
            injected_into=stage.injected_into and _translated(stage.injected_into, printed),
        )
        for stage in plan.stages
    )
    attributes = {key: value for key, value in plan.attributes.items() if key != "index"}
    return Plan(layer_name(plan.network), stages, attributes)


def _unnamed(plan: Plan) -> dict[str, str]:
    """Names that the compiler made up, in the order of the stages, and their types."""
    texts = [
        text
        for stage in plan.stages
        for text in (stage.name, *(each.name for each in (*stage.inputs, *stage.outputs)))
    ]
    return {found[0]: found[1] for text in texts for found in _UNNAMED.finditer(text)}


def name_layers(dump: str, graph: Graph) -> tuple[Plan, dict[str, str]]:
    """The plan in a dump of the graph's final form, layers of the compiler's own named as parts,
    and what its names of layers mean. What else it named is numbered as the stages come."""
    ours = compiler_names(graph)
    plan = read_plan(dump)
    own = _part_names(plan, set(ours.values()))
    meaning = {name: layer for layer, name in ours.items()}
    for name, part in own.items():
        layer, _, number = part.rpartition(PART)
        meaning[name] = f"{meaning[layer]}{PART}{number}"
    for name, kind in _unnamed(plan).items():
        own.setdefault(name, f"{kind.lower()}{len(own)}")
    if own:
        names = re.compile(rf"(?<![\w/])(?:{'|'.join(map(re.escape, own))})(?![\w/])")
        dump = names.sub(lambda found: own[found[0]], dump)
    return graph_plan(dump, graph), meaning


def _shape(operand: Operand) -> list[int]:
    return [operand.dims[axis] for axis in _AXES if axis in operand.dims]


def _place(operands: Sequence[Operand]) -> str:
    """Where tensors lie: CMX, DDR, both, or nothing where there is none."""
    places = {"CMX" if operand.on_chip else "DDR" for operand in operands}
    return "both" if len(places) > 1 else next(iter(places), "")


def _layer_facts(name: str, stages: Sequence[Stage], elsewhere: set[str]) -> dict[str, Any]:
    """What the plan tells of a layer's stages. `elsewhere`: operands that other stages read."""
    made = {each.name for stage in stages for each in stage.outputs}
    used = {each.name for stage in stages for each in stage.inputs}
    reads = [
        each
        for stage in stages
        for each in stage.inputs
        if each.name not in made and each.usage not in ("Const", "Fake")
    ]
    writes = [
        each
        for stage in stages
        for each in stage.outputs
        if each.usage != "Temp" and (each.name not in used or each.name in elsewhere)
    ]
    running = [stage for stage in stages if stage.runs]
    tiles = [stage for stage in running if stage.type == HARDWARE_STAGE]
    modes = {str(tile.attributes.get("tiling", {}).get("mode", "")) for tile in tiles}
    return {
        "layer": name,
        "reads_from": _place(reads),
        "writes_to": _place(writes),
        "stages": len(running),
        "tiles": len(tiles),
        "modes": sorted(modes - {""}),
        "injected": sum(stage.injected_into is not None for stage in running),
        "output_shape": _shape(writes[0]) if len({each.name for each in writes}) == 1 else None,
    }


def without_injected(plan: Plan) -> list[Stage]:
    """The plan's stages; a stage that runs another one inside is shown that one's operands too,
    which are not its own."""
    injected: dict[str, set[str]] = defaultdict(set)
    for stage in plan.stages:
        if stage.injected_into is not None:
            operands = (*stage.inputs, *stage.outputs)
            injected[stage.injected_into].update(each.name for each in operands)
    return [
        replace(
            stage,
            inputs=tuple(each for each in stage.inputs if each.name not in foreign),
            outputs=tuple(each for each in stage.outputs if each.name not in foreign),
        )
        if stage.injected_into is None and (foreign := injected.get(stage.name))
        else stage
        for stage in plan.stages
    ]


def _original(operand: Operand) -> str:
    """The layer or input whose tensor an operand is, or a part or copy of."""
    return layer_name(operand.name.partition("@")[0])


def plan_facts(plan: Plan, stage_times_s: Sequence[float] | None = None) -> dict[str, list[Any]]:
    """What the counters do not tell, JSON-serialisable.

    `layers`: per layer that has stages, where its inputs and outputs lie (CMX, DDR, both), its
    running stages, hardware tiles and tiling modes, stages injected into others, output shape
    where it is written in one piece.
    `inserted`: the running stages of no layer, with the tensor they convert and by what they
    share their row's time: their own times, else the elements they convert; what is injected
    into another stage is in that one's time. `inside`: layers that ran only inside stages of
    others.
    """
    times_s = dict(zip((stage.name for stage in plan.stages), stage_times_s or (), strict=False))
    stages: dict[str, list[Stage]] = defaultdict(list)
    readers: dict[str, set[str]] = defaultdict(set)
    for stage in without_injected(plan):
        stages[stage.layer].append(stage)
        for operand in stage.inputs:
            readers[operand.name].add(stage.layer)
    inserted = stages.pop("", [])
    layers = [
        _layer_facts(name, members, {operand for operand, by in readers.items() if by - {name}})
        for name, members in stages.items()
        if any(stage.runs for stage in members)
    ]
    return {
        "layers": layers,
        "inserted": [
            {
                "name": stage.name,
                "type": stage.type,
                "converts": _original(stage.inputs[0]),
                "weight": times_s.get(stage.name, stage.inputs[0].elements),
            }
            for stage in inserted
            if stage.runs and stage.injected_into is None
        ],
        "inside": [
            each["layer"]
            for each in layers
            if each["stages"] and each["injected"] == each["stages"]
        ],
    }
