"""A platform model moved to another set-up by measurements of a few whole networks.

Another clock, runtime or number of threads slows different parts of a network differently: what
is bound by computing, by memory, what is too small for either, what the host does, what is
fetched in every run, and what a network costs beside its layers. An `Adjustment` holds a factor
for each of these parts, and costs per network and per layer that the original did not have.
`model_gen.recalibrate` fits them; estimates apply them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, log
from typing import TYPE_CHECKING, Any

from strata import operations as op
from strata.errors import ArtefactError, SchemaError, StrataError, legal
from strata.execution import PLACEMENTS, ExecutedLayer
from strata.intervals import Interval, interval
from strata.layer import OPERATIONS

if TYPE_CHECKING:
    from strata.answers import Answer
    from strata.platform_model import NetworkOverhead

FORMS = (
    "unchanged",
    "factor",
    "factor and constants",
    "parts",
    "parts and constants",
    "operations",
    "operations and constants",
)
# what a network costs beside its layers, as `NetworkOverhead` has it
OVERHEADS = ("per_network", "per_layer", "per_input_byte", "per_output_byte")
_PART_OF_BOUND = {"compute": "compute", "memory": "memory", "overhead": "small"}
_BOUND_PARTS = tuple(_PART_OF_BOUND.values())
PARTS = (*_BOUND_PARTS, *PLACEMENTS, *OVERHEADS)
_CLASS_OF = {
    "convolution": "convolution",
    "transposed_convolution": "convolution",
    "depthwise_convolution": "depthwise",
    **dict.fromkeys(("dense", "matmul", "lstm"), "dense"),
    **{name: "pooling" for name in OPERATIONS if name.endswith("_pooling")},
    **dict.fromkeys((*op.ELEMENTWISE, "activation", "batch_normalization"), "elementwise"),
}
OTHER = "other"
CLASSES = (*dict.fromkeys(_CLASS_OF.values()), OTHER)


def layer_part(operation: str, placement: str, bound: str) -> str:
    """The finest part an executed layer belongs to: "host", or "compute/convolution".

    `bound` is that of its estimate; "none" and "unknown" go with the small ones, and have no time.
    """
    if placement:
        return placement
    return f"{_PART_OF_BOUND.get(bound, 'small')}/{_CLASS_OF.get(operation, OTHER)}"


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """A network that a platform model was recalibrated with, and its measured seconds."""

    name: str
    time_s: float

    def __post_init__(self) -> None:
        _positive(f"network {self.name!r}: time_s", self.time_s)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Factors of the parts of a network's time, and costs that the original had not.

    `form` is one of FORMS. `scales` are by part ("memory") or by part and class of operation
    ("memory/pooling"), the finer first; `factor` is that of parts that they do not name.
    `per_network_s` and `per_layer_s` are added to the network's overhead. `interval_factor`, at
    least 1, widens what the original said of its own error. `original` and `sha256` name the
    bundle it was made from, `kind` the layer models that it was fitted to. The errors are means
    over `networks`, in percent: of the original, and of recalibrations that did not see the
    network.
    """

    form: str
    factor: float
    original: str
    sha256: str
    kind: str
    networks: tuple[MeasuredNetwork, ...]
    before_percent: float
    after_percent: float
    scales: dict[str, float] = field(default_factory=dict, hash=False)
    per_network_s: float = 0.0
    per_layer_s: float = 0.0
    interval_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise SchemaError(f"adjustment: form is {self.form!r}, legal: {legal(FORMS)}")
        for name in ("original", "sha256", "kind"):
            if not isinstance(getattr(self, name), str):
                raise SchemaError(f"adjustment: {name} is {getattr(self, name)!r}, must be text")
        for part, scale in self.scales.items():
            name, _, operations = part.partition("/")
            fine = name in _BOUND_PARTS and operations in CLASSES
            if part not in PARTS and not fine:
                raise SchemaError(f"adjustment: unknown part {part!r}, legal: {legal(PARTS)}")
            _positive(f"adjustment: scale of {part}", scale)
        _positive("adjustment: factor", self.factor)
        for name in ("per_network_s", "per_layer_s", "before_percent", "after_percent"):
            _positive(f"adjustment: {name}", getattr(self, name), zero=True)
        _positive("adjustment: interval_factor", self.interval_factor)
        if self.interval_factor < 1:
            raise SchemaError(
                f"adjustment: interval_factor is {self.interval_factor}, must be >= 1"
            )

    def scale(self, part: str) -> float:
        """The factor of a part, given as `layer_part` does or by its name in PARTS."""
        if part in self.scales:
            return self.scales[part]
        return self.scales.get(part.partition("/")[0], self.factor)

    def overhead(self, original: "NetworkOverhead") -> "NetworkOverhead":
        """What a network costs beside its layers in the new set-up."""
        scaled = {
            f"{part}_s": getattr(original, f"{part}_s") * self.scale(part) for part in OVERHEADS
        }
        scaled["per_network_s"] += self.per_network_s
        scaled["per_layer_s"] += self.per_layer_s
        return replace(original, **scaled)

    @property
    def summary(self) -> str:
        """What it was made from, in a few words."""
        count = len(self.networks)
        return f"{self.original} with {count} measured networks ({self.form})"


def adjusted_answers(
    executed: Sequence[ExecutedLayer], answers: Sequence["Answer"], adjustment: Adjustment
) -> list["Answer"]:
    """The answers with times of the new set-up; the peak of a part is taken to change alike."""

    def adjusted(layer: ExecutedLayer, answer: "Answer") -> "Answer":
        if answer.time_s is None:
            return answer
        part = layer_part(layer.operation, layer.placement, answer.bound)
        return replace(answer, time_s=answer.time_s * adjustment.scale(part))

    return [adjusted(*pair) for pair in zip(executed, answers, strict=True)]


def moved_intervals(
    intervals_s: Mapping[float, Interval], original_s: float, time_s: float, factor: float
) -> dict[float, Interval]:
    """The original's intervals by level around another time, half-widths `factor` times as large.

    Half-widths are those that the original's own estimate has: they were calibrated on its times.
    """
    return {
        level: interval(time_s, factor * log(upper_s / original_s))
        for level, (_, upper_s) in intervals_s.items()
    }


def adjustment_to_dict(adjustment: Adjustment) -> dict[str, Any]:
    """A JSON-ready dict, SI units."""
    return asdict(adjustment)


def adjustment_from_dict(data: object, where: str) -> Adjustment:
    """What `adjustment_to_dict` wrote; ArtefactError names `where` and what is wrong."""
    try:
        if not isinstance(data, Mapping):
            raise SchemaError(f"found {type(data).__name__}, must be dict")
        networks = tuple(MeasuredNetwork(**each) for each in data["networks"])
        return Adjustment(**{**data, "networks": networks})
    except KeyError as error:
        raise ArtefactError(f"{where}: lacks {error}") from None
    except (StrataError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtefactError(f"{where}: {error}") from None


def _positive(what: str, value: object, *, zero: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not isfinite(value) or value < 0 or (value == 0 and not zero):  # type: ignore[arg-type,operator]
        raise SchemaError(f"{what} is {value!r}, must be a number {'>= 0' if zero else 'above 0'}")
