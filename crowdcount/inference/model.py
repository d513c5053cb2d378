"""Models: a network together with its evaluation protocol.

Terms: a *network* (`CrowdNetwork`) maps tensors to tensors. A *model* (`CrowdModel`) is a network with its size rule
and inference: it maps an image to predictions, and is what is loaded, evaluated and released. A *predictor*
(`crowdcount.Predictor`) is a model on a device, with limits of memory and size, for images of any kind. A *module*
(`crowdcount.training.TrainingModule`) trains a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.images.resize import SizeRule, sized_image
from crowdcount.images.view import camera_rule
from crowdcount.inference.captions import CaptionInference, CaptionPrediction
from crowdcount.inference.density import Inference
from crowdcount.inference.ignore import without_ignored, without_ignored_points
from crowdcount.inference.parts import protocol_text
from crowdcount.inference.points import PointInference, PointPrediction
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.file import Intervals
from crowdcount.models.base import CrowdNetwork, DensityNetwork
from crowdcount.models.image_text.network import ImageText
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.weights.hub import HubAddress


@dataclass
class CrowdModel(ABC):
    """Base of all models: a network together with its evaluation protocol.

    Attributes:
        network: in evaluation mode.
        inference: inference on a whole image.
        resize: size rule applied to an image before inference.
        name: name or file it was loaded from.
        config: configuration it was built from (network, inference and size rule), in the form of the zoo's files.
        origin: facts about the weights, such as file, SHA-256, licences and figures.
        file: file of the weights, if it was loaded from one.
        intervals: calibrations of its counts, if there are any.
        ignored: pixels of every image under which nobody is counted, if there are any.
        reads_text: whether it counts what expressions name.
        subject: what it counts, for messages.
        example: a call of it, for model cards.
        network_type: base class of the networks it accepts.
        inference_type: class of its inference.
        memory_format: memory format of the weights that suits its layers.
        zero_shot: whether it counts with the pretrained weights that a training starts from.
    """

    network: CrowdNetwork
    inference: Inference | PointInference | CaptionInference
    resize: SizeRule | None = None
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    intervals: Intervals | None = None
    ignored: IgnoreMask | None = None

    reads_text: ClassVar[bool]
    subject: ClassVar[str]
    example: ClassVar[str]
    network_type: ClassVar[type[CrowdNetwork]]
    inference_type: ClassVar[type[Inference | PointInference | CaptionInference]]
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    zero_shot: ClassVar[bool] = False

    @abstractmethod
    def predict_each(self, image: Image, texts: str | Sequence[str] = ()) -> Sequence[Prediction | PointPrediction]:
        """Return one prediction per expression; a model that reads no text returns one prediction of the image.

        Args:
            image: (H, W, 3) uint8 RGB.
            texts: the expressions.

        Raises:
            InputError: the array is not such an image, an expression is empty or too long, or the model reads no text.
        """

    def save_pretrained(
        self,
        folder: str | Path,
        name: str | None = None,
        half: bool = False,
        *,
        license: str | None = None,
        data_terms: str | None = None,
    ) -> Path:
        """Write the model to a folder that `crowdcount.load_model` reads; see `crowdcount.inference.release`.

        Args:
            folder: target folder, created if missing.
            name: name of the model; None takes that of its weights in the index, or the folder's.
            half: store the weights as float16.
            license: SPDX identifier of the licence of the weights, such as MIT; None keeps what is known.
            data_terms: terms of the data they were trained on, in words, for the card; None keeps what is known.

        Returns:
            Path of the weights file.

        Raises:
            InputError: the folder already holds a model or cannot be written to, or a value is invalid.

        Example:
            >>> import crowdcount, tempfile
            >>> model = crowdcount.load_model("ebc/efficientnet_lite0_mixed")
            >>> model.save_pretrained(f"{tempfile.mkdtemp()}/counter", license="MIT").name
            'model.safetensors'
        """
        from crowdcount.inference.release import save_release, with_terms  # which import this module

        return save_release(with_terms(self, license, data_terms), Path(folder), name, half)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Add a model of crowdcount",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        half: bool = False,
        license: str | None = None,
        data_terms: str | None = None,
    ) -> str:
        """Upload the model to the Hugging Face hub, where `crowdcount.load_model("hf:OWNER/NAME")` finds it.

        Args:
            repo_id: OWNER/NAME; created if missing.
            commit_message: message of the commit.
            private: whether a new repository is private; a public one is refused. None takes the default of its owner.
            token: token of a user; None takes that of `hf auth login` or HF_TOKEN.
            branch: branch, created if missing; None takes the main one.
            create_pr: propose the commit as a pull request.
            half: store the weights as float16.
            license: see `save_pretrained`; a public upload needs it, here or from the origin of the weights.
            data_terms: see `save_pretrained`.

        Returns:
            Address of the page of the commit or pull request.

        Raises:
            InputError: the licence of the weights is not known and the upload is not private, the hub refuses it, or
                there is no connection.
        """
        from crowdcount.inference.release import push_release, with_terms  # which import this module

        address = HubAddress(repo_id, branch)
        return push_release(
            with_terms(self, license, data_terms), address, commit_message, private, token, create_pr, half
        )

    def density_model(self) -> "Model":
        """Return the model, typed as one that needs no text.

        Raises:
            InputError: the model needs expressions.
        """
        raise InputError(
            f"{self.label} counts what expressions name: call its predict(image, texts), or give --expression TEXT ..."
        )

    def referring_model(self) -> "ReferringModel":
        """Return the model, typed as one that counts what expressions name.

        Raises:
            InputError: the model reads no text.
        """
        raise InputError(f"{self.label} reads no text; leave the expressions out, or take a model of the family rec")

    @property
    def label(self) -> str:
        """The name, or "this model"."""
        return self.name or "this model"

    @property
    def protocol(self) -> str:
        """Description of the protocol: size rule, then one pass, windows, or thresholds of points, then a mask."""
        return protocol_text(self.resize, self.inference.protocol, self.ignored)

    def for_camera(
        self, image_scale: float = 1.0, long_side: int | None = None, ignored: IgnoreMask | None = None
    ) -> Self:
        """Return the model with what is known of the images of a camera, itself where nothing is; its protocol says so.

        Intervals hold for the protocol that they were calibrated with alone.

        Args:
            image_scale: factor of the sides of images before counting: below 1 if people are larger than in the
                training, above 1 if they are smaller.
            long_side: images are first shrunk until their longer side is at most this, in pixels; None leaves them.
            ignored: pixels under which nobody is counted; None for none.

        Raises:
            InputError: a number is out of its range.
        """
        if image_scale == 1 and long_side is None and ignored is None:
            return self
        rule = camera_rule(self.resize, image_scale, long_side)
        return replace(self, resize=rule, ignored=ignored or self.ignored)

    def pixels(self, image: Image) -> Tensor:
        """Return the network's input for an image, (3, H, W) uint8 on its device.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the array is not such an image.
        """
        sized = np.ascontiguousarray(sized_image(image, self.resize))
        pixels = torch.from_numpy(sized).permute(2, 0, 1)  # a view: channels stay last in memory, faster to convolve
        return pixels.to(next(self.network.parameters()).device)


@dataclass
class Model(CrowdModel):
    """A density network together with its evaluation protocol; see `CrowdModel`."""

    network: DensityNetwork
    inference: Inference = field(default_factory=Inference)

    reads_text = False
    subject = "people"
    example = 'predict(read_image("photo.jpg"))'
    network_type = DensityNetwork
    inference_type = Inference
    memory_format = torch.channels_last  # a third faster on CPUs

    def predict(self, image: Image) -> Prediction:
        """Count in an image (H, W, 3) uint8 RGB, on the device of the network.

        Raises:
            InputError: the array is not such an image.
        """
        return replace(self.predict_batch([image])[0], image=image)

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images (H, W, 3) uint8 RGB of one size, in one forward pass unless they need windows or tiles.

        Raises:
            InputError: an array is not such an image, or differs in size from the first or from the mask `ignored`.
        """
        pixels = [self.pixels(image) for image in images]
        if len({each.shape for each in pixels}) > 1:
            raise InputError("a batch takes images of one size; pass images of other sizes separately")
        if self.ignored is not None:
            self.ignored.check(*images[0].shape[:2])
        found = self.inference.predict_batch(self.network, torch.stack(pixels) if len(pixels) > 1 else pixels[0][None])
        if self.ignored is not None:
            found = [without_ignored(each, self.ignored, *images[0].shape[:2]) for each in found]
        return found if self.intervals is None else [replace(each, intervals=self._own_intervals()) for each in found]

    def _own_intervals(self) -> Intervals | None:
        """Return the intervals unless size rule or windows are others than in the calibration."""
        return self.intervals if self.intervals and self.intervals.protocol == self.protocol else None

    def predict_each(self, image: Image, texts: str | Sequence[str] = ()) -> list[Prediction]:
        """Count in an image; see `CrowdModel.predict_each`."""
        if texts:
            self.referring_model()  # raises
        return [self.predict(image)]

    def density_model(self) -> "Model":
        """Return the model."""
        return self


