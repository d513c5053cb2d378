"""Residual blocks that resample the backbone's features to count blocks and reduce their channels.

The published code has three kinds of blocks for models of different size; all are two convolutions with a shortcut.
"""

import itertools
from typing import Literal, get_args

from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_choice
from crowdcount.errors import InputError
from crowdcount.models.layers import init_weights, upsample

BlockKind = Literal["conv", "light", "lighter"]
"""Two 3x3 convolutions; two depthwise separable ones; or one depthwise and one pointwise convolution."""

Norm = Literal["batch", "layer"]
"""Batch normalisation with ReLU, or layer normalisation over the channels of each position with GELU."""


class RefinerBlock(nn.Module):
    """A residual block: act(shortcut(x) + norm(conv(act(norm(conv(x)))))), (B, in, H, W) -> (B, out, H, W).

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kind: kind of the convolutions.
        norm: normalisation and activation.
        groups: groups of the 3x3 convolutions of kind "conv"; with several, each is followed by a pointwise
            convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kind: BlockKind, norm: Norm = "batch", groups: int = 1
    ) -> None:
        super().__init__()
        check_choice("block", kind, get_args(BlockKind))
        middle = in_channels if kind == "lighter" else out_channels
        self.conv1, self.mix1 = _convolution(in_channels, middle, kind, groups)
        self.norm1 = _norm(norm, middle)
        self.conv2, self.mix2 = _convolution(middle, out_channels, "point" if kind == "lighter" else kind, groups)
        self.norm2 = _norm(norm, out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(_conv(in_channels, out_channels, 1), _norm(norm, out_channels))
        self.act = _activation(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = self.act(self.norm1(self.mix1(self.conv1(x))))
        y = self.norm2(self.mix2(self.conv2(y)))
        out: Tensor = self.act(y + self.shortcut(x))
        return out


class DownBlock(nn.Module):
    """A residual block that halves the sides, (B, C, H, W) -> (B, C, H / 2, W / 2), rounded down.

    Args:
        channels: C.
        norm: normalisation and activation.
    """

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = _norm(norm, channels)
        self.conv2 = _conv(channels, channels, 3)
        self.norm2 = _norm(norm, channels)
        self.conv3 = _conv(channels, channels, 3)
        self.norm3 = _norm(norm, channels)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), _conv(channels, channels, 1), _norm(norm, channels))
        self.act = _activation(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = self.act(self.norm1(functional.avg_pool2d(x, 2)))
        y = self.norm3(self.conv3(self.act(self.norm2(self.conv2(y)))))
        out: Tensor = self.act(y + self.shortcut(x))
        return out


class Refiner(nn.Module):
    """Blocks that each follow a bilinear upsampling, (B, C, H, W) -> (B, C, H scale^n, W scale^n).

    Args:
        blocks: the n blocks.
        scale: factor of each upsampling; 1 for none.
    """

    def __init__(self, blocks: list[nn.Module], scale: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.scale = scale
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks."""
        for block in self.blocks:
            x = block(upsample(x, self.scale))
        return x


def build_refiner(
    channels: int, stride: int, reduction: int, kind: BlockKind, norm: Norm = "batch", groups: int = 1
) -> Refiner:
    """Build the blocks that resample features of `stride` pixels to `reduction` pixels, one per doubling.

    Args:
        channels: number of feature channels.
        stride: stride of the features in pixels.
        reduction: block side in pixels: the stride, a half or a quarter of it, or twice it.
        kind: kind of the blocks.
        norm: normalisation of the blocks.
        groups: groups of the blocks.

    Raises:
        InputError: the reduction is not one of these.
    """
    doublings = {stride: 0, stride // 2: 1, stride // 4: 2}
    if reduction == 2 * stride:
        return Refiner([DownBlock(channels, norm)], 1)
    if reduction not in doublings:
        raise InputError(f"reduction: {reduction} is not one of {stride // 4}, {stride // 2}, {stride}, {2 * stride}")
    blocks = [RefinerBlock(channels, channels, kind, norm, groups) for _ in range(max(doublings[reduction], 1))]
    return Refiner([*blocks], 2 if doublings[reduction] else 1)


def build_decoder(channels: int, kind: BlockKind) -> tuple[nn.Sequential, int]:
    """Return up to three blocks that halve the channels until there are at most 256, and the resulting number."""
    depths = [channels]
    while depths[-1] > 256 and len(depths) < 4:
        depths.append(depths[-1] // 2)
    decoder = nn.Sequential(*(RefinerBlock(a, b, kind) for a, b in itertools.pairwise(depths)))
    init_weights(decoder)
    return decoder, depths[-1]


def _convolution(
    in_channels: int, out_channels: int, kind: BlockKind | Literal["point"], groups: int
) -> tuple[nn.Module, nn.Module]:
    """Return a spatial convolution, followed by a pointwise one if it does not mix all channels."""
    if kind == "point":
        return _conv(in_channels, out_channels, 1), nn.Identity()
    if kind == "conv":
        mixed = nn.Identity() if groups == 1 else _conv(out_channels, out_channels, 1)
        return _conv(in_channels, out_channels, 3, groups), mixed
    mixed = nn.Identity() if kind == "lighter" else _conv(in_channels, out_channels, 1)
    return _conv(in_channels, in_channels, 3, in_channels), mixed


def _conv(in_channels: int, out_channels: int, side: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, side, padding=side // 2, groups=groups, bias=False)


def _norm(norm: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else LayerNorm2d(channels, eps=1e-5)


def _activation(norm: Norm) -> nn.Module:
    return nn.ReLU(inplace=True) if norm == "batch" else nn.GELU()
