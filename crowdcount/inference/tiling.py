"""Images too large for one pass: which tiles they are counted in, and where those lie."""

from collections.abc import Iterator
from dataclasses import dataclass

from crowdcount.errors import InputError


@dataclass(frozen=True)
class Span:
    """A stretch of one side of an image, in pixels.

    Attributes:
        start: where the kept part begins.
        stop: where it ends.
        low: where what the network sees begins, the margin included.
        high: where that ends.
    """

    start: int
    stop: int
    low: int
    high: int


def spans(length: int, parts: int, margin: int, step: int) -> list[Span]:
    """Cut a side into parts of nearly the same length, each with a margin that stays inside the image.

    Args:
        length: of the side in pixels, a multiple of `step`.
        parts: how many; fewer where the side is too short for them.
        margin: what the network sees beyond a part, a multiple of `step`.
        step: what the cuts are multiples of.
    """
    size = -(-length // (parts * step)) * step
    starts = range(0, length, size)
    return [
        Span(start, min(start + size, length), max(start - margin, 0), min(start + size + margin, length))
        for start in starts
    ]


def grid(height: int, width: int, margin: int, step: int, pixels: float) -> list[tuple[Span, Span]]:
    """Return the tiles of an image, row by row, that need the fewest pixels in all.

    Args:
        height: of the image, a multiple of `step`.
        width: likewise.
        margin: what the network sees beyond a tile, a multiple of `step`.
        step: what the corners of tiles are multiples of.
        pixels: the most that a tile may have, its margin included.

    Raises:
        InputError: not even the smallest tile is that small.
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
    """Yield the cuts of a side into 1, 2, ... parts, each number of cells once."""
    last = None
    for parts in range(1, length // step + 1):
        size = -(-length // (parts * step))
        if size != last:
            yield spans(length, parts, margin, step)
        last = size


def _spans(length: int, margin: int, step: int, limit: float) -> list[Span] | None:
    """Return the fewest parts of a side that are, with their margins, within a limit; None where none are."""
    for cut in _divisions(length, margin, step):
        if max(span.high - span.low for span in cut) <= limit:
            return cut
    return None
