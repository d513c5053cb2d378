"""Counting in images of any kind, behind `crowdcount.count`, `crowdcount.predict` and the command `predict`."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack, get_args

import torch

from crowdcount.checks import check_choice
from crowdcount.errors import InputError
from crowdcount.files import is_dir, is_file
from crowdcount.images.convert import Channels, ImageLike
from crowdcount.images.levels import ValueRange
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.inference.base_predictor import DEFAULT_MEMORY as DEFAULT_MEMORY
from crowdcount.inference.base_predictor import BasePredictor, Ignore, all_finite
from crowdcount.inference.base_predictor import Precision as Precision
from crowdcount.inference.model import CrowdModel, Model
from crowdcount.inference.points import PointPrediction
from crowdcount.inference.prediction import Prediction
from crowdcount.inference.receptive_field import receptive_margin
from crowdcount.inference.release import RELEASE
from crowdcount.intervals.file import Intervals, intervals_file
from crowdcount.weights.state_dict import state_digest
from crowdcount.zoo.models import load_model

logger = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "ebc/efficientnet_lite0_mixed"
"""Model whose weights are included in the package."""


class Predictor(BasePredictor):
    """A model on a device, ready for images of any size.

    Args:
        model: a loaded model, or a source for `crowdcount.load_model`; None takes the model in the package.
        weights: see `crowdcount.load_model`.
        device: a device such as cpu or cuda:1; "auto" takes a GPU if there is one.
        precision: precision of the network's inner layers. Counts are always summed in float32, and images whose counts
            are not finite are counted again in float32.
        max_memory: memory limit in GiB for one image, besides the model; larger images are counted in tiles, and files
            of which decoding alone takes more are refused. With None the limit of the model's configuration applies;
            without one, it is 2 GiB if tiles are exact, and there is no limit if tiles would change the count. A model
            with windows needs no limit. Converting arrays of floats to images takes additional memory.
        long_side: images are first shrunk until their longer side is at most this, in pixels.
        image_scale: factor of the sides of images before counting. Models count best when people have the size they
            had in training: below 1 if they are larger in these images, above 1 if they are smaller. Points, zones and
            drawings remain those of the image itself.
        ignore: pixels under which nobody is counted: a mask image, in which they are not black, or an array (height,
            width) of bool, of the size of every image. The density of blocks under it is 0.
        intervals: file that `crowdcount calibrate` wrote; by default the one beside the weights, if there is one.
        channels: order of the channels of arrays and tensors. They do not state it, and nothing is detected: "bgr" for
            those of `cv2.imread` and `cv2.VideoCapture`. Files and Pillow images know theirs.
        value_range: values of black and white in images of more than 8 bits, such as (0, 4095) for 12 bits in 16; by
            default the whole range of uint16, or (0, 1) for floats.

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
        intervals: str | Path | None = None,
        channels: Channels = "rgb",
        value_range: ValueRange | None = None,
        image_scale: float = 1.0,
        ignore: Ignore | None = None,
    ) -> None:
        super().__init__(max_memory, channels, value_range)
        self.device = find_device(device)
        self.precision = _checked(precision, self.device)
        if not isinstance(model, CrowdModel):
            model = load_model(DEFAULT_MODEL if model is None else model, weights, intervals=intervals)
        elif weights is not None or intervals is not None:
            raise InputError("weights and intervals: the model given has its own; leave them out")
        self.model = model.for_camera(image_scale, long_side, None if ignore is None else IgnoreMask.make(ignore))
        self.model.network.to(self.device).eval()

    @property
    def label(self) -> str:
        """Name of the model for messages."""
        return self.model.label

    @property
    def protocol(self) -> str:
        """Description of the protocol; see `CrowdModel.protocol`."""
        return self.model.protocol

    @property
    def intervals(self) -> Intervals | None:
        """Calibrations of the counts of the model, if there are any."""
        return self.model.intervals

    def hash_weights(self) -> str:
        """Return the SHA-256 of the weights, wherever they came from."""
        return state_digest(self.model.network.state_dict())

    def check_texts(self, texts: Sequence[str]) -> None:
        """Check that the model counts what expressions name, or, without any, that it needs none.

        Raises:
            InputError: it does not.
        """
        if texts:
            self.model.referring_model()
        else:
            self.model.density_model()

    def find(self, image: Image, texts: str | Sequence[str]) -> list[PointPrediction]:
        """Find what expressions name in an image (H, W, 3) uint8 RGB; the points are in its pixels.

        A text in place of a list is one expression.

        Raises:
            InputError: the model reads no text.
        """
        with self._autocast():
            return self.model.referring_model().predict(image, texts)

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images of one size, in one forward pass if they fit.

        Args:
            images: (H, W, 3) uint8 RGB, all of one size.

        Raises:
            InputError: the memory is too small, a mask has another size, or the count is not finite even in float32.
        """
        model = self.model.density_model()
        model = replace(model, inference=replace(model.inference, max_memory=self._memory(model, images)))
        with self._autocast():
            found = _predict_within_memory(model, images)
        if not all_finite(found) and self.precision != "float32":
            logger.warning("%s: %s is not enough for this image; counted in float32", model.name, self.precision)
            found = _predict_within_memory(model, images)
        if not all_finite(found):
            raise InputError(f"{model.label} gives no finite count; its weights may be damaged")
        return found

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        enabled = self.precision != "float32"
        with torch.autocast(self.device.type, dtype=getattr(torch, self.precision), enabled=enabled):
            yield

    def _memory(self, model: Model, images: Sequence[Image]) -> float | None:
        """Return the memory limit of images of one size."""
        height, width = images[0].shape[:2]
        wide, high = (width, height) if model.resize is None else model.resize.target(width, height)
        inference, pixels = model.inference, len(images) * wide * high
        return self.memory_limit(
            inference.max_memory, inference.window, pixels, lambda: receptive_margin(model.network)
        )


def _predict_within_memory(model: Model, images: Sequence[Image]) -> list[Prediction]:
    """Count, turning out-of-memory errors into advice."""
    try:
        return model.predict_batch(images)
    except (RuntimeError, MemoryError) as error:
        # on a CPU torch raises a plain RuntimeError
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            raise InputError("there is too little memory; set max_memory or long_side") from error
        raise


class Options(TypedDict, total=False):
    """Arguments of `Predictor` after the model."""

    weights: str | Path | None
    device: str
    precision: Precision
    max_memory: float | None
    long_side: int | None
    intervals: str | Path | None
    channels: Channels
    value_range: ValueRange | None
    image_scale: float
    ignore: Ignore | None


def count(image: ImageLike, model: str | Path | CrowdModel | None = None, **options: Unpack[Options]) -> float:
    """Return the number of people in an image; see `predict`.

    Arrays are RGB; those of `cv2.imread` are BGR: `count(array, channels="bgr")`.

    Example:
        >>> import numpy as np
        >>> round(count(np.full((64, 64, 3), 127, np.uint8)))  # a grey image
        0
    """
    return predict(image, model, **options).count


def predict(image: ImageLike, model: str | Path | CrowdModel | None = None, **options: Unpack[Options]) -> Prediction:
    """Return the prediction of a model for an image: count, density, class probabilities.

    A model given by name or file is kept for the next call; a file that has changed is loaded again.

    Args:
        image: a file, (H, W), (H, W, 3) or (H, W, 4) array, (3, H, W) tensor, or a Pillow image; uint8, uint16, or
            floats in [0, 1]; RGB, unless `channels` is "bgr", as of `cv2.imread`.
        model: a checkpoint, a name in the zoo, or a loaded model; None takes the model in the package.
        **options: weights, device, precision, max_memory, long_side, intervals, channels, value_range, image_scale and
            ignore, as for `Predictor`.

    Raises:
        InputError: the image cannot be read, or there is no such model.
    """
    keys: dict[str, Any] = {**options}  # of the models that are kept
    if keys.get("value_range") is not None:
        keys["value_range"] = tuple(keys["value_range"])
    if keys.get("ignore") is not None:
        keys["ignore"] = IgnoreMask.make(keys["ignore"])
    if isinstance(model, CrowdModel):
        return Predictor(model, **keys).predict(image)
    states = [_state(each) for each in (model, options.get("weights"), options.get("intervals"))]
    beside = [_state(intervals_file(state[0])) for state in states[:2] if state]
    return _kept((*states, *beside), model, **keys).predict(image)


@lru_cache(maxsize=2)
def _kept(_states: object, model: str | Path | None, **options: Any) -> Predictor:
    """Load a model; the state of its files is only part of the cache key."""
    return Predictor(model, **options)


def _state(source: str | Path | None) -> tuple[Path, int, int] | None:
    """Return path, time and size of a file of weights; None if the source is not a file, such as a name in the zoo."""
    if source is None:
        return None
    path = Path(source).absolute()
    path = path / RELEASE if is_dir(path) else path
    return (path, path.stat().st_mtime_ns, path.stat().st_size) if is_file(path) else None


def find_device(name: str) -> torch.device:
    """Return a working device; "auto" takes a GPU if there is one.

    Raises:
        InputError: the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.zeros(1, device=name)
        place.cpu()  # a device without memory cannot be read from
        return place.device
    # without CUDA torch raises an AssertionError; for other devices it may lack whole modules
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"device: {name or repr(name)} is not available ({reason})") from error


def _checked(precision: Precision, device: torch.device) -> Precision:
    check_choice("precision", precision, get_args(Precision))
    if precision == "float16" and device.type == "cpu":
        raise InputError("precision: float16 is for GPUs; on a CPU use bfloat16 or float32")
    return precision
