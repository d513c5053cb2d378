"""Blockwise classification on a plain image backbone.

Source: Ma et al., "CLIP-EBC: CLIP Can Count Accurately through Enhanced Blockwise Classification", arXiv 2403.09281,
where the models without CLIP are called EBC (with `vgg19_ae`: DMCount-EBC).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.ebc.backbones import build_backbone
from crowdcount.models.ebc.convert import from_authors
from crowdcount.models.layers import dilated_context, init_weights
from crowdcount.models.timm_backbone import weights_file

_HIDDEN = 512
_TINY = 1e-6  # people in four blocks, below which the result fades to 0; float16 can hold it, so 0 is not divided by 0


class Ebc(BlockwiseCounter):
    """Backbone, resampling to one feature per block, and 1x1 convolutions to the classes of `bins`.

    Args:
        backbone: a published name (vgg19_ae, resnet50_ae, csrnet, cannet, vit_b_16 ...) or any timm model with feature
            maps, such as mobilenetv4_conv_small, with or without the tag of its weights.
        bins: count classes and their anchors.
        reduction: block side in pixels.
        pretrained: start trainings from ImageNet weights, which are downloaded when a training starts; or a file
            with them, under timm's names, by its path or as hf:OWNER/NAME/FILE (see
            `crowdcount.models.timm_backbone.fetch`).
        input_size: image side in pixels for which the position table of a vision transformer is stored. The vit_*
            backbones accept any size at run time; some timm models accept only this size.
        feature_level: index of the feature map of a timm model, from 0 (the finest); by default the last.
        context: dilations of residual blocks between the features and the classes, on the block grid, such as [2, 4].
            They enlarge the small receptive field of a light backbone.
        half_size: count also in the image at half size, and take a weighted geometric mean of the two densities
            (`average_with_half`), in a quarter more time. It is for evaluation: in training mode, the image is seen
            once. Logits and variance stay those of the full size.

    Raises:
        InputError: the backbone (the message lists similar names) or the feature level is unknown.
    """

    feature_layer = "classifier"

    def __init__(
        self,
        backbone: str,
        bins: Bins,
        reduction: Literal[8, 16, 32] = 8,
        pretrained: bool | str = True,
        input_size: int = 224,
        feature_level: int | None = None,
        context: tuple[int, ...] = (),
        half_size: bool = False,
    ) -> None:
        super().__init__(bins, reduction)
        self.half_size = self.compares_sizes = half_size
        self.pretrained = pretrained
        self.backbone = build_backbone(backbone, reduction, input_size, feature_level)
        self.mean, self.std = self.backbone.mean, self.backbone.std
        self.size_divisor = math.lcm(self.backbone.native, reduction) * (2 if half_size else 1)
        self.context = dilated_context(self.backbone.channels, context)
        self.feature_channels = self.backbone.channels
        self.classifier = _head(self.backbone.channels, len(bins))

    def forward(self, image: Tensor) -> CountMap:
        """Count in a normalised image batch (B, 3, H, W).

        The backbone handles sides that are not multiples of `size_divisor`, as published: most round down, residual
        networks round up at each stride. With `half_size` both sides are multiples of `size_divisor`.
        """
        whole = self._blocks(image)
        if self.training or not self.half_size:
            return whole
        return average_with_half(whole, self._blocks(functional.avg_pool2d(image, 2)), self.anchors[1])

    def _blocks(self, image: Tensor) -> CountMap:
        return self.decode(self.classifier(self.context(self.backbone(image))))

    def load_pretrained(self) -> None:
        """Load the ImageNet weights of the backbone, if configured.

        Raises:
            InputError: the weights could not be fetched, or the file does not match this backbone.
        """
        if self.pretrained:
            self.backbone.load_pretrained(weights_file(self.pretrained))

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of the authors; see `crowdcount.models.ebc.convert.from_authors`."""
        self.load_state_dict(from_authors(state_dict), strict=True)


def average_with_half(whole: CountMap, half: CountMap, one: Tensor) -> CountMap:
    """Return a count map with a weighted geometric mean of its density and that of the same image at half size.

    A block of the smaller image covers four of the larger one. Where these hold D people together and it holds h, the
    result is D^(1 - w) h^w, spread over the four in proportion to what the larger image has there. The weight w of the
    smaller image is 1 / (2 + D), one half where there is hardly anybody and less in crowds, whose heads are too small
    there; and it rises towards 1 where h is far below a tenth of D: w = (1 / (2 + D) + x) / (1 + x) with
    x = (D / (10 h))^2. So little remains of structure that looks like people at only one size.

    Args:
        whole: densities (B, 1, rows, columns), both even.
        half: densities (B, 1, rows / 2, columns / 2).
        one: the density that stands for one person: the anchor of the first class above 0. Anchors times a factor then
            give counts times this factor.
    """
    four = 4 * functional.avg_pool2d(whole.density, 2)
    weight = _weight_of_half(four, half.density, one)
    together = four.pow(1 - weight) * half.density.pow(weight)
    share = whole.density / _doubled(four.clamp_min(_TINY))
    difference = whole.density - _doubled(half.density) / 4
    return replace(whole, density=share * _doubled(together), size_difference=difference)


def _weight_of_half(four: Tensor, half: Tensor, one: Tensor) -> Tensor:
    share = four / (four + 10 * half).clamp_min(_TINY)  # in place of x, which float16 cannot hold
    alone = share.square() / (share.square() + (1 - share).square())
    return (1 - alone) / (2 + four / one) + alone


def _doubled(density: Tensor) -> Tensor:
    return functional.interpolate(density, scale_factor=2.0, mode="nearest")


def _head(channels: int, classes: int) -> nn.Module:
    head: nn.Module = nn.Conv2d(channels, classes, 1)
    if channels > _HIDDEN:
        head = nn.Sequential(nn.Conv2d(channels, _HIDDEN, 1), nn.ReLU(inplace=True), nn.Conv2d(_HIDDEN, classes, 1))
    init_weights(head)
    return head
