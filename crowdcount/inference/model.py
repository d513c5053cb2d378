"""A network with the protocol it is evaluated by.

What each thing is called: a *network* (`CrowdNetwork`) turns tensors into tensors. A *model* (`CrowdModel`) is a
network with its size rule and inference: it turns an image into predictions, and is what is loaded, evaluated and
passed on. A *predictor* (`crowdcount.Predictor`) is a model on a device, with limits of memory and size, for images of
any kind. A *module* (`crowdcount.training.TrainingModule`) trains a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.images.resize import SizeRule
from crowdcount.inference.density import Inference, Prediction
from crowdcount.inference.points import PointInference, PointPrediction
from crowdcount.models.base import CrowdNetwork, DensityNetwork
from crowdcount.models.rec.network import ReferringDetector


@dataclass
class CrowdModel(ABC):
    """Base of all models: a network together with the protocol it is evaluated by.

    Attributes:
        network: in evaluation mode.
        inference: how a whole image is counted.
        resize: the size rule applied to an image before.
        name: where it comes from.
        config: what it was built from: network, inference and size rule, in the form of the zoo's files.
        origin: what is known of the weights, such as file, SHA-256, licences and figures.
        reads_text: whether it counts what expressions name.
        subject: what it counts, in words.
        network_type: base of the networks that it takes.
        inference_type: class of its inference.
        memory_format: order of the weights in memory that suits its layers.
    """

    network: CrowdNetwork
    inference: Inference | PointInference
    resize: SizeRule | None = None
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    reads_text: ClassVar[bool]
    subject: ClassVar[str]
    network_type: ClassVar[type[CrowdNetwork]]
    inference_type: ClassVar[type[Inference | PointInference]]
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format

    @abstractmethod
    def predict_each(self, image: Image, texts: Sequence[str] = ()) -> Sequence[Prediction | PointPrediction]:
        """Return a prediction for each expression; of a model that reads no text, the one prediction of the image.

        Args:
            image: (H, W, 3) uint8 RGB.
            texts: the expressions.

        Raises:
            InputError: the array is no such image, an expression is empty or too long, or the model reads no text.
        """

    def density_model(self) -> "Model":
        """Return the model, typed as one that needs no text.

        Raises:
            InputError: it counts what expressions name.
        """
        raise InputError(
            f"{self.label} counts what expressions name: call its predict(image, texts), or give --expression TEXT ..."
        )

    def referring_model(self) -> "ReferringModel":
        """Return the model, typed as one that counts what expressions name.

        Raises:
            InputError: it reads no text.
        """
        raise InputError(f"{self.label} reads no text; leave the expressions out, or take a model of the family rec")

    @property
    def label(self) -> str:
        """The name, or words in place of it."""
        return self.name or "this model"

    @property
    def protocol(self) -> str:
        """The protocol in words: size rule, then one pass or windows, or thresholds of points."""
        rule = "images as they are" if self.resize is None else f"size rule {self.resize}"
        return f"{rule}; {self.inference.protocol}"

    def pixels(self, image: Image) -> Tensor:
        """Return an image as the network sees it, (3, H, W) uint8 on its device.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the array is no such image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InputError(f"an image is (H, W, 3) uint8 RGB; got {image.shape} {image.dtype}")
        if self.resize is not None:
            image, _ = self.resize(image, np.empty((0, 2), np.float32))
        # a view, no copy: channels come last in memory, as convolutions like it
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return pixels.to(next(self.network.parameters()).device)


@dataclass
class Model(CrowdModel):
    """A density network together with the protocol it is evaluated by; see `CrowdModel`."""

    network: DensityNetwork
    inference: Inference = field(default_factory=Inference)

    reads_text = False
    subject = "people"
    network_type = DensityNetwork
    inference_type = Inference
    memory_format = torch.channels_last  # a third faster on processors

    def predict(self, image: Image) -> Prediction:
        """Count in an image (H, W, 3) uint8 RGB, on the device of the network.

        Raises:
            InputError: the array is no such image.
        """
        return replace(self.predict_batch([image])[0], image=image)

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images (H, W, 3) uint8 RGB of one size, in one forward pass where each of them needs no more.

        Raises:
            InputError: an array is no such image, or of another size than the first.
        """
        pixels = [self.pixels(image) for image in images]
        if len({each.shape for each in pixels}) > 1:
            raise InputError("images of several sizes are no batch; give those of one size together")
        return self.inference.predict_batch(self.network, torch.stack(pixels) if len(pixels) > 1 else pixels[0][None])

    def predict_each(self, image: Image, texts: Sequence[str] = ()) -> list[Prediction]:
        """Count in an image; see `CrowdModel.predict_each`."""
        if texts:
            self.referring_model()  # refuses
        return [self.predict(image)]

    def density_model(self) -> "Model":
        """Return the model."""
        return self


@dataclass
class ReferringModel(CrowdModel):
    """A detector of what expressions name, together with the protocol it is evaluated by; see `CrowdModel`."""

    network: ReferringDetector
    inference: PointInference = field(default_factory=PointInference)

    reads_text = True
    subject = "what an expression names"
    network_type = ReferringDetector
    inference_type = PointInference

    def predict(self, image: Image, texts: Sequence[str]) -> list[PointPrediction]:
        """Find what each expression names in an image (H, W, 3) uint8 RGB, on the device of the network.

        Returns:
            For each expression its points, in pixels of `image`.

        Raises:
            InputError: the array is no such image, or an expression is empty or too long.
        """
        found = self.inference(self.network, self.pixels(image), texts)
        height, width = image.shape[:2]
        return [replace(each.resized(height, width), image=image) for each in found]

    def predict_each(self, image: Image, texts: Sequence[str] = ()) -> list[PointPrediction]:
        """Find what each expression names; see `CrowdModel.predict_each`."""
        return self.predict(image, texts)

    def referring_model(self) -> "ReferringModel":
        """Return the model."""
        return self


KINDS: tuple[type[CrowdModel], ...] = (Model, ReferringModel)
"""All kinds of models; a network belongs to the first that takes it."""
