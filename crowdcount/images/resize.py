"""Size rules: their protocol, CLIP-EBC's limits on both sides, and the short-side rule of detectors."""

import math
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import cv2
import numpy as np
import PIL.Image

from crowdcount.errors import InputError
from crowdcount.geometry import Points, resize_points
from crowdcount.images.read import Image

Interpolation = Literal["cubic", "linear", "area"]

_FLAGS: Final[dict[Interpolation, int]] = {
    "cubic": cv2.INTER_CUBIC,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
}


class SizeRule(Protocol):
    """Protocol of a size rule; with a base class, configurations would need a `class_path`."""

    @property
    def jpeg_quality(self) -> int | None:
        """JPEG quality at which a resized image is compressed and decoded again; None keeps the pixels."""

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size."""

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size, uncompressed; the same object if it keeps its size."""

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image (H, W, 3) uint8 and scale its points (N, 2) by the ratio of each side."""


@dataclass(frozen=True)
class Resize:
    """Resizing of whole images to sides within a range and of a given multiple, as CLIP-EBC does before training.

    The aspect ratio is kept up to the rounding of each side. Published values: min_side 448 and max_side 4096
    (ShanghaiTech), 3072 (NWPU), 2048 (UCF-QNRF), with multiple 32. Resampling is OpenCV's bicubic without
    anti-aliasing.

    Args:
        min_side: shortest side of the result in pixels, a multiple of `size_divisor`.
        max_side: longest side of the result in pixels, a multiple of `size_divisor`; an image too elongated for
            both limits exceeds it.
        multiple: divisor of both sides of the result.
        jpeg_quality: quality (1-100) at which every image, resized or not, is compressed and decoded again; the
            published preprocessing writes JPEG files of quality 95. Null keeps the pixels.
    """

    min_side: int
    max_side: int
    multiple: int = 32
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise InputError(f"multiple: {self.multiple} is not a number of pixels; use 1 or more")
        for name in ("min_side", "max_side"):
            side = getattr(self, name)
            if side < 1 or side % self.multiple:
                raise InputError(f"{name}: {side} is not a positive multiple of {self.multiple}")
        if self.min_side > self.max_side:
            raise InputError(f"min_side: {self.min_side} is above max_side {self.max_side}")
        check_quality(self.jpeg_quality)

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size."""
        short, long = sorted((width, height))
        # An image more elongated than max_side / min_side cannot satisfy both limits: the upper one is dropped.
        limit = self.max_side if long * self.min_side <= short * self.max_side else math.inf
        ratio = self.min_side / short if short < self.min_side else min(1.0, limit / long)
        return self._rounded(width * ratio, limit), self._rounded(height * ratio, limit)

    def _rounded(self, side: float, limit: float) -> int:
        # Python's round (half to even) is part of the published rule.
        return int(min(max(self.multiple * round(side / self.multiple), self.min_side), limit))

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size, uncompressed; the same object if it keeps its size."""
        height, width = image.shape[:2]
        target = self.target(width, height)
        return image if target == (width, height) else cv_resized(image, target, "cubic")

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image and its points.

        Args:
            image: (H, W, 3) uint8, RGB.
            points: (N, 2) in pixels of `image`.

        Returns:
            The (H', W', 3) uint8 image and the (N, 2) points, scaled by the ratio of each side.
        """
        return apply_rule(self, image, points)


@dataclass(frozen=True)
class ShortSide:
    """Resizing of the shorter side to a given length, less if the longer side would exceed its limit.

    The rule of DETR and its successors such as Grounding DINO. Resampling is bilinear with anti-aliasing. As
    published, the shorter side is rounded before the longer one is computed, which may slightly exceed its limit.

    Args:
        length: shorter side of the result in pixels.
        longest: upper limit of the longer side in pixels.
    """

    length: int = 800
    longest: int = 1333

    def __post_init__(self) -> None:
        if not 0 < self.length <= self.longest:
            raise InputError(
                f"data.short_side.length, longest: {self.length}, {self.longest} should rise from at least 1"
            )

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size."""
        short, long = sorted((width, height))
        side = min(self.length, max(1, round(self.longest * short / long)))
        other = max(1, int(side * long / short))
        return (side, other) if width <= height else (other, side)

    @property
    def jpeg_quality(self) -> None:
        """None: the rule has no compression."""
        return None

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size; the same object if the size does not change."""
        height, width = image.shape[:2]
        target = self.target(width, height)
        if target == (width, height):
            return image
        return np.array(PIL.Image.fromarray(image).resize(target, PIL.Image.Resampling.BILINEAR))

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image (H, W, 3) uint8 and scale its points (N, 2) by the ratio of each side."""
        return apply_rule(self, image, points)


def sized_image(image: Image, rule: SizeRule | None) -> Image:
    """Return an image (H, W, 3) uint8 RGB as a size rule has it; None keeps it.

    Raises:
        InputError: the array is not such an image.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"an image is an array here, not {type(image).__name__}; read it with crowdcount.images.read_image, or "
            "take crowdcount.predict, which also takes files"
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"an image is (H, W, 3) uint8 RGB; got {image.shape} {image.dtype}")
    return image if rule is None else rule(image, np.empty((0, 2), np.float32))[0]


def cv_resized(image: Image, target: tuple[int, int], interpolation: Interpolation) -> Image:
    """Return an image (H, W, 3) resized by OpenCV to (width, height)."""
    return cv2.resize(image, target, interpolation=_FLAGS[interpolation]).astype(np.uint8, copy=False)


def apply_rule(rule: SizeRule, image: Image, points: Points) -> tuple[Image, Points]:
    """Resize an image (H, W, 3) uint8 and scale its points (N, 2) by the ratio of each side."""
    new = rule.scaled(image)
    points = moved(points, (image.shape[1], image.shape[0]), (new.shape[1], new.shape[0]))
    return (new if rule.jpeg_quality is None else decoded(encode_jpeg(new, rule.jpeg_quality))), points


def moved(points: Points, old: tuple[int, int], new: tuple[int, int]) -> Points:
    """Return the points (N, 2) of an image of size (width, height) in the frame of its new size."""
    return points if old == new else resize_points(points, old, new)


def check_quality(quality: int | None) -> None:
    """Check that a JPEG quality is null or 1 to 100.

    Raises:
        InputError: if it is out of range.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"jpeg_quality: {quality} is not between 1 and 100")


def encode_jpeg(image: Image, quality: int) -> bytes:
    """Return an image (H, W, 3) uint8 as a JPEG file of the given quality, 1 to 100."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV writes every uint8 image as JPEG"
    return data.tobytes()


def decoded(data: bytes) -> Image:
    """Return the image (H, W, 3) uint8 of a file that OpenCV has just written."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None, "OpenCV reads what it has just written"
    return image.astype(np.uint8, copy=False)
