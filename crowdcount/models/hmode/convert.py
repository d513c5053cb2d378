"""Conversion of published HMoDE checkpoints to state dicts of `Hmode` with `compat="released"`."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crowdcount.errors import InputError

_LAYERS = {  # published name before a layer's number n -> our name, a, b, where our number is a n + b
    "features1.": ("encoder.trunk.features_", 1, 0),
    "features2.": ("encoder.trunk.features_", 1, 6),
    "features3.": ("encoder.trunk.features_", 1, 13),
    "features4.": ("encoder.trunk.features_", 1, 23),
    "features5.": ("encoder.trunk.features_", 1, 33),
    **{f"de_pred{scale}.": (f"decoders.{scale - 1}.", 2, 0) for scale in (1, 2, 3)},
    **{f"head{scale}.": (f"heads.{scale - 1}.", 2, 0) for scale in (1, 2, 3)},
    "gating1.conv": ("group_gate.", 2, -2),
    "gating2.conv": ("mixture_gate.", 2, -2),
    "mask.conv": ("attention.", 2, -2),
}


def from_authors(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the keys of a published checkpoint; the result loads with `strict=True`.

    Args:
        state_dict: keys as in the authors' release (commit 693c104), as they are, with the prefix `module.`, or under
            the key `model` of a training checkpoint.

    Raises:
        InputError: a key does not belong to an HMoDE checkpoint.
    """
    content = state_dict.get("model", state_dict)
    if not isinstance(content, Mapping):
        raise InputError("'model' is not a state dict; is this another model's file?")
    state = {_rename(key): value for key, value in content.items()}
    return {**state, "released": torch.tensor(True)}


def _rename(key: str) -> str:
    bare = key.removeprefix("module.").replace("mask.output.", "mask.conv3.")
    match = re.fullmatch(r"(\w+\.(?:conv)?)(\d+)(?:\.conv)?\.(\w+)", bare)
    if match is None or match[1] not in _LAYERS:
        raise InputError(f"{key!r} is not a key of a published HMoDE checkpoint; is this another model's file?")
    ours, factor, offset = _LAYERS[match[1]]
    return f"{ours}{factor * int(match[2]) + offset}.{match[3]}"
