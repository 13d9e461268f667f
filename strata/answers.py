"""What the layer models of a platform say of executed layers, and who answers where one cannot.

The chosen kind of model answers, its roofline where it cannot, and a roofline of extremes for an
operation that has no model at all (docs/estimate.md).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from typing import TYPE_CHECKING

import numpy as np

from strata.errors import ArtefactError
from strata.execution import FEATURES, ExecutedLayer
from strata.layer_models import Roofline

if TYPE_CHECKING:
    from strata.platform_model import PlatformModel

FALLBACK_KIND = "roofline"
NO_MODEL = "none"
NO_TIME = "no time"
_LEAST_UTILISATION = 0.1
_OPS, _BYTES = FEATURES.index("ops"), FEATURES.index("bytes")


@dataclass(frozen=True, slots=True)
class Answer:
    """A layer's time and where it comes from, and where the layer lies among measured ones.

    `key` is that of the models asked. `outside` names the features beyond their range, None where
    the operation was never measured; `distance` is that of `Region.distances`, NaN where not
    known, and `sparse` says that so far away hardly a layer of the measurements stood alone.
    """

    time_s: float | None
    bound: str
    utilisation: float | None
    model_used: str
    fell_back: bool
    key: str = ""
    outside: tuple[str, ...] | None = None
    distance: float = nan
    sparse: bool = False


_UNTIMED = Answer(None, "unknown", None, NO_TIME, False)


def layer_answers(
    executed: Sequence[ExecutedLayer], matrix: np.ndarray, model: "PlatformModel", kind: str
) -> list[Answer]:
    """Per layer its answer; `matrix` is the layers' feature matrix.

    Every model is asked once, whatever the number of layers.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, layer in enumerate(executed):
        rows_of[_modelled(layer, model)].append(row)
    found: dict[int, Answer] = {}
    for key, rows in rows_of.items():
        part = matrix[rows]
        answers = _operation_answers(part, key, model, kind)
        places = _places(part, key, model)
        for i, row in enumerate(rows):
            outside, distance, sparse = places[i]
            answer = replace(answers[i], key=key, outside=outside, distance=distance, sparse=sparse)
            if executed[row].model_key != key:  # its placement was never measured
                answer = replace(answer, fell_back=True)
            if _untimed(executed[row], model) and part[i, [_OPS, _BYTES]].any():
                answer = replace(_UNTIMED, key=key, outside=())
            found[row] = answer
    return [found[row] for row in range(len(executed))]


def _untimed(layer: ExecutedLayer, model: "PlatformModel") -> bool:
    """Whether no layer that runs as this one does was ever timed on the platform."""
    if not layer.placement:
        return False
    return not any(key.endswith(f"@{layer.placement}") for key in model.layer_models)


def _modelled(layer: ExecutedLayer, model: "PlatformModel") -> str:
    """The key of a layer's models; those of the operation where its placement has none."""
    return layer.model_key if layer.model_key in model.layer_models else layer.operation


def _operation_answers(
    matrix: np.ndarray, operation: str, model: "PlatformModel", kind: str
) -> list[Answer]:
    """Answers of the first model of the chain with a positive, finite time for the row."""
    answers: dict[int, Answer] = {}
    fitted = model.layer_models.get(operation, {})
    for name in dict.fromkeys((kind, FALLBACK_KIND)):
        rows = [row for row in range(len(matrix)) if row not in answers]
        if name not in fitted or not rows:
            continue
        times = fitted[name].time_s(matrix[rows])
        for row, time_s in zip(rows, times.tolist(), strict=True):
            if isfinite(time_s) and time_s > 0:
                peaks = fitted.get(FALLBACK_KIND, fitted[name]).peaks
                bound, utilisation = _explained(matrix[row], time_s, peaks)
                answers[row] = Answer(time_s, bound, utilisation, name, name != kind)
    return [
        answers[row] if row in answers else _without_model(matrix[row], operation, model)
        for row in range(len(matrix))
    ]


