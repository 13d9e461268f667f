"""Arm's Vela compiler for the Ethos-U, in a process of its own.

Vela (the package ethos-u-vela) takes a full-integer TFLite network, fuses, splits, plans its
memories and estimates cycles for each operation. These are a vendor compiler's estimates: nothing
here was measured on silicon. docs/ethos_u.md says what they hold.
"""

import re
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hardware_modules.worker import Worker
from strata.errors import StrataError, UnsupportedLayer

WORKER = Path(__file__).with_name("ethos_u_worker.py")
GET = "pip install ethos-u-vela"
# what one instance of Vela's core takes for "off", by the names of its own options
FEATURES = ("Cascading", "WeightBuffering", "Grouping", "FWD", "ReuseIFM")
_LEFT = re.compile(
    r"Warning \(supported operators\) operator: (\S+), ofm: '([^']*)'\s*Reason: (.*)"
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """An accelerator and the system around it, by Vela's names; `arena_bytes` 0 as Vela has it.

    `disabled` names parts of Vela's scheduler (FEATURES) to leave out, to see what they do.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    arena_bytes: int = 0
    disabled: tuple[str, ...] = ()


def missing() -> str | None:
    """One line that says how to get Vela, or None if it is here."""
    return None if find_spec("ethosu") else f"Arm's Vela is not installed; {GET}"


def described(kind: str) -> tuple[str, ...]:
    """Names in Vela's own file of systems, of its kind of section; none if Vela is missing."""
    found = find_spec("ethosu")
    sections = ConfigParser()
    for folder in (found and found.submodule_search_locations) or ():
        sections.read(Path(folder, "config_files", "Arm", "vela.ini"), encoding="utf-8")
    return tuple(each.partition(".")[2] for each in sections if each.startswith(f"{kind}."))


def left_on_cpu(printed: str) -> list[str]:
    """Vela's own words on each operator that it does not take, one line each."""
    return [
        f"{operator} of '{tensor}': {' '.join(reason.split())}"
        for operator, tensor, reason in _LEFT.findall(printed)
    ]


class Vela:
    """The compiler; starts its process when it is first needed, and again after it ended."""

    def __init__(self, configuration: Configuration, time_limit_s: float) -> None:
        self.configuration = configuration
        self.time_limit_s = time_limit_s
        self.version = ""
        self._worker: Worker | None = None

    def compile(self, model: bytes) -> dict[str, Any]:
        """What Vela tells of a TFLite model: see `ethos_u_worker`; and "left_on_cpu", its words.

        StrataError if Vela is missing; UnsupportedLayer, one line, in Vela's own words.
        """
        worker = self._running()
        path = worker.folder / "model.tflite"
        path.write_bytes(model)
        request: Mapping[str, Any] = {
            "model": str(path),
            "accelerator": self.configuration.accelerator,
            "system_config": self.configuration.system_config,
            "memory_mode": self.configuration.memory_mode,
            "arena_bytes": self.configuration.arena_bytes,
            "disabled": "|".join(self.configuration.disabled),
        }
        answer = worker.ask(request, self.time_limit_s)
        if "refused" in answer:
            raise UnsupportedLayer(f"Vela refuses: {answer['refused']}")
        return {**answer, "left_on_cpu": left_on_cpu(worker.printed())}

    def _running(self) -> Worker:
        if self._worker is not None and self._worker.alive:
            return self._worker
        self.close()
        if reason := missing():
            raise StrataError(reason)
        try:
            self._worker = Worker("Vela", [sys.executable, str(WORKER)])
        except (UnsupportedLayer, OSError, KeyError) as error:
            raise StrataError(f"Vela does not start ({error}); {GET}") from None
        self.version = self._worker.version
        return self._worker

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
