"""Starts and rates of the simple engine under a mixed model (`strata.layer_models.Overlap`)."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from model_gen.tables import table_matrix, table_times
from strata.blocking import Blocking, FixedTile, PoolBlocking
from strata.layer_models import SHORTEST_S, Overlap, Refined, overlap_terms, overlapped, split_terms

# Errors of the logarithm beyond this count by their size, not its square: layers that take
# another path through a toolchain are the learner's to explain.
_USUAL_ERROR = 0.1
# Keeps what the rows do not tell where it started, and weighs nothing beside what they tell.
_PULL = 1e-3
_FIRST_P = 2.5
_LARGEST_P = 64.0
_STEPS = 100
_SHORTEST = 0.05
_REACH = 40.0  # of logarithms: any machine
# A dozen numbers need no more rows; of larger tables some, evenly spread over their order.
_MOST_ROWS = 4_000
_FEW_ROWS = 500  # tell which of two rules holds


# Engines of blocks that a table is tried with. The Myriad X's sizes and limits are those of its
# published compiler (OpenVINO 2021.4, hardware tiling); half of nine slices of CMX hold a tile.
_MYRIAD_X_POOLING = PoolBlocking(
    channels=16,
    plane_bytes=0x1000,
    ended_plane_bytes=0x800,
    fewest_columns=8,
    most_kernel=15,
    most_stride=8,
    even_height=700,
    even_width=1000,
    split_filters=(128, 64, 32),
    refused=(),
    odd_refused=False,
    padded_refused=0,
)
MYRIAD_X = Blocking(
    multipliers=256,
    pass_cycles=(0, 5, 11, 19, 31),
    row_memory_bytes=128 * 1024,
    tile_bytes=9 * 128 * 1024 // 2,
    row_bytes=16,
    value_bytes=2,
    ahead_rows=2,
    narrow_columns=8,
    most_steps=256,
    most_channels=2048,
    most_parts=15,
    fewest_columns=64,
    wide_columns=507,
    wide_rows=64,
    fixed=(
        FixedTile(3, 28, 28, 512, 512, rows=28, columns=0, part_channels=172),
        FixedTile(3, 56, 56, 256, 256, rows=30, columns=0, part_channels=128),
        FixedTile(3, 224, 224, 64, 64, rows=82, columns=82, part_channels=0),
        FixedTile(0, 7, 7, 512, 4096, rows=0, columns=0, part_channels=64),
        FixedTile(3, 112, 112, 128, 128, rows=32, columns=112, part_channels=32),
        FixedTile(0, 17, 17, 1088, 128, rows=17, columns=0, part_channels=544),
        FixedTile(0, 17, 17, 1088, 192, rows=17, columns=0, part_channels=544),
        FixedTile(0, 17, 17, 1024, 384, rows=17, columns=0, part_channels=512),
        FixedTile(3, 35, 17, 384, 384, rows=35, columns=35, part_channels=194),
        FixedTile(0, 71, 35, 192, 0, rows=0, columns=71, part_channels=96),
        FixedTile(0, 128, 128, 256, 256, rows=15, columns=128, part_channels=64),
        FixedTile(0, 64, 64, 512, 512, rows=10, columns=64, part_channels=128),
        FixedTile(1, 56, 56, 384, 64, rows=56, columns=20, part_channels=384),
        FixedTile(1, 14, 14, 2112, 1056, rows=14, columns=14, part_channels=556),
        FixedTile(3, 52, 26, 256, 512, rows=52, columns=52, part_channels=128),
        FixedTile(3, 23, 23, 256, 640, rows=14, columns=23, part_channels=256),
    ),
    pooling=_MYRIAD_X_POOLING,
)
# Rows do not say what a pooling computes; averages are told by what they cost.
MYRIAD_X_AVERAGES = replace(
    MYRIAD_X,
    pooling=replace(
        _MYRIAD_X_POOLING,
        refused=((1, 1), (1, 2), (3, 2), (5, 3)),
        odd_refused=True,
        padded_refused=5,
    ),
)
_BLOCKINGS = (MYRIAD_X, MYRIAD_X_AVERAGES)
# Another engine's blocks only add numbers to fit: they must explain this much more.
_WORTH = 0.7


@dataclass(frozen=True, slots=True)
class _Found:
    """An engine and what it leaves unexplained."""

    base: Overlap
    cost: float


def fit_overlap(
    rows: pd.DataFrame, refined: Refined, weights: np.ndarray, cut: bool = True
) -> Overlap:
    """Least squares of log(measured / estimated) over (rows,) `weights`, all parameters positive.

    With a known engine's blocks or without, by what the rows say: if `cut`, where there are
    windows, not of depthwise filters, and the cost with blocks is below _WORTH of that without.
    """
    some = np.unique(np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(int))
    matrix, measured = table_matrix(rows.iloc[some]), table_times(rows.iloc[some])
    emphasis = weights[some]
    found = _fit(matrix, measured, refined, emphasis, None)
    pooled = rows["weight_elements"] == 0
    windows = (rows["kernel_height"] > 1) & (pooled | (rows["groups"] < rows["channels"]))
    if not (cut and windows.any()):
        return found.base
    likeliest = _BLOCKINGS[0]
    if pooled.any():
        few = np.unique(np.linspace(0, len(some) - 1, _FEW_ROWS).astype(int))

        def cost(blocking: Blocking) -> float:
            return _fit(matrix[few], measured[few], refined, emphasis[few], blocking).cost

        likeliest = min(_BLOCKINGS, key=cost)
    cut_so = _fit(matrix, measured, refined, emphasis, likeliest)
    return cut_so.base if cut_so.cost < _WORTH * found.cost else found.base


def _fit(
    matrix: np.ndarray,
    measured: np.ndarray,
    refined: Refined,
    weights: np.ndarray,
    blocking: Blocking | None,
) -> _Found:
    """The engine of (rows, len(FEATURES)) and seconds (rows,).

    It begins near the roofline: scales of 1 (a tenth for what is padded), half of a short time as
    start, a hundredth of it per tile, and a tenth of a usual one per term of blocks. A term that no
    row has gets 0.
    """
    terms = overlap_terms(matrix, refined, blocking)
    told = terms.max(axis=0) > 0
    tiles, blocks = len(refined.unrolling), terms.shape[1] - 7 - len(refined.unrolling)
    # of all but a few: one time that is far too short must not take the start with it
    shortest = np.quantile(measured, _SHORTEST)
    usual = np.maximum(terms[:, 2 + tiles : 2 + tiles + blocks].mean(axis=0), SHORTEST_S)
    first = np.concatenate(
        [
            [shortest / 2, 0.1],
            np.full(tiles, shortest / 100),
            0.1 * np.median(measured) / usual,
            [1.0, 0.1, 1.0, 1.0, 1.0],
        ]
    )
    begin = np.log(np.append(first[told], _FIRST_P - 1))
    emphasis, logs = np.sqrt(weights), np.log(measured)

    def coefficients(parameters: np.ndarray) -> np.ndarray:
        found = np.zeros(len(told))
        found[told] = np.exp(parameters[:-1])
        return found

    def residuals(parameters: np.ndarray) -> np.ndarray:
        starts, engine, moved = split_terms(terms * coefficients(parameters), blocking)
        time_s = starts + overlapped(engine, moved, 1 + np.exp(parameters[-1]))
        missed = np.log(np.maximum(time_s, SHORTEST_S)) - logs
        return np.concatenate([emphasis * missed, _PULL * (parameters - begin)])

    above = np.append(begin[:-1] + _REACH, np.log(_LARGEST_P - 1))
    found = least_squares(
        residuals,
        begin,
        bounds=(begin - _REACH, above),
        loss="soft_l1",
        f_scale=_USUAL_ERROR,
        max_nfev=_STEPS,
    )
    start, padded, *others = coefficients(found.x).tolist()
    compute, absorbed, read, made, weights_moved = others[tiles + blocks :]
    starts, of_blocks = tuple(others[:tiles]), tuple(others[tiles : tiles + blocks])
    scales = compute, absorbed, read, made, weights_moved
    p = float(1 + np.exp(found.x[-1]))
    base = Overlap(refined, start, starts, *scales, p, blocking, of_blocks, padded)
    return _Found(base, float(found.cost))
