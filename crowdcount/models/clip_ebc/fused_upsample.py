"""First convolution of the decoder, with its channel mixing moved before the upsampling."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.models.layers import BasicBlock, upsample


def upsampled_block(block: BasicBlock, features: Tensor, scale: float) -> Tensor:
    """Compute `block(upsample(features, scale))`, up to rounding, for scales above 1."""
    y = block.relu(block.bn1(upsampled_conv(block.conv1, features, scale)))
    y = block.bn2(block.conv2(y))
    out: Tensor = block.relu(y + block.downsample(upsample(features, scale)))
    return out


def upsampled_conv(conv: nn.Conv2d, features: Tensor, scale: float) -> Tensor:
    """Compute a 3x3 convolution, padded by 1, of upsampled features (B, C, H, W).

    Each of the nine taps mixes channels, which is nearly all of the work, while upsampling mixes positions: the two
    commute. So channels are mixed before upsampling, where there are fewer positions (4 times fewer at a scale of 2).
    Upsampling, shifting and adding the nine taps is then a small matrix for the rows and one for the columns.
    """
    count, _, height, width = features.shape
    places = features.permute(0, 2, 3, 1)
    down = _shifted(height, scale, features)
    along = _shifted(width, scale, features).flatten(1)
    # for each row of taps: (B, H, W * 3 * out) -> (B, rows, W * 3 * out)
    taps = [conv.weight[:, :, row].permute(2, 0, 1).flatten(0, 1) for row in range(3)]
    tall = [down[..., row] @ functional.linear(places, tap).flatten(2) for row, tap in enumerate(taps)]
    rows = (tall[0] + tall[1] + tall[2]).reshape(count, -1, 3 * width, conv.out_channels)
    return (along @ rows).permute(0, 3, 1, 2)


def _shifted(length: int, scale: float, like: Tensor) -> Tensor:
    """Return the weights (new length, length, 3) of a side's old positions for each of three taps.

    A tap beyond the edge has zero weights.
    """
    old = torch.eye(length, dtype=like.dtype, device=like.device).unsqueeze(0)
    new = functional.interpolate(old, scale_factor=scale, mode="linear", align_corners=False)[0].t()
    padded = functional.pad(new, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + new.shape[0]] for tap in range(3)], dim=-1)
