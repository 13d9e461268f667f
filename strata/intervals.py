"""Prediction intervals of layers and networks: how far a time may lie from its estimate.

Intervals are multiplicative: a half-width w means from estimate x exp(-w) to estimate x exp(w).
Half-widths are quantiles of |log(measured / estimated)| over a scale, taken by conformal
prediction from layers and networks that the models had not seen (docs/intervals.md); what is kept
here is plain numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import exp, hypot, isfinite
from typing import Any

import numpy as np

from strata.errors import ArtefactError
from strata.forest import Forest
from strata.traffic import Trees
from strata.validity import check_model_key

LEVELS = (0.5, 0.8, 0.9, 0.95)
SHOWN_LEVEL = 0.9
# The half-width that stands for a layer's spread in its network's: that of 80%, less moved by
# rare large errors than wider ones, less by rounding than narrower ones.
_SPREAD_LEVEL = 0.8
LEAST_DIFFICULTY = 1e-4  # a forest may say 0 where all that it knows was met exactly
_WIDEST = 12.0  # a factor of 160,000: beyond it nothing more is said, and exp stays finite

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Widths:
    """Half-widths by level, of layers whose time lies up to a limit (None: any)."""

    up_to: float | None
    half_widths: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Widening:
    """Factor on a layer's half-widths by its distance from measured layers, in units.

    Linear between `distances`, constant beyond them; never falling, at least 1. `outside` is a
    further factor beyond the range of a feature.
    """

    distances: tuple[float, ...] = (0.0,)
    factors: tuple[float, ...] = (1.0,)
    outside: float = 1.0

    def of(self, distances: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """(rows,) factors; a distance that is not known (NaN) counts as the largest."""
        known = np.nan_to_num(distances, nan=np.inf)
        factors = np.interp(known, self.distances, self.factors)
        return factors * np.where(outside, self.outside, 1.0)


@dataclass(frozen=True, slots=True)
class NetworkSpread:
    """Scale of a network's total from the spreads of its layers, and half-widths in that unit.

    Layers of one network miss together: the variance of the total's logarithm is
    (`common` x mean spread of its layers, by time)^2 + (`per_layer_s` x layers / total)^2
    + `floor`^2. `widths` holds the half-widths in units of the scale, of all networks alike.
    """

    common: float
    per_layer_s: float
    floor: float
    widths: tuple[Widths, ...]

    def scale(self, terms: Sequence[float]) -> float:
        """The scale of a total from its `network_terms`."""
        spread, layers_per_s = terms
        return hypot(self.common * spread, self.per_layer_s * layers_per_s, self.floor)


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """All that is known of how far estimates of one kind of layer model lie off.

    `kind` is the kind of model whose estimates these are. `layers` gives the half-widths of an
    operation's layers (by model key, in order of time) in units of their difficulty, which the
    trees of `difficulty` say (1 without). `pooled` are those of operations with too few rows for
    their own, `unmeasured` those of layers without any model. Empty where nothing is known.
    """

    kind: str = "mixed"
    levels: tuple[float, ...] = LEVELS
    layers: Mapping[str, tuple[Widths, ...]] = field(default_factory=dict)
    difficulty: Mapping[str, Trees] = field(default_factory=dict)
    pooled: tuple[float, ...] = ()
    unmeasured: tuple[float, ...] = ()
    widening: Widening = Widening()
    network: NetworkSpread | None = None

    @property
    def spread_column(self) -> int:
        """The level that stands for a layer's spread in its network's."""
        return self.levels.index(_SPREAD_LEVEL) if _SPREAD_LEVEL in self.levels else 0

    def half_widths(self, key: str, time_s: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
        """(rows, levels) of layers with a model, before widening; NaN where nothing is known.

        `time_s` and `difficulty` (rows,) are the layers' estimates and `difficulty_of` them.
        """
        found = np.full((len(time_s), len(self.levels)), np.nan)
        bins = self.layers.get(key, ())
        if not bins:
            if self.pooled:
                found[:] = self.pooled
            return found
        return chosen_widths(bins, time_s) * difficulty[:, None]

    def difficulty_of(self, key: str, matrix: np.ndarray) -> np.ndarray:
        """(rows,) how far layers of a (rows, len(FEATURES)) matrix are missed on average."""
        if key not in self.difficulty:
            return np.ones(len(matrix))
        return np.maximum(self.difficulty[key].predict(matrix), LEAST_DIFFICULTY)


def chosen_widths(bins: Sequence[Widths], values: np.ndarray) -> np.ndarray:
    """(rows, levels) half-widths of the bin that each value lies in."""
    edges = [each.up_to for each in bins[:-1] if each.up_to is not None]
    table = np.array([each.half_widths for each in bins])
    return table[np.searchsorted(edges, values)]


def network_terms(times_s: np.ndarray, spreads: np.ndarray, total_s: float) -> tuple[float, float]:
    """What `NetworkSpread` looks at, of (layers,) times and spreads: the mean of the spreads, by
    share of the total, and layers per second.
    """
    return float(times_s @ spreads) / total_s, len(times_s) / total_s


def interval(time_s: float, half_width: float) -> Interval:
    """Lower and upper end in seconds."""
    factor = exp(min(half_width, _WIDEST))
    return time_s / factor, time_s * factor


def intervals_to_dict(intervals: Intervals, store: Callable[[Forest], str]) -> dict[str, Any]:
    """A JSON-ready dict; `store` takes each forest and returns the name to refer to it by."""
    difficulty = {
        key: {"forest": store(each.forest), "feature_names": list(each.feature_names)}
        for key, each in intervals.difficulty.items()
    }
    return asdict(replace(intervals, difficulty={})) | {"difficulty": difficulty}


def intervals_from_dict(data: Any, forests: Mapping[str, Forest], where: str) -> Intervals:
    """What `intervals_to_dict` wrote; ArtefactError names `where` and what is wrong."""
    try:
        return _from_dict(data, forests)
    except KeyError as error:
        raise ArtefactError(f"{where}: lacks or refers to unknown {error}") from None
    except (ArtefactError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{where}: {' '.join(str(error).split())}") from None


def _from_dict(data: Any, forests: Mapping[str, Forest]) -> Intervals:
    levels = _numbers(data["levels"], "levels", above=0.0, below=1.0)
    if list(levels) != sorted(set(levels)) or not levels:
        raise ArtefactError(f"levels are {list(levels)}, must rise from one to the next")
    layers = {}
    for key, bins in data["layers"].items():
        check_model_key(key)
        layers[key] = _bins(bins, levels, key)
    difficulty = {}
    for key, each in data["difficulty"].items():
        check_model_key(key)
        difficulty[key] = Trees(forests[each["forest"]], tuple(each["feature_names"]))
    return Intervals(
        kind=str(data["kind"]),
        levels=levels,
        layers=layers,
        difficulty=difficulty,
        pooled=_half_widths(data["pooled"], levels, "pooled", empty=True),
        unmeasured=_half_widths(data["unmeasured"], levels, "unmeasured", empty=True),
        widening=_widening(data["widening"]),
        network=_network(data["network"], levels),
    )


def _numbers(
    values: Any, name: str, above: float | None = None, below: float | None = None
) -> tuple[float, ...]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ArtefactError(f"{name} holds {value!r}, must be finite numbers")
        if (above is not None and value <= above) or (below is not None and value >= below):
            raise ArtefactError(f"{name} holds {value!r}, must be between {above} and {below}")
    return tuple(float(value) for value in values)


def _half_widths(
    values: Any, levels: tuple[float, ...], name: str, empty: bool = False
) -> tuple[float, ...]:
    found = _numbers(values, name)
    if empty and not found:
        return found
    if len(found) != len(levels):
        raise ArtefactError(f"{name} has {len(found)} half-widths, must have {len(levels)}")
    if found[0] < 0 or list(found) != sorted(found):
        raise ArtefactError(f"half-widths of {name} are {list(found)}, must rise from 0 or more")
    return found


def _bins(data: Any, levels: tuple[float, ...], key: str) -> tuple[Widths, ...]:
    limits = [each["up_to"] for each in data]
    known = _numbers(limits[:-1], f"up_to of {key}")
    if not limits or limits[-1] is not None or list(known) != sorted(known):
        raise ArtefactError(f"up_to of {key} is {limits}, must rise and end with null")
    widths = [_half_widths(each["half_widths"], levels, key) for each in data]
    return tuple(Widths(*each) for each in zip((*known, None), widths, strict=True))


def _widening(data: Any) -> Widening:
    distances = _numbers(data["distances"], "distances")
    factors = _numbers(data["factors"], "factors")
    (outside,) = _numbers([data["outside"]], "outside")
    rising = all(list(v) == sorted(v) for v in (distances, factors))
    if not distances or len(distances) != len(factors) or not rising:
        raise ArtefactError("widening: distances and factors must be as many and rise")
    if factors[0] < 1 or outside < 1:
        raise ArtefactError(f"widening: factors are {list(factors)}, {outside}, must be 1 or more")
    return Widening(distances, factors, outside)


def _network(data: Any, levels: tuple[float, ...]) -> NetworkSpread | None:
    if data is None:
        return None
    parts = _numbers([data[name] for name in ("common", "per_layer_s", "floor")], "network")
    if min(parts) < 0 or max(parts) <= 0:
        raise ArtefactError(f"network: parts are {list(parts)}, must be 0 or more, one above")
    common, per_layer_s, floor = parts
    return NetworkSpread(common, per_layer_s, floor, _bins(data["widths"], levels, "network"))
