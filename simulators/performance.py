"""What both levels of a simulated machine say of a layer, and where they disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerPerformance:
    """The analytical model's answer: seconds, the time under each ceiling, and which binds."""

    name: str
    time_s: float
    ceilings_s: Mapping[str, float]
    binding: str


@dataclass(frozen=True, slots=True)
class LayerSteps:
    """The step simulator's answer: seconds, steps taken, busy seconds of each resource."""

    name: str
    time_s: float
    steps: int
    busy_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A layer on which the two levels differ; seconds, and the ceiling that binds analytically."""

    name: str
    analytical_s: float
    simulated_s: float
    binding: str

    @property
    def difference(self) -> float:
        """Analytical over simulated, minus 1."""
        return self.analytical_s / self.simulated_s - 1.0


def binding_ceiling(ceilings_s: Mapping[str, float]) -> str:
    """The ceiling with the longest time; the first of equal ones."""
    return max(ceilings_s, key=lambda name: ceilings_s[name])


def disagreements(
    analytical: Sequence[LayerPerformance],
    simulated: Sequence[LayerSteps],
    tolerance: float = 0.10,
) -> list[Disagreement]:
    """Layers on which the levels differ by more than the tolerance, the worst first.

    Both sequences are of one executable, in its order.
    """
    found = [
        Disagreement(left.name, left.time_s, right.time_s, left.binding)
        for left, right in zip(analytical, simulated, strict=True)
    ]
    far = [row for row in found if abs(row.difference) > tolerance]
    return sorted(far, key=lambda row: -abs(row.difference))
