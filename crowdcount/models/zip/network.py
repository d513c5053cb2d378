"""ZIP on a timm backbone.

Source: Ma, Sanchez, Guha, "ZIP: Scalable Crowd Counting via Zero-Inflated Poisson Modeling", arXiv 2506.19955, where
the models without CLIP are ZIP-P, N and T.
"""

import math
from typing import Literal

from torch import Tensor, nn

from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.layers import dilated_context, init_weights
from crowdcount.models.timm_backbone import FeaturePyramid, weights_file
from crowdcount.models.zip.base import ZeroInflatedMap, ZeroInflatedNetwork
from crowdcount.models.zip.refiner import BlockKind, build_decoder, build_refiner


class Zip(ZeroInflatedNetwork):
    """Zero-inflated Poisson counts of blocks on a timm backbone.

    The features of the backbone are enlarged to one a block, thinned out to at most 256 channels, and two 1x1
    convolutions give the scores of a structural zero and of the bins of the rate.

    Args:
        backbone: a timm model that gives feature maps, such as mobilenetv4_conv_small_050 (ZIP-P),
            mobilenetv4_conv_small (N), mobilenetv4_conv_medium (T), with or without the tag of its weights.
        bins: the classes of a block count and what each is worth; the first is 0.
        reduction: block side in pixels.
        block: the published kinds of convolutions after the backbone: "lighter" (ZIP-P and N), "light" (T), or "conv".
        backbone_stride: pixels a cell of the used feature map covers.
        context: dilations of residual blocks before the heads, on the grid of the blocks, such as [1, 2]; published are
            none.
        pretrained: start a training from ImageNet weights; they are fetched then, not when the network is built. Or the
            path of a file with them, under timm's names (see `crowdcount.models.timm_backbone.fetch`).
        clip_normalization: normalise images as CLIP's, as published, and not as the backbone was pretrained with.

    Raises:
        InputError: timm has no such model, or the model no such map; bins that do not start with 0; a reduction that
            is not the stride of the map, a half or a quarter of it.
    """

    def __init__(
        self,
        backbone: str,
        bins: Bins,
        reduction: Literal[8, 16, 32] = 16,
        block: BlockKind = "lighter",
        backbone_stride: int = 32,
        context: tuple[int, ...] = (),
        pretrained: bool | str = True,
        clip_normalization: bool = False,
    ) -> None:
        super().__init__(bins, reduction)
        self.pretrained = pretrained
        self.encoder = FeaturePyramid(backbone, [backbone_stride])
        if not clip_normalization:
            self.mean, self.std = self.encoder.mean, self.encoder.std
        channels = self.encoder.channels[-1]
        self.refiner: nn.Module = nn.Identity()
        if reduction != backbone_stride:  # unlike the models on CLIP, these refine nothing at the stride of the map
            self.refiner = build_refiner(channels, backbone_stride, reduction, block)
        self.decoder, channels = build_decoder(channels, block)
        self.context = dilated_context(channels, context)
        self.zero_head = nn.Conv2d(channels, 2, 1)
        self.rate_head = nn.Conv2d(channels, len(bins) - 1, 1)
        for head in (self.zero_head, self.rate_head):
            init_weights(head)
        self.size_divisor = math.lcm(self.encoder.size_divisor, reduction)

    def forward(self, image: Tensor) -> ZeroInflatedMap:
        """Count in a normalised image batch (B, 3, H, W).

        Sides that are no multiple of `size_divisor` give what the backbone makes of them: MobileNetV4 rounds up.
        """
        features = self.context(self.decoder(self.refiner(self.encoder(image)[-1])))
        return self.combine(self.zero_head(features), self.rate_head(features))

    def load_pretrained(self) -> None:
        """Load the ImageNet weights of the backbone, unless the network was configured without them.

        Raises:
            InputError: the weights could not be fetched, or the file is not of this backbone.
        """
        if self.pretrained:
            self.encoder.load_pretrained(weights_file(self.pretrained))
