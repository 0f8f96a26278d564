"""The frame of TensorBoard's event files: length, checksum of the length, bytes, checksum of the bytes.

A checksum is CRC-32C, rotated by 15 bits and shifted by a constant, so that the checksum of data which hold checksums
stays sound (TFRecord format).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from cggm_core.errors import StoreError

LARGEST = 8 << 20  # of a record that is looked into; scalars of 5,000 series take a quarter of it
_BLOCK = 1 << 20
_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")


def framed(data: bytes) -> bytes:
    """Bytes as one record."""
    length = struct.pack("<Q", len(data))
    crc = google_crc32c.value
    return b"".join((length, _TAIL.pack(_masked(crc(length))), data, _TAIL.pack(_masked(crc(data)))))


def records(file: BinaryIO, name: str) -> Iterator[bytes | None]:
    """Every record of a file, each against its checksums; None for one above `LARGEST`, checked and let go.

    No memory is taken for a length before the bytes are there.

    Args:
        file: open for bytes, at its beginning.
        name: for messages.

    Raises:
        StoreError: at the first record that ends early or does not fit a checksum.
    """
    place, number = 0, 0
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise _cut(name, number, place)
        length, said = _HEAD.unpack(head)
        if _masked(google_crc32c.value(head[:8])) != said:
            what = f"record {number} at byte {place} has a length that does not fit its checksum"
            raise StoreError(
                f"{name} is no event file of TensorBoard and no archive of runs" if not place else f"{name}: {what}"
            )
        if length <= LARGEST:
            data: bytes | None = file.read(length)
            found, there = google_crc32c.value(data), len(data or b"")
        else:
            data, found, there = None, 0, 0
            while there < length and (block := file.read(min(_BLOCK, length - there))):
                found, there = google_crc32c.extend(found, block), there + len(block)
        tail = file.read(_TAIL.size)
        if there < length or len(tail) < _TAIL.size:
            raise _cut(name, number, place)
        if _masked(found) != _TAIL.unpack(tail)[0]:
            raise StoreError(f"{name}: record {number} at byte {place} does not fit its checksum")
        yield data
        place, number = place + _HEAD.size + length + _TAIL.size, number + 1


def _cut(name: str, number: int, place: int) -> StoreError:
    return StoreError(
        f"{name} ends inside record {number}, which begins at byte {place}: it was cut off, or is still being written"
    )


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