@dataclass
class ReferringModel(CrowdModel):
    """A detector of what expressions name, together with its evaluation protocol; see `CrowdModel`."""

    network: ReferringDetector
    inference: PointInference = field(default_factory=PointInference)

    reads_text = True
    subject = "what an expression names"
    example = 'predict(read_image("photo.jpg"), ["person in red"])'
    network_type = ReferringDetector
    inference_type = PointInference

    def predict(self, image: Image, texts: str | Sequence[str]) -> list[PointPrediction]:
        """Find what each expression names in an image (H, W, 3) uint8 RGB, on the device of the network.

        A text in place of a list is one expression.

        Returns:
            The points of each expression, in pixels of `image`.

        Raises:
            InputError: the array is not such an image, or an expression is empty or too long.
        """
        height, width = image.shape[:2]
        if self.ignored is not None:
            self.ignored.check(height, width)
        found = [each.resized(height, width) for each in self.inference(self.network, self.pixels(image), texts)]
        if self.ignored is not None:
            found = [without_ignored_points(each, self.ignored, height, width) for each in found]
        return [replace(each, image=image) for each in found]

    def predict_each(self, image: Image, texts: str | Sequence[str] = ()) -> list[PointPrediction]:
        """Find what each expression names; see `CrowdModel.predict_each`."""
        return self.predict(image, texts)

    def referring_model(self) -> "ReferringModel":
        """Return the model."""
        return self


