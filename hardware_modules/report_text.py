"""Reading vendors' text reports: exact numbers in SI units, faults with line and column."""

import re
from collections.abc import Sequence
from typing import NoReturn

from strata.errors import ArtefactError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def fault(report: str, line: int, message: str) -> NoReturn:
    """Raise the error of a damaged report; lines count from 1."""
    raise ArtefactError(f"{report}, line {line}: {message}")


def number(text: str, report: str, line: int, column: str, exponent: int = 0) -> float:
    """The number written in a column, times 10**exponent, correctly rounded.

    ArtefactError names line, column and value if the text is no finite decimal number.
    """
    if not _NUMBER.fullmatch(text):
        fault(report, line, f"column '{column}' is '{text}'; legal: a number")
    mantissa, _, given = text.lower().partition("e")
    return float(f"{mantissa}e{int(given or 0) + exponent}")


def count(text: str, report: str, line: int, column: str) -> int:
    """The whole number written in a column; ArtefactError as `number`."""
    if not text.isascii() or not text.isdigit():
        fault(report, line, f"column '{column}' is '{text}'; legal: a whole number")
    return int(text)


def resolution(text: str, exponent: int = 0) -> float:
    """Half a unit of the last printed decimal, times 10**exponent: the rounding error."""
    decimals = len(text.partition(".")[2])
    return 0.5 * float(f"1e{exponent - decimals}")


def check_total(
    total: str, parts: Sequence[str], report: str, line: int, column: str, exponent: int = 0
) -> None:
    """ArtefactError unless a printed total is the sum of the printed parts, within rounding."""
    values = [number(part, report, line, column, exponent) for part in parts]
    printed = number(total, report, line, column, exponent)
    allowed = resolution(total, exponent) + sum(resolution(part, exponent) for part in parts)
    allowed += 1e-9 * abs(printed)
    if abs(sum(values) - printed) > allowed:
        shown = f"{sum(values) / 10**exponent:g}"
        fault(report, line, f"column '{column}' totals {total}, but its rows add up to {shown}")
