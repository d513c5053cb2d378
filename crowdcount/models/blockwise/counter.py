"""Head of blockwise classifiers: from the class scores of a block to its expected count."""

import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.losses.precision import widen
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.blockwise.bins import Bins


class BlockwiseCounter(DensityNetwork):
    """Base class of networks that classify the count of each block (EBC, arXiv 2403.09281).

    The density of a block is the expected anchor under the class distribution p = softmax(logits), sum_k p_k a_k; its
    variance is that of the anchor, sum_k p_k (a_k - density)^2.

    Attributes:
        bins: the classes and their anchors.
        feature_layer: name of the submodule whose input are the features of the blocks, (B, C, rows, columns), for
            contrastive terms; "" if the network names none.
        feature_channels: C.
    """

    predicts_variance = True
    anchors: Tensor
    feature_layer: str = ""
    feature_channels: int = 0

    def __init__(self, bins: Bins, stride: int) -> None:
        super().__init__()
        self.bins = bins
        self.stride = stride
        # not in the state dict, like in published checkpoints: the anchors are part of the configuration
        self.register_buffer("anchors", torch.tensor(bins.values), persistent=False)

    def use_bins(self, bins: Bins) -> None:
        """Count with other anchors of the same classes.

        Raises:
            InputError: the number of classes differs.
        """
        if len(bins) != len(self.bins):
            raise InputError(f"bins: {len(bins)} classes, but the head has {len(self.bins)}; change the anchors alone")
        self.bins = bins
        self.anchors.copy_(torch.tensor(bins.values))

    def decode(self, logits: Tensor) -> CountMap:
        """Convert class scores (B, K, H, W) to a count map, in float32 at least."""
        logits = widen(logits)
        classes, anchors = logits.softmax(dim=1), self.anchors.view(1, -1, 1, 1)
        density = (classes * anchors).sum(dim=1, keepdim=True)
        with torch.no_grad():  # no loss needs it
            variance = (classes * (anchors - density).square()).sum(dim=1, keepdim=True)
        return CountMap(density=density, logits=logits, variance=variance)
