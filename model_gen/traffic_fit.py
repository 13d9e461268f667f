"""Models of the bytes that layers move per memory, from the tables that time models come from.

Bytes are a base times a share, and a forest learns the share's logarithm, since a relative error
is what counts. The base is a sum of features: of a few, the one from which a single tree gets
closest on cases it has not seen. Layers that leave a memory alone are told apart by a tree: a
logarithm has no place for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from model_gen.forest_io import forest_from_tree
from model_gen.learned import row_weights
from model_gen.statistical import DEFAULT_FOREST, FEWEST_ROWS, ForestSettings, fit_forest
from model_gen.tables import table_matrix, table_traffic
from strata.execution import FEATURES
from strata.profile import MEMORIES
from strata.traffic import Traffic, TrafficModel, Trees, base_bytes, every_byte_once
from strata.work import Work

_BASES = (("bytes",), ("weight_elements",), ("input_elements", "output_elements"))
# What is read again for every block of the output grows with the operations, not with the data.
_PARTS = ("weight_elements", "input_elements", "output_elements", "macs")
_BASE_FOLDS, _BASE_LEAF = 2, 5
# A compiler's counts hold no noise to average out: a third of the trees that times need will do.
# Boosting costs ten times as much and comes hardly closer: a forest, whatever times are fitted by.
_FEWER_TREES = 3
_FOLDS = 3
_MAX_DEPTH, _MIN_SAMPLES_LEAF = 12, 2
_LEAST_BYTES = 1024  # of a layer whose relative error says anything
BASELINE = "every_byte_once"

_Base = dict[str, float]


@dataclass(frozen=True, slots=True)
class TrafficFit:
    """Models, JSON-ready metrics by table and memory, notes on whatever has no model and why.

    Metrics are under "traffic", by memory: `rows`, `unused_rows` (0 bytes), `base`, `folds`, and
    for "model" and BASELINE `sum_error_percent` (sum of absolute errors over sum of bytes) and
    `mape_percent` (over rows of more than 1 KiB), on cases held out; null where nothing is moved.
    """

    traffic: Traffic
    metrics: dict[str, dict[str, Any]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Layers whose bytes in one memory are known: features, bytes, weights, cases, baseline."""

    matrix: np.ndarray
    moved: np.ndarray
    weights: np.ndarray
    cases: np.ndarray
    baseline: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "_Rows":
        parts = (self.matrix, self.moved, self.weights, self.cases, self.baseline)
        return _Rows(*(part[rows] for part in parts))


