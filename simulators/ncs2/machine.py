"""Times of a plan's stages, and of a whole inference.

Stages run one after the other. A stage that the compiler injected into another runs beside it. A
copy delays the engine as long as both want DDR: while the engine waits for weights and first rows,
and where computing leaves no slack beside reading. Software holds its host up while it is started.
What an injected stage adds is in its host's time, as in the device's own counters, where it has no
entry.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulators.ncs2.engine import HARDWARE_STAGE, EngineTime, engine_time
from simulators.ncs2.hardware_model import Ncs2
from simulators.ncs2.plan import Operand, Plan, Stage
from simulators.ncs2.software import COPY_STAGE, beside_s, copy_s, work_s


@dataclass(slots=True)
class _Beside:
    """Seconds of what is injected into a stage: in all, wanting DDR, holding the stage up."""

    total_s: float = 0.0
    ddr_s: float = 0.0
    held_s: float = 0.0


def _alone(stage: Stage, hardware: Ncs2) -> EngineTime:
    """A stage with nothing injected."""
    if stage.type == HARDWARE_STAGE:
        return engine_time(stage, hardware)
    return EngineTime(beside_s(stage, hardware))


def _together(host: EngineTime, beside: _Beside) -> float:
    """Seconds of a host and what runs beside it."""
    waiting_s = min(beside.ddr_s, host.unhidden_s)
    streaming_s = min(beside.ddr_s, host.ddr_s) - waiting_s
    delay_s = waiting_s + max(streaming_s - host.slack_s, 0.0)
    return max(host.total_s + delay_s, beside.total_s) + beside.held_s


def _injected(plan: Plan, hardware: Ncs2) -> Mapping[str, _Beside]:
    """What runs beside each host, by the host's name."""
    hosts: dict[str, _Beside] = defaultdict(_Beside)
    for stage in plan.stages:
        if stage.injected_into is None or not stage.runs:
            continue
        beside = hosts[stage.injected_into]
        if stage.type != COPY_STAGE:
            beside.total_s += work_s(stage, hardware)
            beside.held_s += hardware.injected_software_s
            continue
        seconds = copy_s(stage, hardware)
        beside.total_s += seconds
        if not (stage.inputs[0].on_chip and stage.outputs[0].on_chip):
            beside.ddr_s += seconds
    return hosts


def stage_times(plan: Plan, hardware: Ncs2) -> tuple[float, ...]:
    """Seconds of each stage, in the plan's order; 0 for stages that do nothing or are injected.

    MatchError for a hardware stage without the compiler's numbers.
    """
    injected, nothing = _injected(plan, hardware), _Beside()
    return tuple(
        0.0
        if not stage.runs or stage.injected_into is not None
        else _together(_alone(stage, hardware), injected.get(stage.name, nothing))
        for stage in plan.stages
    )


def _elements(operands: Sequence[Operand], usage: str) -> int:
    """Values of all tensors of a usage, each counted once."""
    return sum({each.name: each.elements for each in operands if each.usage == usage}.values())


def network_s(stage_times_s: Sequence[float], plan: Plan, hardware: Ncs2) -> float:
    """Synchronous latency of an inference: start, link and all stages."""
    sent = _elements([each for stage in plan.stages for each in stage.inputs], "Input")
    received = _elements([each for stage in plan.stages for each in stage.outputs], "Output")
    moved = sent * hardware.link_input_bytes + received * hardware.link_output_bytes
    return hardware.run_start_s + moved / hardware.link_bytes_per_s + sum(stage_times_s)
