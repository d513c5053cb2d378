"""Any picture -> what a model says of it: the path of `crowdcount predict` and of `crowdcount.count`."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, Unpack, get_args

import torch

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.images.convert import Photo, as_image
from crowdcount.images.read import Image
from crowdcount.images.resize import cv_resized
from crowdcount.inference.density import Prediction
from crowdcount.inference.model import CrowdModel, Model
from crowdcount.inference.points import PointPrediction
from crowdcount.inference.receptive_field import receptive_margin
from crowdcount.zoo.models import RELEASE, load_model

logger = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "ebc/mobilenetv4_shab_scratch"
"""The model whose weights are in the package."""

DEFAULT_MEMORY: Final = 2.0
"""GiB that counting an image may take where tiles are exact."""

_SMALL: Final = 2**20
"""Pixels: no network of the zoo needs that much memory for them."""

Precision = Literal["float32", "bfloat16", "float16"]


class Predictor:
    """A model on a device, ready for pictures of any size.

    Args:
        model: see `crowdcount.load_model`, or a model that is loaded already; None takes the one in the package.
        weights: see `crowdcount.load_model`.
        device: such as cpu or cuda:1; "auto" takes a GPU where there is one.
        precision: of the network's inner layers. Counts are added up in float32 whatever it is, and pictures whose
            counts are then not finite are counted again in float32.
        max_memory: GiB that counting a picture may take beside the model; larger pictures are counted in tiles. None
            allows what the model's configuration says, or else 2 GiB where tiles give the density of the whole
            picture, and otherwise whatever it takes: tiles would change the count. A model with windows never holds
            more than a few of them, and takes no limit. Arrays of floats need further room to become pictures.
        long_side: pictures whose longer side is above it are shrunk to it before anything else, in pixels. A model
            counts best where people are as large as in its training.

    Raises:
        InputError: there is no such model or device, or a value is out of its range.
    """

    def __init__(
        self,
        model: str | Path | CrowdModel | None = None,
        weights: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        max_memory: float | None = None,
        long_side: int | None = None,
    ) -> None:
        if max_memory is not None:
            check_number("max_memory", max_memory, 0, above=True, hint="in GiB")
        if long_side is not None:
            check_number("long_side", long_side, 1)
        self.device = find_device(device)
        self.precision = _checked(precision, self.device)
        if not isinstance(model, CrowdModel):
            model = load_model(DEFAULT_MODEL if model is None else model, weights)
        elif weights is not None:
            raise InputError("weights: the model given has its own; leave them out")
        self.model = model
        self.model.network.to(self.device).eval()
        self.max_memory = max_memory
        self.long_side = long_side

    def predict(self, photo: Photo) -> Prediction:
        """Count in a picture.

        Raises:
            InputError: it cannot be read, or the memory is too small for any tile.
        """
        image = as_image(photo)
        # a file is read again where it is drawn: predictions of many of them do not hold their pixels
        kept = Path(photo) if isinstance(photo, str | Path) else image
        return replace(self.predict_batch([self.limit_size(image)])[0], image=kept)

    def find(self, image: Image, texts: Sequence[str]) -> list[PointPrediction]:
        """Find what expressions name in an image (H, W, 3) uint8 RGB; points in its pixels.

        Raises:
            InputError: the model reads no text.
        """
        height, width = image.shape[:2]
        with self._autocast():
            found = self.model.referring_model().predict(self.limit_size(image), texts)
            return [replace(each.resized(height, width), image=image) for each in found]

    def limit_size(self, image: Image) -> Image:
        """Return an image as it goes to the model: shrunk until its longer side is not above `long_side`."""
        height, width = image.shape[:2]
        ratio = (self.long_side or math.inf) / max(height, width)
        if ratio >= 1:
            return image
        return cv_resized(image, (max(1, round(width * ratio)), max(1, round(height * ratio))), "area")

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images of one size, in one forward pass where they fit.

        Args:
            images: (H, W, 3) uint8 RGB, all of one size.

        Raises:
            InputError: the memory is too small, or the model gives no number even in float32.
        """
        model = self.model.density_model()
        model = replace(model, inference=replace(model.inference, max_memory=self._memory(model, images)))
        with self._autocast():
            found = _predict_within_memory(model, images)
        if not _finite(found) and self.precision != "float32":
            logger.warning("%s: %s is not enough for this picture; counted in float32", model.name, self.precision)
            found = _predict_within_memory(model, images)
        if not _finite(found):
            raise InputError(f"{model.label} gives no finite count; its weights may be damaged")
        return found

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        enabled = self.precision != "float32"
        with torch.autocast(self.device.type, dtype=getattr(torch, self.precision), enabled=enabled):
            yield

    def _memory(self, model: Model, images: Sequence[Image]) -> float | None:
        """Return the limit; whether tiles are exact is looked at where images are large."""
        limit = model.inference.max_memory if self.max_memory is None else self.max_memory
        if limit is not None or model.inference.window is not None:
            return limit
        height, width = images[0].shape[:2]
        wide, high = (width, height) if model.resize is None else model.resize.target(width, height)
        small = len(images) * wide * high <= _SMALL
        return None if small or receptive_margin(model.network) is None else DEFAULT_MEMORY


