"""Check of MATLAB files before scipy reads them: damaged files could crash the process or exhaust its memory."""

import math
import struct
import zlib
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
# Types and classes are those of level 5 of the format ("MAT-File Format", The MathWorks).


def check_types(content: bytes) -> None:
    """Check the data elements of a level 5 file, which MATLAB has written since version 5.

    Files of other levels and truncated files are left to scipy, which rejects them itself.

    Raises:
        ValueError: if an element has a type that is not allowed in its place, or an array has more elements than bytes,
            or numbers that do not occur in annotations.
        struct.error: if an array is truncated within its size.
        zlib.error: if a compressed element is damaged.
        RecursionError: if elements are nested thousands of times.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is not None:
        _walk(content[_HEADER:], order, _NUMBERS | {_MATRIX, _COMPRESSED})


def _walk(data: bytes, order: str, allowed: frozenset[int]) -> None:
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
            _walk(inner, order, _within(inner, order))
        elif kind == _COMPRESSED:
            _walk(zlib.decompress(inner), order, frozenset([_MATRIX]))
        start += step


def _within(array: bytes, order: str) -> frozenset[int]:
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
