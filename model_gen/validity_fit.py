"""Where measured layers lie and how far apart: regions of `strata.validity` from layer tables."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from strata.execution import OWN_FEATURES
from strata.validity import PLACE_FEATURES, Region

# Of the layers that are all different so many are kept, at random: 130 KB of an operation at most,
# and a layer's nearest point is found in microseconds.
_MOST_POINTS = 1500
_SMALLEST_SCALE = 0.05
# A case repeats its layers: among so many neighbours one is of another case.
_NEIGHBOURS = 12
_UNIT_SHARE, _SPARSE_SHARE = 0.90, 0.99


@dataclass(frozen=True, slots=True, eq=False)
class RegionFit:
    """A region, and for each row of its table the distance from points of other cases, in units.

    `held_out` (rows,) is what the distance of a layer is that was not measured.
    """

    region: Region
    held_out: np.ndarray


def fit_region(table: pd.DataFrame, seed: int) -> RegionFit | None:
    """Region of one operation's layer table; None where all layers are alike or in one case."""
    values = table[list(PLACE_FEATURES)].to_numpy(dtype=np.float64)
    varying = np.flatnonzero(np.ptp(values, axis=0) > 0)
    if not varying.size or table["case_id"].nunique() < 2:
        return None
    logs = np.log1p(values[:, varying])
    scales = np.maximum(logs.std(axis=0), _SMALLEST_SCALE)
    places = logs / scales
    points, owners = _points(places, table["case_id"].to_numpy(), seed)
    apart = _apart(places, table["case_id"].to_numpy(), points, owners)
    unit = float(np.quantile(apart, _UNIT_SHARE)) or float(apart.max()) or 1.0
    region = Region(
        tuple(PLACE_FEATURES[column] for column in varying),
        tuple(scales.tolist()),
        points.astype(np.float32),
        unit,
        max(float(np.quantile(apart, _SPARSE_SHARE)) / unit, 1.0),
    )
    return RegionFit(region, apart / unit)


def _points(places: np.ndarray, cases: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct places, at most _MOST_POINTS, and the case each is from ("" if from several)."""
    points, place_of = np.unique(places, axis=0, return_inverse=True)
    owners = pd.Series(cases).groupby(place_of.reshape(-1)).agg(["first", "nunique"])
    of_one = np.where(owners["nunique"] == 1, owners["first"].astype(str), "")
    chosen = np.arange(len(points))
    if len(points) > _MOST_POINTS:
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(len(points), _MOST_POINTS, replace=False))
    return points[chosen], of_one[chosen]


def _apart(
    places: np.ndarray, cases: np.ndarray, points: np.ndarray, owners: np.ndarray
) -> np.ndarray:
    """(rows,) distances from the nearest point that is not of the row's own case alone."""
    search = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(points))).fit(points)
    distances, neighbours = search.kneighbors(places)
    other = owners[neighbours] != cases.astype(str)[:, None]
    first = np.where(other.any(axis=1), other.argmax(axis=1), -1)
    return distances[np.arange(len(places)), first]


def beyond(matrix: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(rows,) whether an own feature lies beyond those of the measured rows."""
    own = matrix[:, : len(OWN_FEATURES)]
    known = measured[:, : len(OWN_FEATURES)]
    return ((own < known.min(axis=0)) | (own > known.max(axis=0))).any(axis=1)
