"""Running vendors' programs: a time limit, and one line in the program's own words if it fails."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from strata.errors import UnsupportedLayer

_LONGEST = 300
_TELLING = re.compile(r"error|fail|abort|invalid|denied|refused|cannot|not found|no such", re.I)


def missing_program(program: str, advice: str) -> str | None:
    """One line that names a program which is not on the PATH and how to get it, or None."""
    return None if shutil.which(program) else f"{program} is not installed; {advice}"


def own_words(output: str) -> str:
    """A failed program's message in one line: its telling lines, else its last one."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)] or lines[-1:]
    return "; ".join(telling)[:_LONGEST] or "it printed nothing"


def run_program(
    command: Sequence[str],
    limit_s: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What the program printed (both streams), run in the folder with additions to its environment.

    UnsupportedLayer, one line: it is missing, took longer than `limit_s` (then it is ended) or
    returned an error.
    """
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise UnsupportedLayer(f"{name} cannot be run: {error.strerror}") from None
    with process:
        try:
            printed, _ = process.communicate(timeout=limit_s)
        except BaseException as error:
            with suppress(ProcessLookupError):  # a wrapper's own programs too: they hold the pipe
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise UnsupportedLayer(f"{name} took longer than {limit_s:g} s and was ended") from None
    if process.returncode:
        raise UnsupportedLayer(f"{name} returned {process.returncode}: {own_words(printed)}")
    return printed
