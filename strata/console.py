"""What every command does with an error: one line on standard error, exit code 2."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from strata.errors import StrataError

P = ParamSpec("P")
R = TypeVar("R")


def exits_cleanly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a StrataError or a file error into "error: ..." and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            sys.exit(0)
        except (StrataError, OSError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.filename is not None:
                text = f"{error.filename2 or error.filename}: {error.strerror}"
            print("error:", " ".join(text.split()), file=sys.stderr)
            sys.exit(2)

    return wrapped
