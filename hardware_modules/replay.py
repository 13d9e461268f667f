"""A platform played back from recorded reports, so that all else is testable with no device.

A recording is one JSON file per graph, named by the graph's content hash:
{"module": <who measured and parses it>, "options": {...}, "graph": name, "report": {...}}.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardware_modules.base import HardwareModule, Report, check_runs, read_options, refuse
from strata.atomic import replacing
from strata.errors import ArtefactError, SchemaError
from strata.graph import Graph
from strata.profile import Profile


def recording_path(folder: Path, graph: Graph) -> Path:
    """Where the graph's recording lies in the folder."""
    return folder / f"{graph.content_hash[:16]}.json"


def record(
    folder: Path,
    module: HardwareModule,
    graph: Graph,
    report: Report,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a report for replay and return its path; the file appears whole or not at all."""
    path = recording_path(folder, graph)
    content = {
        "module": module.name,
        "options": dict(options or {}),
        "graph": graph.name,
        "report": report,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        missing = {"module", "options", "report"} - content.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise ArtefactError(f"recording '{path}' cannot be read: {error}") from None
    if missing:
        raise ArtefactError(f"recording '{path}' lacks {', '.join(sorted(missing))}")
    return content


@dataclass(frozen=True, slots=True)
class ReplayModule:
    """Answers from a folder of recordings; profiles carry the name of the recorded platform."""

    folder: Path
    name: str = "replay"
    simulated: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "ReplayModule":
        """Option: folder, which must exist."""
        folder = Path(read_options("replay", options, {"folder": ""})["folder"])
        if not options.get("folder") or not folder.is_dir():
            raise SchemaError(f"replay: option 'folder' is '{folder}'; legal: an existing folder")
        return cls(folder)

    def supports(self, graph: Graph) -> str | None:
        """Only graphs that were recorded."""
        path = recording_path(self.folder, graph)
        if graph.opaque:
            return f"layer '{graph.opaque[0].name}' is opaque: it was never measured"
        return None if path.is_file() else f"no recording '{path.name}' in '{self.folder}'"

    def compile(self, graph: Graph) -> dict[str, Any]:
        """The graph's recording; UnsupportedLayer without one, ArtefactError if it is damaged."""
        refuse(self, graph)
        return _read(recording_path(self.folder, graph))

    def profile(self, compiled: dict[str, Any], repeats: int, warmup: int) -> Report:
        """The recording as it is: it holds as many runs as were recorded, whatever is asked."""
        check_runs(repeats, warmup)
        return dict(compiled)

    def parse(self, report: Report, graph: Graph) -> Profile:
        """The recorded report parsed by the module that measured it."""
        profile = self._recorded(report).parse(report["report"], graph)
        return replace(profile, toolchain={**profile.toolchain, "replayed": "yes"})

    @staticmethod
    def _recorded(recording: Mapping[str, Any]) -> HardwareModule:
        from hardware_modules.registry import create  # the registry lists this module too

        if recording["module"] == "replay":
            raise ArtefactError("a recording cannot be a replay of another recording")
        return create(recording["module"], recording["options"])
