"""Division of images too large for one pass into tiles."""

from collections.abc import Iterator
from dataclasses import dataclass

from crowdcount.errors import InputError


@dataclass(frozen=True)
class Span:
    """An interval along one side of an image, in pixels.

    Attributes:
        start: start of the kept part.
        stop: its end.
        low: start of the network's input, the margin included.
        high: its end.
    """

    start: int
    stop: int
    low: int
    high: int


def spans(length: int, parts: int, margin: int, step: int) -> list[Span]:
    """Divide a side into parts of nearly equal length, each with a margin that stays inside the image.

    Args:
        length: length of the side in pixels, a multiple of `step`.
        parts: number of parts; fewer if the side is too short.
        margin: width of the margin beyond a part, a multiple of `step`.
        step: unit of the cut positions.
    """
    size = -(-length // (parts * step)) * step
    starts = range(0, length, size)
    return [
        Span(start, min(start + size, length), max(start - margin, 0), min(start + size + margin, length))
        for start in starts
    ]


def grid(height: int, width: int, margin: int, step: int, pixels: float) -> list[tuple[Span, Span]]:
    """Return the tiles of an image, row by row, that need the fewest pixels in total.

    Args:
        height: image height in pixels, a multiple of `step`.
        width: image width in pixels, a multiple of `step`.
        margin: width of the margin around a tile, a multiple of `step`.
        step: unit of the tile corners.
        pixels: maximum number of pixels of a tile, its margin included.

    Raises:
        InputError: the smallest possible tile has more pixels.
    """
    best: tuple[int, list[Span], list[Span]] | None = None
    for rows in _divisions(height, margin, step):
        tallest = max(span.high - span.low for span in rows)
        columns = _spans(width, margin, step, pixels / tallest)
        if columns is None:
            continue
        work = sum(row.high - row.low for row in rows) * sum(column.high - column.low for column in columns)
        if best is None or work < best[0]:
            best = (work, rows, columns)
    if best is None:
        least = min(height, 2 * margin + step) * min(width, 2 * margin + step)
        raise InputError(f"a tile needs at least {least} pixels with its margin of {margin}, but {pixels:.0f} fit")
    return [(row, column) for row in best[1] for column in best[2]]


def _divisions(length: int, margin: int, step: int) -> Iterator[list[Span]]:
    """Yield the divisions of a side into 1, 2, ... parts, each part size once."""
    last = None
    for parts in range(1, length // step + 1):
        size = -(-length // (parts * step))
        if size != last:
            yield spans(length, parts, margin, step)
        last = size


def _spans(length: int, margin: int, step: int, limit: float) -> list[Span] | None:
    """Return the fewest parts of a side whose length, margins included, is within a limit; None if impossible."""
    for cut in _divisions(length, margin, step):
        if max(span.high - span.low for span in cut) <= limit:
            return cut
    return None
