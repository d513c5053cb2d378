"""The CLIP-EBC network.

Source: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification", arXiv 2403.09281.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.clip.pretrained import fetch_clip
from crowdcount.models.clip.towers import ClipResNet, ClipVit, build_clip
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

    Maps images (B, 3, H, W) to a density (B, 1, H / reduction, W / reduction). ResNet towers are trained in full;
    transformers stay frozen and learn visual prompts; the text tower is always frozen.

    Args:
        backbone: open_clip's name of the CLIP model, such as RN50-quickgelu or ViT-B-16-quickgelu.
        bins: count classes and their anchors.
        reduction: block side in pixels.
        pretrained: "openai" for the weights in the index, another of open_clip's tags, or the path of a checkpoint;
            loaded when a training starts. null starts from random weights.
        prompt_style: write numbers in the text prompts as words or digits.
        vpt: number of visual prompts per layer (transformers).
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
        clip = build_clip(backbone)
        config = open_clip.get_model_config(backbone)
        if pretrained == "openai" and not config.get("quick_gelu"):
            raise InputError(f"backbone: OpenAI trained with QuickGELU; its weights belong to {backbone}-quickgelu")
        self.backbone = backbone
        self.pretrained = pretrained
        self.text = clip.text.requires_grad_(False)
        self.visual: ClipResNet | ClipVit
        if isinstance(clip.visual, ModifiedResNet):
            self.visual = ClipResNet(clip.visual, reduction)
            channels = _DECODERS.get(backbone.removesuffix("-quickgelu"), [self.visual.channels])
            self.decoder = decoder(Bottleneck, self.visual.channels, channels)
        else:
            self.visual = ClipVit(clip.visual, vpt, deep_vpt, vpt_dropout, input_size)
            channels = [self.visual.channels]
            self.decoder = decoder(BasicBlock, self.visual.channels, channels)
        self.size_divisor = math.lcm(self.visual.stride, reduction)
        self.feature_channels = channels[-1]
        self.projection = _projection(channels[-1], config["embed_dim"])
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self._prepare_text(prompt_style)

    def _prepare_text(self, style: PromptStyle) -> None:
        sentences = [prompt(low, high, style) for low, high in self.bins.edges]
        self.register_buffer("tokens", open_clip.get_tokenizer(self.backbone)(sentences), persistent=False)
        self.register_buffer("text_features", None, persistent=False)
        self._encode_text()
        # the text features must be those of the text tower in the checkpoint, not of the constructor's
        self.register_load_state_dict_post_hook(_refresh_text)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _encode_text(self) -> None:
        self.text.eval()
        self.text_features = functional.normalize(self.text(self.tokens), dim=-1)

    def train(self, mode: bool = True) -> "ClipEbc":
        """Switch the trained parts; the text tower stays in evaluation mode."""
        super().train(mode)
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
        """Load pretrained CLIP towers (see `pretrained`); decoder and projection are unchanged.

        Raises:
            InputError: the weights could not be fetched.
        """
        if self.pretrained is None:
            return
        clip = fetch_clip(self.backbone, self.pretrained)
        self.visual.load(clip.visual)
        self.text.load_state_dict(clip.text.state_dict())
        self._encode_text()

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of the authors; see `crowdcount.models.clip_ebc.convert.from_authors`."""
        self.load_state_dict(from_authors(state_dict), strict=True)


def _refresh_text(network: nn.Module, _keys: object) -> None:
    assert isinstance(network, ClipEbc)
    network._encode_text()


def _projection(channels: int, embed_dim: int) -> nn.Module:
    if channels == embed_dim:
        return nn.Identity()
    layer = nn.Conv2d(channels, embed_dim, 1)
    init_weights(layer)
    return layer
