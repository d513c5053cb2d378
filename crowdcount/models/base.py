"""Base classes of networks, their outputs and declarations."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
        variance: (B, 1, H / stride, W / stride) variance of the count of each block (the density is its mean) if the
            network predicts a distribution, otherwise None. Errors of blocks are correlated, so the sum of the
            variances is not the variance of the sum.
        size_difference: (B, 1, H / stride, W / stride) people per block in the image less those in its copy at half
            size, of networks that count in both, otherwise None.
    """

    density: Tensor
    logits: Tensor | None = None
    variance: Tensor | None = None
    size_difference: Tensor | None = None

    def outputs(self) -> dict[str, Tensor]:
        """Return the maps that there are, by name, in float32.

        Density, variance and size difference, of one channel each, and class probabilities, in this order.
        """
        probabilities = None if self.logits is None else self.logits.float().softmax(dim=1)
        found = {
            "density": self.density,
            "variance": self.variance,
            "size_difference": self.size_difference,
            "probabilities": probabilities,
        }
        return {name: each.float() for name, each in found.items() if each is not None}


class CrowdNetwork(nn.Module, ABC):
    """Base class of all networks.

    Attributes:
        mean: per-channel mean (RGB, in [0, 1]) subtracted from the image; ImageNet's unless the backbone expects
            another.
        std: per-channel standard deviation by which the image is divided; likewise.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def normalize(self, image: Tensor) -> Tensor:
        """Normalise uint8 (or float in [0, 1]) RGB images (B, 3, H, W) for `forward`."""
        if image.dtype == torch.uint8:
            image = image.float() / 255
        shape = (1, 3, 1, 1)
        return (image - image.new_tensor(self.mean).view(shape)) / image.new_tensor(self.std).view(shape)

    def restore_normalization(self, stored: Mapping[str, Any]) -> None:
        """Set the normalisation of images to that used in the training of some weights.

        Args:
            stored: `mean` and `std` stored with the weights. Weights of early versions lack them; they were normalised
                by the defaults of the class, regardless of the backbone.

        Raises:
            InputError: the values are not three numbers each, or a deviation is not above 0.
        """
        self.mean = _channels(stored.get("mean", type(self).mean), "mean")
        self.std = _channels(stored.get("std", type(self).std), "std")
        if min(self.std) <= 0:
            raise InputError(f"normalization: std {self.std} must be above 0")

    def load_pretrained(self) -> None:
        """Load the pretrained weights the network was configured with; called at the start of a training.

        Constructing a network accesses neither the disk nor the internet.

        Raises:
            InputError: the weights could not be fetched.
        """

    @classmethod
    def published_arguments(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network arguments that a published checkpoint states; most state none.

        Args:
            checkpoint: content of the file.

        Raises:
            InputError: the checkpoint states arguments that the family does not support.
        """
        return {}

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint in the authors' format; overridden by families with published weights.

        Args:
            state_dict: the published state dict, or the dict in which the authors wrapped it.

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
    """Base class of density networks.

    Attributes:
        stride: side in pixels of the block that one density cell covers.
        size_divisor: `crowdcount.inference` pads image sides to a multiple of this. The behaviour of `forward` for
            other sides is up to the network (the published ones ignore a remainder).
        predicts_variance: whether its count maps have a variance.
        compares_sizes: whether they have a size difference in evaluation mode.
    """

    stride: int
    size_divisor: int
    predicts_variance: bool = False
    compares_sizes: bool = False

    @abstractmethod
    def forward(self, image: Tensor) -> CountMap:
        """Count in a normalised image batch (B, 3, H, W)."""

    def check_sizes(self) -> None:
        """Check that the network declares its cell size.

        Raises:
            InputError: `stride` or `size_divisor` is missing or not a positive integer.
        """
        for name in ("stride", "size_divisor"):
            value = getattr(self, name, None)
            if not isinstance(value, int) or value < 1:
                raise InputError(
                    f"{type(self).__name__}.{name}: {value!r}; declare stride, the side of a density cell in "
                    "pixels, and size_divisor, of which image sides have to be multiples"
                )


_FEW_CELLS: Final = 4


def count_map(network: DensityNetwork, image: Tensor) -> CountMap:
    """Run a density network on a normalised image batch (B, 3, H, W) and check the shape of its output.

    Raises:
        InputError: the output is not a `CountMap`, its density does not have one cell per block of `stride` pixels, or
            it has a variance or a size difference although the network does not declare it, or the reverse.
    """
    output, name = network(image), type(network).__name__
    if not isinstance(output, CountMap):
        raise InputError(f"{name}.forward: returns {type(output).__name__}; return CountMap(density=...)")
    _check_declared(network, "variance", output.variance, "predicts_variance")
    if not network.training:
        _check_declared(network, "size difference", output.size_difference, "compares_sizes")
    rows, columns = (-(-side // network.stride) for side in image.shape[-2:])
    expected, shape = (len(image), 1, rows, columns), tuple(output.density.shape)
    # an image of a few cells may be smaller than the coarsest map of a network; the cells beyond it are dropped
    tiny = min(rows, columns) < _FEW_CELLS and len(shape) == 4 and shape[:2] == expected[:2]
    if shape != expected and not (tiny and shape[2] >= rows and shape[3] >= columns):
        raise InputError(
            f"{name}.forward: a density of shape {shape} for images of shape {tuple(image.shape)}; with stride "
            f"{network.stride} it should be {expected}"
        )
    return output


def _check_declared(network: DensityNetwork, what: str, found: Tensor | None, attribute: str) -> None:
    declared, name = getattr(network, attribute), type(network).__name__
    if (found is not None) != declared:
        has = "no" if found is None else "a"
        raise InputError(
            f"{name}.forward: its map has {has} {what}, and {name}.{attribute} is {declared}; declare what it returns"
        )


__getattr__ = renamed(__name__)
