"""Where a measurement was taken: enough to tell two machines apart, nothing that names one."""

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def _cpu_fields(path: Path = _CPUINFO) -> dict[str, str]:
    """Fields of the first processor in Linux's /proc/cpuinfo; empty elsewhere."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    lines = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}


@cache
def _fingerprint() -> tuple[tuple[str, str], ...]:
    fields = _cpu_fields()
    facts = {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cpu_version": "-".join(
            fields.get(key, "?") for key in ("cpu family", "model", "stepping")
        ),
        "cpu_cache": fields.get("cache size", "?"),
        "cpu_features": hashlib.sha256(fields.get("flags", "").encode()).hexdigest()[:12],
        "cores": str(os.cpu_count() or 1),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
    return (*facts.items(), ("fingerprint", digest[:12]))


def host() -> dict[str, str]:
    """Processor, cores, system and a fingerprint of them, as text. No host name, no address."""
    return dict(_fingerprint())
