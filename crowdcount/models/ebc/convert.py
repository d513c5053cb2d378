"""Conversion of published EBC checkpoints to state dicts of `Ebc`."""

import re
from collections.abc import Mapping

from torch import Tensor

from crowdcount.errors import InputError

_PARTS = ("backbone.", "classifier.")


def from_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of a published classifier without CLIP; the result loads with `strict=True`.

    The key names are the same; only the prefixes of wrappers (`module.`, `model.`) are removed.

    Raises:
        InputError: the state dict is not of a published EBC model; the message names unexpected or missing keys.
    """
    state = {re.sub(r"^((module|model)\.)+", "", key): value for key, value in state_dict.items()}
    strange = [key for key, value in state.items() if not (key.startswith(_PARTS) and isinstance(value, Tensor))]
    missing = [part for part in _PARTS if not any(key.startswith(part) for key in state)]
    if strange or missing:
        found = f"unexpected: {', '.join(strange[:4])}" if strange else f"nothing begins with {' or '.join(missing)}"
        raise InputError(
            f"this is not a state dict of a published EBC model (tensors under backbone. and classifier.): {found}. "
            "In a training checkpoint, the state dict is stored under a key: give that; CLIP models are converted "
            "by crowdcount.models.clip_ebc.convert"
        )
    return state
