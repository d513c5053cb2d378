"""Check of MATLAB files before scipy reads them: damaged files could crash the process or exhaust its memory."""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADER: Final = 128
_TAG: Final = 8
_MATRIX: Final = 14
_COMPRESSED: Final = 15
_NUMBERS: Final = frozenset([*range(1, 8), 9, 12, 13])
_TEXTS: Final = frozenset([16, 17, 18])
_NESTED: Final = frozenset([1, 2, 3])  # classes of arrays that hold arrays: cells, structures, objects
_PLAIN: Final = frozenset([4, *range(6, 16)])  # texts and real numbers; no annotation has complex or sparse ones
_COMPLEX: Final = 0x800
_MOST: Final = 2**28
"""Bytes of a file and of its decompressed arrays: fifty times the annotation of 60,000 heads."""
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
# Types and classes are those of level 5 of the format ("MAT-File Format", The MathWorks).


@dataclass
class _Budget:
    """Bytes that compressed elements may still inflate to."""

    left: int

    def inflate(self, data: memoryview, order: str) -> memoryview:
        """Return the content of a compressed element.

        Raises:
            ValueError: if it is larger than what is left, according to its header or in fact.
            zlib.error: if it is damaged.
        """
        head = zlib.decompressobj().decompress(data, _TAG)
        stated = struct.unpack(f"{order}II", head)[1] if len(head) == _TAG else 0
        stream = zlib.decompressobj()
        content = stream.decompress(data, self.left + 1) if stated <= self.left else b""
        self.left -= max(stated, len(content))
        if self.left < 0:
            raise ValueError(f"its arrays take more than {_MOST >> 20} MiB")
        if not stream.eof:
            raise zlib.error("incomplete or truncated stream")
        return memoryview(content)


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, as MATLAB writes with `-v7.3`: after a user block of 512 bytes, or none."""
    with path.open("rb") as file:
        start = file.read(512 + len(_HDF5))
    return start.startswith(_HDF5) or start[512:] == _HDF5


def check_file(path: Path) -> None:
    """Check the data elements of a level 5 file, which MATLAB has written since version 5.

    Files of other levels and truncated files are left to scipy, which rejects them itself.

    Raises:
        ValueError: if the file or its decompressed arrays are too large, an element has a type that is not allowed in
            its place, or an array has more elements than bytes, or numbers that do not occur in annotations.
        struct.error: if an array is truncated within its size.
        zlib.error: if a compressed element is damaged.
        RecursionError: if elements are nested thousands of times.
    """
    if path.stat().st_size > _MOST:
        raise ValueError(f"a file of more than {_MOST >> 20} MiB")
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is not None:
        _walk(memoryview(content)[_HEADER:], order, _NUMBERS | {_MATRIX, _COMPRESSED}, _Budget(_MOST))


def _walk(data: memoryview, order: str, allowed: frozenset[int], budget: _Budget) -> None:
    start = 0
    while start + _TAG <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, start)
        if kind >> 16:  # a small element: the size in the upper half, up to four bytes in place of the size
            kind, size, step = kind & 0xFFFF, 0, _TAG
        else:
            step = _TAG + (size if kind == _COMPRESSED else -(-size // _TAG) * _TAG)
        if kind not in allowed:
            raise ValueError(f"a data element of type {kind}")
        inner = data[start + _TAG : start + _TAG + size]
        if kind == _MATRIX and inner:  # an empty cell has no content
            _walk(inner, order, _within(inner, order), budget)
        elif kind == _COMPRESSED:
            _walk(budget.inflate(inner, order), order, frozenset([_MATRIX]), budget)
        start += step


def _within(array: memoryview, order: str) -> frozenset[int]:
    """Return the types of elements allowed in an array of its class."""
    if len(array) < 3 * _TAG:
        raise ValueError("an array without class and size")
    (flags,) = struct.unpack_from(f"{order}I", array, _TAG)
    if flags & 0xFF in _PLAIN and not flags & _COMPLEX:
        return _NUMBERS | _TEXTS
    if flags & 0xFF not in _NESTED:
        raise ValueError(f"an array of flags {flags:#x}")
    (size,) = struct.unpack_from(f"{order}I", array, 2 * _TAG + 4)
    sides = struct.unpack_from(f"{order}{min(size, len(array) - 3 * _TAG) // 4}i", array, 3 * _TAG)
    if math.prod(sides) * _TAG > len(array):  # scipy would allocate memory before reading them
        raise ValueError(f"an array of size {sides} in {len(array)} bytes")
    return _NUMBERS | {_MATRIX}
