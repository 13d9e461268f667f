"""Run as a script: Arm's Vela, compiling one TFLite file per request on standard input.

It answers with what Vela tells of the compiled network: its rows per operation, and the totals.
The core that it calls is native code and may end the process; it prints its reasons.
"""

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

# tables of Vela's own database, and the columns of each that are asked for
_COLUMNS = {
    "perf": ("id", "source_id", "operator", "name", "op_cycles", "npu_cycles", "mac_count"),
    "perf_debug": (
        "id",
        "ifm_memory",
        "ofm_memory",
        "cascade",
        "weight_buffering",
        "weight_total_bytes",
        "ofm_depth_slices",
    ),
    "perf_debug_main": ("id", "mac_cycles", "traversal"),
    "group": ("id", "group_id"),
    "source": ("id", "operator", "ext_key"),
}
# columns that stand once per memory: cycles of access, and bytes by what is read or written
_PER_MEMORY = {"perf": ("_ac",), "perf_debug": ("_read", "_write")}


def _system(request: Mapping[str, Any]) -> tuple[Any, str]:
    """Vela's description of the configured hardware, and the text its core reads it from."""
    from ethosu.vela import architecture_features as features

    path = Path(features.CONFIG_FILES_PATH) / "Arm" / "vela.ini"
    arena_bytes = request["arena_bytes"] or None
    architecture = features.ArchitectureFeatures(
        [str(path)],
        request["accelerator"],
        request["system_config"],
        request["memory_mode"],
        max_blockdep=features.ArchitectureFeatures.MAX_BLOCKDEP,
        verbose_config=False,
        arena_cache_size=arena_bytes,
    )
    text = (
        f"[architecture]\nmacs={architecture.num_macs_per_cycle}\ncores={architecture.ncores}\n"
        f"[vela]\nsystem_config_name={request['system_config']}\n"
        f"memory_mode_name={request['memory_mode']}\n{path.read_text(encoding='utf-8')}"
    )
    return architecture, text


def _options(architecture: Any, disabled: str) -> str:
    """The settings that Vela's own command passes by default, and the database of results."""
    return (
        "\n[compiler]\nenable_db=true\noutput_format=TFLite\ncop_format=COP1\n"
        f"\n[scheduler]\noptimize=Performance\narena_size_limit={architecture.arena_cache_size}\n"
        f"disable_feature={disabled}\ncpu_tensor_alignment=16\ntensor_allocator=HillClimb\n"
        "\n[graph]\nsoftmax_int16_neg_exp_range=10.0\n"
    )


def _table(name: str, table: Any) -> dict[str, Any]:
    """A table's wanted columns."""
    wanted = [
        i
        for i, column in enumerate(table.header)
        if column in _COLUMNS[name] or column.endswith(_PER_MEMORY.get(name, ()) or "\0")
    ]
    return {
        "columns": [table.header[i] for i in wanted],
        "rows": [[row[i] for i in wanted] for row in table.data],
    }


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    from ethosu import regor

    architecture, system = _system(request)
    parts = request["accelerator"].split("-")[:-1]
    compiled = regor.compile(
        "".join(part.capitalize() for part in parts),
        Path(request["model"]).read_bytes(),
        "TFLITE",
        system,
        options=_options(architecture, request["disabled"]),
        verbose=True,
    )
    report = compiled.perf_report
    tables = compiled.opt_database.tables
    return {
        "clock_hz": float(architecture.core_clock),
        "total_cycles": int(report.totalCycles),
        "cpu_operations": int(report.cpuOps),
        "cascades": int(report.cascades),
        "cascaded_operations": int(report.cascadedOps),
        "encoded_weight_bytes": int(report.encodedWeights),
        "peak_bytes": {str(name): int(each.peakUsage) for name, each in report.memories.items()},
        "tables": {name: _table(name, tables[name]) for name in _COLUMNS if name in tables},
    }


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the core prints to standard output
    print(json.dumps({"ready": version("ethos-u-vela")}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line))
        except (Exception, SystemExit) as error:  # Vela's own errors are of many kinds
            words = " ".join(str(error).split()) or type(error).__name__
            answer = {"refused": words}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
