"""HMoDE network: density experts on a multi-scale backbone, mixed by two levels of pixel-wise gates.

Source: Du et al., "Redesigning Multi-Scale Neural Network for Crowd Counting", arXiv 2208.02894, IEEE Transactions on
Image Processing 32, 2023, and the authors' code (commit 693c104). The leave-one-out groups are written for any number
of experts; with three they are the published ones.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_choice
from crowdcount.errors import InputError
from crowdcount.losses.precision import widen
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.hmode.convert import from_authors
from crowdcount.models.layers import init_weights
from crowdcount.models.tile_context import interpolate_aligned
from crowdcount.models.timm_backbone import FeaturePyramid, weights_file

SCALE = 100.0
"""Unit of the maps, people per pixel times this, as published: the peak of one person's kernel is then about 1."""

_FIRST_GUESS = 0.05  # initial output of each expert, in the unit of the maps: one person in 2000 pixels


@dataclass(kw_only=True)
class ExpertMaps(CountMap):
    """Output of HMoDE for a batch, with E experts, finest stride s and coarsest stride S.

    Attributes:
        maps: (B, 2 E + 1, H / s, W / s), people per pixel times `SCALE`: the experts from the finest to the coarsest,
            the groups, and the mixture of the groups, which is the prediction.
        gates: (B, E, E - 1, H / s, W / s), shares of the experts in each group, which sum to 1.
        attention: (B, 1, H / S, W / S), logits of the presence of people.
    """

    maps: Tensor
    gates: Tensor
    attention: Tensor


