"""Intel NCS2 (Myriad X): a machine that times the plans of Intel's own compiler."""

from simulators.ncs2.hardware_model import Ncs2, hardware_names, load
from simulators.ncs2.machine import network_s, stage_times

__all__ = ["Ncs2", "hardware_names", "load", "network_s", "stage_times"]
