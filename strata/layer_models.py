"""Layer models: how long an executed layer takes, with all fitted parameters as plain data.

Four kinds (ANNETTE, section 5.1): roofline (eq. 1), refined roofline (eqs. 2 and 4), statistical
(eq. 5), mixed (eq. 6). Each reads a (rows, len(FEATURES)) matrix, columns in the order of
`strata.execution.FEATURES`. An operation that has no operations to count (concat, transpose)
has `peak_ops_per_s` None; its statistical efficiency then scales the bandwidth.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from strata import equations
from strata.errors import ArtefactError, SchemaError, StrataError, legal
from strata.execution import FEATURES
from strata.forest import Forest

KINDS = ("mixed", "statistical", "refined", "roofline")
# keeps a utilisation positive, as eq. 5 wants it, whatever a forest's leaves say
MINIMUM_UTILISATION = 1e-9


@dataclass(frozen=True, slots=True)
class _Terms:
    """Compute and memory terms of an equation, in seconds, (rows,) each, and the floor."""

    compute_s: np.ndarray
    memory_s: np.ndarray
    floor_s: float

    @property
    def time_s(self) -> np.ndarray:
        longest = np.maximum(self.compute_s, self.memory_s)
        return np.where(longest > 0, longest, self.floor_s)


class _LayerModel:
    """What all kinds share; each kind brings its terms and its efficiency."""

    __slots__ = ()

    def _terms(self, matrix: np.ndarray) -> _Terms:
        raise NotImplementedError

    @property
    def peaks(self) -> "Roofline":
        """The roofline under this model."""
        raise NotImplementedError

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """The u of the model's equation, (rows,), in (0, 1]; ones for the roofline."""
        raise NotImplementedError

    def time_s(self, matrix: np.ndarray) -> np.ndarray:
        """Estimated time of each row in seconds, (rows,), always greater than 0.

        SchemaError if the matrix has another shape or a value that is negative or not finite.
        """
        return self._terms(_checked(matrix)).time_s

    def bound(self, matrix: np.ndarray) -> np.ndarray:
        """Which term of the model's equation is the larger, (rows,): "compute" or "memory"."""
        terms = self._terms(_checked(matrix))
        return np.where(terms.compute_s > terms.memory_s, "compute", "memory")

    def utilisation(self, matrix: np.ndarray) -> np.ndarray:
        """Share of the peak attained, (rows,): f / (P T), or D / (B T) without ops; in [0, 1].

        0 only for rows with no work of that sort.
        """
        time_s = self.time_s(matrix)
        peaks = self.peaks
        if peaks.moves_only:
            share = _memory_s(matrix, peaks) / time_s
        else:
            share = _compute_s(matrix, peaks) / time_s
        return np.minimum(share, 1.0)


@dataclass(frozen=True, slots=True)
class Roofline(_LayerModel):
    """Equation 1. A peak is None where no row had such work; SI units.

    `floor_s` (the smallest time seen for the operation) answers only where both terms are 0.
    """

    kind: ClassVar[str] = "roofline"

    peak_ops_per_s: float | None
    peak_bytes_per_s: float | None
    floor_s: float

    def __post_init__(self) -> None:
        for name in ("peak_ops_per_s", "peak_bytes_per_s", "floor_s"):
            value = getattr(self, name)
            if value is None and name != "floor_s":
                continue
            if not _is_number(value) or not value > 0:
                raise SchemaError(f"roofline: {name} is {value!r}, must be a number above 0")

    @property
    def peaks(self) -> "Roofline":
        """Itself."""
        return self

    @property
    def moves_only(self) -> bool:
        """True if the operation has no operations to count, only data to move."""
        return self.peak_ops_per_s is None

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """Ones, (rows,)."""
        return np.ones(len(_checked(matrix)))

    def _terms(self, matrix: np.ndarray) -> _Terms:
        return _Terms(_compute_s(matrix, self), _memory_s(matrix, self), self.floor_s)


@dataclass(frozen=True, slots=True)
class Unrolling:
    """One dimension of equation 4: feature x_i, size s_i (elements), efficiency alpha_i."""

    feature: str
    size: int
    alpha: float

    def __post_init__(self) -> None:
        _known_features("unrolling", (self.feature,))
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise SchemaError(f"unrolling of {self.feature}: size is {self.size!r}, must be >= 1")
        if not _is_number(self.alpha) or not 0 <= self.alpha <= 1:
            raise SchemaError(f"unrolling of {self.feature}: alpha is {self.alpha!r}, must be 0..1")


@dataclass(frozen=True, slots=True)
class Refined(_LayerModel):
    """Equations 2 and 4; without unrolling it is the roofline."""

    kind: ClassVar[str] = "refined"

    roofline: Roofline
    unrolling: tuple[Unrolling, ...] = ()

    @property
    def peaks(self) -> Roofline:
        """The roofline it refines."""
        return self.roofline

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """u_eff of equation 4, (rows,), in (0, 1]."""
        matrix = _checked(matrix)
        if not self.unrolling:
            return np.ones(len(matrix))
        x = _select(matrix, tuple(each.feature for each in self.unrolling))
        s = [each.size for each in self.unrolling]
        alpha = [each.alpha for each in self.unrolling]
        return equations.utilisation_refined(x, s, alpha)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        u_eff = self.efficiency(matrix)
        compute_s = _compute_s(matrix, self.roofline, u_eff)
        return _Terms(compute_s, _memory_s(matrix, self.roofline), self.roofline.floor_s)


