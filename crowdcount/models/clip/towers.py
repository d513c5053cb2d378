"""Image towers of open_clip's models, adapted to return dense feature maps.

Each tower maps a normalised image (B, 3, H, W) to features (B, channels, H / stride, W / stride) and has the attributes
`channels` and `stride`.
"""

import math
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.model import _build_text_tower, _build_vision_tower
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.models.clip.timm_tower import TimmTower
from crowdcount.models.clip.visual_prompts import prompted

CLIP_BACKBONES = (
    "RN50-quickgelu",
    "RN101-quickgelu",
    "RN50x4-quickgelu",
    "RN50x16-quickgelu",
    "RN50x64-quickgelu",
    "ViT-B-16-quickgelu",
    "ViT-B-32-quickgelu",
    "ViT-L-14-quickgelu",
)
"""open_clip's names of the published towers. OpenAI trained with QuickGELU, which the plain names do not use."""


def clip_config(name: str) -> dict[str, Any]:
    """Return open_clip's configuration of a model.

    Raises:
        InputError: there is no such model.
    """
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        known = ", ".join(CLIP_BACKBONES)
        raise InputError(f"backbone: open_clip has no model {name!r}; the published ones are {known}")
    return config


def keeps_text(name: str) -> bool:
    """Return whether open_clip's model has the architecture of OpenAI's CLIP, and its tokenizer.

    Its text tower then needs no file from the hub and is kept in the network, as published; for other models the text
    features are stored with the weights.

    Raises:
        InputError: there is no such model.
    """
    config = clip_config(name)
    plain = {"text_cfg", "vision_cfg", "embed_dim", "quick_gelu"}
    hub = "timm_model_name" in config["vision_cfg"] or config["text_cfg"].keys() & {
        "hf_model_name",
        "hf_tokenizer_name",
    }
    return not hub and config.keys() <= plain


def build_text(name: str) -> nn.Module:
    """Return the frozen text tower of a model for which `keeps_text` holds, with random weights."""
    config = clip_config(name)
    text = _build_text_tower(config["embed_dim"], config["text_cfg"], config.get("quick_gelu", False))
    tower: nn.Module = text.requires_grad_(False)
    return tower


def build_tower(
    name: str, quick_gelu: bool, reduction: int, prompting: "Prompting"
) -> "ClipResNet | ClipVit | TimmTower":
    """Return the image tower of open_clip's model `name` as a source of feature maps, with random weights.

    Args:
        name: a model that open_clip knows.
        quick_gelu: whether a vision transformer of open_clip uses QuickGELU; ignored by other towers.
        reduction: block side in pixels, for `ClipResNet`.
        prompting: visual prompts and positions, for `ClipVit`.

    Raises:
        InputError: there is no such model, its image tower gives no feature map, or the input size does not fit it.
    """
    config = clip_config(name)
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        return TimmTower(vision)
    visual = _build_vision_tower(config["embed_dim"], vision, quick_gelu)
    if isinstance(visual, ModifiedResNet):
        return ClipResNet(visual, reduction)
    return ClipVit(visual, prompting)


class ClipResNet(nn.Module):
    """CLIP's modified ResNet without attention pooling, and without the last downsampling for a `reduction` up to 16.

    Args:
        tower: open_clip's `ModifiedResNet`.
        reduction: block side in pixels; up to 16, the last stage keeps a stride of 16.
    """

    def __init__(self, tower: Any, reduction: int) -> None:
        super().__init__()
        self.stride = 16 if reduction <= 16 else 32
        self.channels: int = tower.layer4[-1].bn3.num_features
        tower.attnpool = nn.Identity()
        if self.stride == 16:
            first = tower.layer4[0]
            first.avgpool = nn.Identity()
            first.downsample[0] = nn.Identity()
        self.trunk = tower

    def forward(self, image: Tensor) -> Tensor:
        """Encode (B, 3, H, W)."""
        x = self.trunk.stem(image)
        for stage in (self.trunk.layer1, self.trunk.layer2, self.trunk.layer3, self.trunk.layer4):
            x = stage(x)
        features: Tensor = x
        return features

    def load(self, tower: nn.Module) -> None:
        """Copy the weights of a freshly fetched tower."""
        weights = {key: value for key, value in tower.state_dict().items() if not key.startswith("attnpool.")}
        self.trunk.load_state_dict(weights)


@dataclass(frozen=True)
class Prompting:
    """Visual prompts of a vision transformer, and its position table.

    Attributes:
        count: number of prompt tokens per layer.
        deep: use separate prompts for each layer; otherwise those of the first layer pass through all layers.
        dropout: dropout on the prompts.
        input_size: side to which the stored position table is resized; None keeps the side CLIP was trained at. Inputs
            of other sizes resize it at run time.
        antialias: antialias when the position table shrinks, as ZIP does and CLIP-EBC does not.
    """

    count: int
    deep: bool = True
    dropout: float = 0.0
    input_size: int | None = None
    antialias: bool = False


