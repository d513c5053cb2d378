"""The precision that losses are computed in."""

import torch
from torch import Tensor


def widen(values: Tensor) -> Tensor:
    """Return the values in float32 at least, as counts are sums over many cells; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
