"""Networks with published measurements, by the names under which they were published."""

import re

from graph_gen import (
    published_dpu_proxyless,
    published_dpu_tutorials,
    published_dpu_zoo,
    published_edge_tpu,
    published_ncs2,
)
from graph_gen.published_family import Family
from strata.errors import SchemaError
from strata.graph import Graph

# The first family whose pattern matches a name builds it.
FAMILIES: tuple[Family, ...] = (
    *published_dpu_zoo.FAMILIES,
    *published_dpu_proxyless.FAMILIES,
    *published_dpu_tutorials.FAMILIES,
    *published_edge_tpu.FAMILIES,
    *published_ncs2.FAMILIES,
)


def find_family(name: str) -> tuple[Family, re.Match[str]]:
    """The family of a name and its match; SchemaError where there is none."""
    for family in FAMILIES:
        if match := re.fullmatch(family.pattern, name, re.IGNORECASE):
            return family, match
    raise SchemaError(
        f"no published network '{name}' can be built; legal are names like those of "
        "graph_gen.published.FAMILIES"
    )


def build_published(name: str) -> Graph:
    """The graph of a published network, batch 1, 32 bit.

    SchemaError with the reason where the name is unknown, or known and not to be built.
    """
    family, match = find_family(name)
    return family.build(match)
