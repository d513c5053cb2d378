"""Conversion of published ZIP checkpoints."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from crowdcount.errors import InputError

_BLOCK = r"(?:refine\.)*"
_RULES = (
    (r"bin_centers", r"anchors"),
    # heads of the models on timm and on CLIP
    (r"pi_head\.(weight|bias)", r"zero_head.\1"),
    (r"bin_head\.(.+)", r"rate_head.\1"),
    (r"lambda_head\.(.+)", r"rate_head.projection.\1"),
    (r"pi_logit_scale", r"zero_head.logit_scale"),
    (r"lambda_logit_scale", r"rate_head.logit_scale"),
    (r"pi_text_feats", r"zero_head.text"),
    (r"lambda_text_feats", r"rate_head.text"),
    # blocks after the backbone
    (rf"backbone\.refiner\.(\d+)\.{_BLOCK}(.+)", r"refiner.blocks.\1.\2"),
    (rf"backbone\.refiner\.{_BLOCK}(.+)", r"refiner.blocks.0.\1"),
    (rf"backbone\.decoder\.(\d+)\.{_BLOCK}(.+)", r"decoder.\1.\2"),
    (rf"backbone\.decoder\.{_BLOCK}(.+)", r"decoder.0.\1"),
    # backbones
    (r"backbone\.encoder\.(.+)", r"encoder.trunk.\1"),
    (r"backbone\.vpt_(\d+)", r"encoder.prompts.\1"),
    (r"backbone\.resblocks\.(.+)", r"encoder.trunk.transformer.resblocks.\1"),
    (r"backbone\.stage(\d)\.(.+)", r"encoder.trunk.stages.\1.\2"),
    (
        r"backbone\.((?:stem|stages|final_conv|conv\d|bn\d|layer\d|ln_pre|ln_post)\..+|\w+_embedding)",
        r"encoder.trunk.\1",
    ),
)
_IN_BLOCK = (  # names inside a block of the refiner or decoder
    (r"\.conv(\d)\.depthwise\.", r".conv\1."),
    (r"\.conv(\d)\.pointwise\.", r".mix\1."),
    (r"\.conv(\d)_1x1\.", r".mix\1."),
    (r"\.(norm\d|downsample\.\d)\.1\.", r".\1."),  # layer normalisation is wrapped there
    (r"\.downsample\.", ".shortcut."),
)


def from_authors(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the keys of a published checkpoint; without "anchors" the result loads with strict=True.

    Args:
        checkpoint: the published file, `{"config": ..., "weights": ...}`, or the state dict in it (keys as in commit
            bada31d, optionally prefixed with `module.` or `_orig_mod.`).

    Returns:
        The state dict of `Zip` or `ClipZip`, and under "anchors" the centres of the bins, (1, K, 1, 1).

    Raises:
        InputError: a key does not belong to a ZIP checkpoint, or the heads or the centres of the bins are missing.
    """
    content = checkpoint.get("weights", checkpoint)
    if not isinstance(content, Mapping):
        raise InputError(
            f"'weights' holds {type(content).__name__}, not a state dict; the authors' trainer also writes files with "
            "only the configuration: give the one with the weights"
        )
    keys = {key: re.sub(r"^(module\.|_orig_mod\.)+", "", key) for key in content}
    on_clip = any(bare.endswith("text_feats") for bare in keys.values())
    state = {_rename(key, bare, on_clip): content[key] for key, bare in keys.items()}
    parts = ("anchors", "zero_head.", "rate_head.")
    missing = [part for part in parts if not any(key.startswith(part) for key in state)]
    if missing:
        raise InputError(f"it has no key with {missing[0]!r}, so this is not a checkpoint of a zero-inflated ZIP model")
    return state


def network_arguments(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network arguments that a published file states; none for a bare state dict.

    Raises:
        InputError: the configuration lacks a key, or is of a model that is not zero-inflated.
    """
    config = checkpoint.get("config")
    if "weights" not in checkpoint or not isinstance(config, Mapping):
        return {}
    try:
        intervals = [_interval(low, high) for low, high in config["bins"]]
        bins = {"intervals": intervals, "anchors": [float(centre) for centre in config["bin_centers"]]}
        arguments: dict[str, Any] = {"reduction": int(config["block_size"]), "bins": bins}
        zero_inflated, on_clip = config["zero_inflated"], str(config["model_name"]).startswith("CLIP_")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"its configuration is not that of a ZIP model ({type(error).__name__}: {error})") from error
    if not zero_inflated:
        raise InputError("zero_inflated: this model has one head, which the family zip does not have")
    return arguments | (_clip_arguments(config) if on_clip else {})


def _clip_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if config.get("num_vpt"):
        arguments = {
            "vpt": config["num_vpt"],
            "vpt_dropout": config.get("vpt_drop") or 0.0,
            "input_size": config.get("input_size"),
        }
    if texts := config.get("text_prompts"):
        arguments["prompts"] = {"zero": list(texts["pi"]), "rate": list(texts["lambda"])}
    return arguments


def _interval(low: float, high: float) -> int | str:
    if high == math.inf:
        return f"{int(low)}+"
    return int(low) if low == high else f"{int(low)}-{int(high)}"


def _rename(key: str, bare: str, on_clip: bool) -> str:
    for pattern, replacement in _RULES:
        if not re.fullmatch(pattern, bare):
            continue
        name = re.sub(pattern, replacement, bare)
        if name.startswith(("refiner.", "decoder.")):
            for inner, ours in _IN_BLOCK:
                name = re.sub(inner, ours, name)
            return name
        return name.replace("zero_head.", "zero_head.projection.") if on_clip and name == "zero_head.weight" else name
    raise InputError(f"{key!r} is not a key of a published ZIP checkpoint; is this another model's file?")
