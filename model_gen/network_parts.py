"""A network's estimate in the parts that another set-up changes differently."""

from dataclasses import dataclass, replace
from math import log

from strata.adjustment import OVERHEADS, layer_part
from strata.errors import FitError
from strata.estimate import Estimate, estimate_executed
from strata.graph import Graph, with_bits
from strata.link import leaving_bytes
from strata.mapping import apply_mapping
from strata.operations import Input
from strata.platform_model import PlatformModel

KIND = "mixed"


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """A network's estimate in parts: seconds by `layer_part` and of OVERHEADS.

    `layers` counts the executed layers that take time. `half_width` is that of the 90% interval
    of the estimate's logarithm (`strata.intervals`), None where no interval is known.
    """

    name: str
    seconds: dict[str, float]
    layers: int
    half_width: float | None = None

    @property
    def total_s(self) -> float:
        """The network's estimate."""
        return sum(self.seconds.values())


def split_estimate(graph: Graph, model: PlatformModel, kind: str = KIND) -> NetworkParts:
    """A network's estimate in parts, without any adjustment.

    FitError, one line, if layers take a time that nobody knows: a total without them cannot be
    compared with a measured one.
    """
    model = replace(model, adjustment=None)
    graph = with_bits(graph, model.header.bits)
    executed = apply_mapping(graph, model.mapping)
    found = estimate_executed(graph, executed, model, kind)
    _check_whole(found)
    run = [layer for layer in executed if not isinstance(layer.root.parameters, Input)]
    seconds: dict[str, float] = {}
    for layer, row in zip(run, found.layers, strict=True):
        part = layer_part(layer.operation, layer.placement, row.bound)
        seconds[part] = seconds.get(part, 0.0) + (row.time_s or 0.0)
    layers = sum(bool(row.time_s) for row in found.layers)
    amounts = (1, layers, graph.input_bytes, leaving_bytes(graph, run))
    for part, amount in zip(OVERHEADS, amounts, strict=True):
        seconds[part] = getattr(model.overhead, f"{part}_s") * amount
    around = found.interval_s()
    half_width = None if around is None else log(around[1] / found.total_s)
    kept = {part: time_s for part, time_s in seconds.items() if time_s > 0}
    return NetworkParts(graph.name, kept, layers, half_width)


def _check_whole(found: Estimate) -> None:
    if found.untimed:
        raise FitError(
            f"network '{found.network}' on {found.platform}: {found.untimed} executed layers take "
            "a time that is not known; legal: networks whose whole time can be estimated"
        )
    if not found.total_s > 0:
        raise FitError(f"network '{found.network}': estimated to take no time; legal: above 0 s")
