"""All kinds of layer models from one table (ANNETTE, section 5.1, and our mixed model)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from model_gen.overlap_fit import fit_overlap
from model_gen.peaks import Peaks, fit_peaks
from model_gen.statistical import (
    DEFAULT_FOREST,
    FEWEST_ROWS,
    ForestFit,
    ForestSettings,
    efficiency,
    fit_columns,
    fit_forest,
    has_target,
)
from model_gen.tables import inside_networks, table_matrix, table_times
from strata.execution import FEATURES, OWN_FEATURES
from strata.forest import Forest
from strata.layer_models import (
    KINDS,
    MINIMUM_UTILISATION,
    LayerModel,
    Mixed,
    MixedAnnette,
    Refined,
    Roofline,
    Statistical,
    Unrolling,
    base_and_columns,
    mixed_names,
)

# Layers of multi-layer benchmarks stand as they do in networks: caches are used by others, layouts
# and neighbours vary. Kernels that run again and again alone fill the space between them.
_KERNEL_WEIGHT = 0.3
# Lengths of the chain a layer stands in, and how many benchmark graphs must have one as long for a
# tree to tell it from the next. How long tensors are kept has no natural end either, but decides
# where an allocator puts them.
_CHAINS = ["chain_before", "chain_after"]
_FEWEST_GRAPHS = 10
# Graphs that an engine without trees is fitted to at least.
_FEWEST_OF_ENGINE = 3
# Convolutions that tell whether a compiler cuts them by a known rule.
_ENOUGH_ROWS = 1_000
# Long layers make a network's total but are few, and trees that err by shares of a layer leave them
# to what shorter ones taught.
_LENGTH_POWER = 0.25
# The paper's features are a layer's sizes, window and work; how sizes align and where windows end
# is ours.
_OURS = {"uneven_padding", "unread"}
_PAPER_FEATURES = tuple(
    name for name in OWN_FEATURES if name not in _OURS and not name.endswith("_alignment")
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Models by kind, the peaks below them, and by kind the share of rows with u above 1."""

    models: dict[str, LayerModel]
    peaks: Peaks
    above_one_share: dict[str, float]


def row_weights(table: pd.DataFrame) -> np.ndarray:
    """(rows,) weights: 1 inside networks, _KERNEL_WEIGHT of isolated kernels."""
    return np.where(inside_networks(table), 1.0, _KERNEL_WEIGHT)


def seen_chains(table: pd.DataFrame) -> pd.DataFrame:
    """The table with chains no longer than _FEWEST_GRAPHS graphs have them.

    A chain of fifteen layers is met in a handful of random graphs, so that what a tree learns of
    its length is which graph it was; and networks that somebody designed have longer ones than all.
    Nothing is clipped when estimating: without a threshold above, all longer chains are alike.
    """
    longest = table.groupby("case_id")[_CHAINS].max().to_numpy()
    reached = np.sort(longest, axis=0)[-_FEWEST_GRAPHS:][0]  # of fewer graphs the shortest
    return table.assign(**np.minimum(table[_CHAINS], reached))


def fit_models(
    table: pd.DataFrame,
    dimensions: tuple[Unrolling, ...],
    seed: int = 0,
    settings: ForestSettings = DEFAULT_FOREST,
    kinds: Sequence[str] = KINDS,
    beside: pd.DataFrame | None = None,
) -> Fitted:
    """Fit the kinds asked for; those that learn need enough rows with work, the roofline none.

    Of some rows, too few for trees, the mixed model is its engine alone.

    `beside` are rows of the same operation in its ordinary way where `table` holds those with
    weights that are fetched in every run: the array is the same, and rows that wait for weights do
    not show its peak.
    """
    table = seen_chains(table)
    peaks = fit_peaks(table, dimensions=dimensions)
    if beside is not None:
        peaks = _on_the_same_array(peaks, fit_peaks(beside, dimensions=dimensions))
    roofline = peaks.roofline
    models: dict[str, LayerModel] = {Roofline.kind: roofline}
    known = has_target(table_matrix(table), roofline)
    rows = table[known]
    if len(rows) < FEWEST_ROWS:
        if Mixed.kind in kinds and rows["case_id"].nunique() >= _FEWEST_OF_ENGINE:
            models[Mixed.kind] = _engine_alone(rows, peaks, dimensions, settings)
        return Fitted(_in_order(models), peaks, {})
    models[Refined.kind] = Refined(roofline, dimensions)
    above: dict[str, float] = {}
    if Statistical.kind in kinds:
        models[Statistical.kind] = _statistical(rows, peaks, seed, settings)
    if Mixed.kind in kinds:
        models[Mixed.kind] = _mixed(rows, peaks, dimensions, seed, settings)
        reached = Refined(peaks.ceiling, dimensions)
        utilisation = efficiency(table_matrix(rows), table_times(rows), reached)
        above[Mixed.kind] = float(np.mean(utilisation > 1.0))
    if MixedAnnette.kind in kinds:
        models[MixedAnnette.kind] = _annette(rows, peaks, dimensions, seed, settings)
    return Fitted(_in_order(models), peaks, above)