def _explained(row: np.ndarray, time_s: float, peaks: Roofline) -> tuple[str, float | None]:
    """The roof a layer lies under, and the part of that peak it attains in its time.

    "overhead" where it attains less than a tenth of either: neither roof explains its time.
    """
    memory_s = float(row[_BYTES]) / (peaks.peak_bytes_per_s or inf)
    compute_s = float(row[_OPS]) / (peaks.peak_ops_per_s or inf)
    utilisation = min(max(memory_s, compute_s) / time_s, 1.0)
    if utilisation < _LEAST_UTILISATION:
        return "overhead", utilisation or None
    return "compute" if compute_s > memory_s else "memory", utilisation


def _without_model(row: np.ndarray, operation: str, model: "PlatformModel") -> Answer:
    """The last resort, a roofline of extremes; a layer that moves nothing takes no time."""
    ops, moved_bytes = float(row[_OPS]), float(row[_BYTES])
    if moved_bytes == 0 and ops == 0:
        return Answer(0.0, "none", None, NO_MODEL, False)
    peak_ops_per_s, peak_bytes_per_s = fallback_peaks(model)
    memory_s, compute_s = moved_bytes / peak_bytes_per_s, ops / peak_ops_per_s
    bound = "memory" if memory_s >= compute_s else "compute"
    used = f"fallback: no model of {operation}"
    return Answer(max(memory_s, compute_s), bound, None, used, True)


def fallback_peaks(model: "PlatformModel") -> tuple[float, float]:
    """Operations and bytes per second for layers of an operation without any model.

    The lowest bandwidth of all rooflines, because a layer nobody measured is unlikely to be served
    better than the worst that was; and the highest peak, because the peaks of operations differ by
    orders of magnitude and only the highest bounds them all. ArtefactError without a roofline.
    """
    peaks = extreme_peaks(
        fitted[FALLBACK_KIND].peaks
        for key, fitted in model.layer_models.items()
        if FALLBACK_KIND in fitted and "@" not in key  # a host or a link is no bound of the rest
    )
    if peaks is None:
        raise ArtefactError(
            f"platform model '{model.header.platform}' holds no roofline with a bandwidth; "
            "at least one operation needs one, as a fallback for layers without a model"
        )
    return peaks


def extreme_peaks(rooflines: Iterable[Roofline]) -> tuple[float, float] | None:
    """Highest peak (infinite if none has one) and lowest bandwidth; None without a bandwidth."""
    every = list(rooflines)
    bandwidths = [r.peak_bytes_per_s for r in every if r.peak_bytes_per_s is not None]
    peaks = [r.peak_ops_per_s for r in every if r.peak_ops_per_s is not None]
    return (max(peaks, default=inf), min(bandwidths)) if bandwidths else None


_Place = tuple[tuple[str, ...] | None, float, bool]


def _places(matrix: np.ndarray, key: str, model: "PlatformModel") -> list[_Place]:
    """Per row the features out of range, the distance from measured layers, and "too far"."""
    outside = _outside(matrix, model.header.ranges.get(key))
    region = model.validity.regions.get(key)
    if region is None:
        return [(names, nan, False) for names in outside]
    distances = region.distances(matrix)
    return list(zip(outside, distances.tolist(), (distances > region.sparse).tolist(), strict=True))


def _outside(
    matrix: np.ndarray, ranges: Mapping[str, tuple[float, float]] | None
) -> list[tuple[str, ...] | None]:
    """Per row the features outside the ranges; None for every row where no ranges are known."""
    if not ranges:
        return [None] * len(matrix)
    names = [name for name in FEATURES if name in ranges]
    limits = np.array([ranges[name] for name in names], dtype=np.float64)
    values = matrix[:, [FEATURES.index(name) for name in names]]
    beyond = (values < limits[:, 0]) | (values > limits[:, 1])
    return [tuple(np.array(names)[row].tolist()) for row in beyond]
