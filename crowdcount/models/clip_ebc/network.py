"""The CLIP-EBC network.

Source: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification", arXiv 2403.09281.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.clip.pretrained import encode_texts, fetch_clip, normalization
from crowdcount.models.clip.towers import (
    CLIP_BACKBONES,
    ClipResNet,
    Prompting,
    build_text,
    build_tower,
    clip_config,
    keeps_text,
)
from crowdcount.models.clip_ebc.convert import from_authors
from crowdcount.models.clip_ebc.fused_upsample import upsampled_block
from crowdcount.models.clip_ebc.prompts import PromptStyle, prompt
from crowdcount.models.layers import BasicBlock, Bottleneck, decoder, init_weights, upsample

_DECODERS = {
    "RN101": [2048, 1024],
    "RN50x4": [1280],
    "RN50x16": [1536],
    "RN50x64": [2048],
}


class ClipEbc(BlockwiseCounter):
    """Blockwise count classifier with text prompts as classes: logits = exp(scale) * cos(image block, text).

    Maps images (B, 3, H, W) to a density (B, 1, H / reduction, W / reduction). open_clip's own transformers (CLIP,
    CoCa) stay frozen and learn visual prompts; other image towers (ResNets, and timm's: SigLIP, EVA, ConvNeXt) are
    trained in full. The text tower is always frozen. Where it has OpenAI's architecture it is part of the network;
    otherwise the text features alone are, which a training makes when it loads the pretrained weights.

    Args:
        backbone: open_clip's name of the model, published: those of `CLIP_BACKBONES`, such as RN50-quickgelu or
            ViT-B-16-quickgelu; any other whose image tower gives a feature map, such as coca_ViT-B-32,
            ViT-B-16-SigLIP2 or EVA02-B-16.
        bins: count classes and their anchors.
        reduction: block side in pixels.
        pretrained: "openai" for the weights in the index, another of open_clip's tags, or the path of a checkpoint;
            loaded when a training starts. null starts from random weights, stored text features included.
        prompt_style: write numbers in the text prompts as words or digits.
        vpt: number of visual prompts per layer (open_clip's transformers, as the next three).
        deep_vpt: use separate prompts for each layer, otherwise for the first one only.
        vpt_dropout: dropout on the visual prompts.
        input_size: side in pixels to which the stored position table of a transformer is resized; null keeps CLIP's.

    Raises:
        InputError: open_clip has no such model, or the input size does not fit its patches.
    """

    text_features: Tensor
    feature_layer = "projection"

    def __init__(
        self,
        backbone: str,
        bins: Bins,
        reduction: Literal[8, 16, 32] = 8,
        pretrained: str | None = "openai",
        prompt_style: PromptStyle = "word",
        vpt: int = 32,
        deep_vpt: bool = True,
        vpt_dropout: float = 0.0,
        input_size: int | None = None,
    ) -> None:
        super().__init__(bins, stride=reduction)
        check_number("vpt", vpt, 1)
        check_number("vpt_dropout", vpt_dropout, 0, 1)
        config = clip_config(backbone)
        quick_gelu = bool(config.get("quick_gelu"))
        if pretrained == "openai" and not quick_gelu:
            raise InputError(_no_openai(backbone))
        self.backbone = backbone
        self.pretrained = pretrained
        prompting = Prompting(vpt, deep_vpt, vpt_dropout, input_size)
        self.visual = build_tower(backbone, quick_gelu, reduction, prompting)
        self.text = build_text(backbone) if keeps_text(backbone) else None
        block: type[Bottleneck | BasicBlock] = Bottleneck if isinstance(self.visual, ClipResNet) else BasicBlock
        channels = _DECODERS.get(backbone.removesuffix("-quickgelu"), [self.visual.channels])
        self.decoder = decoder(block, self.visual.channels, channels)
        self.size_divisor = math.lcm(self.visual.stride, reduction)
        self.feature_channels = channels[-1]
        self.projection = _projection(channels[-1], config["embed_dim"])
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self._sentences = [prompt(low, high, prompt_style) for low, high in self.bins.edges]
        if self.text is None:
            self._store_text(config["embed_dim"])
        else:
            self._prepare_text()

    def _store_text(self, width: int) -> None:
        """Store text features with the weights, and normalise images as the tower expects."""
        self.register_buffer("text_features", functional.normalize(torch.randn(len(self.bins), width), dim=-1))
        self.mean, self.std = normalization(self.backbone, self.pretrained)

    def _prepare_text(self) -> None:
        tokens = open_clip.get_tokenizer(self.backbone)(self._sentences)
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("text_features", None, persistent=False)
        self._encode_text()
        # the text features must be those of the text tower in the checkpoint, not of the constructor's
        self.register_load_state_dict_post_hook(_refresh_text)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _encode_text(self) -> None:
        assert self.text is not None
        self.text.eval()
        self.text_features = functional.normalize(self.text(self.tokens), dim=-1)

    def train(self, mode: bool = True) -> "ClipEbc":
        """Switch the trained parts; the text tower stays in evaluation mode."""
        super().train(mode)
        if self.text is not None:
            self.text.eval()
        return self

    def forward(self, image: Tensor) -> CountMap:
        """Count in a normalised image batch (B, 3, H, W) of any size; sides are rounded down to whole patches."""
        x = self.projection(self._decoded(self.visual(image), self.visual.stride / self.stride))
        x = functional.normalize(x.permute(0, 2, 3, 1), dim=-1)
        logits = self.logit_scale.exp() * x @ self.text_features.to(x.dtype).t()
        return self.decode(logits.permute(0, 3, 1, 2))

    def _decoded(self, features: Tensor, scale: float) -> Tensor:
        first, *others = self.decoder
        if scale <= 1 or not isinstance(first, BasicBlock):
            decoded: Tensor = self.decoder(upsample(features, scale))
            return decoded
        x = upsampled_block(first, features, scale)
        for block in others:
            x = block(x)
        return x

    def load_pretrained(self) -> None:
        """Load pretrained towers (see `pretrained`); decoder and projection are unchanged.

        Raises:
            InputError: the weights could not be fetched.
        """
        if self.pretrained is None:
            return
        clip = fetch_clip(self.backbone, self.pretrained)
        self.visual.load(clip.visual)
        if self.text is None:
            self.text_features.copy_(encode_texts(clip.eval(), self.backbone, self._sentences))
            return
        self.text.load_state_dict(clip.text.state_dict())
        self._encode_text()

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of the authors; see `crowdcount.models.clip_ebc.convert.from_authors`."""
        self.load_state_dict(from_authors(state_dict), strict=True)


def _refresh_text(network: nn.Module, _keys: object) -> None:
    assert isinstance(network, ClipEbc)
    network._encode_text()


def _no_openai(backbone: str) -> str:
    """Return the end of a message about a model that OpenAI did not train."""
    if f"{backbone}-quickgelu" in CLIP_BACKBONES:
        return f"backbone: OpenAI trained with QuickGELU; its weights belong to {backbone}-quickgelu"
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(backbone)) or "none"
    return (
        f"pretrained: OpenAI did not train {backbone}; give a tag of open_clip ({tags}), the path of a checkpoint, or "
        "null for random weights"
    )


def _projection(channels: int, embed_dim: int) -> nn.Module:
    if channels == embed_dim:
        return nn.Identity()
    layer = nn.Conv2d(channels, embed_dim, 1)
    init_weights(layer)
    return layer
