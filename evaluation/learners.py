"""Command: error of a layer against the number of points, per learner and platform.

What the learner is given counts as much as the learner: utilisation as the paper has it, or the
logarithm of the time over a base of known form (none, the refined roofline, a simple engine).
Every combination is a scikit-learn estimator. docs/learners.md has the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from sklearn.base import BaseEstimator, RegressorMixin

from evaluation.plot_style import new_figure, plain_log_ticks, save_figure, styled
from evaluation.table_format import Table, to_text, write_table
from model_gen.learned import row_weights, seen_chains
from model_gen.learner import Learner
from model_gen.overlap_fit import fit_overlap
from model_gen.peaks import fit_peaks
from model_gen.statistical import DEFAULT_FOREST, efficiency, fit_columns, has_target
from model_gen.tables import (
    hashed_share,
    inside_networks,
    read_table,
    table_matrix,
    table_times,
    undisturbed,
)
from model_gen.unrolling import identified, read_unrolling
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import ArtefactError, SchemaError
from strata.execution import OWN_FEATURES
from strata.layer_models import (
    MINIMUM_UTILISATION,
    MixedAnnette,
    Refined,
    Unrolling,
    base_and_columns,
    mixed_names,
)

SIZES = (100, 300, 1000, 3000, 10_000, 35_000)
# name -> learner, what is learned
LEARNERS: dict[str, tuple[Learner, str]] = {
    "forest, utilisation": ("forest", "utilisation"),
    "forest, over refined roofline": ("forest", "refined"),
    "boosting, time alone": ("boosting", "none"),
    "boosting, over refined roofline": ("boosting", "refined"),
    "boosting, over an engine": ("boosting", "engine"),
    "boosting, absolute, over an engine": ("boosting_absolute", "engine"),
    "boosting, coarse, over an engine": ("boosting_coarse", "engine"),
    "boosting, clipped, over an engine": ("boosting_clipped", "engine"),
    "boosting, monotone, over an engine": ("boosting_monotone", "engine"),
}
_COLOURS = (
    "#E69F00",
    "#999999",
    "#0072B2",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#7F3C8D",
    "#117733",
    "#CC79A7",
)
_KERNEL_SHARE = 0.2  # of the points; the rest stands in multi-layer networks
_HELD_OUT = 0.2  # of the multi-layer networks


class TimeRegressor(RegressorMixin, BaseEstimator):
    """Seconds of a layer table's rows by a learner over a base.

    `base` is "utilisation" (u of equation 6 itself, from a layer's own features), "none",
    "refined" (equation 2) or "engine" (`strata.layer_models.Overlap`).
    """

    def __init__(
        self,
        learner: Learner = "boosting",
        base: str = "engine",
        unrolling: tuple[Unrolling, ...] = (),
        seed: int = 0,
    ) -> None:
        self.learner = learner
        self.base = base
        self.unrolling = unrolling
        self.seed = seed

    def fit(self, table: pd.DataFrame, time_s: Any) -> Self:
        """Fit to the rows of a layer table that have work."""
        rows = seen_chains(table).assign(time_s=np.asarray(time_s, dtype=np.float64))
        peaks = fit_peaks(rows, dimensions=self.unrolling)
        rows = rows[has_target(table_matrix(rows), peaks.roofline)]
        ceiling = self.base == "utilisation"  # so that no utilisation lies above 1
        self.refined_ = Refined(peaks.ceiling if ceiling else peaks.roofline, self.unrolling)
        self.engine_ = fit_overlap(rows, self.refined_, row_weights(rows))
        names = OWN_FEATURES if ceiling else mixed_names(self.engine_)
        matrix = table_matrix(rows)
        if ceiling:
            reached = efficiency(matrix, table_times(rows), self.refined_)
            target = np.clip(reached, MINIMUM_UTILISATION, 1.0)
        else:
            target = np.log(table_times(rows) / self._base_s(matrix))
        _, columns = base_and_columns(matrix, self.engine_, names)
        settings = replace(DEFAULT_FOREST, learner=self.learner)
        self.fitted_ = fit_columns(columns, names, target, self.seed, settings, row_weights(rows))
        return self

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """Seconds, (rows,)."""
        matrix, fitted = table_matrix(table), self.fitted_
        if self.base == "utilisation":
            return MixedAnnette(self.refined_, fitted.forest, fitted.feature_names).time_s(matrix)
        _, columns = base_and_columns(matrix, self.engine_, fitted.feature_names)
        return self._base_s(matrix) * np.exp(fitted.forest.predict(columns))

    def _base_s(self, matrix: np.ndarray) -> np.ndarray:
        if self.base == "none":
            return np.ones(len(matrix))
        return (self.refined_ if self.base == "refined" else self.engine_).time_s(matrix)


@dataclass(frozen=True, slots=True)
class Pool:
    """A layer table cut in two: rows to fit to, and those of networks held out."""

    train: pd.DataFrame
    judges: pd.DataFrame
    unrolling: tuple[Unrolling, ...]


def read_pool(platform: Path, operation: str) -> Pool:
    """The table of a platform's folder, as the pipeline leaves it; ArtefactError without one."""
    path = platform / "tables" / "layers" / f"{operation}.parquet"
    table, _ = undisturbed(read_table(path))
    if "benchmark" not in table.columns or not inside_networks(table).any():
        raise ArtefactError(f"{path}: no rows of multi-layer benchmarks to judge by")
    dimensions = identified(read_unrolling(platform / "unrolling.json").get(operation, []))
    unseen = table["case_id"].map(lambda case: hashed_share(f"judge {case}") < _HELD_OUT)
    inside = inside_networks(table)
    return Pool(table[~(unseen & inside)], table[unseen & inside], dimensions)


def drawn(pool: pd.DataFrame, points: int, seed: int) -> pd.DataFrame | None:
    """Whole cases with so many distinct points, a fifth of them isolated; None if they are fewer.

    A point is a distinct row of a layer's own features; a larger number keeps the cases of a
    smaller one.
    """
    keys = pd.util.hash_pandas_object(pool[list(OWN_FEATURES)], index=False)
    inside = inside_networks(pool)
    chosen: set[str] = set()
    for part, share in ((inside, 1 - _KERNEL_SHARE), (~inside, _KERNEL_SHARE)):
        of_case = keys[part].groupby(pool.loc[part, "case_id"]).agg(set)
        order = np.random.default_rng(seed).permutation(len(of_case))
        seen: set[int] = set()
        for position in order:
            if len(seen) >= share * points:
                break
            seen |= of_case.iloc[position]
            chosen.add(str(of_case.index[position]))
        if len(seen) < share * points:
            return None
    return pool[pool["case_id"].isin(chosen)]


def compare(
    pool: Pool, sizes: Sequence[int], seeds: Sequence[int], platform: str
) -> list[dict[str, Any]]:
    """One row per size, seed and learner: mean absolute error of a held-out layer in percent."""
    rows = []
    tasks = [(points, seed) for points in sizes for seed in seeds]
    console = Console(stderr=True)
    for points, seed in track(tasks, description=platform, console=console):
        train = drawn(pool.train, points, seed)
        if train is None:
            continue
        for name, (learner, base) in LEARNERS.items():
            model = TimeRegressor(learner, base, pool.unrolling, seed)
            guess = model.fit(train, table_times(train)).predict(pool.judges)
            error = np.abs(guess / table_times(pool.judges) - 1)
            rows.append(
                {
                    "platform": platform,
                    "learner": name,
                    "points": points,
                    "seed": seed,
                    "rows": len(train),
                    "judges": len(pool.judges),
                    "mape_percent": float(100 * np.mean(error)),
                }
            )
    return rows


def summary_table(scores: pd.DataFrame, operation: str) -> Table:
    """Mean over seeds: platforms and learners against numbers of points."""
    frame = scores.pivot_table(
        index=["platform", "learner"], columns="points", values="mape_percent", sort=False
    )
    frame = frame.reindex(columns=sorted(frame.columns)).reset_index()
    frame.columns = [str(name) for name in frame.columns]
    title = f"Error of a {operation} inside networks held out (%), against the number of points"
    note = "Points are distinct layers; a column is empty where a platform has fewer."
    return Table(f"learners_{operation}", title, frame, (note,))


def figure_of(scores: pd.DataFrame) -> Figure:
    """A panel per platform, a line per learner, both axes logarithmic."""
    platforms = list(dict.fromkeys(scores["platform"]))
    with styled():
        figure = new_figure(4.2 * len(platforms) + 2.6, 4.4)
        panels = figure.subplots(1, len(platforms), squeeze=False, sharex=True)[0]
        for axes, platform in zip(panels, platforms, strict=True):
            part = scores[scores["platform"] == platform]
            for colour, name in zip(_COLOURS, LEARNERS, strict=True):
                line = part[part["learner"] == name].groupby("points")["mape_percent"].mean()
                axes.plot(line.index, line.to_numpy(), marker="o", color=colour, label=name)
            axes.set(xscale="log", yscale="log", title=platform, xlabel="Points")
            plain_log_ticks(axes, x=True, y=True)
        panels[0].set_ylabel("Error of a layer (%)")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _checked(platforms: Mapping[str, Path]) -> None:
    for name, folder in platforms.items():
        if not (folder / "tables" / "layers").is_dir():
            raise SchemaError(f"{folder}: no tables of platform {name}; the pipeline makes them")


@exits_cleanly
def command(
    platforms: Annotated[list[Path], typer.Argument(help="Platforms' folders of a run.")],
    output: Annotated[Path, typer.Option(help="Folder for the table and the plot.")],
    operation: Annotated[str, typer.Option(help="Layer type.")] = "convolution",
    sizes: Annotated[str, typer.Option(help="Numbers of points.")] = ",".join(map(str, SIZES)),
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each size.")] = 2,
) -> None:
    """Compare learners and what they are given on the tables of a run.

    Example: python -m evaluation.learners results/default/dpu_zcu102 --output results/learners
    """
    named = {folder.name: folder for folder in platforms}
    _checked(named)
    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise SchemaError(f"--sizes is '{sizes}'; legal: numbers such as 100,1000") from None
    rows: list[dict[str, Any]] = []
    for name, folder in named.items():
        rows += compare(read_pool(folder, operation), numbers, range(seeds), name)
    if not rows:
        raise SchemaError(f"no platform has {min(numbers)} points of {operation}")
    scores = pd.DataFrame(rows)
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / f"learners_{operation}.csv") as draft:
        scores.to_csv(draft, index=False)
    table = summary_table(scores, operation)
    write_table(table, output)
    save_figure(figure_of(scores), output, f"learners_{operation}")
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
