"""Predictions as pictures: what `plot` returns, `save` writes and notebooks show."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.geometry import Points
from crowdcount.images.convert import Photo, as_image
from crowdcount.images.read import IMAGE_SUFFIXES, Image
from crowdcount.visualize.captions import panel
from crowdcount.visualize.density import EXPRESSION_COLOURS, image_bytes, overlay

if TYPE_CHECKING:
    from crowdcount.inference.density import Prediction

Colour = tuple[int, int, int]

_NOTEBOOK: Final = 1200
"""Most pixels of a side of what a notebook shows, and keeps in its file."""


@dataclass(frozen=True)
class Plottable(ABC):
    """A prediction that can be drawn on its image.

    Attributes:
        image: the image, or the file it is read from again: what the prediction is drawn on. None where it was made of
            several images at once (`predict_batch`), so that predictions of many images do not hold all of them.
    """

    image: Path | Image | None = field(default=None, kw_only=True, repr=False, compare=False)

    @abstractmethod
    def draw(self, image: Image) -> Image:
        """Return a picture (H, W, 3) of the prediction on an image (H, W, 3) uint8 RGB."""

    @abstractmethod
    def beside_truth(self, image: Image, truth: Points, colour: Colour) -> list[tuple[str, Image]]:
        """Return captions and pictures that show the prediction with the annotation of its image.

        Args:
            image: (H, W, 3) uint8 RGB.
            truth: (N, 2) annotated points in its pixels.
            colour: RGB of the predicted points, where points are predicted.
        """

    def plot(self, image: Photo | None = None) -> Image:
        """Draw the prediction on its image, with the count in a line above it.

        Args:
            image: what it was made of, in any form that `crowdcount.predict` takes; None takes the attribute `image`.

        Returns:
            (H, W, 3) uint8, RGB, such as `PIL.Image.fromarray` takes.

        Raises:
            InputError: there is no image, or it cannot be read.

        Example:
            >>> import crowdcount
            >>> from crowdcount.data import Synthetic
            >>> image = Synthetic(width=320, height=240).records("test")[0].read()
            >>> prediction = crowdcount.predict(image)
            >>> picture = prediction.plot()
            >>> picture.shape, picture.dtype  # a line of text is above the 240 rows of the image
            ((262, 320, 3), dtype('uint8'))
        """
        image = self.image if image is None else image
        if image is None:
            raise InputError("this prediction does not hold its image; give it: plot(image), save(path, image)")
        return self.draw(as_image(image))

    def save(self, path: Path | str, image: Photo | None = None) -> Path:
        """Write what `plot` returns to a file, and return its path; the suffix says the format.

        Args:
            path: its folder is made where it is missing; an older file is replaced.
            image: see `plot`.

        Raises:
            InputError: there is no image, it cannot be read, or the suffix is none of a picture.

        Example:
            >>> import crowdcount
            >>> from crowdcount.data import Synthetic
            >>> image = Synthetic(width=320, height=240).records("test")[0].read()
            >>> crowdcount.predict(image).save("counted.jpg").name
            'counted.jpg'
        """
        path = Path(path)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(
                f"{path}: a picture ends in {', '.join(IMAGE_SUFFIXES)}; for numbers, numpy.savez writes .npz"
            )
        atomic_write(path, image_bytes(self.plot(image), path.suffix.lower()))
        return path

    def _repr_png_(self) -> bytes | None:
        """Return what a notebook shows; None, without an image, leaves it at the text."""
        if self.image is None:
            return None
        picture = self.plot()
        shrink = _NOTEBOOK / max(picture.shape[:2])
        if shrink < 1:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return image_bytes(picture)


def comparison(image: Image, predictions: Sequence[Plottable], truths: Sequence[Points]) -> Image:
    """Return a picture of predictions of an image with their annotations; see `Plottable.beside_truth`.

    Args:
        image: (H, W, 3) uint8 RGB.
        predictions: one for each expression, or the only one.
        truths: for each of them (N, 2) annotated points in pixels of the image.
    """
    pairs = zip(zip(predictions, truths, strict=True), cycle(EXPRESSION_COLOURS), strict=False)
    return panel([part for (found, truth), colour in pairs for part in found.beside_truth(image, truth, colour)])


def density_picture(image: Image, prediction: "Prediction", largest: int = 4096) -> Image:
    """Lay a density over its image, at the size the network saw it.

    Args:
        image: (H, W, 3) uint8, RGB, at any size.
        prediction: for this image.
        largest: the picture is shrunk by 2, 4, ... until its longer side is not above it, but not below a pixel for
            each block.
    """
    factor, stride = 1, prediction.stride
    while max(prediction.height, prediction.width) > factor * largest and stride % (2 * factor) == 0:
        factor *= 2
    height, width = -(-prediction.height // factor), -(-prediction.width // factor)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return overlay(image, prediction.density, stride // factor)
