"""A family of published networks: names that a pattern recognises, and their graph."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from strata.graph import Graph


@dataclass(frozen=True, slots=True)
class Family:
    """Networks whose names match `pattern` as a whole, upper and lower case alike.

    `build` gets the match and makes the graph; it raises a SchemaError or UnsupportedLayer where a
    name of the family is no network that can be built. `note` says what is inferred or simplified.
    """

    pattern: str
    build: Callable[[re.Match[str]], Graph]
    example: str
    note: str = ""
