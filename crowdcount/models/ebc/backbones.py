"""Backbones by name: the published ones, and any timm model with feature maps."""

import itertools
import logging
from pathlib import Path
from typing import Any, cast

from timm.layers.blur_pool import BlurPool2d
from torch import Tensor, nn

from crowdcount.errors import InputError
from crowdcount.models.ebc.backbone_base import Backbone
from crowdcount.models.ebc.vgg import CanNet, CsrNet, VggEncoder, VggEncoderDecoder
from crowdcount.models.ebc.vit import SIZES, Vit
from crowdcount.models.layers import BasicBlock, Bottleneck, decoder, upsample
from crowdcount.models.timm_backbone import channels_first, create, fetch, normalization

_log = logging.getLogger(__name__)

_VGGS = tuple(f"vgg{depth}{norm}" for depth, norm in itertools.product((11, 13, 16, 19), ("", "_bn")))

# decoder channels of the published encoder-decoders
_RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18_ae": (BasicBlock, [512, 256, 128]),
    "resnet34_ae": (BasicBlock, [512, 256, 128]),
    "resnet50_ae": (Bottleneck, [512, 256, 256, 128]),
    "resnet101_ae": (Bottleneck, [512, 512, 256, 256, 128]),
    "resnet152_ae": (Bottleneck, [512, 512, 512, 256, 256, 128]),
}

PUBLISHED = (
    *(f"{vgg}_ae" for vgg in _VGGS),
    *_VGGS,
    *_RESNETS,
    *("csrnet", "csrnet_bn", "cannet", "cannet_bn"),
    *SIZES,
)
"""Backbones of the published code, which also accepts any timm model with feature maps."""

# location of the last stride of these families, by prefix of the timm name
_LAST_STRIDE = {"resnet": "layer4", "mobilenetv2": "blocks.5", "densenet": "features_transition3"}


def build_backbone(name: str, reduction: int, input_size: int, feature_level: int | None) -> Backbone:
    """Build the backbone `name` with random weights; see `crowdcount.models.ebc.network.Ebc` for the arguments.

    Raises:
        InputError: there is no such backbone or feature level.
    """
    if name not in PUBLISHED:
        return TimmBackbone(name, reduction, input_size, feature_level)
    if feature_level is not None:
        raise InputError(f"feature_level: only for timm backbones; {name} is published with a fixed one, leave it out")
    if name in SIZES:
        return Vit(SIZES[name], reduction, input_size)
    if name in _RESNETS:
        return ResNetEncoderDecoder(name, reduction)
    if name in _VGGS:
        return VggEncoder(name, reduction)
    if name.startswith("vgg"):
        return VggEncoderDecoder(name.removesuffix("_ae"), reduction)
    network = CsrNet if name.startswith("csrnet") else CanNet
    return network(name.endswith("_bn"), reduction)


class TimmBackbone(Backbone):
    """Resampled feature map of a timm model, (B, channels, H / reduction, W / reduction).

    For a `reduction` of 16 or less, the last stride of resnet*, mobilenetv2* and densenet* is removed, as published, so
    that their last map has stride 16 instead of 32.

    Args:
        name: a timm model, with or without the tag of its pretrained weights.
        reduction: pixels one output cell covers.
        input_size: image side, for models built for one size.
        feature_level: index of the feature map, from 0; None takes the last.

    Raises:
        InputError: timm has no such model, or the model has no such feature map.
    """

    def __init__(self, name: str, reduction: int, input_size: int, feature_level: int | None) -> None:
        super().__init__()
        self.name, self.reduction = name, reduction
        levels = None if feature_level is None else (feature_level,)
        self.encoder, self._arguments = create(name, levels, input_size, near=PUBLISHED)
        self.mean, self.std = normalization(name)
        info = cast(Any, self.encoder.feature_info)
        self.channels, self.native = int(info.channels()[-1]), int(info.reduction()[-1])
        if reduction <= 16 < self.native:
            self.native = _drop_last_stride(self.encoder, name, self.native)

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features.

        Raises:
            InputError: the size of the map does not match the model's stride.
        """
        features = channels_first(self.encoder, self.encoder(image))[-1]
        sides = zip(image.shape[-2:], features.shape[-2:], strict=True)
        if any(pixels % self.native == 0 and cells * self.native != pixels for pixels, cells in sides):
            raise InputError(
                f"backbone: {self.name} turns {tuple(image.shape[-2:])} pixels into {tuple(features.shape[-2:])} "
                f"cells, which is not its stride of {self.native}; choose another backbone"
            )
        return upsample(features, self.native / self.reduction)

    def load_pretrained(self, file: Path | None = None) -> None:
        """Load the pretrained weights of the model, downloaded or from a file."""
        source = fetch(self.name, self._arguments, file).state_dict()
        self.encoder.load_state_dict({key: source[key] for key in self.encoder.state_dict()})


class ResNetEncoderDecoder(TimmBackbone):
    """ResNet with residual blocks after the resampling: (B, 128, H / reduction, W / reduction).

    Args:
        name: resnet{18,34,50,101,152}_ae.
        reduction: pixels one output cell covers.
    """

    def __init__(self, name: str, reduction: int) -> None:
        super().__init__(f"{name.removesuffix('_ae')}.tv_in1k", reduction, 224, None)
        block, channels = _RESNETS[name]
        self.decoder = decoder(block, self.channels, channels)
        self.channels = channels[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Extract the features."""
        features: Tensor = self.decoder(super().forward(image))
        return features


def _drop_last_stride(backbone: nn.Module, name: str, native: int) -> int:
    """Remove the last stride of backbones published without it; return the resulting stride."""
    modules = dict(backbone.named_modules())
    path = next((path for family, path in _LAST_STRIDE.items() if name.startswith(family)), "")
    if not path or path not in modules:
        _log.warning("%s keeps its stride of %d pixels: its features are interpolated", name, native)
        return native
    for key, layer in list(modules[path].named_modules()):
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
        elif isinstance(layer, nn.AvgPool2d | BlurPool2d):
            modules[path].set_submodule(key, nn.Identity())
    return native // 2
