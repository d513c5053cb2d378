"""A look at a MATLAB file before scipy reads it: a damaged one could end the process, or take all of its memory."""

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
    """Walk through the data elements of a file of level 5, which MATLAB has written since version 5.

    Files of other levels, and what is cut short, are left to scipy, which refuses them by itself.

    Raises:
        ValueError: an element has a type that cannot be where it is, or an array more elements than bytes, or numbers
            that no annotation has.
        struct.error: an array ends in its size.
        zlib.error: a compressed element is damaged.
        RecursionError: elements lie within each other thousands of times.
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
        if kind == _MATRIX and inner:  # an empty cell has nothing in it
            _walk(inner, order, _within(inner, order))
        elif kind == _COMPRESSED:
            _walk(zlib.decompress(inner), order, frozenset([_MATRIX]))
        start += step


def _within(array: bytes, order: str) -> frozenset[int]:
    """Return the types of the elements that an array may hold, by its class."""
    if len(array) < 3 * _TAG:
        raise ValueError("an array without class and size")
    (flags,) = struct.unpack_from(f"{order}I", array, _TAG)
    if flags & 0xFF in _PLAIN and not flags & _COMPLEX:
        return _NUMBERS | _TEXTS
    if flags & 0xFF not in _NESTED:
        raise ValueError(f"an array of flags {flags:#x}")
    (size,) = struct.unpack_from(f"{order}I", array, 2 * _TAG + 4)
    sides = struct.unpack_from(f"{order}{min(size, len(array) - 3 * _TAG) // 4}i", array, 3 * _TAG)
    if math.prod(sides) * _TAG > len(array):  # scipy would make room for them before it looks for them
        raise ValueError(f"an array of size {sides} in {len(array)} bytes")
    return _NUMBERS | {_MATRIX}