@dataclass
class ImageTextModel(CrowdModel):
    """An image-text model that chooses a caption's number, together with its evaluation protocol; see `CrowdModel`."""

    network: ImageText
    inference: CaptionInference = field(default_factory=CaptionInference)

    reads_text = True
    subject = "what a caption names, from two to ten,"
    example = 'choose(read_image("photo.jpg"), ["three dogs on a sofa"])'
    network_type = ImageText
    inference_type = CaptionInference
    zero_shot = True

    def choose(
        self, image: Image, captions: Sequence[str], numbers: Sequence[int | None] = ()
    ) -> list[CaptionPrediction]:
        """Choose the number of each caption of an image (H, W, 3) uint8 RGB; see `CaptionInference`.

        Raises:
            InputError: the array is not such an image, or a caption does not say the number.
        """
        return self.inference(self.network, self.pixels(image), captions, numbers)

    def predict_each(self, image: Image, texts: Sequence[str] = ()) -> Sequence[Prediction | PointPrediction]:
        """Refuse: the choice among captions has neither density nor points.

        Raises:
            InputError: always.
        """
        raise self._refusal()

    def density_model(self) -> Model:
        """Refuse, as `predict_each`."""
        raise self._refusal()

    def referring_model(self) -> ReferringModel:
        """Refuse, as `predict_each`."""
        raise self._refusal()

    def _refusal(self) -> InputError:
        return InputError(
            f"{self.label} chooses among captions with the numbers two to ten, and finds no places: call its "
            "choose(image, captions), or `crowdcount evaluate` on images with captions"
        )


KINDS: tuple[type[CrowdModel], ...] = (Model, ReferringModel, ImageTextModel)
"""All kinds of models; a network belongs to the first kind that accepts it."""
