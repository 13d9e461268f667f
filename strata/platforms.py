"""Names of platform models: where bundles are looked for, and which one a name means.

A bundle is a file NAME.strata. They are found, in this order of listing, in the folders of the
environment variable STRATA_PLATFORMS, in `results/RUN/NAME/` as the pipeline writes them, and
among the released ones in `results/platforms/`; `results` below the current folder and below the
checkout that holds this package.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strata.errors import ArtefactError, legal

if TYPE_CHECKING:
    from strata.platform_model import Header, PlatformModel

SUFFIX = ".strata"
ENVIRONMENT_VARIABLE = "STRATA_PLATFORMS"
RELEASED = "platforms"
TINY = "tiny"
HOW_TO_MAKE = "`make run` measures this machine and makes one"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A platform model's file: `run` is the pipeline run that wrote it, or its folder's name.

    `rank` orders the sources when a plain name is asked for: lower wins, then the newest.
    """

    name: str
    run: str
    path: Path
    rank: int

    @property
    def full_name(self) -> str:
        """NAME@RUN: means this bundle and no other of the name."""
        return f"{self.name}@{self.run}"


def load_platform(name: str | Path) -> "PlatformModel":
    """The platform model of a name, of NAME@RUN, or of a file; ArtefactError as in `locate`."""
    from strata.platform_model import load_platform_model

    return load_platform_model(locate(name))


def locate(name: str | Path) -> Path:
    """The file of a platform model.

    A plain NAME means the one in STRATA_PLATFORMS, else the newest of the runs, else the released
    one, else the one of the run "tiny", which only proves that the pipeline works. ArtefactError
    names the known platforms for an unknown name, and a file that does not exist.
    """
    if isinstance(name, Path) or name.endswith(SUFFIX) or Path(name).is_file():
        return _existing(Path(name))
    bundles = find_platforms()
    plain, _, run = name.partition("@")
    matches = [b for b in bundles if b.name == plain and run in ("", b.run)]
    if not matches:
        raise ArtefactError(_unknown(name, bundles))
    first = min(bundle.rank for bundle in matches)
    candidates = [bundle for bundle in matches if bundle.rank == first]
    return max(candidates, key=_created).path if len(candidates) > 1 else candidates[0].path


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ArtefactError(f"platform model '{path}' does not exist; {HOW_TO_MAKE}")
    return path


def _unknown(name: str, bundles: tuple[Bundle, ...]) -> str:
    if not bundles:
        return f"unknown platform '{name}': no platform model is found; {HOW_TO_MAKE}"
    known = {bundle.name for bundle in bundles} | {bundle.full_name for bundle in bundles}
    return f"unknown platform '{name}'; legal: {legal(known)}, or a {SUFFIX} file; {HOW_TO_MAKE}"


def find_platforms() -> tuple[Bundle, ...]:
    """Every bundle that a name can mean, each file once, by rank and name."""
    found: dict[Path, Bundle] = {}
    for bundle in (*_from_environment(), *_from_results()):
        found.setdefault(bundle.path.resolve(), bundle)
    return tuple(sorted(found.values(), key=lambda b: (b.rank, b.name, b.run)))


def read_header(bundle: Bundle) -> "Header":
    """The header of a bundle, without its arrays; ArtefactError if it cannot be read."""
    from strata.platform_model import load_header

    return load_header(bundle.path)


def _created(bundle: Bundle) -> str:
    """Creation time, ISO 8601, so that text order is time order; unreadable ones come last."""
    try:
        return read_header(bundle).created
    except ArtefactError:
        return ""


def _from_environment() -> Iterator[Bundle]:
    for entry in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep):
        if not entry:
            continue
        folder = Path(entry)
        if not folder.is_dir():
            raise ArtefactError(f"{ENVIRONMENT_VARIABLE} names '{entry}', which is no folder")
        for path in folder.glob(f"*{SUFFIX}"):
            yield Bundle(path.stem, folder.resolve().name, path, 0)


def _from_results() -> Iterator[Bundle]:
    for root in dict.fromkeys((Path.cwd(), Path(__file__).resolve().parent.parent)):
        results = root / "results"
        for path in results.glob(f"*/*/*{SUFFIX}"):
            run, platform = path.parts[-3:-1]
            if platform == path.stem and run != RELEASED:
                yield Bundle(path.stem, run, path, 3 if run == TINY else 1)
        for path in (results / RELEASED).glob(f"*{SUFFIX}"):
            yield Bundle(path.stem, RELEASED, path, 2)