def _in_order(models: Mapping[str, LayerModel]) -> dict[str, LayerModel]:
    return {kind: models[kind] for kind in KINDS if kind in models}


def _on_the_same_array(peaks: Peaks, others: Peaks) -> Peaks:
    """Peaks with the higher performance of two sets of rows."""

    def faster(one: Roofline, other: Roofline) -> Roofline:
        if one.peak_ops_per_s is None or other.peak_ops_per_s is None:
            return one
        return replace(one, peak_ops_per_s=max(one.peak_ops_per_s, other.peak_ops_per_s))

    return replace(
        peaks,
        roofline=faster(peaks.roofline, others.roofline),
        ceiling=faster(peaks.ceiling, others.ceiling),
    )


def _statistical(
    rows: pd.DataFrame, peaks: Peaks, seed: int, settings: ForestSettings
) -> Statistical:
    """Equation 5 by a random forest of log(u), whatever learner the mixed model takes."""
    matrix = table_matrix(rows)
    # efficiencies are shares of the true maxima, so that none of them is above 1
    target = efficiency(matrix, table_times(rows), Refined(peaks.ceiling))
    forest = replace(settings, learner="forest")
    found = fit_forest(matrix, target, seed, forest, row_weights(rows))
    return Statistical(peaks.ceiling, found.forest, found.feature_names)


def _mixed(
    rows: pd.DataFrame,
    peaks: Peaks,
    dimensions: tuple[Unrolling, ...],
    seed: int,
    settings: ForestSettings,
) -> Mixed:
    """The learner on the logarithm of the time over that of a simple engine."""
    weights = row_weights(rows)
    base = fit_overlap(rows, Refined(peaks.roofline, dimensions), weights, settings.cut)
    matrix, names = table_matrix(rows), mixed_names(base)
    base_s, columns = base_and_columns(matrix, base, names)
    target = np.log(table_times(rows) / base_s)
    if settings.learner == "boosting_long":
        weights = weights * (base_s / np.median(base_s)) ** _LENGTH_POWER
    found = fit_columns(columns, names, target, seed, settings, weights)
    return Mixed(base, peaks.ceiling, found.forest, found.feature_names)


def layers_are_cut(table: pd.DataFrame, dimensions: tuple[Unrolling, ...]) -> bool:
    """Whether the times of convolutions follow a known rule by which a compiler cuts layers.

    Where they do not, no other layers of the platform do either, whatever a table of few says.
    """
    table = seen_chains(table)
    peaks = fit_peaks(table, dimensions=dimensions)
    rows = table[has_target(table_matrix(table), peaks.roofline)]
    if len(rows) < FEWEST_ROWS:
        return False
    rows = rows.iloc[:: max(len(rows) // _ENOUGH_ROWS, 1)]
    refined = Refined(peaks.roofline, dimensions)
    return fit_overlap(rows, refined, row_weights(rows)).blocking is not None


def _engine_alone(
    rows: pd.DataFrame, peaks: Peaks, dimensions: tuple[Unrolling, ...], settings: ForestSettings
) -> Mixed:
    """The simple engine with nothing learned over it.

    A roofline has the rates of the fastest rows and no start: of an operation seen a dozen times it
    tells the luckiest. What an engine has beyond it stays near it where rows do not tell.
    """
    refined = Refined(peaks.roofline, dimensions)
    base = fit_overlap(rows, refined, row_weights(rows), settings.cut)
    leaf = np.zeros(1)
    none = np.zeros(1, dtype=np.int32)
    nothing = Forest(none - 1, leaf, none, none, leaf, none)
    return Mixed(base, peaks.ceiling, nothing, ())


def _annette(
    rows: pd.DataFrame,
    peaks: Peaks,
    dimensions: tuple[Unrolling, ...],
    seed: int,
    settings: ForestSettings,
) -> MixedAnnette:
    """Equation 6 as in the paper: a forest of u itself, from isolated kernels of data set 1."""
    rows = paper_rows(rows)
    refined = Refined(peaks.ceiling, dimensions)
    matrix = table_matrix(rows)
    columns = matrix[:, [FEATURES.index(name) for name in _PAPER_FEATURES]]
    target = np.clip(efficiency(matrix, table_times(rows), refined), MINIMUM_UTILISATION, 1.0)
    forest = replace(settings, learner="forest")
    found: ForestFit = fit_columns(columns, _PAPER_FEATURES, target, seed, forest)
    return MixedAnnette(refined, found.forest, found.feature_names)


def paper_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """What the paper's statistical models are fitted to: isolated kernels with u_eff = 1.

    Where too few are, all isolated kernels; where an operation has no benchmark of its own, all.
    """
    isolated = rows[~inside_networks(rows)]
    if "data_set" in rows.columns:
        aligned = isolated[isolated["data_set"] == "aligned"]
        if len(aligned) >= FEWEST_ROWS:
            return aligned
    return isolated if len(isolated) >= FEWEST_ROWS else rows
