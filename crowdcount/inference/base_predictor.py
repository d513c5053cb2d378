"""The base of predictors: reading and counting images of any kind, whatever runs the network."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.images.convert import Channels, ImageLike, as_image
from crowdcount.images.levels import ValueRange, check_value_range
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.file import Intervals

if TYPE_CHECKING:  # counting with an exported model needs no torch
    from crowdcount.inference.points import PointPrediction

DEFAULT_MEMORY: Final = 2.0
"""Memory limit in GiB for one image if tiles are exact."""

SMALL: Final = 2**20
"""Number of pixels below which no network of the zoo reaches that limit."""

Precision = Literal["float32", "bfloat16", "float16"]
"""Precision of the inner layers of a network."""

Ignore = Path | str | NDArray[np.bool_] | IgnoreMask
"""A mask of pixels under which nobody is counted."""


class BasePredictor(ABC):
    """A model ready for images of any size.

    Args:
        max_memory: memory limit in GiB for one image, besides the model; see `crowdcount.Predictor`.
        channels: order of the channels of arrays and tensors; see `crowdcount.images.as_image`.
        value_range: values of black and white in images of more than 8 bits; see `crowdcount.images.as_image`.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        max_memory: float | None = None,
        channels: Channels = "rgb",
        value_range: ValueRange | None = None,
    ) -> None:
        check_choice("channels", channels, get_args(Channels))
        check_value_range(value_range)
        if max_memory is not None:
            check_number("max_memory", max_memory, 0, above=True, hint="in GiB")
        self.max_memory = max_memory
        self.channels = channels
        self.value_range = value_range

    @property
    @abstractmethod
    def label(self) -> str:
        """Name of the model for messages."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """Description of the protocol; see `CrowdModel.protocol`."""

    @property
    @abstractmethod
    def intervals(self) -> Intervals | None:
        """Calibrations of the counts of the model, if there are any."""

    @abstractmethod
    def hash_weights(self) -> str:
        """Return the SHA-256 of the weights, wherever they came from."""

    @abstractmethod
    def check_texts(self, texts: Sequence[str]) -> None:
        """Check that the model counts what expressions name, or, without any, that it needs none.

        Raises:
            InputError: it does not.
        """

    @abstractmethod
    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images (H, W, 3) uint8 RGB of one size.

        Raises:
            InputError: the memory is too small, a mask has another size, or a count is not finite.
        """

    def find(self, image: Image, texts: str | Sequence[str]) -> "list[PointPrediction]":
        """Find what expressions name in an image (H, W, 3) uint8 RGB; the points are in its pixels.

        A text in place of a list is one expression.

        Raises:
            InputError: the model reads no text.
        """
        raise InputError(f"{self.label} reads no text; leave the expressions out, or take a model of the family rec")

    def read(self, image: ImageLike) -> Image:
        """Return an image as (H, W, 3) uint8 RGB, with the order of channels, range and memory of this predictor.

        Raises:
            InputError: the image cannot be read; see `crowdcount.images.as_image`.
        """
        return as_image(image, channels=self.channels, value_range=self.value_range, max_memory=self.max_memory)

    def predict(self, image: ImageLike) -> Prediction:
        """Count in an image.

        Raises:
            InputError: the image cannot be read, the memory is too small for any tile, or a mask has another size.
        """
        pixels = self.read(image)
        # a file is read again for drawing, so that the predictions of many files do not hold their pixels
        plain = isinstance(image, str | Path) and self.value_range is None
        kept = Path(str(image)) if plain else pixels
        return replace(self.predict_batch([pixels])[0], image=kept)

    def memory_limit(
        self, own: float | None, window: int | None, pixels: int, margin: Callable[[], int | None]
    ) -> float | None:
        """Return the memory limit in GiB of a batch; whether tiles are exact is only asked for large images.

        Args:
            own: limit of the model's configuration.
            window: side of the model's windows, which need no limit.
            pixels: pixels that the network sees.
            margin: returns the margin of exact tiles, None if there are none.
        """
        limit = own if self.max_memory is None else self.max_memory
        if limit is not None or window is not None:
            return limit
        return None if pixels <= SMALL or margin() is None else DEFAULT_MEMORY


def all_finite(found: Sequence[Prediction]) -> bool:
    """Return whether all counts are finite."""
    return all(math.isfinite(each.count) for each in found)
