"""What every command does with an error: one line on standard error, exit code 2."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from strata.errors import StrataError

INPUT_ERROR = 2
P = ParamSpec("P")
R = TypeVar("R")


def message(error: Exception) -> str:
    """What an error says of the file it is about; a failed replacement names its target second."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return str(error)


def fail(text: str) -> int:
    """Print one line on standard error; returns the exit code of refused input."""
    print("error:", " ".join(text.split()), file=sys.stderr)
    return INPUT_ERROR


def exits_cleanly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a StrataError or a file error into "error: ..." and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            sys.exit(0)
        except (StrataError, OSError) as error:
            sys.exit(fail(message(error)))

    return wrapped
