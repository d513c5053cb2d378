"""Losses as functions of tensors; no models, no data."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.losses.contrastive import SupCon

__all__ = [
    "SupCon",
]

__getattr__ = lazy_names(
    __name__,
    {
        "contrastive": ("SupCon",),
    },
)
