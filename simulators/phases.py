"""Load, compute and store of consecutive tiles with a bounded number of buffers between them.

Tile i may be loaded once a buffer is free, that is once tile i - buffers has been computed; it is
computed once loaded, the unit is free and an output buffer is free; it is stored once computed.
With `shared_port`, loads and stores use one memory port and take turns in program order:
load i + 1 before store i, as a prefetching sequencer issues them.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PipelineTimes:
    """When everything has finished, and how long each phase was busy; seconds."""

    total_s: float
    load_s: float
    compute_s: float
    store_s: float


def pipeline(
    load_s: Sequence[float],
    compute_s: Sequence[float],
    store_s: Sequence[float],
    buffers: int = 2,
    shared_port: bool = True,
) -> PipelineTimes:
    """Run the tiles through the three phases; one duration per tile and phase, in seconds.

    `buffers` is the number of tiles that fit at the input and at the output: 2 is double
    buffering, 1 no overlap of a tile's load with the previous tile's computation.
    """
    if buffers < 1:
        raise ValueError(f"buffers is {buffers}; legal: 1 or more")
    count = len(load_s)
    computed = [0.0] * (count + buffers)  # the first `buffers` entries: nothing to wait for
    stored = [0.0] * (count + buffers)
    load_free = store_free = unit_free = 0.0
    waiting: int | None = None  # the tile whose store has not been issued

    def issue_store(tile: int) -> None:
        nonlocal load_free, store_free
        start = max(store_free, computed[tile + buffers])
        if shared_port:
            start = max(start, load_free)
        store_free = start + store_s[tile]
        if shared_port:
            load_free = store_free
        stored[tile + buffers] = store_free

    for tile in range(count):
        # the buffer is free once the tile that used it has been computed
        start = max(load_free, computed[tile])
        load_free = start + load_s[tile]
        loaded = load_free
        if waiting is not None:
            issue_store(waiting)
        unit_free = max(unit_free, loaded, stored[tile]) + compute_s[tile]
        computed[tile + buffers] = unit_free
        waiting = tile
    if waiting is not None:
        issue_store(waiting)
    total = max(load_free, unit_free, store_free)
    return PipelineTimes(total, sum(load_s), sum(compute_s), sum(store_s))
