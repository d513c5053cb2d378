"""Drawing of predictions: `plot`, `save` and the display in notebooks."""

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
from crowdcount.images.convert import ImageLike, as_image
from crowdcount.images.formats import WRITTEN_SUFFIXES
from crowdcount.images.read import Image
from crowdcount.visualize.captions import panel
from crowdcount.visualize.density import EXPRESSION_COLOURS, image_bytes, overlay
from crowdcount.visualize.hatch import hatch

if TYPE_CHECKING:
    from crowdcount.inference.prediction import Prediction

Colour = tuple[int, int, int]

_NOTEBOOK: Final = 1200
"""Maximum side in pixels of the drawing in a notebook."""


@dataclass(frozen=True)
class Plottable(ABC):
    """A prediction that can be drawn on its image.

    Attributes:
        image: the image to draw on, or the file to read it from again, which must not have changed. None for
            predictions of several images at once (`predict_batch`), so that they do not keep all images in memory.
    """

    image: Path | Image | None = field(default=None, kw_only=True, repr=False, compare=False)

    @abstractmethod
    def draw(self, image: Image) -> Image:
        """Return a drawing (H, W, 3) of the prediction on an image (H, W, 3) uint8 RGB."""

    @abstractmethod
    def beside_truth(self, image: Image, truth: Points, colour: Colour) -> list[tuple[str, Image]]:
        """Return captions and drawings that show the prediction with the annotation of its image.

        Args:
            image: (H, W, 3) uint8 RGB.
            truth: (N, 2) annotated points in its pixels.
            colour: RGB of predicted points.
        """

    def plot(self, image: ImageLike | None = None) -> Image:
        """Draw the prediction on its image, with the count in a line above it.

        Args:
            image: the predicted image, in any form that `crowdcount.predict` takes; None takes the attribute `image`.

        Returns:
            (H, W, 3) uint8, RGB, suitable for `PIL.Image.fromarray`.

        Raises:
            InputError: there is no image, or it cannot be read.

        Example:
            >>> import crowdcount
            >>> from crowdcount.data import Synthetic
            >>> image = Synthetic(width=320, height=240).records("test")[0].read()
            >>> prediction = crowdcount.predict(image)
            >>> drawing = prediction.plot()
            >>> drawing.shape, drawing.dtype  # a line of text is above the 240 rows of the image
            ((262, 320, 3), dtype('uint8'))
        """
        image = self.image if image is None else image
        if image is None:
            raise InputError("this prediction does not hold its image; give it: plot(image), save(path, image)")
        return self.draw(as_image(image))

    def save(self, path: Path | str, image: ImageLike | None = None) -> Path:
        """Write the drawing of `plot` to a file, in the format of its suffix, and return the path.

        Args:
            path: path of the file; a missing folder is created, an existing file is replaced.
            image: see `plot`.

        Raises:
            InputError: there is no image, it cannot be read, or the suffix is not one of an image.

        Example:
            >>> import crowdcount
            >>> from crowdcount.data import Synthetic
            >>> image = Synthetic(width=320, height=240).records("test")[0].read()
            >>> crowdcount.predict(image).save("counted.jpg").name
            'counted.jpg'
        """
        path = Path(path)
        if path.suffix.lower() not in WRITTEN_SUFFIXES:
            raise InputError(
                f"{path}: the suffix of an image is {', '.join(WRITTEN_SUFFIXES)}; for numbers, numpy.savez writes .npz"
            )
        atomic_write(path, image_bytes(self.plot(image), path.suffix.lower()))
        return path

    def _repr_png_(self) -> bytes | None:
        """Return the PNG that a notebook displays; None, where no image can be read, displays the text."""
        try:
            drawing = self.plot()
        except InputError:  # no image, or its file is gone: a notebook then displays the text
            return None
        shrink = _NOTEBOOK / max(drawing.shape[:2])
        if shrink < 1:
            drawing = cv2.resize(drawing, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return image_bytes(drawing)


def comparison(image: Image, predictions: Sequence[Plottable], truths: Sequence[Points]) -> Image:
    """Draw predictions of an image with their annotations; see `Plottable.beside_truth`.

    Args:
        image: (H, W, 3) uint8 RGB.
        predictions: one for each expression, or the only one.
        truths: (N, 2) annotated points of each, in pixels of the image.
    """
    pairs = zip(zip(predictions, truths, strict=True), cycle(EXPRESSION_COLOURS), strict=False)
    return panel([part for (found, truth), colour in pairs for part in found.beside_truth(image, truth, colour)])


def density_overlay(image: Image, prediction: "Prediction", largest: int = 4096) -> Image:
    """Draw a density over its image, at the network's input size; ignored pixels are hatched.

    Args:
        image: (H, W, 3) uint8, RGB, at any size.
        prediction: prediction for this image.
        largest: the drawing is shrunk by 2, 4, ... until its longer side is at most this, but not below one pixel per
            block.
    """
    factor, stride = 1, prediction.stride
    while max(prediction.height, prediction.width) > factor * largest and stride % (2 * factor) == 0:
        factor *= 2
    height, width = -(-prediction.height // factor), -(-prediction.width // factor)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    drawn = overlay(image, prediction.density, stride // factor)
    return drawn if prediction.ignored is None else hatch(drawn, prediction.ignored.pixels)
