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

    The features of the backbone are upsampled to one per block and reduced to at most 256 channels; two 1x1
    convolutions give the scores of a structural zero and of the bins of the rate.

    Args:
        backbone: a timm model with feature maps, such as mobilenetv4_conv_small_050 (ZIP-P),
            mobilenetv4_conv_small (N), mobilenetv4_conv_medium (T), with or without the tag of its weights.
        bins: count classes and their anchors; the first is 0.
        reduction: block side in pixels.
        block: published kind of convolutions after the backbone: "lighter" (ZIP-P and N), "light" (T), or "conv".
        backbone_stride: stride of the feature map in pixels.
        context: dilations of residual blocks before the heads, on the block grid, such as [1, 2]; none in the published
            models.
        pretrained: start trainings from ImageNet weights, which are downloaded when a training starts; or a file
            with them, under timm's names, by its path or as hf:OWNER/NAME/FILE (see
            `crowdcount.models.timm_backbone.fetch`).
        clip_normalization: normalise images with CLIP's mean and deviation, as published, instead of the backbone's.

    Raises:
        InputError: timm has no such model, the model has no such map, the bins do not start with 0, or the reduction is
            not the stride of the map, a half or a quarter of it.
    """

    feature_layer = "zero_head"

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
        if reduction != backbone_stride:  # unlike the models on CLIP, these have no refiner at the stride of the map
            self.refiner = build_refiner(channels, backbone_stride, reduction, block)
        self.decoder, channels = build_decoder(channels, block)
        self.context = dilated_context(channels, context)
        self.feature_channels = channels
        self.zero_head = nn.Conv2d(channels, 2, 1)
        self.rate_head = nn.Conv2d(channels, len(bins) - 1, 1)
        for head in (self.zero_head, self.rate_head):
            init_weights(head)
        self.size_divisor = math.lcm(self.encoder.size_divisor, reduction)

    def forward(self, image: Tensor) -> ZeroInflatedMap:
        """Count in a normalised image batch (B, 3, H, W).

        The backbone handles sides that are not multiples of `size_divisor`: MobileNetV4 rounds up.
        """
        features = self.context(self.decoder(self.refiner(self.encoder(image)[-1])))
        return self.combine(self.zero_head(features), self.rate_head(features))

    def load_pretrained(self) -> None:
        """Load the ImageNet weights of the backbone, if configured.

        Raises:
            InputError: the weights could not be fetched, or the file does not match this backbone.
        """
        if self.pretrained:
            self.encoder.load_pretrained(weights_file(self.pretrained))
