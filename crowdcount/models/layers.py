"""Layers shared by the blockwise families: resampling, residual decoder blocks, initialisation."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from crowdcount.errors import InputError


def upsample(features: Tensor, scale: float) -> Tensor:
    """Resize (B, C, H, W) bilinearly by `scale` to floor(side * scale).

    Coordinates are computed from the given factor, not from the ratio of the sizes; for fractional factors they differ.
    """
    if scale == 1:
        return features
    return functional.interpolate(features, scale_factor=scale, mode="bilinear", align_corners=False)


def init_weights(module: nn.Module) -> None:
    """Initialise new layers as published: Kaiming normal convolutions (fan out), N(0, 0.01) linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions, dilated or not, (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + self.downsample(x))
        return out


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1 with expansion 1, (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + self.downsample(x))
        return out


def decoder(block: type[BasicBlock | Bottleneck], in_channels: int, channels: list[int]) -> nn.Sequential:
    """Stack one `block` for each entry of `channels`."""
    pairs = zip([in_channels, *channels], channels, strict=False)
    stack = nn.Sequential(*(block(a, b) for a, b in pairs))
    init_weights(stack)
    return stack


def dilated_context(channels: int, dilations: Sequence[int]) -> nn.Sequential:
    """Stack a `BasicBlock` for each dilation, to add context around each block of the image.

    Raises:
        InputError: a dilation is below 1.
    """
    if any(dilation < 1 for dilation in dilations):
        raise InputError(f"context: {list(dilations)} are dilations; use whole numbers of 1 or more")
    blocks = nn.Sequential(*(BasicBlock(channels, channels, dilation) for dilation in dilations))
    init_weights(blocks)
    return blocks


def _shortcut(in_channels: int, out_channels: int) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
