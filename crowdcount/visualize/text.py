"""Text on images: measuring and drawing, sized by digit height in pixels."""

import math
from contextlib import suppress
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final
from unicodedata import category, normalize

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from crowdcount.images.read import Image

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

PAPER: Final = 255
"""Background value (all channels) of text beside an image."""

INK: Final = (30, 30, 30)
"""Colour of text on `PAPER`."""

LEAST_TEXT: Final = 9
"""Minimum readable digit height in pixels."""

_EM: Final = 1.33
"""Font size as a multiple of the digit height."""

_OWN: Final = str(Path(__file__).with_name("fonts") / "DejaVuSansCondensed.ttf")

_SYSTEM: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf"),
    *("wqy-microhei.ttc", "DroidSansFallbackFull.ttf", "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf"),
    *("NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "Arial Unicode.ttf", "Hiragino Sans GB.ttc"),
    *("AppleSDGothicNeo.ttc", "arial.ttf", "msyh.ttc", "malgun.ttf", "Nirmala.ttc", "seguisym.ttf"),
)
"""Common system fonts for characters that the bundled font lacks; Pillow searches the system's font folders."""


def text_size(height: int, width: int) -> int:
    """Return a digit height in pixels that suits the size of an image."""
    return max(LEAST_TEXT, round(0.018 * math.sqrt(height * width)))


def text_width(line: str, text: float) -> int:
    """Return the width in pixels of a line of text at a given digit height."""
    return math.ceil(sum(width for _, _, width in _runs(line, text)))


def write(image: Image, line: str, x: float, y: float, text: float, colour: Colour = INK) -> None:
    """Write a line of text on an image, in place; text beyond the image is cut off.

    Characters that no available font contains are escaped, as in a Python string.

    Args:
        image: (H, W, 3).
        line: the text.
        x: left edge in pixels.
        y: vertical centre of the digits in pixels.
        text: digit height in pixels.
        colour: text colour.

    Example:
        >>> paper = np.full((40, 200, 3), 255, np.uint8)
        >>> write(paper, "Café: 12.3", x=8, y=20, text=12)
        >>> bool((paper[10:30] < 100).any()), bool((paper[:8] < 255).any())
        (True, False)
    """
    top, left = max(0, math.floor(y - 1.5 * text)), max(0, math.floor(x - text))
    part = image[top : max(0, math.ceil(y + 1.5 * text)), left : max(0, math.ceil(x + text_width(line, text) + text))]
    if not part.size:
        return
    drawn = PIL.Image.fromarray(part)
    pen = PIL.ImageDraw.Draw(drawn)
    for letters, font, width in _runs(line, text):
        pen.text((x - left, y + text / 2 - top), letters, colour, font, "ls")
        x += width
    part[:] = np.asarray(drawn)


@lru_cache(1024)
def _runs(line: str, text: float) -> list[tuple[str, PIL.ImageFont.FreeTypeFont, float]]:
    """Split a line into runs of one font each, with their widths in pixels."""
    known = (letter if _font_name(letter) else ascii(letter)[1:-1] for letter in normalize("NFC", line))
    size = max(1.0, _EM * text)
    stretches = ((_font(name, size), "".join(run)) for name, run in groupby("".join(known), _font_name) if name)
    return [(letters, font, font.getlength(letters)) for font, letters in stretches]


@lru_cache(4096)
def _font_name(letter: str) -> str | None:
    """Return the first font that contains a character; None if there is none, or for control characters."""
    if category(letter) in ("Cc", "Cs"):
        return None
    return _OWN if _has_glyph(_OWN, letter) else next((n for n in _installed() if _has_glyph(n, letter)), None)


def _has_glyph(name: str, letter: str) -> bool:
    shown, missing = (_font(name, 32.0).getmask(each) for each in (letter, "\uffff"))
    return (shown.size, bytes(shown)) != (missing.size, bytes(missing))


@cache
def _installed() -> list[str]:
    found = []
    for name in _SYSTEM:
        with suppress(OSError):
            _font(name, 32.0)
            found.append(name)
    return found


@lru_cache(64)
def _font(name: str, size: float) -> PIL.ImageFont.FreeTypeFont:
    return PIL.ImageFont.truetype(name, size)
