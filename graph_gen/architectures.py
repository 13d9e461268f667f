"""Seeded networks of published families, most at sizes that nobody published.

Random graphs (`graph_gen.cells`, `graph_gen.tangles`) are harder to estimate than networks that
somebody designed, which repeat a few well-formed blocks. So what an estimate of a real network may
miss is learned from these. No family is one of the networks that estimates are evaluated on,
or close to it: the rule and its names are in `benchmark.layer_sources`. Those that could only be
written without some of their operations (ShuffleNet, ConvNeXt) are not here: half a network is none
that somebody designed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from graph_gen import networks_varied as varied
from graph_gen import published_dpu_tutorials as tutorials
from graph_gen.description import Setting, check_settings
from graph_gen.published_edge_tpu_cells import nas_bench_201, working_architecture
from graph_gen.published_edge_tpu_cifar import synthetic
from graph_gen.published_edge_tpu_classic import squeezenet
from graph_gen.published_ncs2_rvc2 import mobileone_s0
from strata.graph import Graph

# Edges of images, of those for heavy networks, and for such as work at full resolution throughout.
_SIZES = tuple(range(96, 321, 8))
_MIDDLING = tuple(range(96, 161, 8))
_SMALL = tuple(range(48, 129, 16))

_Draw = Callable[[np.random.Generator], Graph]


def _size(generator: np.random.Generator, sizes: tuple[int, ...] = _SIZES) -> tuple[int, int]:
    edge = int(generator.choice(sizes))
    return edge, edge


def _name(generator: np.random.Generator, names: Iterable[str]) -> str:
    return str(generator.choice(sorted(names)))


def _regnet(generator: np.random.Generator) -> Graph:
    return varied.regnet(_name(generator, varied.REGNETS), _size(generator))


def _vovnet(generator: np.random.Generator) -> Graph:
    return varied.vovnet(_name(generator, varied.VOVNETS), _size(generator, _MIDDLING))


def _squeezenet(generator: np.random.Generator) -> Graph:
    return squeezenet(_name(generator, ("1.0", "1.1")), _size(generator))


def _unet(generator: np.random.Generator) -> Graph:
    return tutorials.unet(int(generator.integers(1, 3)), _size(generator, _SMALL)[0])


def _mobileone(generator: np.random.Generator) -> Graph:
    return mobileone_s0(_size(generator)[0])


def _custom_cnn(generator: np.random.Generator) -> Graph:
    return tutorials.custom_cnn(_size(generator))


def _nas_bench_201(generator: np.random.Generator) -> Graph:
    # an edge of none may cut the output off from the input
    return nas_bench_201(working_architecture(partial(_name, generator)))


def _synthetic(generator: np.random.Generator) -> Graph:
    kind = _name(generator, ("sequential", "branched_2way", "branched_4way"))
    width = 8 * int(generator.integers(2, 13))
    return synthetic(kind, int(generator.integers(1, 5)), width, _size(generator))


_DRAWS: dict[str, _Draw] = {
    "regnet": _regnet,
    "vovnet": _vovnet,
    "squeezenet": _squeezenet,
    "unet": _unet,
    "mobileone": _mobileone,
    "custom_cnn": _custom_cnn,
    "nas_bench_201": _nas_bench_201,
    "synthetic": _synthetic,
}
FAMILIES = tuple(_DRAWS)
SETTINGS: dict[str, Setting] = {
    "seed": Setting(0, 2**63 - 1),
    "family": Setting(choices=FAMILIES),
}


def build(settings: Mapping[str, int | float | str]) -> Graph:
    """The graph of one row of SETTINGS, the same for the same values in every process.

    SchemaError for settings out of range.
    """
    row = check_settings("benchmark 'architectures'", SETTINGS, settings)
    seed, family = int(row["seed"]), str(row["family"])
    drawn = _DRAWS[family](np.random.default_rng([seed, FAMILIES.index(family)]))
    return replace(drawn, name=f"{family}_{seed}")
