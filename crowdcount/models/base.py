"""What every density network takes, returns and declares."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class CountMap:
    """What a density network returns.

    Attributes:
        density: (B, 1, H / stride, W / stride), people per block; its sum is the count.
        logits: (B, K, H / stride, W / stride) class scores of blockwise classifiers, otherwise None.
    """

    density: Tensor
    logits: Tensor | None = None


class Counter(nn.Module, ABC):
    """Base of every density network.

    Attributes:
        stride: side in pixels of the block that one density cell covers.
        multiple: image sides are padded to a multiple of this by `crowdcount.inference`; what `forward` makes of
            other sides is the network's own affair (the published ones ignore a remainder).
        mean: per-channel mean (RGB, in [0, 1]) taken off the image.
        std: per-channel standard deviation the image is divided by.
    """

    stride: int
    multiple: int
    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD

    @abstractmethod
    def forward(self, image: Tensor) -> CountMap:
        """Count in a normalised image batch (B, 3, H, W)."""

    def normalize(self, image: Tensor) -> Tensor:
        """Turn uint8 (or float in [0, 1]) RGB (B, 3, H, W) into what `forward` takes."""
        if image.dtype == torch.uint8:
            image = image.float() / 255
        shape = (1, 3, 1, 1)
        return (image - image.new_tensor(self.mean).view(shape)) / image.new_tensor(self.std).view(shape)

    def load_pretrained(self) -> None:
        """Fetch the pretrained towers the network was configured with; a training starts with this call.

        Constructing a network never touches the disk or the internet.

        Raises:
            InputError: the weights could not be fetched.
        """
