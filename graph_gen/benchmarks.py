"""The benchmarks by name: settings in, graph out.

Micro-kernel benchmarks hold several layers of one operation and one shape, named `kernel_<n>`;
multi-layer benchmarks show how layers are mapped together (ANNETTE, section 4).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from graph_gen import architectures, cells, tangles
from graph_gen.description import Setting, instantiate, parse_description
from strata.errors import SchemaError, legal
from strata.graph import Graph

__all__ = ["BENCHMARKS", "Benchmark", "Setting", "build"]

Row = Mapping[str, int | float | str]
_DESCRIBED = (
    "convolution",
    "depthwise_convolution",
    "transposed_convolution",
    "max_pooling",
    "average_pooling",
    "dense",
    "add",
    "concat",
    "convnet",
    "fcnet",
    "moved",
    "pooled",
    "pair",
    "additions",
)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A way to make graphs. `operation` is what a micro-kernel benchmark measures, else None.

    `build` checks a row against `settings` and raises SchemaError as `benchmarks.build` does.
    """

    name: str
    operation: str | None
    settings: Mapping[str, Setting]
    build: Callable[[Row], Graph]


def _described(name: str) -> Benchmark:
    text = (files("graph_gen") / "descriptions" / f"{name}.yaml").read_text(encoding="utf-8")
    description = parse_description(text, f"{name}.yaml")
    build_graph = partial(instantiate, description)
    return Benchmark(name, description.measures, description.legal_settings, build_graph)


BENCHMARKS: dict[str, Benchmark] = {
    **{name: _described(name) for name in _DESCRIBED},
    "cells": Benchmark("cells", None, cells.SETTINGS, cells.build),
    # a network has one beginning, and it is costly: cut off the rest and there are more of them
    "stems": Benchmark(
        "stems", None, cells.SETTINGS, lambda row: cells.build({"stages": 1, **row})
    ),
    "tangles": Benchmark("tangles", None, tangles.SETTINGS, tangles.build),
    "architectures": Benchmark("architectures", None, architectures.SETTINGS, architectures.build),
}


def build(benchmark: str, settings: Row) -> Graph:
    """The graph of one benchmark and one settings row, the same for the same arguments.

    SchemaError names an unknown benchmark; an unknown or missing setting; a setting out of its
    range; or settings whose combination breaks a limit.
    """
    if benchmark not in BENCHMARKS:
        raise SchemaError(f"unknown benchmark '{benchmark}'; legal: {legal(BENCHMARKS)}")
    return BENCHMARKS[benchmark].build(settings)
