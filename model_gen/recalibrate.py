"""Fitting an adjustment: factors of the parts of a network's time from a few measured networks.

A network's estimate is split into parts (`strata.adjustment`). The time in the new set-up is

    T_n = sum over parts k of p_nk exp(a + d_k + e_k) + c_network + c_layer layers_n

with p_nk seconds of part k in the estimate, a factor exp(a) that all share, deviations d_k of a
part and e_k of one class of operations in it, and costs that the original had not. Residuals are
logarithms of estimated over measured time, with soft L1 loss; a, d and e are drawn to 0 (ridge), so
a part of which the measurements say little keeps the common factor, and that stays near 1. Which of
these parameters are fitted at all, and how strongly deviations are drawn to 0, is chosen by leaving
out one network at a time; the choice is judged by leaving out another, and taken only if that is
better than the original by more than a standard error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log

import numpy as np
from scipy.optimize import least_squares

from model_gen.network_parts import KIND, NetworkParts
from strata.adjustment import FORMS, PARTS, Adjustment, MeasuredNetwork
from strata.errors import FitError
from strata.intervals import SHOWN_LEVEL

FEWEST = 3
_NOISE = 0.05  # relative error of an estimate that counts as usual; scales the priors below
_FACTOR_SPREAD = 3.0  # how far the common factor may usually be from 1, as a logarithm
_CONSTANT_SPREAD = 4.0  # and a constant from its nominal value
_SPREADS = (0.1, 0.3, 1.0)  # candidates for how far parts may be from the common factor
_LOSS = 0.1  # residuals beyond weigh linearly
_NOMINAL = 0.01  # of the shortest network's time: constants start so small
_FINE = ("operations", "operations and constants")
_FEWEST_FINE = 8  # networks that may tell operations of one part apart


@dataclass(frozen=True, slots=True)
class Candidate:
    """A form of adjustment, and how far its parts may usually be from the common factor."""

    form: str
    spread: float = 1.0


CANDIDATES = (
    *(Candidate(form) for form in FORMS[:3]),
    *(Candidate(form, spread) for form in FORMS[3:] for spread in _SPREADS),
)


@dataclass(frozen=True)
class _Design:
    """The equation above for one candidate: `seconds` (networks, columns), `tree` (columns,
    parameters) of 0 and 1, `ridge` (parameters,)."""

    columns: tuple[str, ...]
    seconds: np.ndarray
    tree: np.ndarray
    ridge: np.ndarray

    def times_s(self, parameters: np.ndarray) -> np.ndarray:
        """Seconds of each network, (networks,)."""
        return self.seconds @ np.exp(self.tree @ parameters)


@dataclass(frozen=True)
class _Data:
    """Parts of all networks as a matrix, and what was measured; seconds."""

    columns: tuple[str, ...]
    seconds: np.ndarray
    layers: np.ndarray
    measured_s: np.ndarray

    @cached_property
    def estimated_s(self) -> np.ndarray:
        return self.seconds.sum(axis=1)

    @property
    def nominal_s(self) -> tuple[float, float]:
        """What constants per network and per layer are drawn to: next to nothing."""
        shortest = int(np.argmin(self.measured_s))
        per_network_s = _NOMINAL * float(self.measured_s[shortest])
        return per_network_s, per_network_s / max(float(self.layers[shortest]), 1.0)

    def design(self, candidate: Candidate) -> _Design:
        """The equation of a candidate that is not "unchanged"."""
        levels = _levels(candidate.form, self.columns)
        names = [*dict.fromkeys(name for path in levels for name in path)]
        columns, seconds = self.columns, self.seconds
        ridge = [_NOISE / (candidate.spread if name else _FACTOR_SPREAD) for name in names]
        if candidate.form.endswith("constants"):
            columns = (*columns, *_CONSTANTS)
            per_network_s, per_layer_s = self.nominal_s
            every = np.full(len(seconds), per_network_s)
            seconds = np.column_stack([seconds, every, per_layer_s * self.layers])
            levels = [*levels, *((name,) for name in _CONSTANTS)]
            names += _CONSTANTS
            ridge += [_NOISE / _CONSTANT_SPREAD] * len(_CONSTANTS)
        tree = np.array([[float(name in path) for name in names] for path in levels])
        return _Design(columns, seconds, tree, np.array(ridge))


_CONSTANTS = ("added per network", "added per layer")
_COMMON = ""


def _levels(form: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Per column the names of the parameters that scale it, the common factor first."""
    paths: list[tuple[str, ...]] = []
    for column in columns:
        part = column.partition("/")[0]
        if form.startswith("factor"):
            paths.append((_COMMON,))
        elif form in _FINE:
            paths.append(tuple(dict.fromkeys((_COMMON, part, column))))
        else:
            paths.append((_COMMON, part))
    return paths


