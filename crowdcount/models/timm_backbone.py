"""timm models as feature extractors: construction and pretrained weights."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from crowdcount.errors import InputError
from crowdcount.models.base import IMAGENET_MEAN, IMAGENET_STD
from crowdcount.weights.checkpoint import read_checkpoint
from crowdcount.weights.hub import local_file

Channels = tuple[float, float, float]


class FeaturePyramid(nn.Module):
    """Feature maps of a timm model at several strides, from images (B, 3, H, W) to a list of (B, C_k, H_k, W_k).

    Args:
        name: a timm model, with or without the tag of its pretrained weights.
        strides: strides of the maps in pixels, from the finest; if a model has several maps of one stride, the last is
            taken.

    Attributes:
        channels: C_k of each map.
        size_divisor: images whose sides are multiples of it have maps of exactly H / stride x W / stride.
        mean: per-channel image mean that the pretrained weights expect, see `CrowdNetwork`.
        std: per-channel standard deviation that they expect.

    Raises:
        InputError: timm has no such model, or the model lacks a map of some stride or accepts only one image size.
    """

    def __init__(self, name: str, strides: Sequence[int]) -> None:
        super().__init__()
        self.name = name
        levels = _levels(name, strides)
        self.mean, self.std = normalization(name)
        self.trunk, self._arguments = create(name, levels)
        self.channels: list[int] = cast(Any, self.trunk.feature_info).channels()
        self.size_divisor, idle = _probe(name, levels, strides)
        for parameter in idle:  # unused parameters would stop distributed training
            self.trunk.get_parameter(parameter).requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Extract the maps."""
        return channels_first(self.trunk, self.trunk(image))

    def load_pretrained(self, file: Path | None = None) -> None:
        """Load the pretrained weights of the model, downloaded or from a file.

        Raises:
            InputError: the weights could not be fetched, or the file does not match this model.
        """
        source = fetch(self.name, self._arguments, file).state_dict()
        self.trunk.load_state_dict({key: source[key] for key in self.trunk.state_dict()})


def create(
    name: str, levels: tuple[int, ...] | None, input_size: int = 224, near: Sequence[str] = ()
) -> tuple[nn.Module, dict[str, Any]]:
    """Build a timm model with random weights that returns a list of feature maps.

    Args:
        name: a timm model.
        levels: indices of the feature maps, from 0 (the finest); None for all.
        input_size: image side in pixels, for models built for one size.
        near: further names to suggest if there is no such model.

    Returns:
        The model, and the arguments it was built with, which `fetch` needs.

    Raises:
        InputError: timm has no such model, or the model has no such feature map.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*near, *timm.list_models()], n=4)
        hint = f"did you mean {', '.join(close)}? " if close else f"{', '.join(near)} ... are known; " if near else ""
        raise InputError(f"backbone: {name!r} is unknown; {hint}timm.list_models() lists what there is")
    arguments: dict[str, Any] = {"features_only": True}
    if levels is not None:
        arguments["out_indices"] = levels
    try:
        config = timm.get_pretrained_cfg(name)
        if config is not None and config.fixed_input_size:
            backbone, arguments = _create_fixed(name, input_size, arguments)
        else:
            backbone = timm.create_model(name, **arguments)
    except (IndexError, AssertionError) as error:
        raise InputError(f"feature_level: {name} has no feature map {' '.join(map(str, levels or ()))}") from error
    except RuntimeError as error:
        raise InputError(f"backbone: timm cannot build {name}: {error}") from error
    _prune(backbone)
    return backbone, arguments


def normalization(name: str) -> tuple[Channels, Channels]:
    """Return the image mean and standard deviation (RGB, in [0, 1]) that a timm model's weights expect."""
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return IMAGENET_MEAN, IMAGENET_STD
    (mean_r, mean_g, mean_b), (std_r, std_g, std_b) = config.mean, config.std
    return (mean_r, mean_g, mean_b), (std_r, std_g, std_b)


def weights_file(pretrained: bool | str) -> Path | None:
    """Return the file that an option `pretrained` names by path or address on the hub, None if it names none."""
    return local_file(pretrained) if isinstance(pretrained, str) else None


