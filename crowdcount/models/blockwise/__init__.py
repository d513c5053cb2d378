"""Blockwise classification of counts (EBC, arXiv 2403.09281): bins, decoding, loss."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.models.blockwise.bins import Bins
    from crowdcount.models.blockwise.counter import BlockwiseCounter
    from crowdcount.models.blockwise.loss import Dace

__all__ = ["Bins", "BlockwiseCounter", "Dace"]

__getattr__ = lazy_names(__name__, {"bins": ("Bins",), "counter": ("BlockwiseCounter",), "loss": ("Dace",)})
