"""Base class of the backbones of EBC."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor, nn

from crowdcount.models.base import IMAGENET_MEAN, IMAGENET_STD


class Backbone(nn.Module, ABC):
    """Backbone from images (B, 3, H, W) to features (B, channels, H / reduction, W / reduction).

    Attributes:
        channels: number of feature channels.
        native: stride of the backbone in pixels, before resampling to `reduction`.
        mean: per-channel image mean that the pretrained weights expect, see `CrowdNetwork`.
        std: per-channel standard deviation that they expect.
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
        """Load the ImageNet weights of the backbone, downloaded or from a file.

        Args:
            file: see `crowdcount.models.timm_backbone.fetch`.

        Raises:
            InputError: the weights could not be fetched, or the file does not match this backbone.
        """
