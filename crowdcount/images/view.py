"""Size rules that tell a model how large people are: images are shrunk or enlarged before its own rule."""

from dataclasses import dataclass
from typing import Final

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.images.read import Image
from crowdcount.images.resize import SizeRule, apply_rule, cv_resized

MOST: Final = 16.0
"""Largest factor by which sides of images are enlarged; the memory grows with its square."""

_MOST_PIXELS: Final = 2**28
"""Largest number of pixels of an enlarged image: 0.75 GiB of uint8 RGB."""


@dataclass(frozen=True)
class ImageScale:
    """Resizing to a multiple of the sides that a model takes otherwise.

    Args:
        factor: below 1 if people are larger than in the training, above 1 if they are smaller.
        rule: the model's own size rule, whose result is multiplied; None for the image itself.

    Raises:
        InputError: the factor is not between 0 and 16.
    """

    factor: float
    rule: SizeRule | None = None

    def __post_init__(self) -> None:
        check_number("image_scale", self.factor, 0, MOST, above=True, hint="the factor of the image's sides")

    @property
    def jpeg_quality(self) -> int | None:
        """That of the model's own rule."""
        return None if self.rule is None else self.rule.jpeg_quality

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size.

        Raises:
            InputError: an enlarged image has more pixels than fit.
        """
        if self.rule is not None:
            width, height = self.rule.target(width, height)
        wide, high = max(1, round(width * self.factor)), max(1, round(height * self.factor))
        if self.factor > 1 and wide * high > _MOST_PIXELS:
            raise InputError(
                f"image_scale: {self.factor:g} makes {wide} x {high} of {width} x {height} pixels, more than fit; give "
                "a smaller factor, or limit the image by long_side"
            )
        return wide, high

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size; the same object if it keeps its size."""
        height, width = image.shape[:2]
        target = self.target(width, height)
        if target == (width, height):
            return image
        return cv_resized(image, target, "area" if target[0] < width else "cubic")

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image (H, W, 3) uint8 and scale its points (N, 2) by the ratio of each side."""
        return apply_rule(self, image, points)


@dataclass(frozen=True)
class LongSide:
    """Shrinking until the longer side is at most a limit, before a model's own size rule.

    Args:
        limit: in pixels.
        rule: the model's own size rule for the result; None for none.

    Raises:
        InputError: the limit is below 1.
    """

    limit: int
    rule: SizeRule | None = None

    def __post_init__(self) -> None:
        check_number("long_side", self.limit, 1)

    @property
    def jpeg_quality(self) -> int | None:
        """That of the model's own rule."""
        return None if self.rule is None else self.rule.jpeg_quality

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size."""
        limited = self._limited(width, height)
        return limited if self.rule is None else self.rule.target(*limited)

    def _limited(self, width: int, height: int) -> tuple[int, int]:
        ratio = self.limit / max(height, width)
        if ratio >= 1:
            return width, height
        return max(1, round(width * ratio)), max(1, round(height * ratio))

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size; the same object if it keeps its size."""
        height, width = image.shape[:2]
        limited = self._limited(width, height)
        small = image if limited == (width, height) else cv_resized(image, limited, "area")
        return small if self.rule is None else self.rule.scaled(small)

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image (H, W, 3) uint8 and scale its points (N, 2) by the ratio of each side."""
        return apply_rule(self, image, points)


def camera_rule(rule: SizeRule | None, image_scale: float = 1.0, long_side: int | None = None) -> SizeRule | None:
    """Return a model's size rule with what is known of the images of a camera; None keeps images as they are.

    Args:
        rule: the model's own.
        image_scale: see `ImageScale`.
        long_side: see `LongSide`; None for no limit.

    Raises:
        InputError: a number is out of its range.
    """
    if image_scale != 1:
        rule = ImageScale(image_scale, rule)
    return rule if long_side is None else LongSide(long_side, rule)