def fetch(weights: str, arguments: Mapping[str, Any], file: Path | None = None) -> nn.Module:
    """Return a timm model with its pretrained weights, from a file, the cache or the internet.

    Args:
        weights: timm name, with or without a tag.
        arguments: further arguments of `timm.create_model`.
        file: a state dict of the whole model under timm's names, in safetensors or torch.save format, with or without
            the classifier; None downloads the weights.

    Raises:
        InputError: there are no such weights, the download failed, or the file does not match this model.
    """
    if file is not None:
        _check_file(weights, file)
        arguments = {**arguments, "pretrained_cfg_overlay": {"source": "timm", "file": str(file)}}
    elif not timm.is_model_pretrained(weights):
        raise InputError(f"timm has no pretrained weights for {weights}; train with `pretrained: false`")
    try:
        model: nn.Module = timm.create_model(weights, pretrained=True, **arguments)
    # the hub clients raise their own exceptions, which differ between versions
    except Exception as error:
        raise InputError(
            f"could not fetch the pretrained weights {weights} ({type(error).__name__}: {error}); check the "
            "connection to huggingface.co, give the path of a file with them, or set `pretrained: false` to start "
            "from random weights"
        ) from error
    return model


def _check_file(name: str, file: Path) -> None:
    """Check that a file has the tensors of the model, since timm silently skips those that do not fit."""
    with torch.device("meta"):
        model = timm.create_model(name)
    classifier = cast(Any, model).pretrained_cfg["classifier"] or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    wanted, found = (
        {key: tuple(value.shape) for key, value in state.items() if not key.startswith(heads)}
        for state in (model.state_dict(), read_checkpoint(file))
    )
    wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise InputError(
            f"pretrained: {file} is not a state dict of timm's {name}: {len(wrong)} tensors differ, such as {key}, "
            f"{found.get(key, 'missing')} in the file and {wanted.get(key, 'missing')} in the model"
        )


def channels_first(backbone: nn.Module, maps: Sequence[Tensor]) -> list[Tensor]:
    """Return the feature maps of `backbone` as (B, C, H, W), converting channels-last maps."""
    if str(getattr(backbone, "output_fmt", "")).endswith("NHWC"):
        return [each.permute(0, 3, 1, 2) for each in maps]
    return list(maps)


def _levels(name: str, strides: Sequence[int]) -> tuple[int, ...]:
    with torch.device("meta"):  # only the strides are needed
        backbone, _ = create(name, None)
    offered: list[int] = cast(Any, backbone.feature_info).reduction()
    level = {stride: index for index, stride in enumerate(offered)}
    missing = [stride for stride in strides if stride not in level]
    if missing:
        raise InputError(f"strides: {name} has no feature map of stride {missing[0]}; it has {sorted(level)}")
    return tuple(level[stride] for stride in strides)


def _probe(name: str, levels: tuple[int, ...], strides: Sequence[int]) -> tuple[int, list[str]]:
    """Return the divisor required of image sides, and the parameters that no map depends on.

    Only shapes are computed, with gradients even where the caller has switched them off. Networks that merge scales may
    need more than their coarsest stride.
    """
    with torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        backbone, _ = create(name, levels)
        for multiple in (strides[-1], 2 * strides[-1], 4 * strides[-1]):
            height, width = 5 * multiple, 7 * multiple
            try:
                maps = channels_first(backbone, backbone(torch.empty(2, 3, height, width)))
            except (RuntimeError, AssertionError, ValueError):
                continue
            if all(m.shape[-2:] == (height // s, width // s) for m, s in zip(maps, strides, strict=True)):
                torch.autograd.backward([each.sum() for each in maps])
                return multiple, [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    raise InputError(
        f"backbone: {name} does not give maps of 1/{strides[0]} to 1/{strides[-1]} of any image's sides, as it should; "
        "choose another one"
    )


def _create_fixed(name: str, input_size: int, arguments: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    try:
        flexible = {**arguments, "dynamic_img_size": True}
        return timm.create_model(name, **flexible), flexible
    except TypeError:  # this architecture lacks the argument and is fixed to one size
        fixed = {**arguments, "img_size": input_size}
        return timm.create_model(name, **fixed), fixed


def _prune(backbone: nn.Module) -> None:
    """Remove the blocks after the last feature map: unused parameters would stop distributed training."""
    if isinstance(backbone, EfficientNetFeatures | MobileNetV3Features):
        del backbone.blocks[backbone.feature_info.get_dicts()[-1]["stage"] :]