def fit_traffic(
    tables: Mapping[str, pd.DataFrame],
    bits: int,
    seed: int = 0,
    settings: ForestSettings = DEFAULT_FOREST,
) -> TrafficFit:
    """Fit every checked layer table that knows of traffic; `bits` per weight for the baseline.

    A memory of which a table has fewer than FEWEST_ROWS rows stays unknown for its layers.
    """
    columns = {key: table_traffic(table) for key, table in tables.items()}
    memories = tuple(m for m in MEMORIES if any(m in found for found in columns.values()))
    models: dict[str, dict[str, TrafficModel]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    trees = max(1, settings.trees // _FEWER_TREES)
    smaller = replace(settings, trees=trees, learner="forest")
    for key, table in tables.items() if memories else ():
        models[key], metrics[key] = {}, {}
        for memory in memories:
            moved = columns[key].get(memory, np.full(len(table), np.nan))
            known = np.isfinite(moved)
            if known.sum() < FEWEST_ROWS:
                notes.append(
                    f"{key}: {memory} traffic is unknown: {known.sum()} rows tell it, a model "
                    f"needs {FEWEST_ROWS}"
                )
                continue
            rows = _rows(table, moved, memory, memories, bits)[known]
            models[key][memory] = model = _fit(rows, seed, smaller)
            metrics[key][memory] = _metrics(rows, model, seed, smaller)
            if not known.all():
                notes.append(f"{key}: {memory} traffic of {(~known).sum()} rows is unknown")
    return TrafficFit(
        Traffic(memories, models),
        {key: {"traffic": found} for key, found in metrics.items() if found},
        notes,
    )


def _rows(
    table: pd.DataFrame, moved: np.ndarray, memory: str, memories: Sequence[str], bits: int
) -> _Rows:
    matrix = table_matrix(table)
    # tables keep all bytes of a layer together: those that are not weights are activations
    every = matrix[:, FEATURES.index("bytes")]
    weights = np.minimum(matrix[:, FEATURES.index("weight_elements")] * bits / 8, every)
    in_weights = every_byte_once(Work(weight_bytes=1), memories)[memory]
    in_activations = every_byte_once(Work(input_bytes=1), memories)[memory]
    baseline = in_weights * weights + in_activations * (every - weights)
    return _Rows(matrix, moved, row_weights(table), table["case_id"].to_numpy(), baseline)


def _fit(
    rows: _Rows, seed: int, settings: ForestSettings, base: _Base | None = None
) -> TrafficModel:
    """The model of one memory, on the best base or the one given.

    A zero in every row gives one in every estimate.
    """
    used = rows.moved > 0
    if not used.any():
        return TrafficModel()
    moving = rows[used]
    base = _base(moving, seed) if base is None else base
    trees = _share(moving, base, seed, settings)
    return TrafficModel(base, trees, None if used.all() else _used(rows, used, seed))


def _share(rows: _Rows, base: _Base, seed: int, settings: ForestSettings) -> Trees:
    share = rows.moved / base_bytes(rows.matrix, base)
    found = fit_forest(rows.matrix, share, seed, settings, rows.weights)
    return Trees(found.forest, found.feature_names)


def _base(rows: _Rows, seed: int) -> _Base:
    """The base with the smallest sum of absolute errors, which totals feel, on cases held out."""
    bases: list[_Base] = [dict.fromkeys(names, 1.0) for names in _BASES]
    bases.append(_parts(rows))
    if len(np.unique(rows.cases)) < _BASE_FOLDS:
        return bases[0]
    folds = list(GroupKFold(_BASE_FOLDS).split(rows.matrix, groups=rows.cases))
    tree = DecisionTreeRegressor(min_samples_leaf=_BASE_LEAF, random_state=seed)

    def error(base: _Base) -> float:
        scale = base_bytes(rows.matrix, base)
        share, found = np.log(rows.moved / scale), np.zeros(len(scale))
        for train, test in folds:
            tree.fit(rows.matrix[train], share[train], sample_weight=rows.weights[train])
            found[test] = scale[test] * np.exp(tree.predict(rows.matrix[test]))
        return float(np.sum(rows.weights * np.abs(found - rows.moved)))

    return min(bases, key=error)


def _parts(rows: _Rows) -> _Base:
    """Bytes per weight, element read, element written and operation: non-negative least squares
    of relative errors.
    """
    scale = np.sqrt(rows.weights)
    design = rows.matrix[:, [FEATURES.index(name) for name in _PARTS]] / rows.moved[:, None]
    design = design * scale[:, None]
    norms = np.maximum(np.linalg.norm(design, axis=0), 1e-300)  # operations are many, weights few
    found, _ = nnls(design / norms, scale)
    return {
        name: float(value) for name, value in zip(_PARTS, found / norms, strict=True) if value > 0
    }


def _used(rows: _Rows, used: np.ndarray, seed: int) -> Trees:
    """A tree that says which layers use the memory at all."""
    varying = np.flatnonzero(np.ptp(rows.matrix, axis=0) > 0)
    columns = varying if varying.size else np.array([FEATURES.index("bytes")])
    tree = DecisionTreeClassifier(
        max_depth=_MAX_DEPTH, min_samples_leaf=_MIN_SAMPLES_LEAF, random_state=seed
    )
    # the splits see single precision, as prediction does
    features = rows.matrix[:, columns].astype(np.float32)
    tree.fit(features, used, sample_weight=rows.weights)
    return Trees(forest_from_tree(tree), tuple(FEATURES[column] for column in columns))


def _metrics(
    rows: _Rows, model: TrafficModel, seed: int, settings: ForestSettings
) -> dict[str, Any]:
    """Errors of models that have not seen a row's case, and of the baseline."""
    folds = min(_FOLDS, len(np.unique(rows.cases)))
    predicted = np.full(len(rows.moved), np.nan)
    if folds > 1:
        for train, test in GroupKFold(folds).split(rows.matrix, groups=rows.cases):
            found = _fit(rows[train], seed, settings, dict(model.base))
            predicted[test] = found.moved_bytes(rows.matrix[test])
    errors: dict[str, dict[str, float | None]] = {"sum_error_percent": {}, "mape_percent": {}}
    guesses = {BASELINE: rows.baseline} | ({"model": predicted} if folds > 1 else {})
    for name, guess in guesses.items():
        error, large = np.abs(guess - rows.moved), rows.moved > _LEAST_BYTES
        errors["sum_error_percent"][name] = _percent(error.sum(), rows.moved.sum())
        errors["mape_percent"][name] = _percent(
            (error[large] / rows.moved[large]).sum(), large.sum()
        )
    return {
        "rows": len(rows.moved),
        "unused_rows": int((rows.moved == 0).sum()),
        "base": dict(model.base),
        "folds": folds if folds > 1 else 0,
        **errors,
    }


def _percent(part: float, whole: float) -> float | None:
    return float(100 * part / whole) if whole else None
