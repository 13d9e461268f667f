"""Shards: the JSON-lines files in which measured cases are kept, raw."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strata.errors import ArtefactError


def read_shard(path: Path) -> Iterator[dict[str, Any]]:
    """The records of one shard; ArtefactError names the file and line that is not JSON."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ArtefactError(
                        f"{path}, line {number}: not a JSON record: {error}"
                    ) from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
