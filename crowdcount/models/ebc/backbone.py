"""What every backbone of the blockwise head declares, and how its pretrained weights are fetched."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn

from crowdcount.errors import InputError


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


def fetch(weights: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the timm model `weights` with its pretrained weights, from the cache or the internet.

    Args:
        weights: timm name, with or without a tag.
        arguments: further ones for `timm.create_model`.

    Raises:
        InputError: there are no such weights, or the download failed.
    """
    if not timm.is_model_pretrained(weights):
        raise InputError(f"timm has no pretrained weights for {weights}; train with `pretrained: false`")
    try:
        model: nn.Module = timm.create_model(weights, pretrained=True, **arguments)
    # the hub clients raise exceptions of their own, which differ between their versions
    except Exception as error:
        raise InputError(
            f"could not fetch the pretrained weights {weights} ({type(error).__name__}: {error}); check the "
            "connection to huggingface.co, or set `pretrained: false` to start from random weights"
        ) from error
    return model
