"""ZIP on the image towers of CLIP, with text features as the classes.

Source: Ma, Sanchez, Guha, "ZIP: Scalable Crowd Counting via Zero-Inflated Poisson Modeling", arXiv 2506.19955, where
these are ZIP-S and B.
"""

import logging
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.clip.pretrained import encode_texts, fetch_clip
from crowdcount.models.clip.towers import Prompting, build_tower, clip_config
from crowdcount.models.layers import init_weights
from crowdcount.models.zip.base import ZeroInflatedMap, ZeroInflatedNetwork
from crowdcount.models.zip.prompts import Prompts, find_prompts
from crowdcount.models.zip.refiner import Norm, build_refiner

logger = logging.getLogger(__name__)


class ClipZip(ZeroInflatedNetwork):
    """Zero-inflated Poisson counts of blocks on an image tower of CLIP.

    The classes of both heads are text features stored with the weights. The text tower is needed only when a training
    starts from CLIP, and is dropped after that. ResNet, ConvNeXt and MobileCLIP towers are trained in full; a vision
    transformer stays frozen and learns visual prompts.

    Args:
        backbone: open_clip's name of the model, published: ViT-B-16, RN50x4, convnext_base_w_320, MobileCLIP-S1.
        bins: count classes and their anchors; the first is 0.
        reduction: block side in pixels.
        pretrained: "openai" for the weights in the index, another of open_clip's tags, or the path of a checkpoint;
            loaded when a training starts. null starts from random weights, text features included.
        prompts: texts of the classes; null selects, among 3,456 templates, the one whose features differ most.
        groups: groups of the 3x3 convolutions after the tower; published: 5 for RN50x4, 2 for MobileCLIP-S1.
        vpt: number of visual prompts in each layer of a transformer.
        vpt_dropout: dropout on the visual prompts.
        input_size: side in pixels to which the stored position table of a transformer is resized; null keeps CLIP's.
        quick_gelu: use QuickGELU in a transformer, as OpenAI did. The published ZIP was most likely trained with the
            exact GELU, which recent versions of open_clip build.

    Raises:
        InputError: open_clip has no such model, the input size does not fit its patches, the bins do not start with 0,
            or the reduction does not follow from the stride of the tower.
    """

    feature_layer = "zero_head"

    def __init__(
        self,
        backbone: str,
        bins: Bins,
        reduction: Literal[8, 16, 32] = 16,
        pretrained: str | None = "openai",
        prompts: Prompts | None = None,
        groups: int = 1,
        vpt: int = 96,
        vpt_dropout: float = 0.0,
        input_size: int | None = None,
        quick_gelu: bool = False,
    ) -> None:
        super().__init__(bins, reduction)
        check_number("vpt", vpt, 1)
        check_number("vpt_dropout", vpt_dropout, 0, 1)
        if prompts is not None:
            prompts.check(len(bins))
        self.backbone, self.pretrained, self.prompts, self.quick_gelu = backbone, pretrained, prompts, quick_gelu
        prompting = Prompting(vpt, dropout=vpt_dropout, input_size=input_size, antialias=True)
        self.encoder = build_tower(backbone, quick_gelu, 32, prompting)
        norm: Norm = "batch" if any(isinstance(each, nn.BatchNorm2d) for each in self.encoder.modules()) else "layer"
        channels, width = self.encoder.channels, int(clip_config(backbone)["embed_dim"])
        self.refiner = build_refiner(channels, self.encoder.stride, reduction, "conv", norm, groups)
        self.feature_channels = channels
        self.zero_head = TextHead(channels, width, 2)
        self.rate_head = TextHead(channels, width, len(bins) - 1)
        self.size_divisor = math.lcm(self.encoder.stride, reduction)

    def forward(self, image: Tensor) -> ZeroInflatedMap:
        """Count in a normalised image batch (B, 3, H, W).

        The tower handles sides that are not multiples of `size_divisor`, as published: MobileCLIP rounds up, the
        others round down.
        """
        features = self.refiner(self.encoder(image))
        return self.combine(self.zero_head(features), self.rate_head(features))

    def load_pretrained(self) -> None:
        """Load pretrained CLIP towers (see `pretrained`) and encode the prompts of the classes.

        Raises:
            InputError: the weights could not be fetched.
        """
        if self.pretrained is None:
            return
        clip = fetch_clip(self.backbone, self.pretrained, self.quick_gelu).eval()
        self.encoder.load(clip.visual)
        self._encode(clip)

    @torch.no_grad()
    def _encode(self, clip: Any) -> None:
        def encode(texts: list[str]) -> Tensor:
            return encode_texts(clip, self.backbone, texts)

        prompts = self.prompts or find_prompts(self.bins.edges, encode)
        logger.info("prompts: %s; %s", "; ".join(prompts.zero), "; ".join(prompts.rate))
        self.zero_head.text.copy_(encode(prompts.zero))
        self.rate_head.text.copy_(encode(prompts.rate))


class TextHead(nn.Module):
    """Scaled cosine similarity of projected features with text features, from (B, C, H, W) to (B, classes, H, W).

    Args:
        channels: C.
        width: dimension of the text features.
        classes: number of texts.
    """

    text: Tensor

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, width, 1, bias=False)
        init_weights(self.projection)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("text", functional.normalize(torch.randn(classes, width), dim=-1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of the texts."""
        x = functional.normalize(self.projection(features).permute(0, 2, 3, 1), dim=-1)
        logits = self.logit_scale.exp() * x @ self.text.to(x.dtype).t()
        return logits.permute(0, 3, 1, 2)
