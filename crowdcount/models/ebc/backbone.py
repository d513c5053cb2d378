"""Protocol of the backbones of the blockwise head."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor, nn

from crowdcount.models.base import IMAGENET_MEAN, IMAGENET_STD


class Backbone(nn.Module, ABC):
    """Image (B, 3, H, W) -> features (B, channels, H / reduction, W / reduction).

    Attributes:
        channels: depth of the features.
        native: pixels one feature of the backbone covers, before it is resampled to the wanted reduction.
        mean: per-channel mean of the images that the pretrained weights expect, see `CrowdNetwork`.
        std: per-channel standard deviation of these images.
    """

    channels: int
    native: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Extract the features of a normalised image batch."""

    @abstractmethod
    def load_pretrained(self, file: Path | None = None) -> None:
        """Copy the ImageNet weights of the backbone in, fetched or from a file.

        Args:
            file: see `crowdcount.models.timm_backbone.fetch`.

        Raises:
            InputError: they could not be fetched, or the file is not of this backbone.
        """