def _solve(design: _Design, measured_s: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The parameters of a candidate, (parameters,)."""

    def residuals(parameters: np.ndarray) -> np.ndarray:
        missed = np.log(design.times_s(parameters) / measured_s) / _LOSS
        return np.concatenate([_LOSS * _soft(missed), design.ridge * parameters])

    def slopes(parameters: np.ndarray) -> np.ndarray:
        scaled = design.seconds * np.exp(design.tree @ parameters)
        total = scaled.sum(axis=1)
        missed = np.log(total / measured_s) / _LOSS
        data = _soft_slope(missed)[:, None] * (scaled @ design.tree) / total[:, None]
        return np.concatenate([data, np.diag(design.ridge)])

    return np.asarray(least_squares(residuals, start, slopes, method="lm", xtol=1e-5, ftol=1e-5).x)


def _soft(z: np.ndarray) -> np.ndarray:
    """What squared gives soft L1 loss, 2 (sqrt(1 + z^2) - 1), with the sign of z."""
    return np.sign(z) * np.sqrt(2 * (np.sqrt(1 + z**2) - 1))


def _soft_slope(z: np.ndarray) -> np.ndarray:
    root = np.sqrt(1 + z**2)
    # at 0 both numerator and denominator vanish; the slope there is 1
    return np.where(np.abs(z) < 1e-6, 1.0, np.abs(z) / (root * np.maximum(np.abs(_soft(z)), 1e-12)))


def _left_out(data: _Data, candidate: Candidate) -> np.ndarray:
    """(networks i, j): seconds of j by a fit to all but i and j; on the diagonal, to all but i."""
    count = len(data.measured_s)
    if candidate.form == "unchanged":
        return np.tile(data.estimated_s, (count, 1))
    design = data.design(candidate)
    # with all networks the solution is near, from where fits without two of them begin
    start = _solve(design, data.measured_s, np.zeros(len(design.ridge)))
    found = np.empty((count, count))
    for i in range(count):
        for j in range(i + 1):
            kept = np.delete(np.arange(count), (i, j))
            seen = replace(design, seconds=design.seconds[kept])
            times_s = design.times_s(_solve(seen, data.measured_s[kept], start))
            found[i, j], found[j, i] = times_s[j], times_s[i]
    return found


def candidates_for(networks: int) -> list[Candidate]:
    """Candidates that so many networks may tell apart, from simple to complex."""
    few = networks < _FEWEST_FINE
    return [one for one in CANDIDATES if not (few and one.form in _FINE)]


def choose(errors: np.ndarray) -> int:
    """The candidate with the smallest mean error, of equal ones the simplest.

    `errors` is (candidates, networks), absolute, of networks left out; candidates from simple to
    complex.
    """
    return int(np.argmin(errors.mean(axis=1).round(12)))


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A chosen candidate, its factors, and errors of networks left out, in the order given.

    `before` and `after` are estimated over measured time, (networks,): of the original, and of
    recalibrations, their form chosen anew, that did not see the network. `tried` are mean absolute
    errors per candidate, in percent.
    """

    candidate: Candidate
    factor: float
    scales: dict[str, float]
    per_network_s: float
    per_layer_s: float
    before: np.ndarray
    after: np.ndarray
    tried: dict[Candidate, float]

    @property
    def helps(self) -> bool:
        """Whether networks it did not see come out better than by the original."""
        return self.candidate.form != "unchanged"

    @property
    def before_percent(self) -> float:
        """Mean absolute error of the original."""
        return float(100 * np.mean(np.abs(self.before - 1)))

    @property
    def after_percent(self) -> float:
        """Mean absolute error on networks left out."""
        return float(100 * np.mean(np.abs(self.after - 1)))

    def total_s(self, network: NetworkParts) -> float:
        """A network's time in the new set-up."""
        adjustment = self.adjustment("", "", ())
        scaled = sum(adjustment.scale(part) * s for part, s in network.seconds.items())
        return scaled + self.per_network_s + self.per_layer_s * network.layers

    def adjustment(
        self,
        original: str,
        sha256: str,
        networks: tuple[MeasuredNetwork, ...],
        widening: float = 1.0,
    ) -> Adjustment:
        """What the platform model keeps of it; `widening` is `interval_factor`."""
        return Adjustment(
            form=self.candidate.form,
            factor=self.factor,
            original=original,
            sha256=sha256,
            kind=KIND,
            networks=networks,
            before_percent=self.before_percent,
            after_percent=self.after_percent,
            scales=self.scales,
            per_network_s=self.per_network_s,
            per_layer_s=self.per_layer_s,
            interval_factor=widening,
        )


def recalibrate(
    networks: Sequence[NetworkParts],
    measured_s: Sequence[float],
    tick: Callable[[], None] = lambda: None,
) -> Recalibration:
    """The adjustment that explains measured seconds of networks best, as far as they can tell.

    `tick` is called once per candidate of `candidates_for`. FitError below FEWEST networks.
    """
    data = _as_data(networks, measured_s)
    candidates = candidates_for(len(networks))
    every = []
    for candidate in candidates:
        every.append(_left_out(data, candidate))
        tick()
    out = np.array(every)
    alone = np.log(np.einsum("cii->ci", out) / data.measured_s)
    chosen = candidates[choose(np.abs(alone))]
    after = _unseen(out, data.measured_s)
    before = data.estimated_s / data.measured_s
    tried = dict(zip(candidates, 100 * np.abs(np.expm1(alone)).mean(axis=1), strict=True))
    if not _helps(before, after):
        chosen = CANDIDATES[0]
    return _fitted(data, chosen, before, after, tried)


def _helps(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether left-out networks are better off, by more than one standard error of the gain.

    Less may be luck: with few and unlike networks the errors before are luck themselves.
    """
    gains = np.abs(np.log(before)) - np.abs(np.log(after))
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def one_factor(networks: Sequence[NetworkParts], measured_s: Sequence[float]) -> float:
    """The factor of the form "factor" alone: a baseline. FitError below FEWEST networks."""
    data = _as_data(networks, measured_s)
    nothing = data.estimated_s / data.measured_s
    return _fitted(data, Candidate("factor"), nothing, nothing, {}).factor


def _unseen(out: np.ndarray, measured_s: np.ndarray) -> np.ndarray:
    """Estimated over measured time of each network, by a choice and a fit without it.

    `out` is (candidates, i, j): seconds of j by fits without i and j.
    """
    count = len(measured_s)
    missed = np.log(out / measured_s[None, None, :])
    found = np.empty(count)
    for i in range(count):
        others = np.delete(np.arange(count), i)
        best = choose(np.abs(missed[:, i, others]))
        found[i] = np.exp(missed[best, i, i])
    return found


def interval_factor(found: Recalibration, networks: Sequence[NetworkParts]) -> float:
    """What the original's intervals must be widened by, at least 1.

    The split conformal quantile of the left-out errors over the half-widths that the original gave
    these networks; below nine networks the largest, which covers n in n + 1.
    """
    ratios = sorted(
        abs(log(error)) / network.half_width
        for error, network in zip(found.after.tolist(), networks, strict=True)
        if network.half_width
    )
    if not ratios:
        return 1.0
    place = min(ceil(SHOWN_LEVEL * (len(ratios) + 1)), len(ratios))
    return max(1.0, ratios[place - 1])


def _as_data(networks: Sequence[NetworkParts], measured_s: Sequence[float]) -> _Data:
    if len(networks) < FEWEST:
        raise FitError(
            f"{len(networks)} measured networks cannot recalibrate a model; "
            f"legal: {FEWEST} or more, better 5 to 20"
        )
    names = {column for network in networks for column in network.seconds}
    columns = tuple(sorted(names, key=lambda name: (PARTS.index(name.partition("/")[0]), name)))
    seconds = [[network.seconds.get(column, 0.0) for column in columns] for network in networks]
    layers = np.array([network.layers for network in networks], dtype=np.float64)
    return _Data(columns, np.array(seconds), layers, np.array(measured_s, dtype=np.float64))


def _fitted(
    data: _Data,
    chosen: Candidate,
    before: np.ndarray,
    after: np.ndarray,
    tried: dict[Candidate, float],
) -> Recalibration:
    """The chosen candidate on all networks, in the terms of an `Adjustment`."""
    if chosen.form == "unchanged":
        return Recalibration(chosen, 1.0, {}, 0.0, 0.0, before, before, tried)
    design = data.design(chosen)
    parameters = _solve(design, data.measured_s, np.zeros(len(design.ridge)))
    factors = dict(zip(design.columns, np.exp(design.tree @ parameters).tolist(), strict=True))
    per_network_s, per_layer_s = (
        factors.pop(name, 0.0) * nominal_s
        for name, nominal_s in zip(_CONSTANTS, data.nominal_s, strict=True)
    )
    factor = float(np.exp(parameters[0]))
    scales = _scales(chosen.form, factors, parameters)
    return Recalibration(chosen, factor, scales, per_network_s, per_layer_s, before, after, tried)


def _scales(form: str, factors: dict[str, float], parameters: np.ndarray) -> dict[str, float]:
    """Factors by part, and by class of operations where the form tells them apart."""
    if form.startswith("factor"):
        return {}
    if form in _FINE:
        # what no network here has still follows its part
        names = list(dict.fromkeys(n for path in _levels(form, [*factors]) for n in path))
        coarse = {
            name: float(np.exp(parameters[0] + parameters[k]))
            for k, name in enumerate(names)
            if name in PARTS and name not in factors
        }
        return coarse | factors
    return {column.partition("/")[0]: scale for column, scale in factors.items()}
