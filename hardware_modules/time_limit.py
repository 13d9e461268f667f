"""A time limit that a busy machine does not shorten.

What a slow graph takes on an idle machine it must be given on a busy one too, or the same run would
refuse more graphs there. Work counts in the processor's time; a process that hardly computes is
not held up by others, but hangs or waits for a device, and the clock counts.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

_UNWATCHED = 0.1
_CHECK_S = 1.0
# Of a machine with less to give than this share of a processor nothing can be expected.
_LEAST_SHARE = 1 / 8


def _processor_s(process: psutil.Process) -> float:
    """Seconds of a processor that the process and its children took, those that ended included."""
    family = [process]
    with suppress(psutil.Error):
        family += process.children(recursive=True)
    total_s = 0.0
    for each in family:
        with suppress(psutil.Error):  # it ended meanwhile: its parent will count it
            total_s += sum(each.cpu_times()[:4])
    return total_s


def answers_in_time(process_id: int, limit_s: float, wait: Callable[[float], bool]) -> bool:
    """Whether `wait`, given seconds to wait at most, was true before the process had its time.

    A tenth of `limit_s` goes by the clock alone: what answers soon is not looked at. From then on
    it is looked at every second, which counts as what the process took of the processor, up to the
    whole, or as a whole one if that is less than an eighth.
    """
    unwatched_s = limit_s * _UNWATCHED
    watched_s = limit_s - unwatched_s
    if wait(unwatched_s):
        return True
    try:
        process = psutil.Process(process_id)
    except psutil.NoSuchProcess:
        return wait(watched_s)
    used_s, then, before_s = 0.0, time.monotonic(), _processor_s(process)
    while used_s < watched_s:
        if wait(min(watched_s - used_s, _CHECK_S)):
            return True
        now, after_s = time.monotonic(), _processor_s(process)
        passed_s, worked_s = now - then, after_s - before_s
        used_s += min(worked_s, passed_s) if worked_s >= passed_s * _LEAST_SHARE else passed_s
        then, before_s = now, after_s
    return False
