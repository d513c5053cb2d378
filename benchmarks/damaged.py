"""Damaged copies of image files: cut, changed, filled with zeros, with bytes put in, or begun in the middle."""

import random
from collections.abc import Sequence


def damaged_files(whole: Sequence[bytes], number: int, seed: int = 0) -> list[bytes]:
    """Return damaged copies of files, of each in turn; the same for the same seed."""
    draw = random.Random(seed)
    return [_damaged(whole[index % len(whole)], draw) for index in range(number)]


def _damaged(data: bytes, draw: random.Random) -> bytes:
    kind, at = draw.randrange(6), draw.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[at:]
    if kind == 2:
        return data[:at] + bytes(len(data) - at)
    if kind == 3:
        return data[:at] + draw.randbytes(draw.randint(1, 500)) + data[at:]
    changed = bytearray(data)
    if kind == 4:
        changed[8:40] = draw.randbytes(32)  # in the header
    else:
        for _ in range(draw.randint(1, 40)):
            changed[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(changed)