@dataclass(frozen=True, slots=True, eq=False)
class Statistical(_LayerModel):
    """Equation 5; the forest gives log(u_stat) from the columns `feature_names`."""

    kind: ClassVar[str] = "statistical"

    roofline: Roofline
    forest: Forest
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_forest(self.forest, self.feature_names)

    @property
    def peaks(self) -> Roofline:
        """The roofline whose peak u_stat scales."""
        return self.roofline

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """u_stat of equation 5, (rows,), in (0, 1]."""
        return np.minimum(_u_stat(self.forest, self.feature_names, _checked(matrix)), 1.0)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        return _efficient_terms(matrix, self.roofline, self.efficiency(matrix))


@dataclass(frozen=True, slots=True, eq=False)
class Mixed(_LayerModel):
    """Equation 6; the forest gives log(u_stat) of what u_eff leaves unexplained."""

    kind: ClassVar[str] = "mixed"

    refined: Refined
    forest: Forest
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_forest(self.forest, self.feature_names)

    @property
    def peaks(self) -> Roofline:
        """The roofline under the refined roofline."""
        return self.refined.roofline

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """u_eff u_stat of equation 6, (rows,), in (0, 1]; u_stat alone if it only moves data.

        u_stat may exceed 1 where a layer escapes the unrolling (an image's three channels, for
        which some arrays have another mode); the product, the share of the peak, may not.
        """
        u_stat = _u_stat(self.forest, self.feature_names, _checked(matrix))
        product = u_stat if self.peaks.moves_only else self.refined.efficiency(matrix) * u_stat
        return np.minimum(product, 1.0)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        return _efficient_terms(matrix, self.peaks, self.efficiency(matrix))


LayerModel = Roofline | Refined | Statistical | Mixed


def _checked(matrix: np.ndarray) -> np.ndarray:
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(FEATURES):
        raise SchemaError(f"feature matrix is {values.shape}, must be (rows, {len(FEATURES)})")
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise SchemaError(
            f"feature matrix: {FEATURES[column]} of row {row} is {values[row, column]}, "
            "must be finite and at least 0"
        )
    return values


def _select(matrix: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return matrix[:, [FEATURES.index(name) for name in names]]


def _compute_s(matrix: np.ndarray, peaks: Roofline, u: np.ndarray | float = 1.0) -> np.ndarray:
    peak = np.inf if peaks.peak_ops_per_s is None else peaks.peak_ops_per_s
    return equations.compute_time_s(matrix[:, FEATURES.index("ops")], peak, u)


def _memory_s(matrix: np.ndarray, peaks: Roofline, u: np.ndarray | float = 1.0) -> np.ndarray:
    peak = np.inf if peaks.peak_bytes_per_s is None else peaks.peak_bytes_per_s
    return equations.memory_time_s(matrix[:, FEATURES.index("bytes")], peak, u)


def _efficient_terms(matrix: np.ndarray, peaks: Roofline, u: np.ndarray) -> _Terms:
    """Terms with the efficiency on the compute side, on the bandwidth if nothing is computed."""
    if peaks.moves_only:
        return _Terms(_compute_s(matrix, peaks), _memory_s(matrix, peaks, u), peaks.floor_s)
    return _Terms(_compute_s(matrix, peaks, u), _memory_s(matrix, peaks), peaks.floor_s)


def _u_stat(forest: Forest, names: tuple[str, ...], matrix: np.ndarray) -> np.ndarray:
    return np.maximum(np.exp(forest.predict(_select(matrix, names))), MINIMUM_UTILISATION)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _known_features(what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in FEATURES:
            raise SchemaError(f"{what}: unknown feature {name!r}, legal: {legal(FEATURES)}")


def _check_forest(forest: Forest, names: tuple[str, ...]) -> None:
    _known_features("forest", names)
    forest.check(len(names))


def layer_model_to_dict(model: LayerModel, store: Callable[[Forest], str]) -> dict[str, Any]:
    """A JSON-ready dict; `store` takes each forest and returns the name to refer to it by."""
    match model:
        case Roofline():
            return {"kind": model.kind, **asdict(model)}
        case Refined():
            return {
                "kind": model.kind,
                "roofline": asdict(model.roofline),
                "unrolling": [asdict(each) for each in model.unrolling],
            }
        case Statistical():
            below: dict[str, Any] = {"roofline": asdict(model.roofline)}
        case Mixed():
            below = {"refined": layer_model_to_dict(model.refined, store)}
    names = list(model.feature_names)
    return {"kind": model.kind, **below, "forest": store(model.forest), "feature_names": names}


def layer_model_from_dict(data: object, forests: Mapping[str, Forest], where: str) -> LayerModel:
    """The model written by `layer_model_to_dict`; ArtefactError names `where` and what is wrong."""
    try:
        return _from_dict(data, forests)
    except KeyError as error:
        raise ArtefactError(f"{where}: lacks or refers to unknown {error}") from None
    except (StrataError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtefactError(f"{where}: {error}") from None


def _from_dict(data: Any, forests: Mapping[str, Forest]) -> LayerModel:
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        kind = data.get("kind") if isinstance(data, dict) else data
        raise ArtefactError(f"unknown kind of layer model {kind!r}, legal: {legal(KINDS)}")
    match data["kind"]:
        case "roofline":
            return _roofline({name: data[name] for name in data if name != "kind"})
        case "refined":
            unrolling = tuple(Unrolling(**each) for each in data["unrolling"])
            return Refined(_roofline(data["roofline"]), unrolling)
    forest, names = forests[data["forest"]], tuple(data["feature_names"])
    if data["kind"] == "statistical":
        return Statistical(_roofline(data["roofline"]), forest, names)
    refined = _from_dict(data["refined"], forests)
    if not isinstance(refined, Refined):
        raise ArtefactError(f"a mixed model stands on a {refined.kind} model, must be refined")
    return Mixed(refined, forest, names)


def _roofline(data: Any) -> Roofline:
    return Roofline(**data)
