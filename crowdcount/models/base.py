"""Base classes of networks: inputs, outputs and declarations."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crowdcount.errors import InputError
from crowdcount.legacy import renamed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass
class CountMap:
    """The output of a density network.

    Attributes:
        density: (B, 1, H / stride, W / stride), people per block; its sum is the count.
        logits: (B, K, H / stride, W / stride) class scores of blockwise classifiers, otherwise None.
        variance: (B, 1, H / stride, W / stride) variance of the count of each block, whose mean is the density, where
            the network predicts its distribution; otherwise None. Errors of blocks go together: the variance of the sum
            is not the sum of these.
    """

    density: Tensor
    logits: Tensor | None = None
    variance: Tensor | None = None


class CrowdNetwork(nn.Module, ABC):
    """Base of every network of the zoo, whatever it returns.

    Attributes:
        mean: per-channel mean (RGB, in [0, 1]) taken off the image; ImageNet's unless the backbone expects another.
        std: per-channel standard deviation the image is divided by, likewise.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def normalize(self, image: Tensor) -> Tensor:
        """Turn uint8 (or float in [0, 1]) RGB (B, 3, H, W) into what `forward` takes."""
        if image.dtype == torch.uint8:
            image = image.float() / 255
        shape = (1, 3, 1, 1)
        return (image - image.new_tensor(self.mean).view(shape)) / image.new_tensor(self.std).view(shape)

    def restore_normalization(self, stored: Mapping[str, Any]) -> None:
        """Normalise images from now on as in the training of some weights.

        Args:
            stored: `mean` and `std`, as they are kept with the weights. Without them the weights are of a version that
                normalised by the class, whatever the backbone: with ImageNet's unless the class says otherwise.

        Raises:
            InputError: they are not three numbers each, or a deviation is not above 0.
        """
        self.mean = _channels(stored.get("mean", type(self).mean), "mean")
        self.std = _channels(stored.get("std", type(self).std), "std")
        if min(self.std) <= 0:
            raise InputError(f"normalization: std {self.std} must be above 0")

    def load_pretrained(self) -> None:
        """Fetch the pretrained towers the network was configured with; a training starts with this call.

        Constructing a network never touches the disk or the internet.

        Raises:
            InputError: the weights could not be fetched.
        """

    @classmethod
    def published_arguments(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the network that a published checkpoint states itself; most state none.

        Args:
            checkpoint: the content of the file.

        Raises:
            InputError: it states what the family does not have.
        """
        return {}

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint in the authors' form; a family whose authors published weights overrides this.

        Args:
            state_dict: the published state dict, or a dict that holds it where the authors wrapped it.

        Raises:
            InputError: a key belongs to no published checkpoint of the family, or the family has none.
            RuntimeError: the weights do not fit.
        """
        own, name = self.state_dict(), type(self).__name__
        strange = next((key for key in state_dict if key not in own), None)
        missing = next((key for key in own if key not in state_dict), None)
        found = f"{missing!r} is missing" if strange is None else f"{strange!r} is unknown"
        raise InputError(
            f"these weights have other names than those of {name} ({found}), and it converts none: to read weights "
            f"that others published, override {name}.load_published"
        )


def _channels(numbers: Any, name: str) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"normalization: {name} {numbers!r} is not one number for each of R, G, B") from error
    return red, green, blue


class DensityNetwork(CrowdNetwork):
    """Base of every density network.

    Attributes:
        stride: side in pixels of the block that one density cell covers.
        size_divisor: image sides are padded to a multiple of this by `crowdcount.inference`; what `forward` makes of
            other sides is the network's own affair (the published ones ignore a remainder).
    """

    stride: int
    size_divisor: int

    @abstractmethod
    def forward(self, image: Tensor) -> CountMap:
        """Count in a normalised image batch (B, 3, H, W)."""

    def check_sizes(self) -> None:
        """Refuse a network that does not say how large its cells are.

        Raises:
            InputError: `stride` or `size_divisor` is missing or no whole number above 0.
        """
        for name in ("stride", "size_divisor"):
            value = getattr(self, name, None)
            if not isinstance(value, int) or value < 1:
                raise InputError(
                    f"{type(self).__name__}.{name}: {value!r}; declare stride, the side of a density cell in "
                    "pixels, and size_divisor, of which image sides have to be multiples"
                )


def count_map(network: DensityNetwork, image: Tensor) -> CountMap:
    """Return what a network makes of a normalised image batch (B, 3, H, W), held to what it declares.

    Raises:
        InputError: it is no `CountMap`, or its density has not one cell for each block of `stride` pixels.
    """
    output, name = network(image), type(network).__name__
    if not isinstance(output, CountMap):
        raise InputError(f"{name}.forward: returns {type(output).__name__}; return CountMap(density=...)")
    rows, columns = (-(-side // network.stride) for side in image.shape[-2:])
    expected, shape = (len(image), 1, rows, columns), tuple(output.density.shape)
    if shape != expected:
        raise InputError(
            f"{name}.forward: a density of shape {shape} for images of shape {tuple(image.shape)}; with stride "
            f"{network.stride} it should be {expected}"
        )
    return output


__getattr__ = renamed(__name__)
