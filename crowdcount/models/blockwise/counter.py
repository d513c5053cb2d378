"""The head every blockwise classifier ends in: class scores of a block -> expected count of the block."""

import torch
from torch import Tensor

from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.blockwise.bins import Bins


class BlockwiseCounter(DensityNetwork):
    """Base of networks that classify the count of every block (EBC, arXiv 2403.09281).

    The density of a block is the expected anchor under the class distribution: sum_k softmax(logits)_k a_k.

    Attributes:
        bins: the classes and their anchors.
    """

    anchors: Tensor

    def __init__(self, bins: Bins, stride: int) -> None:
        super().__init__()
        self.bins = bins
        self.stride = stride
        # not in the state dict: published checkpoints do not hold the anchors either, the config does
        self.register_buffer("anchors", torch.tensor(bins.values), persistent=False)

    def decode(self, logits: Tensor) -> CountMap:
        """Turn (B, K, H, W) class scores into a count map, in float32 whatever the precision before it."""
        logits = logits.float()
        density = (logits.softmax(dim=1) * self.anchors.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
        return CountMap(density=density, logits=logits)