class Hmode(DensityNetwork):
    """Mixture of density experts at several scales, combined in leave-one-out groups.

    Each expert is a density map decoded from one scale of the backbone. In each cell, a first gate weights the experts
    of each group, and a second gate, guided by the attention map, weights the groups.

    By default the network differs from the released code where that hinders training (its experts start dead with many
    seeds): maps use softplus instead of ReLU and start at a positive density, gates are a softmax of signed logits, new
    layers are initialised by their width, and `crowdcount.inference` pads images to whole cells, where the released
    code stretches the maps.

    Args:
        backbone: a timm model with feature maps at all `strides` for images of any size, with or without the tag of its
            weights.
        strides: cell side of each expert in pixels, from the finest to the coarsest; at least two. With two experts,
            each group is a single expert and the first gate has no effect. The layer widths, and above all the size of
            the second gate, follow from the backbone's width at the coarsest stride.
        pretrained: start trainings from ImageNet weights, which are downloaded when a training starts; or a file
            with them, under timm's names, by its path or as hf:OWNER/NAME/FILE (see
            `crowdcount.models.timm_backbone.fetch`).
        compat: "released" reproduces the authors' code exactly, as their checkpoints require.

    Raises:
        InputError: the backbone is unknown, or does not have these strides.
    """

    released: Tensor
    members: Tensor

    def __init__(
        self,
        backbone: str = "vgg16_bn",
        strides: tuple[int, ...] = (4, 8, 16),
        pretrained: bool | str = True,
        compat: Literal["released"] | None = None,
    ) -> None:
        super().__init__()
        if len(strides) < 2 or any(not 0 < a < b for a, b in pairwise(strides)):
            raise InputError(f"strides: {list(strides)} should be at least two numbers, each above the one before")
        check_choice("compat", compat, (None, "released"))
        self.strides, self.stride, self.pretrained, self.compat = strides, strides[0], pretrained, compat
        self.encoder = FeaturePyramid(backbone, strides)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        # as published: images of any size are not padded, and the maps are stretched over them
        self.size_divisor = 1 if compat else self.encoder.size_divisor
        self._build_layers(self.encoder.channels)
        groups = list(combinations(range(len(strides)), len(strides) - 1))
        self.register_buffer("members", torch.tensor(groups), persistent=False)
        # stored in the state dict, so that weights of one form are not loaded into the other
        self.register_buffer("released", torch.tensor(compat is not None))
        self.register_load_state_dict_pre_hook(_check_form)  # type: ignore[no-untyped-call]
        self._initialise()

    def _build_layers(self, channels: list[int]) -> None:
        """Build the layers after the backbone, with widths in the published ratios to the backbone's."""
        experts, deep = len(channels), channels[-1]
        widths = [[2 * deep, deep]] + [[width, width // 2] for width in reversed(channels[:-1])]  # coarse to fine
        inputs = [0, *(width[-1] for width in widths)]  # features from the coarser scale
        decoders = [
            _convolutions(skip + below, *width)
            for skip, below, width in zip(reversed(channels), inputs, widths, strict=False)
        ]
        self.decoders = nn.ModuleList(nn.Sequential(*layers) for layers in reversed(decoders))
        self.heads = nn.ModuleList(_scores(width[-1], 64, out=1, kernel=1) for width in reversed(widths))
        self.group_gate = _scores(deep, deep // 2, out=experts * (experts - 1))
        self.attention = _scores(deep, deep // 2, deep // 4, out=1)
        self.mixture_gate = _scores(deep, 2 * deep, 4 * deep, 2 * deep, deep, deep // 2, out=experts)

    def forward(self, image: Tensor) -> ExpertMaps:
        """Count in a normalised image batch (B, 3, H, W).

        If the sides are not multiples of the coarsest stride, the maps are stretched over the image, as published.
        Experts and groups are by-products of the mixture, so evaluation returns them too. What only training needs is
        computed by the loss, and maps are not upsampled to pixels if the sides are multiples.
        """
        size = image.shape[-2:]
        least = self.strides[-1]
        image = functional.pad(image, (0, max(least - size[1], 0), 0, max(least - size[0], 0)))
        features = self.encoder(image)
        experts = self._experts(features, image.shape[-2:])
        gates, weights, attention = self._gates(features[-1], experts.shape[-2:])
        groups = (gates * experts[:, self.members]).sum(dim=2)
        mixture = (weights * groups).sum(dim=1, keepdim=True)
        maps = torch.cat([experts, groups, mixture], dim=1)
        return ExpertMaps(density=self._density(mixture, image), maps=maps, gates=gates, attention=attention)

    def _experts(self, features: list[Tensor], image: torch.Size) -> Tensor:
        """Decode from coarse to fine; return all experts (B, E, H / s, W / s) on the finest grid."""
        decoded: list[Tensor] = []
        for skip, decoder in zip(reversed(features), reversed(self.decoders), strict=True):
            joined = (
                torch.cat([skip, interpolate_aligned(decoded[0], skip.shape[-2:], image)], dim=1) if decoded else skip
            )
            decoded.insert(0, decoder(joined))
        heads = [head(each) for head, each in zip(self.heads, decoded, strict=True)]
        positive = functional.relu if self.compat else functional.softplus
        return torch.cat([_nearest(positive(widen(map_)), heads[0].shape[-2:]) for map_ in heads], dim=1)

    def _gates(self, deepest: Tensor, size: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
        """Return the shares within groups (B, E, E - 1, ...), of groups (B, E, ...), and the attention logits."""
        attention = widen(self.attention(deepest))
        within = widen(self.group_gate(deepest))
        between = widen(self.mixture_gate(attention.sigmoid().to(deepest.dtype) * deepest))
        if self.compat:
            within, between = functional.relu(within), functional.relu(between)
        groups, members = self.members.shape
        shares = within.view(within.shape[0], groups, members, *within.shape[-2:]).softmax(dim=2)
        gates = _nearest(shares.flatten(1, 2), size).view(within.shape[0], groups, members, *size)
        return gates, _nearest(between.softmax(dim=1), size), attention

    def _density(self, mixture: Tensor, image: Tensor) -> Tensor:
        """Return people per block of `stride` pixels, (B, 1, ceil(H / s), ceil(W / s))."""
        height, width = image.shape[-2:]
        side = self.stride
        if mixture.shape[-2] * side != height or mixture.shape[-1] * side != width:
            pixels = _nearest(mixture, image.shape[-2:])
            mixture = functional.avg_pool2d(functional.pad(pixels, (0, -width % side, 0, -height % side)), side)
        return mixture * (side * side / SCALE)

    def load_pretrained(self) -> None:
        """Load the ImageNet weights of the backbone, if configured.

        Raises:
            InputError: the weights could not be fetched, or the file does not match this backbone.
        """
        if self.pretrained:
            self.encoder.load_pretrained(weights_file(self.pretrained))

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of the authors; see `crowdcount.models.hmode.convert.from_authors`."""
        self.load_state_dict(from_authors(state_dict), strict=True)

    def _initialise(self) -> None:
        for part in (self.decoders, self.heads, self.group_gate, self.attention, self.mixture_gate):
            if self.compat is None:
                init_weights(part)
            for layer in _conv_layers(part) if self.compat else _final_conv_layers(part):
                nn.init.normal_(layer.weight, std=0.01)
                _fill_bias(layer, 0.0)
        for layer in _final_conv_layers(self.heads) if self.compat is None else ():
            _fill_bias(layer, math.log(math.expm1(_FIRST_GUESS)))


def _convolutions(*channels: int, kernel: int = 3) -> list[nn.Module]:
    """Return convolutions between successive numbers of channels, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [nn.Conv2d(a, b, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return layers


def _scores(*channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    """Return convolutions with ReLU, followed by a 1x1 convolution without."""
    return nn.Sequential(*_convolutions(*channels, kernel=kernel), nn.Conv2d(channels[-1], out, 1))


def _conv_layers(part: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in part.modules() if isinstance(layer, nn.Conv2d)]


def _final_conv_layers(part: nn.Module) -> list[nn.Conv2d]:
    ends = (stack[-1] for stack in part.modules() if isinstance(stack, nn.Sequential))
    return [end for end in ends if isinstance(end, nn.Conv2d)]


def _fill_bias(layer: nn.Conv2d, value: float) -> None:
    assert layer.bias is not None
    nn.init.constant_(layer.bias, value)


def _nearest(maps: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(maps, size=size, mode="nearest")


def _check_form(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, Hmode)
    stored = state.get(f"{prefix}released")
    if stored is not None and bool(stored) != (module.compat is not None):
        have, need = ("released", "null") if module.compat else ("null", "released")
        hint = "" if module.compat else ", or take hmode/vgg16bn_sha_released"
        raise InputError(
            f"compat: {have}, but these weights were made with compat: {need}; build the network with it{hint}"
        )
