"""Plausibility of coordinates: whether points and polygons are in the pixels of their image.

Coordinates say nothing of their frame. Fractions of the image, pixels of a smaller copy, or class numbers in the first
column read as pixels as well, and all heads land in a corner. The checks refuse what no annotation of visible heads
holds, and name what one may hold but seldom does. On the 1136 images of ShanghaiTech A and B and of SCUT-HEAD at hand
they find nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.geometry import Points, inside

Size = tuple[int, int]
"""Width and height in pixels."""

_FEW, _SOME, _MANY = 3, 5, 20
_FRACTION: Final = 0.1
"""Distance from 0..1 up to which coordinates are taken for fractions: heads at the edge may lie outside."""
_CORNER: Final = 0.55
"""Share of both sides within which many heads are doubted: 20 heads and more reach 0.64 in all images measured."""
_SPECK: Final = 1 / 64
_CLASSES: Final = 8
"""Number of columns of pixels up to which heads in so few are doubted."""
_SHOWN: Final = 5


class Annotation(NamedTuple):
    """The points of an image and, if known, its size.

    Attributes:
        name: name for messages.
        points: (N, 2), supposed to be in pixels of the upright image.
        size: width and height of the upright image in pixels; None if unknown.
    """

    name: str
    points: Points
    size: Size | None = None


@dataclass(frozen=True)
class Doubt:
    """A doubt that coordinates are in the pixels of their images.

    Attributes:
        text: images and reason, for a message.
        refused: whether no annotation of visible heads looks like this; otherwise it may be meant.
    """

    text: str
    refused: bool


class FrameError(InputError):
    """Coordinates in another frame than the pixels of their image."""


def find_doubts(images: Sequence[Annotation]) -> list[Doubt]:
    """Return the doubts about the coordinates of a data set, a table or an export.

    Refused are: at least three heads in all, or five of one image, whose coordinates are all fractions from 0 to 1;
    images with five heads and more, half of them outside, and data sets of ten heads and more, a quarter of them
    outside; twenty heads and more of three images and more in a 64th of width and height, or in a few columns of
    pixels. Doubted are: one to four heads in the first pixel, a fifth of the heads of an image outside, twenty heads
    in the upper left quarter, few columns.

    Args:
        images: all images of the data set; those without points are ignored.
    """
    marked = [image for image in images if len(image.points)]
    if not marked:
        return []
    fractions = _find_fractions(marked)
    return fractions or [*_find_outside(marked), *_find_corner(marked), *_find_columns(marked)]


def _find_fractions(images: Sequence[Annotation]) -> list[Doubt]:
    doubted = [image for image in images if are_fractions(image.points)]
    if not doubted:
        return []
    certain = [image for image in doubted if _different(image.points) >= _SOME]
    if len(doubted) == len(images) and _different(_pooled(images)) >= _FEW:
        certain = doubted
    reason = "all coordinates lie between 0 and 1, as fractions of the image do, and points are in pixels"
    if certain:
        return [Doubt(f"{_names(certain)}: {reason}; multiply x by the width and y by the height", refused=True)]
    return [Doubt(f"{_names(doubted)}: {reason}; read as pixels, the heads stand in the first one", refused=False)]


def are_fractions(points: NDArray[np.floating]) -> bool:
    """Return whether all points (N, 2) are about 0 to 1 and some coordinate is no integer."""
    near = (points >= -_FRACTION) & (points <= 1 + _FRACTION)
    return bool(near.all() and (points % 1 != 0).any())


def _find_outside(images: Sequence[Annotation]) -> list[Doubt]:
    sized = [(image, image.size) for image in images if image.size is not None]
    outside = [int(np.count_nonzero(~inside(image.points, *size))) for image, size in sized]
    shares = [(image, number / len(image.points)) for (image, _), number in zip(sized, outside, strict=True)]
    total = sum(len(image.points) for image, _ in sized)
    several = [(image, share) for image, share in shares if len(image.points) >= _SOME]
    wrong = [image for image, share in several if share > 1 / 2]
    if total >= 2 * _SOME and sum(outside) > total / 4:
        wrong = wrong or [image for image, share in shares if share > 0]
    certain = {id(image) for image in wrong}  # equality of arrays is no single truth value
    doubted = [image for image, share in several if share > 1 / 5 and id(image) not in certain]
    doubts = [(wrong, True), (doubted, False)]
    return [Doubt(f"{_names(found)}: {_outside_reason(found)}", refused) for found, refused in doubts if found]


def _outside_reason(images: Sequence[Annotation]) -> str:
    points, sizes = images[0].points, [image.size for image in images]
    width, height = sizes[0] or (0, 0)
    number = int(np.count_nonzero(~inside(points, width, height)))
    reason = f"{number} of {len(points)} points lie outside the image of {width} x {height} pixels"
    if all(image.size is not None and inside(image.points[:, ::-1], *image.size).all() for image in images):
        return f"{reason}, and all of them inside with x and y exchanged; write x first"
    return f"{reason}; they seem to be pixels of another copy of it: use that one, or scale the points"


def _find_corner(images: Sequence[Annotation]) -> list[Doubt]:
    sized = [(image, _reach(image.points, image.size)) for image in images if image.size is not None]
    many = sum(len(image.points) for image, _ in sized) >= _MANY and len(sized) == len(images)
    reach = max((reach for _, reach in sized), default=1.0)
    text = "all heads lie in the upper left {}, as do pixels of a smaller copy of the image and percentages; {}"
    if many and reach <= _SPECK and len(images) >= _FEW:
        return [Doubt(f"{_names(images)}: {text.format('corner', 'write pixels of the image itself')}", refused=True)]
    doubted = [image for image, near in sized if near <= _CORNER and len(image.points) >= _MANY]
    if many and reach <= _CORNER:
        doubted = list(images)
    text = text.format("part", "read as pixels of the image itself")
    return [Doubt(f"{_names(doubted)}: {text}", refused=False)] * bool(doubted)


def _reach(points: Points, size: Size) -> float:
    """Return the largest coordinate as a share of its side."""
    return float((points / np.array(size)).max())


def _find_columns(images: Sequence[Annotation]) -> list[Doubt]:
    """Doubt heads in a few columns of pixels, as the classes of `class x y` lines are."""
    points = _pooled(images)
    columns, rows = len(np.unique(points[:, 0])), len(np.unique(points[:, 1]))
    whole = (points[:, 0] % 1 == 0).all() and points[:, 0].min() >= 0 and points[:, 0].max() < 100
    if not whole or columns > _CLASSES or rows < max(_SOME, 3 * columns) or len(points) < _SOME * columns:
        return []
    if any(image.size is not None and points[:, 0].max() >= image.size[0] / 4 for image in images):
        return []  # columns all over a narrow image
    certain = len(points) >= _MANY and len(images) >= _FEW
    values = ", ".join(f"{value:g}" for value in np.unique(points[:, 0])[:_SHOWN])
    reason = f"x is {values} for all {len(points)} heads; is that the class, before x and y? Write x and y alone"
    return [Doubt(f"{_names(images)}: {reason}", bool(certain))]


def check_columns(place: str, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Refuse lines `class x y` where x comes first.

    Args:
        place: file, for the message.
        rows: number or other location of each line, and its words.

    Raises:
        FrameError: there are three lines and more of three numbers and more, and the first is one of a few small
            integers while the second and the third vary.
    """
    if len(rows) < _FEW or not all(len(words) >= 3 and words[0].isascii() and words[0].isdigit() for _, words in rows):
        return
    classes, second, third = ({words[i] for _, words in rows} for i in range(3))
    several = min(len(second), len(third)) >= _FEW and len(rows) >= _FEW * len(classes)
    if several and len(classes) <= _CLASSES and all(len(word) <= 2 for word in classes):
        line, words = rows[0]
        raise FrameError(
            f"{place}: {line} is {' '.join(words)[:80]!r}, and the first number of all {len(rows)} lines is one of "
            f"{', '.join(sorted(classes)[:_SHOWN])}: a class? Write x and y alone, or first"
        )


