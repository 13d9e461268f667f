"""Seeded timing noise, for tests of what noise does to a fit. Off unless asked for."""

import hashlib
from collections.abc import Sequence

import numpy as np


def noisy(times_s: Sequence[float], relative: float, seed: int, name: str) -> list[float]:
    """The times, each multiplied by exp(normal(0, relative)).

    Depends on the seed and the name only. `relative` 0 gives the times themselves.
    """
    if relative == 0:
        return list(times_s)
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    factors = np.exp(generator.normal(0.0, relative, len(times_s)))
    return [float(time * factor) for time, factor in zip(times_s, factors, strict=True)]
