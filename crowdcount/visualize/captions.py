"""Captions, colour scales and panels of images side by side; text sizes follow the image."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.intervals.calibration import Interval
from crowdcount.visualize.text import INK, PAPER, text_size, text_width, write

_LEAST_SIDE: Final = 160
"""Longer side in pixels below which images are enlarged before text is added."""
_LEAST_LINE: Final = 18
"""Minimum line width, in digit heights; beside a narrower image, text extends past its edge."""


def count_text(count: float | None = None, truth: int | None = None) -> str:
    """Format the known values as a line such as "count 123.4, truth 130, error -6.6"."""
    parts = [f"count {count:.1f}"] if count is not None else []
    parts += [f"truth {truth}"] if truth is not None else []
    if count is not None and truth is not None:
        parts.append(f"error {count - truth:+.1f}")
    return ", ".join(parts)


def interval_text(count: float, interval: Interval) -> str:
    """Format a count with its interval, rounded outwards, such as "482 (401-590)"; without one, say why.

    Example:
        >>> interval_text(482.3, Interval(401.7, 589.2, "calibrated"))
        '482 (401-590)'
        >>> interval_text(482.3, Interval(401.7, 589.2, "approximate"))
        '482 (401-590, approximate)'
    """
    low, high, state = interval
    if math.isinf(high):
        return f"{count:.1f} ({state.replace('_', ' ')})"
    note = "" if state == "calibrated" else f", {state.replace('_', ' ')}"
    return f"{count:.0f} ({math.floor(low)}-{math.ceil(high)}{note})"


def caption(image: Image, text: str) -> Image:
    """Put a line of text above an image, wrapped to its width."""
    return _join([(text, as_rgb(image))], text_size(*image.shape[:2]))


def panel(images: Sequence[tuple[str, Image]]) -> Image:
    """Put images side by side, each under its caption; very small images are enlarged.

    Args:
        images: pairs of caption and image, (H, W, 3) or grey (H, W), from left to right.

    Raises:
        InputError: `images` is empty.
    """
    if not images:
        raise InputError("a panel needs at least one image")
    shown = [(text, _enlarged(as_rgb(image))) for text, image in images]
    # A panel is wide and usually viewed scaled down, so its text is larger.
    return _join(shown, round(1.3 * max(text_size(*image.shape[:2]) for _, image in shown)))


def _enlarged(image: Image) -> Image:
    factor = -(-_LEAST_SIDE // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image


def with_scale(image: Image, colours: Image, ends: tuple[float, float], label: str) -> Image:
    """Put a colour scale with ticks and a label under an image, as wide as the image or as its text needs."""
    image = _enlarged(image)
    text = text_size(*image.shape[:2])
    width, margin, high, thick = max(image.shape[1], _LEAST_LINE * text), text, 7 * text // 2, max(1, text // 10)
    lines = _wrap(label, width, text)
    paper = np.full((high + _strip(lines, text), width, 3), PAPER, np.uint8)
    left, right = margin, max(margin + 2, width - margin)
    paper[text // 2 : 3 * text // 2, left:right] = colours[np.linspace(0, 255, right - left).round().astype(int)]
    for value in _ticks(*ends, max(2, (right - left) // (6 * text))):
        x = left + round((value - ends[0]) / (ends[1] - ends[0]) * (right - left - 1)) - thick // 2
        paper[3 * text // 2 : 7 * text // 4, x : x + thick] = INK
        wide = text_width(f"{value:g}", text)
        write(paper, f"{value:g}", min(max(0, x - wide // 2), width - wide), 2.5 * text, text)
    _write_lines(paper[high:], lines, text)
    blank = ((0, 0), (0, width - image.shape[1]), (0, 0))
    return np.vstack([np.pad(image, blank, constant_values=PAPER), paper])


def as_rgb(image: Image) -> Image:
    """Convert a colour or grey image to (H, W, 3)."""
    flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return np.repeat(flat[..., None], 3, axis=2) if flat.ndim == 2 else flat


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from low to high, 0 among them: at most `most` + 1, at least two from `most` = 2 on."""
    least = 10.0 ** math.floor(math.log10((high - low) / most) - 1)
    for step in (factor * power * least for power in (1, 10, 100) for factor in (1, 2, 2.5, 5)):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first <= most:
            return [float(f"{number * step:.6g}") for number in range(first, last + 1)]
    raise AssertionError("some step is large enough")


def _wrap(words: str, width: int, text: int) -> list[str]:
    """Wrap a text at spaces into lines that fit."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, text) > width - text:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _strip(lines: list[str], text: int) -> int:
    return text * 2 * len(lines) + text // 2


def _write_lines(paper: Image, lines: list[str], text: int) -> None:
    for number, line in enumerate(lines):
        write(paper, line, text // 2, text * (2 * number + 1.25), text)


def _join(images: list[tuple[str, Image]], text: int) -> Image:
    """Set captioned images side by side on white paper, with a gap between them."""
    wrapped = [(_wrap(name, max(image.shape[1], _LEAST_LINE * text), text), image) for name, image in images]
    head = max(_strip(lines, text) for lines, _ in wrapped)
    height = head + max(image.shape[0] for _, image in wrapped)
    columns = []
    for lines, image in wrapped:
        width = max([image.shape[1], *(text_width(line, text) + text for line in lines)])
        column = np.full((height, width, 3), PAPER, np.uint8)
        column[head : head + image.shape[0], : image.shape[1]] = image
        _write_lines(column, lines, text)
        columns += [column, np.full((height, text, 3), PAPER, np.uint8)]
    return np.hstack(columns[:-1])