class ClipVit(nn.Module):
    """open_clip's vision transformer, frozen, with learned visual prompts (VPT, Jia et al., ECCV 2022).

    What pools the patches into one vector is dropped: CoCa normalises only after it, so that its patches leave the last
    block as they are.

    Args:
        tower: open_clip's `VisionTransformer`.
        prompting: prompts and positions.
    """

    def __init__(self, tower: Any, prompting: Prompting) -> None:
        super().__init__()
        self.stride: int = tower.patch_size[0]
        self.channels: int = tower.conv1.out_channels
        self.deep = prompting.deep
        self.antialias = prompting.antialias
        size = tower.image_size[0] if prompting.input_size is None else prompting.input_size
        self.side = size // self.stride
        if size < self.stride or size % self.stride:
            raise InputError(f"input_size: {size} is not a multiple of the patch side {self.stride}")
        tower.proj = None
        if tower.attn_pool is not None:
            tower.attn_pool = tower.attn_pool_contrastive = None
            tower.ln_post = nn.Identity()
        tower.requires_grad_(False)
        tower.positional_embedding.data = self._positions(tower.positional_embedding.data, self.side, self.side)
        self.trunk = tower
        layers = len(tower.transformer.resblocks)
        bound = math.sqrt(6 / (3 * self.stride + self.channels))
        self.prompts = nn.ParameterList(
            nn.Parameter(torch.empty(prompting.count, self.channels).uniform_(-bound, bound))
            for _ in range(layers if self.deep else 1)
        )
        self.dropout = nn.Dropout(prompting.dropout)

    def train(self, mode: bool = True) -> "ClipVit":
        """Switch the prompts' dropout; the frozen tower stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Encode images (B, 3, H, W); a remainder at the right or bottom that does not fill a patch is ignored."""
        tower = self.trunk
        patches = tower.conv1(image)
        rows, columns = patches.shape[-2:]
        patches = patches.flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(image.shape[0], 1, -1)
        positions = self._positions(tower.positional_embedding, rows, columns)
        x = tower.ln_pre(torch.cat([first, patches], dim=1) + positions.to(patches.dtype))
        x = tower.ln_post(self._run_blocks(x))[:, 1:]
        features: Tensor = x.transpose(1, 2).reshape(image.shape[0], self.channels, rows, columns)
        return features

    def _run_blocks(self, x: Tensor) -> Tensor:
        """Run the transformer on class token and patches, with prompts added after ln_pre and removed at the end."""
        blocks = self.trunk.transformer.resblocks
        if self.deep:
            for index, block in enumerate(blocks):
                x = prompted(block, x, self._prompts(index, x))
            return x
        prompts = self._prompts(0, x).expand(x.shape[0], -1, -1)
        x = torch.cat([x, prompts], dim=1)
        for block in blocks:
            x = block(x)
        return x[:, : -prompts.shape[1]]

    def _prompts(self, index: int, x: Tensor) -> Tensor:
        """Return a layer's prompts, (1, P, C), or (B, P, C) with dropout per image."""
        prompts = self.prompts[index].to(x.dtype).unsqueeze(0)
        if self.training and self.dropout.p:
            prompts = prompts.expand(x.shape[0], -1, -1)
        dropped: Tensor = self.dropout(prompts)
        return dropped

    def load(self, tower: nn.Module) -> None:
        """Copy the weights of a pretrained tower, resizing its position table to ours."""
        source, key = tower.state_dict(), "positional_embedding"
        weights = {own: source[own] for own in self.trunk.state_dict()}
        weights[key] = self._positions(weights[key], self.side, self.side)
        self.trunk.load_state_dict(weights)

    def _positions(self, table: Tensor, rows: int, columns: int) -> Tensor:
        return resize_positions(table, rows, columns, self.antialias)


def resize_positions(table: Tensor, rows: int, columns: int, antialias: bool = False) -> Tensor:
    """Resize a position table (1 + side * side, C) to (1 + rows * columns, C), keeping the class token's row."""
    side = math.isqrt(len(table) - 1)
    # an exported graph is for any size: a comparison would hold it to that of its example
    if not torch.compiler.is_compiling() and (rows, columns) == (side, side):
        return table
    grid = table[1:].reshape(side, side, -1).permute(2, 0, 1).unsqueeze(0)
    grid = functional.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False, antialias=antialias)
    return torch.cat([table[:1], grid.squeeze(0).permute(1, 2, 0).flatten(0, 1)])
