"""The range of validity of layer models: between which values, and how near, was measured.

A layer can lie within the range of every single feature and still far from all that was measured:
ranges know no corners. So a platform model keeps for each operation where its measured layers lie,
in few coordinates, and how far apart such layers usually are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from strata.errors import ArtefactError, legal
from strata.execution import OWN_FEATURES, PLACEMENTS
from strata.layer import OPERATIONS

# What makes a layer another one. Features that follow from these (alignments, elements) would
# count the same difference twice.
PLACE_FEATURES = (
    "batch",
    "height",
    "width",
    "channels",
    "filters",
    "kernel_height",
    "kernel_width",
    "stride_height",
    "stride_width",
    "dilation",
    "groups",
    "inputs",
    "rank",
    "ops",
    "bytes",
    "activation",
    "absorbed_count",
    "absorbed_add",
    "absorbed_multiply",
    "absorbed_window",
    "absorbed_kernel",
)
_ROWS_AT_ONCE = 512  # keeps the (rows, points) distances small


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where the measured layers of one operation lie.

    A coordinate is log(1 + feature) / scale; `points` (n, features) are measured layers, a sample
    where there are many. `unit` is the distance from the nearest point that nine in ten layers of
    cases held out keep, `sparse` how many units ninety-nine in a hundred keep.
    """

    feature_names: tuple[str, ...]
    scales: tuple[float, ...]
    points: np.ndarray
    unit: float
    sparse: float

    def __post_init__(self) -> None:
        names = self.feature_names
        if odd := [name for name in names if name not in OWN_FEATURES]:
            raise ArtefactError(f"unknown feature {odd[0]!r}, legal: {legal(OWN_FEATURES)}")
        shape = (len(self.points), len(names))
        if self.points.dtype.kind != "f" or self.points.shape != shape or not shape[0]:
            raise ArtefactError(
                f"points are {self.points.dtype} {self.points.shape}, must be floats, at least one "
                f"row of {len(names)} columns"
            )
        if not np.isfinite(self.points).all():
            raise ArtefactError("points must be finite")
        if len(self.scales) != len(names):
            raise ArtefactError(f"{len(self.scales)} scales, must be {len(names)}")
        positive = {"unit": self.unit, "sparse": self.sparse}
        positive |= {f"scale of {n}": s for n, s in zip(names, self.scales, strict=True)}
        for name, value in positive.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ArtefactError(f"{name} is {value!r}, must be a number")
            if not isfinite(value) or value <= 0:
                raise ArtefactError(f"{name} is {value!r}, must be finite and above 0")

    def coordinates(self, matrix: np.ndarray) -> np.ndarray:
        """(rows, features) of a (rows, len(FEATURES)) matrix."""
        columns = [OWN_FEATURES.index(name) for name in self.feature_names]
        return np.log1p(matrix[:, columns]) / np.array(self.scales)

    def distances(self, matrix: np.ndarray) -> np.ndarray:
        """Distance of each row from the nearest measured layer, in units, (rows,)."""
        found = self.coordinates(matrix)
        points = self.points.astype(np.float64)
        parts = [
            squared_distances(found[start : start + _ROWS_AT_ONCE], points).min(axis=1)
            for start in range(0, len(found), _ROWS_AT_ONCE)
        ]
        return np.sqrt(np.concatenate([np.empty(0), *parts])) / self.unit


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, m) squared Euclidean distances of (n, d) and (m, d) points, at least 0."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :]
    apart = squares - 2 * one @ other.T
    # differences of large squares are only so exact: what should be 0 is
    return np.where(apart < 1e-9 * (1 + squares), 0.0, apart)


@dataclass(frozen=True, slots=True, eq=False)
class Validity:
    """Regions by `ExecutedLayer.model_key`; empty for models that know ranges only."""

    regions: Mapping[str, Region] = field(default_factory=dict)


def validity_to_parts(validity: Validity) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A JSON-ready dict, and the points by model key."""
    data = {
        key: {
            "feature_names": list(region.feature_names),
            "scales": list(region.scales),
            "unit": region.unit,
            "sparse": region.sparse,
        }
        for key, region in validity.regions.items()
    }
    return data, {key: region.points for key, region in validity.regions.items()}


def validity_from_parts(data: Any, arrays: Mapping[str, np.ndarray], where: str) -> Validity:
    """What `validity_to_parts` wrote; ArtefactError names `where` and what is wrong."""
    try:
        regions = {}
        for key, each in data.items():
            check_model_key(key)
            regions[key] = Region(
                tuple(each["feature_names"]),
                tuple(each["scales"]),
                arrays[key],
                each["unit"],
                each["sparse"],
            )
        return Validity(regions)
    except KeyError as error:
        raise ArtefactError(f"{where}: lacks {error}") from None
    except (ArtefactError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{where}: {' '.join(str(error).split())}") from None


def check_model_key(key: str) -> None:
    """ArtefactError unless `key` is an operation, and perhaps "@" and a placement."""
    name, _, placement = key.partition("@")
    if name not in OPERATIONS:
        raise ArtefactError(f"unknown operation {key!r}, legal: {legal(OPERATIONS)}")
    if placement not in ("", *PLACEMENTS):
        raise ArtefactError(f"unknown placement {placement!r}, legal: {legal(PLACEMENTS)}")
