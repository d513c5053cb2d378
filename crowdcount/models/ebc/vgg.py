"""VGG backbones: plain and with a regression layer, CSRNet, CANNet.

Sources: Simonyan and Zisserman, arXiv 1409.1556 (VGG); Ma et al., arXiv 1908.03684 (the VGG-19 with a regression
layer that Bayesian loss and DM-Count use); Li et al., arXiv 1802.10062 (CSRNet); Liu et al., arXiv 1811.10452
(CANNet). Layers are numbered as in the published checkpoints.
"""

import itertools
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.models.ebc.backbone_base import Backbone
from crowdcount.models.layers import init_weights, upsample
from crowdcount.models.timm_backbone import fetch

_WIDTHS = (64, 128, 256, 512, 512)
_DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
_CSRNET_STAGES = 4
_CSRNET_DECODER = [512, 512, 512, 512, 256, 128, 64]


class _Vgg(Backbone):
    """VGG convolutions of the first `stages` stages, with max-pooling between them."""

    def __init__(self, vgg: str, stages: int, reduction: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.native = 2 ** (stages - 1)
        self.channels = _WIDTHS[stages - 1]
        self._weights = f"{vgg}.tv_in1k"
        self.features = _features(_DEPTHS[vgg.removesuffix("_bn")][:stages], batch_norm=vgg.endswith("_bn"))

    @property
    def scale(self) -> float:
        """Factor from the size of the features to the size of the output."""
        return self.native / self.reduction

    def load_pretrained(self, file: Path | None = None) -> None:
        """Load the ImageNet weights of the VGG layers, downloaded or from a file."""
        source = cast(nn.Module, fetch(self._weights, {}, file).features).state_dict()
        self.features.load_state_dict({key: source[key] for key in self.features.state_dict()})


class VggEncoder(_Vgg):
    """VGG features without the last max-pool, resampled: (B, 512, H / reduction, W / reduction).

    Args:
        vgg: vgg11, vgg13, vgg16 or vgg19, with the suffix `_bn` for batch norm.
        reduction: pixels one output cell covers.
    """

    def __init__(self, vgg: str, reduction: int) -> None:
        super().__init__(vgg, 5, reduction)

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features."""
        return upsample(self.features(image), self.scale)


class VggEncoderDecoder(VggEncoder):
    """`VggEncoder` followed by two convolutions: (B, 128, H / reduction, W / reduction).

    Args:
        vgg: as for `VggEncoder`; vgg19 gives the network of Bayesian loss and DM-Count.
        reduction: pixels one output cell covers.
    """

    def __init__(self, vgg: str, reduction: int) -> None:
        super().__init__(vgg, reduction)
        self.reg_layer = nn.Sequential(*_convolutions([512, 256, 128], batch_norm=False))
        self.channels = 128
        init_weights(self.reg_layer)

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features."""
        features: Tensor = self.reg_layer(super().forward(image))
        return features


class CsrNet(_Vgg):
    """Ten VGG-16 convolutions, then six dilated ones: (B, 64, H / reduction, W / reduction).

    Args:
        batch_norm: follow each convolution with a batch norm.
        reduction: pixels one output cell covers.
    """

    def __init__(self, batch_norm: bool, reduction: int) -> None:
        super().__init__("vgg16_bn" if batch_norm else "vgg16", _CSRNET_STAGES, reduction)
        self.decoder = nn.Sequential(*_convolutions(_CSRNET_DECODER, batch_norm, dilation=2))
        self.channels = _CSRNET_DECODER[-1]
        init_weights(self.decoder)

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features."""
        features: Tensor = self.decoder(upsample(self.features(image), self.scale))
        return features


class CanNet(CsrNet):
    """CSRNet with a context module between encoder and decoder: (B, 64, H / reduction, W / reduction).

    Args:
        batch_norm: follow each VGG and decoder convolution with a batch norm.
        reduction: pixels one output cell covers.
    """

    def __init__(self, batch_norm: bool, reduction: int) -> None:
        super().__init__(batch_norm, reduction)
        self.context = _Context(512)

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features."""
        features: Tensor = self.decoder(upsample(self.context(self.features(image)), self.scale))
        return features


class _Context(nn.Module):
    """Mix features (B, C, H, W) with their means over coarse grids, weighted by contrast (arXiv 1811.10452)."""

    def __init__(self, channels: int, grids: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Conv2d(channels, channels, 1, bias=False)) for grid in grids
        )
        self.bottleneck = nn.Conv2d(2 * channels, channels, 1)
        self.weight_net = nn.Conv2d(channels, channels, 1)
        init_weights(self)

    def forward(self, features: Tensor) -> Tensor:
        """Return relu(bottleneck([sum_s w_s S_s / (sum_s w_s + 1e-6), F])) with w_s = sigmoid(conv(F - S_s))."""
        size = features.shape[-2:]
        numerator, denominator = torch.zeros_like(features), torch.full_like(features, 1e-6)
        for pool in self.scales:
            scale = functional.interpolate(pool(features), size=size, mode="bilinear", align_corners=False)
            weight = self.weight_net(features - scale).sigmoid()
            numerator = numerator + weight * scale
            denominator = denominator + weight
        return functional.relu(self.bottleneck(torch.cat([numerator / denominator, features], dim=1)))


def _features(depths: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for depth, width in zip(depths, _WIDTHS, strict=False):
        layers += [nn.MaxPool2d(2)] if layers else []
        layers += _convolutions([channels, *[width] * depth], batch_norm)
        channels = width
    features = nn.Sequential(*layers)
    init_weights(features)
    return features


def _convolutions(channels: list[int], batch_norm: bool, dilation: int = 1) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers.append(nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation))
        layers += [nn.BatchNorm2d(after)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
    return layers
