"""Every platform module by name: one visible dict."""

from collections.abc import Callable, Mapping
from typing import Any

from hardware_modules.base import HardwareModule
from hardware_modules.null import NullModule
from hardware_modules.openvino_cpu import OpenvinoCpuModule
from hardware_modules.replay import ReplayModule
from strata.errors import SchemaError, legal

MODULES: dict[str, Callable[[Mapping[str, Any]], HardwareModule]] = {
    "null": NullModule.from_options,
    "openvino_cpu": OpenvinoCpuModule.from_options,
    "replay": ReplayModule.from_options,
}


def create(name: str, options: Mapping[str, Any]) -> HardwareModule:
    """The module under its options; SchemaError for an unknown name, option or value."""
    if name not in MODULES:
        raise SchemaError(f"unknown hardware module '{name}'; legal: {legal(MODULES)}")
    return MODULES[name](options)