def _finite(found: Sequence[Prediction]) -> bool:
    return all(math.isfinite(each.count) for each in found)


def _predict_within_memory(model: Model, images: Sequence[Image]) -> list[Prediction]:
    """Count, and say what helps where the memory is too small."""
    try:
        return model.predict_batch(images)
    except (RuntimeError, MemoryError) as error:
        # on a processor torch raises no class of its own
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            raise InputError("there is too little memory; set max_memory or long_side") from error
        raise


class Options(TypedDict, total=False):
    """Arguments of `Predictor` behind the model."""

    weights: str | Path | None
    device: str
    precision: Precision
    max_memory: float | None
    long_side: int | None


def count(photo: Photo, model: str | Path | CrowdModel | None = None, **options: Unpack[Options]) -> float:
    """Return how many people are in an image; see `predict`.

    Example:
        >>> import numpy as np
        >>> round(count(np.full((64, 64, 3), 127, np.uint8)))  # a grey image
        0
    """
    return predict(photo, model, **options).count


def predict(photo: Photo, model: str | Path | CrowdModel | None = None, **options: Unpack[Options]) -> Prediction:
    """Return what a model says of a picture: count, density, class probabilities.

    A model given by name is loaded once and kept for the next call; a file that has changed since is loaded anew.

    Args:
        photo: a file, (H, W), (H, W, 3) or (H, W, 4) array, (3, H, W) tensor, or a Pillow image; uint8, or floats in
            [0, 1], RGB.
        model: a checkpoint, or a name in the zoo; None takes the model in the package.
        **options: weights, device, precision, max_memory and long_side, as for `Predictor`.

    Raises:
        InputError: the picture cannot be read, or there is no such model.
    """
    if isinstance(model, CrowdModel):
        return Predictor(model, **options).predict(photo)
    return _kept((_state(model), _state(options.get("weights"))), model, **options).predict(photo)


@lru_cache(maxsize=2)
def _kept(_states: object, model: str | Path | None, **options: Any) -> Predictor:
    """Load a model; what its files are like is no more than a part of what it is kept under."""
    return Predictor(model, **options)


def _state(source: str | Path | None) -> tuple[Path, int, int] | None:
    """Return what changes when a file of weights does; None for what is no file, such as a name in the zoo."""
    if source is None:
        return None
    path = Path(source).absolute()
    path = path / RELEASE if path.is_dir() else path
    return (path, path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None


def find_device(name: str) -> torch.device:
    """Return a device that works; "auto" takes a GPU where there is one.

    Raises:
        InputError: it is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.zeros(1, device=name)
        place.cpu()  # of a device without memory nothing can be read
        return place.device
    # torch without CUDA asserts, and of others it lacks whole modules
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"device: {name or repr(name)} is not here ({reason})") from error


def _checked(precision: Precision, device: torch.device) -> Precision:
    check_choice("precision", precision, get_args(Precision))
    if precision == "float16" and device.type == "cpu":
        raise InputError("precision: float16 is for GPUs; on a processor use bfloat16 or float32")
    return precision