def check_polygon(place: str, corners: Sequence[tuple[float, float]]) -> None:
    """Refuse a polygon smaller than a pixel: its corners are fractions or degrees.

    Raises:
        FrameError: it is.
    """
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    if (high - low).max() <= 1 and not np.array_equal(np.array(corners) % 1, np.zeros((len(corners), 2))):
        raise FrameError(
            f"{place}: reaches from {low[0]:g}, {low[1]:g} to {high[0]:g}, {high[1]:g}, less than a pixel; corners are "
            "in pixels of the image, not in fractions of it or degrees"
        )


def check_stated_size(place: str, stated: Size | None, actual: Size, owner: str) -> None:
    """Refuse coordinates that were marked on an image of another size.

    Args:
        place: file and entry, for the message.
        stated: width and height of the image according to the annotation; None if it states none.
        actual: width and height of the upright image.
        owner: the image, for the message.

    Raises:
        FrameError: the sizes differ.
    """
    if stated is None or stated == actual:
        return
    turned = " (turned: an EXIF rotation that the tool did not apply?)" if stated == actual[::-1] else ""
    raise FrameError(
        f"{place}: states {stated[0]} x {stated[1]} pixels{turned}, but {owner} has {actual[0]} x {actual[1]} upright; "
        "the coordinates belong to another copy of the image: use that one"
    )


def _pooled(images: Sequence[Annotation]) -> Points:
    return np.concatenate([image.points for image in images])


def _different(points: Points) -> int:
    return len(np.unique(points, axis=0))


def _names(images: Sequence[Annotation]) -> str:
    more = f" and {len(images) - _SHOWN:,} more" if len(images) > _SHOWN else ""
    return ", ".join(image.name for image in images[:_SHOWN]) + more
