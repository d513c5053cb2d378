"""What every backbone of the blockwise head declares."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Image (B, 3, H, W) -> features (B, channels, H / reduction, W / reduction).

    Attributes:
        channels: depth of the features.
        native: pixels one feature of the encoder covers, before it is resampled to the wanted reduction.
    """

    channels: int
    native: int

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Extract the features of a normalised image batch."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Fetch the ImageNet weights of the encoder and copy them in.

        Raises:
            InputError: they could not be fetched.
        """
