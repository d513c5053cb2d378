"""Counting with exported models: the same reader, size rule, windows and tiles as in torch, without torch."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crowdcount.errors import InputError
from crowdcount.images.convert import Channels
from crowdcount.images.levels import ValueRange
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.images.resize import sized_image
from crowdcount.images.view import camera_rule
from crowdcount.inference.base_predictor import BasePredictor, Ignore, all_finite
from crowdcount.inference.ignore import without_ignored
from crowdcount.inference.parts import (
    Maps,
    Part,
    in_one_pass,
    make_prediction,
    predict_in_parts,
    protocol_text,
    whole_part,
)
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.file import Intervals
from crowdcount.runtimes.description import Description
from crowdcount.runtimes.sessions import Array, Session, open_session
from crowdcount.zoo.intervals import read_intervals


class RuntimePredictor(BasePredictor):
    """An exported model in its runtime, ready for images of any size.

    Args:
        path: an .onnx file for onnxruntime, or an .xml file for OpenVINO, written by `crowdcount export`.
        device: "auto" or "cpu"; "cuda:0" for onnxruntime-gpu, OpenVINO's names for OpenVINO.
        max_memory: see `crowdcount.Predictor`; what a pass takes was measured in torch.
        long_side: see `crowdcount.Predictor`.
        intervals: file that `crowdcount calibrate` wrote for the weights that were exported; by default what was
            exported with them.
        channels: see `crowdcount.Predictor`.
        value_range: see `crowdcount.Predictor`.
        image_scale: see `crowdcount.Predictor`.
        ignore: see `crowdcount.Predictor`.
        threads: threads of the runtime; by default those of OMP_NUM_THREADS, otherwise as the runtime likes.

    Attributes:
        description: what the file says of itself.

    Raises:
        InputError: the file, the runtime or the device is missing, the file is damaged, or was exported by others.

    Example:
        predictor = RuntimePredictor("model.onnx")
        predictor.predict("photo.jpg").count
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        max_memory: float | None = None,
        long_side: int | None = None,
        intervals: str | Path | None = None,
        channels: Channels = "rgb",
        value_range: ValueRange | None = None,
        image_scale: float = 1.0,
        ignore: Ignore | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(max_memory, channels, value_range)
        self.path = Path(path)
        self.session = open_session(self.path, device, threads)
        self.description = Description.from_metadata(self.session.metadata, str(path))
        self.resize = camera_rule(self.description.size_rule, image_scale, long_side)
        self.ignored = None if ignore is None else IgnoreMask.make(ignore)
        self._intervals = self._find_intervals(intervals)

    @property
    def label(self) -> str:
        """Name of the model for messages."""
        return self.description.name

    @property
    def protocol(self) -> str:
        """Description of the protocol; see `CrowdModel.protocol`."""
        return protocol_text(self.resize, self.description.division, self.ignored)

    @property
    def intervals(self) -> Intervals | None:
        """Calibrations of the counts of the model, if there are any."""
        return self._intervals

    def _find_intervals(self, intervals: str | Path | None) -> Intervals | None:
        about = self.description
        if intervals is None:
            return about.intervals
        if about.precision != "float32":
            raise InputError(f"intervals: {self.path} counts in {about.precision}, other than the weights calibrated")
        return read_intervals(Path(intervals), about.source_sha256, self.path.name)

    def hash_weights(self) -> str:
        """Return the SHA-256 of the files of the model."""
        digest = hashlib.sha256()
        for file in (self.path, self.path.with_suffix(".bin")):
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def check_texts(self, texts: Sequence[str]) -> None:
        """Refuse expressions: no exported model reads texts.

        Raises:
            InputError: there are some.
        """
        if texts:
            raise InputError(
                f"{self.label} reads no text; leave the expressions out, or take a model of the family rec"
            )

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images of one size, in one pass if they fit.

        Args:
            images: (H, W, 3) uint8 RGB, all of one size.

        Raises:
            InputError: the memory is too small, a mask has another size, or a count is not finite.
        """
        if len({image.shape for image in images}) > 1:
            raise InputError("a batch takes images of one size; pass images of other sizes separately")
        found = self._predicted(images)
        if not all_finite(found):
            raise InputError(f"{self.label} gives no finite count; its weights may be damaged")
        known = self._intervals
        if known is None or known.protocol != self.protocol:
            return found
        return [replace(each, intervals=known) for each in found]

    def _predicted(self, images: Sequence[Image]) -> list[Prediction]:
        height, width = images[0].shape[:2]
        if self.ignored is not None:
            self.ignored.check(height, width)
        about, sized = self.description, [sized_image(image, self.resize) for image in images]
        pixels, nbytes = len(sized) * math.prod(sized[0].shape[:2]), sum(image.nbytes for image in sized)
        limit = self.memory_limit(about.max_memory, about.window, pixels, lambda: about.tile_margin)
        runners = [SessionRunner(self.session, about, image, nbytes) for image in sized]
        found = predict_images(runners, replace(about, max_memory=limit))
        if self.ignored is None:
            return found
        return [without_ignored(each, self.ignored, height, width) for each in found]


def predict_images(runners: Sequence["SessionRunner"], about: Description) -> list[Prediction]:
    """Count in images of one size, in one pass unless they need windows or tiles.

    Args:
        runners: one for each image, with the memory of all.
        about: description of the model.

    Raises:
        InputError: the memory is too small.
    """
    if not in_one_pass(runners[0], about, len(runners)):
        return [predict_in_parts(runner, about) for runner in runners]
    part = whole_part(runners[0])
    maps = run_session(runners[0].session, about, np.concatenate([runner.normalized(part) for runner in runners]))
    return [make_prediction(each, runner, exact=True) for each, runner in zip(maps, runners, strict=True)]


def run_session(session: Session, about: Description, images: Array) -> Maps:
    """Return the maps (N, C, rows, columns) of normalised images (N, 3, H, W)."""
    found = session.run(images)
    return np.concatenate([found[name] for name in about.outputs], axis=1)


@dataclass(frozen=True)
class SessionRunner:
    """An exported network in front of one image; see `crowdcount.inference.parts.ImageRunner`.

    Attributes:
        session: the graph.
        about: what its file says.
        image: (H, W, 3) uint8 RGB.
        nbytes: memory of the images that are counted with it, in bytes.
    """

    session: Session
    about: Description
    image: Image
    nbytes: int

    batch = 1  # more windows together take more memory

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.about.name

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return (self.image.shape[0], self.image.shape[1])

    @property
    def stride(self) -> int:
        """Side of a density cell in pixels."""
        return self.about.stride

    @property
    def size_divisor(self) -> int:
        """Divisor of the sides of the input."""
        return self.about.size_divisor

    @property
    def predicts_variance(self) -> bool:
        """Whether the maps have a variance."""
        return self.about.predicts_variance

    @property
    def compares_sizes(self) -> bool:
        """Whether they have a size difference."""
        return self.about.compares_sizes

    def bytes_per_pixel(self) -> float:
        """Return the memory of a pass per pixel."""
        return self.about.bytes_per_pixel

    def margin(self) -> int | None:
        """Return the margin of exact tiles in pixels, None if there are none."""
        return self.about.tile_margin

    def inexact_reason(self) -> str:
        """Return the reason why there are no exact tiles, "" if there are."""
        return self.about.inexact_reason

    def maps(self, parts: Sequence[Part], whole: tuple[int, int] | None = None) -> Maps:
        """Run the network on parts of one size; see `ImageRunner.maps`."""
        return run_session(self.session, self.about, np.concatenate([self.normalized(part) for part in parts]))

    def normalized(self, part: Part) -> Array:
        """Return a part as the network takes it; see `normalized`."""
        return normalized(self.image, self.about, part)


def normalized(image: Image, about: Description, part: Part) -> Array:
    """Return a part of an image (H, W, 3) uint8 RGB as the network takes it, (1, 3, height, width), 0 beyond it."""
    cut = image[part.top : part.top + part.height, part.left : part.left + part.width]
    mean, std = (np.array(each, np.float32) for each in (about.mean, about.std))
    padded = np.zeros((1, 3, part.height, part.width), np.float32)
    values = (cut.astype(np.float32) / np.float32(255) - mean) / std
    padded[0, :, : cut.shape[0], : cut.shape[1]] = values.transpose(2, 0, 1)
    return padded
