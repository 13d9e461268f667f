"""The zip file of a platform model: plain members, read within limits, equal for equal content."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from strata.errors import ArtefactError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal models give equal files
BROKEN = (
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def open_bundle(path: str | Path) -> zipfile.ZipFile:
    """The file, opened; ArtefactError where there is none or it is no zip."""
    if not Path(path).is_file():
        raise ArtefactError(f"{path}: no such platform model file")
    try:
        return zipfile.ZipFile(path)
    except BROKEN as error:
        raise ArtefactError(f"{path}: not a platform model (no zip): {one_line(error)}") from None


def read_member(bundle: zipfile.ZipFile, name: str, largest: int, where: str) -> bytes:
    """A member of at most `largest` bytes; ArtefactError where it is missing or corrupt."""
    try:
        about = bundle.getinfo(name)
    except KeyError:
        raise ArtefactError(f"{where}: not a platform model: it holds no {name}") from None
    plain = about.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not plain or about.file_size > largest:
        raise ArtefactError(f"{where}: {name} is oddly compressed or larger than {largest} bytes")
    try:
        return bundle.read(about)
    except BROKEN as error:
        raise ArtefactError(f"{where}: {name} is corrupt: {one_line(error)}") from None


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an .npz file."""
    # numpy.savez would stamp the time of day into the file
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            add_member(archive, f"{name}.npy", content.getvalue(), zipfile.ZIP_STORED)
    return buffer.getvalue()


def add_member(archive: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    """Add a member that bears no time of day."""
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = compression
    archive.writestr(member, content)


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
