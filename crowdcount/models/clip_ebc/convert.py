"""Conversion of published CLIP-EBC checkpoints."""

import re
from collections.abc import Mapping

from torch import Tensor

from crowdcount.errors import InputError

_RULES = (
    (r"vpt_(\d+)", r"visual.prompts.\1"),
    (r"image_encoder\.(.+)", r"visual.trunk.\1"),
    (r"image_decoder\.(.+)", r"decoder.\1"),
    (r"text_encoder\.(.+)", r"text.\1"),
    (r"(projection\..+|logit_scale)", r"\1"),
)


def from_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published checkpoint; the result loads into `ClipEbc` with strict=True.

    Args:
        state_dict: keys as in the authors' release (commit b52a594), optionally prefixed with `module.` or `model.`.

    Raises:
        InputError: a key does not belong to a CLIP-EBC checkpoint.
    """
    return {_rename(key): value for key, value in state_dict.items()}


def _rename(key: str) -> str:
    bare = re.sub(r"^(module\.|model\.)+", "", key)
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, bare):
            return re.sub(pattern, replacement, bare)
    raise InputError(f"{key!r} is not a key of a published CLIP-EBC checkpoint; is this another model's file?")
