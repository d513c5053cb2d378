"""Vision transformer backbone with torchvision's key names, which the published checkpoints use.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.models.base import IMAGENET_MEAN, IMAGENET_STD
from crowdcount.models.ebc.backbone_base import Backbone
from crowdcount.models.layers import upsample
from crowdcount.models.timm_backbone import fetch


@dataclass(frozen=True)
class VitSize:
    """Dimensions of a transformer, and matching timm weights.

    Attributes:
        patch: side of a patch in pixels.
        width: token dimension.
        depth: number of layers.
        heads: attention heads per layer.
        weights: timm name. timm does not have torchvision's own ImageNet weights; these come from other trainings of
            the same architecture.
    """

    patch: int
    width: int
    depth: int
    heads: int
    weights: str


SIZES = {
    "vit_b_16": VitSize(16, 768, 12, 12, "vit_base_patch16_224.augreg2_in21k_ft_in1k"),
    "vit_b_32": VitSize(32, 768, 12, 12, "vit_base_patch32_224.augreg_in21k_ft_in1k"),
    "vit_l_16": VitSize(16, 1024, 24, 16, "vit_large_patch16_224.augreg_in21k_ft_in1k"),
    "vit_l_32": VitSize(32, 1024, 24, 16, "vit_large_patch32_224.orig_in21k"),
    "vit_h_14": VitSize(14, 1280, 32, 16, "vit_huge_patch14_224.orig_in21k"),
}


class Vit(Backbone):
    """Patch tokens of a vision transformer, resampled: (B, width, H / reduction, W / reduction).

    Args:
        size: dimensions.
        reduction: pixels one output cell covers.
        input_size: image side for which the position table is stored; for other sizes it is resampled at run time.

    Raises:
        InputError: `input_size` is less than one patch.
    """

    def __init__(self, size: VitSize, reduction: int, input_size: int) -> None:
        super().__init__()
        if input_size < size.patch:
            raise InputError(f"input_size: {input_size} is less than one patch of {size.patch} pixels")
        self.size = size
        self.input_size = input_size
        self.scale = size.patch / reduction
        self.native, self.channels = size.patch, size.width
        self.class_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.conv_proj = nn.Conv2d(3, size.width, size.patch, stride=size.patch)
        self.encoder = _Encoder(size, input_size // size.patch)

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features."""
        patches: Tensor = self.conv_proj(image)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).mT
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = self.encoder(tokens, rows, columns)[:, 1:]
        return upsample(tokens.mT.reshape(-1, self.channels, rows, columns), self.scale)

    def load_pretrained(self, file: Path | None = None) -> None:
        """Load ImageNet weights and fold the normalisation they expect into the patch projection."""
        source = fetch(self.size.weights, {"img_size": self.input_size}, file)
        state = from_timm(source.state_dict())
        config = cast(dict[str, Any], source.pretrained_cfg)
        _fold(state, torch.tensor(config["mean"]), torch.tensor(config["std"]))
        self.load_state_dict(state)


class _Encoder(nn.Module):
    """Position table, transformer layers and final norm on tokens (B, 1 + rows * columns, width)."""

    def __init__(self, size: VitSize, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.pos_embedding = nn.Parameter(torch.empty(1, 1 + grid * grid, size.width).normal_(std=0.02))
        layers = {f"encoder_layer_{i}": _Layer(size.width, size.heads) for i in range(size.depth)}
        self.layers = nn.Sequential(OrderedDict(layers))
        self.ln = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Run all layers."""
        normed: Tensor = self.ln(self.layers(tokens + self._positions(rows, columns)))
        return normed

    def _positions(self, rows: int, columns: int) -> Tensor:
        # an exported graph is for any size: a comparison would hold it to that of its example
        if not torch.compiler.is_compiling() and rows == columns == self.grid:
            return self.pos_embedding
        first, table = self.pos_embedding[:, :1], self.pos_embedding[:, 1:]
        table = table.mT.reshape(1, -1, self.grid, self.grid)
        table = functional.interpolate(table, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([first, table.flatten(2).mT], dim=1)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        # the identity stands in for dropout: the layers are numbered 0 and 3 in the checkpoints
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend, then transform each token."""
        normed = self.ln_1(tokens)
        tokens = tokens + self.self_attention(normed, normed, normed, need_weights=False)[0]
        out: Tensor = tokens + self.mlp(self.ln_2(tokens))
        return out


_FROM_TIMM = (
    (r"^cls_token$", "class_token"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^norm\.", "encoder.ln."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"\.norm([12])\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)


def from_timm(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a timm vision transformer to torchvision's, dropping its classifier."""
    state = {}
    for key, value in state_dict.items():
        if not key.startswith("head."):
            for pattern, name in _FROM_TIMM:
                key = re.sub(pattern, name, key)
            state[key] = value
    return state


def _fold(state: dict[str, Tensor], mean: Tensor, std: Tensor) -> None:
    """Adapt the patch projection to ImageNet-normalised images instead of (image - mean) / std."""
    weight = state["conv_proj.weight"]
    shift = ((torch.tensor(IMAGENET_MEAN) - mean) / std).view(1, 3, 1, 1)
    gain = (torch.tensor(IMAGENET_STD) / std).view(1, 3, 1, 1)
    state["conv_proj.bias"] = state["conv_proj.bias"] + (weight * shift).sum(dim=(1, 2, 3))
    state["conv_proj.weight"] = weight * gain
