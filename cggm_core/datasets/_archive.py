"""Reads NumPy archives that nobody vouches for: no pickle, and no memory before a header is believed.

An `.npy` header states a shape that NumPy allocates before it reads; here shape times item size must equal
the bytes the archive really holds, and all arrays together must fit the memory that is free.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from numpy.lib import format as npy
from numpy.typing import NDArray

from cggm_core.errors import DataError

# Deflate cannot shrink further than this, so a larger promise is a lie and need not be tried.
_DEFLATE_LIMIT = 1033
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, OSError, RuntimeError,
    ValueError, TypeError, KeyError, IndexError, SyntaxError, OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What an array's header says, checked against the bytes behind it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Archive:
    """An open `.npz` whose headers have been checked.

    Args:
        path: of the file.
        shown: the file's name in messages.

    Raises:
        DataError: if it is not a file or not a NumPy archive, is truncated, holds Python objects, or promises
            more than it holds or than memory takes.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        if not path.is_file():
            what = "a folder" if path.is_dir() else "nothing"
            raise DataError(f"{shown}: found {what} at {str(path.parent)!r}, expected an .npz file")
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise DataError(f"{shown}: {_what_instead(path)}, expected a NumPy .npz archive") from error
        try:
            self.headers = self._read_headers(path.stat().st_size)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Raises:
            DataError: if the bytes are damaged.
        """
        try:
            with self._zip.open(f"{name}.npy") as member:
                made: NDArray[Any] = npy.read_array(member, allow_pickle=False)
                # Only a read past the end compares the checksum.
                trailing = member.read(1)
        except _DAMAGE as error:
            raise self._damaged(name, error) from error
        if trailing:
            raise DataError(f"{self.shown}: array {name!r} is followed by bytes that its header does not name")
        return made

    def _damaged(self, name: str, error: BaseException) -> DataError:
        return DataError(f"{self.shown}: array {name[:80]!r} is damaged ({_line(error)}); copy or write the file again")

    def _read_headers(self, file_size: int) -> dict[str, Header]:
        found: dict[str, Header] = {}
        for info in self._zip.infolist():
            name = info.filename.removesuffix(".npy")
            if not info.filename.endswith(".npy") or name in found:
                what = "a second array" if name in found else "an entry"
                raise DataError(
                    f"{self.shown}: found {what} {info.filename[:80]!r}, expected NumPy arrays, each name once"
                )
            self._check_member(info, name, file_size)
            found[name] = self._read_header(info, name)
        total = sum(math.prod(header.shape) * header.dtype.itemsize for header in found.values())
        if total > (free := psutil.virtual_memory().available):
            raise DataError(
                f"{self.shown}: holds {total / 1e9:.1f} GB of arrays, but {free / 1e9:.1f} GB of memory "
                "are free; take fewer samples or a smaller number format"
            )
        return found

    def _check_member(self, info: zipfile.ZipInfo, name: str, file_size: int) -> None:
        packed, size = info.compress_size, info.file_size
        stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
        if info.compress_type not in (stored, deflated) or info.flag_bits & 1:
            raise DataError(
                f"{self.shown}: array {name[:80]!r} is encrypted or packed in an unknown way, expected what "
                "numpy.savez or numpy.savez_compressed writes"
            )
        most = packed if info.compress_type == stored else packed * _DEFLATE_LIMIT + 64
        if packed > file_size or size > most:
            raise DataError(
                f"{self.shown}: array {name[:80]!r} promises {size} bytes, but the file has {packed} for it; "
                "expected a whole file that numpy wrote"
            )

    def _read_header(self, info: zipfile.ZipInfo, name: str) -> Header:
        try:
            with self._zip.open(info) as member:
                shape, dtype = _parse(member)
                behind = info.file_size - member.tell()
        except (zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(name, error) from error
        except _DAMAGE as error:
            raise DataError(
                f"{self.shown}: array {name[:80]!r} has no readable header ({_line(error)}); expected "
                "NumPy's format 1 or 2"
            ) from error
        if dtype.hasobject:
            raise DataError(
                f"{self.shown}: array {name[:80]!r} holds Python objects, which can run code when read "
                "and are never loaded; expected numbers (for meta: text)"
            )
        promised = math.prod(shape) * dtype.itemsize
        if promised != behind or min(shape, default=0) < 0:
            raise DataError(
                f"{self.shown}: array {name[:80]!r} of shape {_shape(shape)} and type {dtype} needs "
                f"{promised} bytes, but {behind} are there; expected a whole file that numpy wrote"
            )
        return Header(shape, dtype)


def _parse(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type out of an `.npy` header, read without its data."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(member)
    if version not in readers:
        raise ValueError(f"format version {version}")
    shape, _, dtype = readers[version](member)
    return tuple(shape), dtype


def _what_instead(path: Path) -> str:
    """What a file that is not an archive seems to be, from its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    kinds = {
        b"": "the file is empty",
        b"PK\x03\x04": "the archive is truncated or damaged",
        b"\x93NUMPY": "found a single .npy array",
        b"\x80": "found a pickle, which is never loaded",
    }
    return next((text for mark, text in kinds.items() if (start.startswith(mark) if mark else not start)),
                "found something else")  # fmt: skip


def _shape(shape: Iterable[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _line(error: BaseException) -> str:
    """First line of an error's text, short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
