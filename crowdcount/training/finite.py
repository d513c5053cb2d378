"""Losses and weights that are not finite: a training that has failed stops at once."""

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from crowdcount.errors import InputError

REMEDY: Final = (
    "start anew with a lower model.optimizer.lr, or go on with --trainer.gradient_clip_val 1 or --trainer.precision "
    "32-true"
)
"""Advice that helps as a rule."""


def check_weights(module: nn.Module, step: int) -> None:
    """Check that parameters are finite, and that buffers hold no NaN (some are infinite on purpose).

    Args:
        module: with the weights.
        step: number of optimizer steps made.

    Raises:
        InputError: they are not; the message names the step, the first tensor and what helps.
    """
    broken = first_broken(module)
    if broken is not None:
        raise InputError(f"step {step}: the weights are no longer finite, such as {broken}; {REMEDY}")


def loss_error(terms: Mapping[str, Tensor], module: nn.Module, step: int) -> InputError:
    """Return the error for a loss that is not finite.

    Args:
        terms: terms of the loss; scalars by name. All are finite if the loss is not so in another process.
        module: with the weights.
        step: number of this optimizer step, from 1.
    """
    values = {name: float(value) for name, value in terms.items()}
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    broken = first_broken(module)
    since = f", as the weights are no longer, such as {broken}" if broken else ""
    return InputError(
        f"step {step}: the loss is not finite ({', '.join(bad) or 'in another process'}){since}; {REMEDY}"
    )


def first_broken(module: nn.Module) -> str | None:
    """Return the name of the first parameter that is not finite, or buffer with NaN; None if there is none."""
    # NaN and infinity survive a sum, which is the cheapest look at a tensor
    signs = {name: value.detach().sum(dtype=torch.float32).isfinite() for name, value in module.named_parameters()}
    signs |= {name: ~value.isnan().any() for name, value in module.named_buffers() if value.is_floating_point()}
    if not signs:
        return None
    fine = torch.stack([each.cpu() for each in signs.values()])
    return None if fine.all() else list(signs)[int((~fine).nonzero()[0])]
