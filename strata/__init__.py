"""Strata: how long a neural network takes on an edge accelerator, before anyone compiles it.

import strata

platform = strata.load_platform("openvino_cpu")
print(strata.estimate("resnet50.onnx", platform).total_s)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Imported here and not on demand: the function has the name of its module, and a later import of
# the module would take the name away from it.
from strata.estimate import estimate

if TYPE_CHECKING:
    from strata.errors import StrataError as StrataError
    from strata.estimate import Estimate as Estimate
    from strata.estimate import LayerEstimate as LayerEstimate
    from strata.graph import Graph as Graph
    from strata.graph_json import load_graph as load_graph
    from strata.graph_json import save_graph as save_graph
    from strata.importer import load_network as load_network
    from strata.platform_model import PlatformModel as PlatformModel
    from strata.platforms import load_platform as load_platform

_HOME = {
    "Estimate": "strata.estimate",
    "Graph": "strata.graph",
    "LayerEstimate": "strata.estimate",
    "PlatformModel": "strata.platform_model",
    "StrataError": "strata.errors",
    "load_graph": "strata.graph_json",
    "load_network": "strata.importer",
    "load_platform": "strata.platforms",
    "save_graph": "strata.graph_json",
}

__all__ = [
    "Estimate",
    "Graph",
    "LayerEstimate",
    "PlatformModel",
    "StrataError",
    "estimate",
    "load_graph",
    "load_network",
    "load_platform",
    "save_graph",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'strata' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
