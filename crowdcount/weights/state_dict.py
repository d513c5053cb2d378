"""State dicts in the wrappers of other trainers, and the difference between a state dict and a network."""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from crowdcount.errors import InputError

CONTAINERS: Final = ("state_dict", "model_state_dict", "model", "module", "network", "net")
"""Keys under which trainers store a state dict, beside optimizer, epoch and other things."""
_PREFIXES: Final = ("module.", "model.", "network.", "net.")  # DistributedDataParallel, other trainers, Lightning
_COMPILED: Final = re.compile(r"(^|\.)_orig_mod(?=\.)\.?")  # torch.compile, of the whole or of a part
_LEVELS: Final = 4  # a dict may contain itself
_SHOWN: Final = 3


def find_state(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the innermost state dict of a checkpoint, or the checkpoint itself if it is one.

    Raises:
        InputError: there are no names and tensors where a state dict is expected.
    """
    state = checkpoint
    for _ in range(_LEVELS):
        key = next((key for key in CONTAINERS if key in state and not _is_weight(key, state[key])), None)
        if key is None:
            break
        state = state[key]
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise InputError(f"its {key} holds {type(state).__name__}, not names and tensors")
    return state


def _is_weight(key: str, value: Any) -> bool:
    """Return whether a key that may be a container's is that of a weight; no network calls one `state_dict`."""
    return isinstance(value, Tensor) and key != "state_dict"


def unwrapped(state: Mapping[str, Any], own: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a state dict without the prefixes that wrappers put before all its names.

    Args:
        state: the state dict, as from `find_state`.
        own: names in the network; a prefix that belongs to them is kept.
    """
    tensors = {_COMPILED.sub(r"\1", key): value for key, value in state.items() if isinstance(value, Tensor)}
    known = set(own)
    while tensors and not known & tensors.keys():
        prefix = next((each for each in _PREFIXES if any(key.startswith(each) for key in tensors)), None)
        if prefix is None:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names and tensors, wherever they came from."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def difference(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return the difference of a state dict from that of a network in words, empty if it fits."""
    shapes = [
        f"{key} ({tuple(state[key].shape)} instead of {tuple(value.shape)})"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    found = (
        ("missing", [key for key in own if key not in state]),
        ("unknown", [key for key in state if key not in own]),
        ("of another shape", shapes),
    )
    return "; ".join(f"{len(keys)} {kind}: {_listed(keys)}" for kind, keys in found if keys)


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
