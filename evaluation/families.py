"""Coverage of intervals of totals on families of networks that they do not stand on.

Few networks judge an evaluation, and those of one family err alike. The calibration networks are of
more families, and nothing is fitted to them: leave one family out, take the intervals from all
other calibration networks, and count how many networks of it lie inside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

import numpy as np

from model_gen.calibration_networks import (
    calibration_networks,
    calibration_totals,
    sound_calibration,
)
from model_gen.network_tables import read_calibration
from model_gen.total_fit import Total, fit_network_spread
from strata.intervals import LEVELS, SHOWN_LEVEL, chosen_widths
from strata.platform_model import PlatformModel


@dataclass(frozen=True, slots=True)
class FamilyCoverage:
    """How many networks of a family lie inside their 90% interval, which the others gave.

    `width` is the median distance of the upper end from the estimate, as a share of it.
    """

    family: str
    networks: int
    covered: int
    width: float


def pooled_coverage(families: Sequence[FamilyCoverage]) -> float:
    """Share of the networks of all families inside, each network counting once."""
    return sum(each.covered for each in families) / sum(each.networks for each in families)


def left_out_families(
    totals: Mapping[str, Sequence[Total]], always: Sequence[Total] = ()
) -> tuple[FamilyCoverage, ...]:
    """Coverage of each family by intervals from all others and from `always`, by name.

    Families for which too few other networks are left to give intervals are missing.
    """
    found = []
    for family, own in sorted(totals.items()):
        others = [each for name, part in totals.items() if name != family for each in part]
        spread = fit_network_spread([*others, *always])
        if spread is None or not own:
            continue
        scales = np.array([spread.scale(each.terms) for each in own])
        widths = chosen_widths(spread.widths, scales)[:, LEVELS.index(SHOWN_LEVEL)] * scales
        inside = np.abs([each.error for each in own]) <= widths
        median = exp(float(np.median(widths))) - 1
        found.append(FamilyCoverage(family, len(own), int(inside.sum()), median))
    return tuple(found)


def family_coverage(path: Path, model: PlatformModel) -> tuple[FamilyCoverage, ...]:
    """`left_out_families` of a calibration table; () without the table, or families or intervals.

    Random networks belong to no family and stay among the others. FitError for a bad table.
    """
    table = read_calibration(path)
    if table is None or "family" not in table or model.intervals.network is None:
        return ()
    table, _ = sound_calibration(table)
    totals: dict[str, list[Total]] = {}
    always: list[Total] = []
    for family, network in zip(table["family"], calibration_networks(table), strict=True):
        part = totals.setdefault(family, []) if isinstance(family, str) else always
        part += calibration_totals([network], model)
    return left_out_families(totals, always)
