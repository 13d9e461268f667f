"""Limits of processes that compute, are held up, sleep or are gone."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from hardware_modules.time_limit import answers_in_time

WORK = """
import sys, time
while time.process_time() < float(sys.argv[1]):
    pass
print(sys.argv[2], end="", flush=True)
time.sleep(60)
"""
IN_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


@contextmanager
def running(*command):
    """A Python process, and what tells whether it has printed within some seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", *command], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process, lambda seconds: bool(select.select([process.stdout], [], [], seconds)[0])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def held_up(process):
    """Stopped half of the time, it and its children, as if others had the processor."""
    over = threading.Event()

    def hold():
        while not over.wait(0.03):
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(0.03)
            os.killpg(process.pid, signal.SIGCONT)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("before", [[], [IN_A_CHILD]])
def test_who_is_held_up_gets_the_time_it_needs_alone(before):
    """0.9 s of work at half the speed, by the process or by its child."""
    with running(*before, WORK, "0.9", "done") as (process, wait), held_up(process):
        begin = time.monotonic()
        assert answers_in_time(process.pid, 1.4, wait)
        assert time.monotonic() - begin > 1.4


def test_who_works_for_longer_is_out_of_time():
    with running(WORK, "60", "done") as (process, wait):
        assert not answers_in_time(process.pid, 0.6, wait)


def test_who_hangs_after_some_work_is_out_of_time_by_the_clock():
    with running(WORK, "0.6", "") as (process, wait):
        begin = time.monotonic()
        assert not answers_in_time(process.pid, 1.0, wait)
        assert time.monotonic() - begin < 3


@pytest.mark.parametrize("limit_s", [0.3, 0.9])
def test_who_sleeps_is_out_of_time_by_the_clock(limit_s):
    with running("import time; time.sleep(60)") as (process, wait):
        begin = time.monotonic()
        assert not answers_in_time(process.pid, limit_s, wait)
        assert limit_s <= time.monotonic() - begin < limit_s + 2


def test_who_is_gone_is_asked_for_what_it_left():
    with running("print('done')") as (process, wait):
        process.wait()
        assert answers_in_time(process.pid, 1.0, wait)
    assert not answers_in_time(process.pid, 0.1, lambda seconds: False)
