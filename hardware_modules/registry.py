"""Every platform module by name: one visible dict."""

from collections.abc import Callable, Mapping
from typing import Any

from hardware_modules.base import HardwareModule
from hardware_modules.black_box import BlackBoxModule
from hardware_modules.dpu import DpuModule
from hardware_modules.edge_tpu import EdgeTpuModule
from hardware_modules.ethos_u import EthosUModule
from hardware_modules.ncs2 import Ncs2Module
from hardware_modules.null import NullModule
from hardware_modules.openvino_cpu import OpenvinoCpuModule
from hardware_modules.replay import ReplayModule
from hardware_modules.simulated_dpu import dpu_simulated
from hardware_modules.simulated_edge_tpu import edge_tpu_simulated
from hardware_modules.simulated_ncs2 import SimulatedNcs2
from strata.errors import SchemaError, legal

MODULES: dict[str, Callable[[Mapping[str, Any]], HardwareModule]] = {
    "black_box": BlackBoxModule.from_options,
    "dpu": DpuModule.from_options,
    "dpu_simulated": dpu_simulated,
    "edge_tpu": EdgeTpuModule.from_options,
    "edge_tpu_simulated": edge_tpu_simulated,
    "ethos_u": EthosUModule.from_options,
    "ncs2": Ncs2Module.from_options,
    "ncs2_simulated": SimulatedNcs2.from_options,
    "null": NullModule.from_options,
    "openvino_cpu": OpenvinoCpuModule.from_options,
    "replay": ReplayModule.from_options,
}


def create(name: str, options: Mapping[str, Any]) -> HardwareModule:
    """The module under its options; SchemaError for an unknown name, option or value."""
    if name not in MODULES:
        raise SchemaError(f"unknown hardware module '{name}'; legal: {legal(MODULES)}")
    return MODULES[name](options)
