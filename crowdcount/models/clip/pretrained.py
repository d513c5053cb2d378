"""Pretrained weights of CLIP's towers, from which a training starts."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import open_clip
import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.models.base import CLIP_MEAN, CLIP_STD
from crowdcount.models.clip.towers import clip_config
from crowdcount.weights.cache import ensure_downloaded
from crowdcount.weights.checkpoint import read_checkpoint
from crowdcount.weights.hub import is_address, local_file
from crowdcount.weights.index import find_entry

# sizes, and the causal mask, which is computed anew
_NO_WEIGHT = re.compile(r"input_resolution|context_length|vocab_size|(.*\.)?attn_mask")
Channels = tuple[float, float, float]

_TEXTS = 256  # encoded at a time


def fetch_clip(name: str, pretrained: str, quick_gelu: bool | None = None) -> Any:
    """Return open_clip's model `name`, with separate `visual` and `text` towers, with pretrained weights.

    Args:
        name: a model that open_clip knows.
        pretrained: "openai" for the weights in the index, another of open_clip's tags, or the path of a checkpoint
            or its address on the hub, hf:OWNER/NAME/FILE.
        quick_gelu: whether the towers use QuickGELU; None takes open_clip's configuration of that name.

    Raises:
        InputError: the weights could not be fetched.
    """
    config = clip_config(name)
    if quick_gelu is not None:
        config["quick_gelu"] = quick_gelu
    if pretrained == "openai":
        return _openai(name, config)
    if is_address(pretrained):
        pretrained = str(local_file(pretrained))
    try:
        quick = config.get("quick_gelu", False)
        return open_clip.create_model(name, pretrained=pretrained, force_custom_text=True, force_quick_gelu=quick)
    except Exception as error:  # the hub client, the file system and the file format raise various exceptions
        raise InputError(
            f"the weights {pretrained!r} of {name} could not be fetched ({type(error).__name__}: {error}).\n"
            "Check the connection, give the path of a checkpoint, or start from random weights: pretrained: null"
        ) from error


def build_clip(name: str) -> Any:
    """Return open_clip's model `name`, with separate `visual` and `text` towers, with random weights.

    Raises:
        InputError: there is no such model, or a file of its text tower could not be fetched from the hub.
    """
    config = clip_config(name)
    config.pop("custom_text", None)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"]["hf_model_pretrained"] = False
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        return kind(**config)
    except Exception as error:  # as in fetch_clip
        raise InputError(
            f"{name} could not be built ({type(error).__name__}: {error}).\n"
            "Its text tower needs files from huggingface.co; check the connection, or take another model"
        ) from error


@torch.no_grad()
def encode_texts(clip: Any, name: str, texts: Sequence[str]) -> Tensor:
    """Return the unit-length text features (N, D) of one of open_clip's models.

    Args:
        clip: the model, in evaluation mode.
        name: its name, which says how texts are tokenized.
        texts: N texts.

    Raises:
        InputError: the tokenizer could not be fetched.
    """
    tokenize = get_tokenizer(name)
    chunks = [list(texts[start : start + _TEXTS]) for start in range(0, len(texts), _TEXTS)]
    return torch.cat([clip.encode_text(tokenize(chunk), normalize=True) for chunk in chunks])


def normalization(name: str, pretrained: str | None) -> tuple[Channels, Channels]:
    """Return the image mean and standard deviation (RGB, in [0, 1]) that weights of one of open_clip's models expect.

    Args:
        name: the model.
        pretrained: one of its tags; for other values those of its first tag, or of OpenAI's CLIP if it has none.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = pretrained if pretrained in tags else next(iter(tags), "")
    config = open_clip.get_pretrained_cfg(name, tag)
    return tuple(config.get("mean") or CLIP_MEAN), tuple(config.get("std") or CLIP_STD)


@lru_cache(maxsize=8)
def get_tokenizer(name: str) -> Any:
    """Return the tokenizer of one of open_clip's models; that of OpenAI's CLIP needs no download.

    Raises:
        InputError: the tokenizer could not be fetched.
    """
    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:  # as in fetch_clip
        raise InputError(
            f"the tokenizer of {name} could not be fetched ({type(error).__name__}: {error}).\n"
            "Check the connection, or take a model with the tokenizer of OpenAI's CLIP"
        ) from error


def from_openai(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of OpenAI's CLIP to those of open_clip's `CustomTextCLIP`; the result loads with strict=True.

    Raises:
        InputError: the state dict is not a CLIP model.
    """
    missing = [key for key in ("visual.conv1.weight", "text_projection", "logit_scale") if key not in state_dict]
    if missing:
        raise InputError(f"{missing[0]!r} is missing, so this is not a checkpoint of OpenAI's CLIP")
    weights = {key: value for key, value in state_dict.items() if not _NO_WEIGHT.fullmatch(key)}
    own = ("visual.", "logit_scale")
    return {key if key.startswith(own) else f"text.{key}": value.float() for key, value in weights.items()}


def _openai(name: str, config: dict[str, Any]) -> Any:
    """Return a model with OpenAI's weights from the index."""
    model = re.sub(r"^vit-(.)-", r"vit_\1", name.removesuffix("-quickgelu").lower()).replace("-", "_")
    try:
        path = ensure_downloaded(find_entry(f"clip_ebc/{model}.openai"))
    except InputError as error:
        raise InputError(f"{error}\nTo start from random weights: pretrained: null") from error
    clip = open_clip.CustomTextCLIP(**config)
    clip.load_state_dict(from_openai(read_checkpoint(path)))
    return clip
