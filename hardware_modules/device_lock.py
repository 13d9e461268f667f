"""Two processes never time on one device: a lock file per device, held while measuring."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def lock_path(device: str) -> Path:
    """The device's lock file; the same for every process of the machine."""
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in device)
    return Path(tempfile.gettempdir()) / f"strata-device-{safe}.lock"


@contextmanager
def device_lock(device: str) -> Iterator[None]:
    """Hold the device for the block; if another process has it, say so in one line and wait.

    The operating system releases the lock of a process that dies.
    """
    lock = FileLock(lock_path(device), mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for device '{device}' ({lock.lock_file})", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
