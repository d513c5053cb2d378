"""Published CLIP-EBC checkpoints -> ours."""

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
# sizes, and the causal mask, which is computed anew
_NO_WEIGHT = re.compile(r"input_resolution|context_length|vocab_size|(.*\.)?attn_mask")


def from_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published checkpoint; the result loads into `ClipEbc` with strict=True.

    Args:
        state_dict: keys as in the authors' release (commit b52a594), optionally prefixed with `module.` or `model.`.

    Raises:
        InputError: a key belongs to no CLIP-EBC checkpoint.
    """
    return {_rename(key): value for key, value in state_dict.items()}


def from_openai(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of OpenAI's CLIP to those of open_clip's `CustomTextCLIP`; the result loads with strict=True.

    Raises:
        InputError: this is no CLIP.
    """
    missing = [key for key in ("visual.conv1.weight", "text_projection", "logit_scale") if key not in state_dict]
    if missing:
        raise InputError(f"{missing[0]!r} is missing, so this is no checkpoint of OpenAI's CLIP")
    weights = {key: value for key, value in state_dict.items() if not _NO_WEIGHT.fullmatch(key)}
    own = ("visual.", "logit_scale")
    return {key if key.startswith(own) else f"text.{key}": value.float() for key, value in weights.items()}


def _rename(key: str) -> str:
    bare = re.sub(r"^(module\.|model\.)+", "", key)
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, bare):
            return re.sub(pattern, replacement, bare)
    raise InputError(f"{key!r} is no key of a published CLIP-EBC checkpoint; is this another model's file?")
