"""Makes the NCS2 toolchain's environment: `make ncs2-toolchain`, or this module with Python 3.9's
path and a folder. Exact versions; the last wheel that holds the stick's compiler wants them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hardware_modules.ncs2_toolchain import missing
from hardware_modules.vendor_tools import own_words
from strata.errors import StrataError

PACKAGES = ("openvino==2021.4.2", "numpy==1.19.5", "libusb-package==1.0.30.0")
CLOCK = "libfaketime==3.0.1"  # built from C: welcome, not needed
_LIMIT_S = 900.0
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


def install(folder: Path, python: str) -> None:
    """Make the environment anew; the folder goes if that fails."""
    program = find_python(python)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run(program, "-m", "venv", str(folder / "venv"))
        pip = (str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet")
        _run(*pip, "--no-deps", *PACKAGES)
        library = next(folder.glob("venv/lib/python3.9/site-packages/libusb_package/libusb-1.0.so"))
        (folder / "lib").mkdir()
        shutil.copy(library, folder / "lib" / "libusb-1.0.so.0")
    except (StrataError, StopIteration) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StrataError(f"the NCS2 toolchain cannot be installed: {error}") from None
    try:
        _run(*pip, "--no-deps", CLOCK)
    except StrataError as error:
        print(f"without {CLOCK} ({error}) every graph takes 5 s longer")


def main(arguments: Sequence[str]) -> int:
    """[folder, Python 3.9 or empty]; 0, or 1 after one line on the standard error."""
    folder, python = arguments
    try:
        install(Path(folder), python)
        if reason := missing(folder):
            raise StrataError(reason)
    except StrataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the NCS2 toolchain is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
