"""Weights: index, downloads, cache, and reading of checkpoints without running code in them."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.weights.cache import ensure_downloaded
    from crowdcount.weights.checkpoint import read_checkpoint
    from crowdcount.weights.index import WeightEntry, list_weights, read_index

__all__ = ["WeightEntry", "ensure_downloaded", "list_weights", "read_checkpoint", "read_index"]

__getattr__ = lazy_names(
    __name__,
    {
        "cache": ("ensure_downloaded",),
        "checkpoint": ("read_checkpoint",),
        "index": ("WeightEntry", "list_weights", "read_index"),
    },
)
