"""A time limit that a busy machine does not shorten.

What a slow graph takes on an idle machine it must be given on a busy one too, or the same run would
refuse more graphs there. Work counts in the processor's time; a process that hardly computes is
not held up by others, but hangs or waits for a device, and the clock counts.
"""

import time
from collections.abc import Callable

import psutil

_CHECK_S = 1.0
# Of a machine with less to give than this share of a processor nothing can be expected.
_LEAST_SHARE = 1 / 8


def _processor_s(process: psutil.Process) -> float:
    """Seconds of a processor that the process and its children took, those that ended included."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(sum(each.cpu_times()[:4]) for each in family)
    except psutil.Error:  # one ended meanwhile: whoever waits is about to see it
        return 0.0


def answers_in_time(process_id: int, limit_s: float, wait: Callable[[float], bool]) -> bool:
    """Whether `wait`, given seconds to wait at most, was true before the process had its time.

    Half of `limit_s` goes by the clock alone: what answers soon is not looked at. The other half is
    over when it has passed on the clock and the process took as much of the processor meanwhile, or
    less than an eighth of what passed.
    """
    half_s = limit_s / 2
    if wait(half_s):
        return True
    try:
        process = psutil.Process(process_id)
    except psutil.NoSuchProcess:
        return wait(half_s)
    begin, before_s = time.monotonic(), _processor_s(process)
    passed_s = 0.0
    while True:
        if wait(max(half_s - passed_s, min(half_s, _CHECK_S))):
            return True
        passed_s, worked_s = time.monotonic() - begin, _processor_s(process) - before_s
        if passed_s >= half_s and not passed_s * _LEAST_SHARE <= worked_s < half_s:
            return False
