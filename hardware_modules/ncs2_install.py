"""`make ncs2-toolchain`: makes the toolchain's environment, unless the folder already holds it.

    python -m hardware_modules.ncs2_install FOLDER [PYTHON]

PYTHON is a Python 3.9; without it or empty, one is looked for. Exact versions: the last wheel that
holds the stick's compiler wants them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hardware_modules.ncs2_toolchain import missing
from hardware_modules.vendor_tools import own_words
from strata.errors import StrataError

PACKAGES = ("openvino==2021.4.2", "numpy==1.19.5", "libusb-package==1.0.30.0")
CLOCK = "libfaketime==3.0.1"  # built from C: welcome, not needed
_LIMIT_S = 900.0
_MARK = ".installed"  # by which make knows that it need not look again
_OURS = {"venv", "lib", _MARK}
_IS_39 = "import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 9))"


def _run(*command: str) -> str:
    """What a program printed; StrataError in its own words."""
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StrataError(f"{Path(command[0]).name} cannot be run: {error}") from None
    if done.returncode:
        name = Path(command[0]).name
        raise StrataError(f"{name} returned {done.returncode}: {own_words(done.stderr)}")
    return done.stdout


def _candidates(given: str) -> Iterator[str]:
    """Programs that may be Python 3.9: the one given alone, else PATH's, pyenv's and uv's."""
    if given:
        yield given
        return
    if found := shutil.which("python3.9"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob("versions/3.9*/bin/python3.9")))
    if shutil.which("uv"):
        try:
            yield _run("uv", "python", "find", "3.9").strip()
        except StrataError:
            return


def find_python(given: str = "") -> str:
    """A working Python 3.9; StrataError if there is none."""
    for program in _candidates(given):
        try:
            _run(program, "-c", _IS_39)
        except StrataError:
            continue
        return program
    told = f"{given} is not Python 3.9" if given else "Python 3.9 is not installed"
    raise StrataError(
        f"the NCS2 toolchain needs Python 3.9 and {told}; "
        "legal: python3.9 on the PATH, from pyenv or uv, or `make ncs2-toolchain NCS2_PYTHON=PATH`"
    )


def _has(folder: Path, packages: Sequence[str]) -> bool:
    """Whether the environment holds exactly these versions."""
    site = folder / "venv" / "lib" / "python3.9" / "site-packages"
    names = (each.replace("==", "-").replace("_", "-") for each in packages)
    found = {path.name.replace("_", "-") for path in site.glob("*.dist-info")}
    return all(f"{name}.dist-info" in found for name in names)


def _check_ours(folder: Path) -> None:
    """StrataError if what is to be replaced is no such environment."""
    if not folder.exists():
        return
    holds = {each.name for each in folder.iterdir()} if folder.is_dir() else {"no folder"}
    if holds - _OURS or (holds - {_MARK} and "venv" not in holds):
        raise StrataError(
            f"{folder} holds something else than the NCS2 toolchain and is left alone; "
            f"legal: a new or empty folder, or one of only {', '.join(sorted(_OURS))}"
        )


@contextmanager
def _aside(folder: Path) -> Iterator[None]:
    """Nothing where the folder is; what was there comes back if the body fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as place:
        kept = Path(place) / "before"
        if folder.exists():
            folder.rename(kept)
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            if kept.exists():
                kept.rename(folder)
            raise


def _build(folder: Path, program: str) -> None:
    _run(program, "-m", "venv", str(folder / "venv"))
    _run(*_pip(folder), *PACKAGES)
    found = folder.glob("venv/lib/python3.9/site-packages/libusb_package/libusb-1.0.so")
    library = next(found, None)
    if library is None:
        raise StrataError(f"{PACKAGES[-1]} holds no libusb-1.0.so")
    (folder / "lib").mkdir()
    shutil.copy(library, folder / "lib" / "libusb-1.0.so.0")
    if reason := missing(str(folder)):
        raise StrataError(reason)


def _pip(folder: Path) -> tuple[str, ...]:
    python = str(folder / "venv" / "bin" / "python")
    return (python, "-m", "pip", "install", "--quiet", "--no-deps")


def install(folder: Path, python: str) -> None:
    """Make the environment, or leave one that is right as it is but for the clock.

    StrataError if that fails, or if the folder holds something else; it is as before then.
    """
    if missing(str(folder)) is not None or not _has(folder, PACKAGES):
        _check_ours(folder)
        program = find_python(python)
        try:
            with _aside(folder):
                _build(folder, program)
        except StrataError as error:
            raise StrataError(f"the NCS2 toolchain cannot be installed: {error}") from None
    if _has(folder, [CLOCK]):
        return
    try:
        _run(*_pip(folder), CLOCK)
    except StrataError as error:
        print(f"without {CLOCK} ({error}) every graph takes 5 s longer")


def main(arguments: Sequence[str]) -> int:
    """FOLDER [PYTHON]; 0, or 1 after one line on the standard error, or 2 after the usage."""
    if not 1 <= len(arguments) <= 2 or not arguments[0] or arguments[0].startswith("-"):
        print("usage: python -m hardware_modules.ncs2_install FOLDER [PYTHON]", file=sys.stderr)
        return 2
    folder, python = (*arguments, "")[:2]
    try:
        install(Path(folder), python)
    except (StrataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the NCS2 toolchain is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
