"""Shared head of the family: from two sets of block scores to the mean and variance of the count.

Source: Ma, Sanchez, Guha, "ZIP: Scalable Crowd Counting via Zero-Inflated Poisson Modeling", arXiv 2506.19955.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.losses.precision import widen
from crowdcount.models.base import CLIP_MEAN, CLIP_STD, CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.zip.convert import from_authors, network_arguments


@dataclass(kw_only=True)
class ZeroInflatedMap(CountMap):
    """Density with the zero-inflated Poisson distribution of which it is the mean; K bins, the first of which is 0.

    The count of a block is 0 with the probability p0 of a structural zero, and otherwise (p1 = 1 - p0) Poisson with
    rate
    lambda: mean p1 lambda, variance p1 lambda (1 + p0 lambda). `logits` are the logarithms of (p0, p1 q), where q are
        the
    bin probabilities of a block that is not a structural zero.

    Attributes:
        zero_logits: (B, 2, H / stride, W / stride), logits of a structural zero and of none.
        rate_logits: (B, K - 1, H / stride, W / stride), logits of the bins from 1 up.
        rate: (B, 1, H / stride, W / stride), lambda, the expected anchor of those bins.
    """

    zero_logits: Tensor
    rate_logits: Tensor
    rate: Tensor


class ZeroInflatedNetwork(BlockwiseCounter):
    """Base class of networks with zero-inflated Poisson block counts."""

    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __init__(self, bins: Bins, stride: int) -> None:
        super().__init__(bins, stride)
        if len(bins) < 2 or bins.edges[0] != (0, 0) or bins.values[0] != 0:
            raise InputError(
                f"bins: the first must be 0 with the anchor 0, and another must follow; got {bins.intervals} with the "
                f"anchors {bins.values}"
            )

    def combine(self, zero_logits: Tensor, rate_logits: Tensor) -> ZeroInflatedMap:
        """Combine the scores of both heads into a count map, in at least float32.

        Args:
            zero_logits: (B, 2, H, W), logits of a structural zero and of none.
            rate_logits: (B, K - 1, H, W), logits of the bins from 1 up.
        """
        zero_logits, rate_logits = widen(zero_logits), widen(rate_logits)
        anchors = self.anchors[1:].to(rate_logits.dtype).view(1, -1, 1, 1)
        rate = (rate_logits.softmax(dim=1) * anchors).sum(dim=1, keepdim=True)
        empty, occupied = zero_logits.softmax(dim=1).chunk(2, dim=1)
        zero, present = functional.log_softmax(zero_logits, dim=1).chunk(2, dim=1)
        density = occupied * rate
        return ZeroInflatedMap(
            density=density,
            logits=torch.cat([zero, present + functional.log_softmax(rate_logits, dim=1)], dim=1),
            variance=density * (1 + empty * rate),
            zero_logits=zero_logits,
            rate_logits=rate_logits,
            rate=rate,
        )

    @classmethod
    def published_arguments(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Return block side, bins and other network arguments that a published file states."""
        return network_arguments(checkpoint)

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a published checkpoint, whose bin centres must be the anchors of this network.

        Args:
            state_dict: content of the published file, or the state dict in it.

        Raises:
            InputError: the checkpoint is not of this family, or has other bins.
            RuntimeError: the weights do not fit.
        """
        weights = from_authors(state_dict)
        centres = weights.pop("anchors").flatten()
        if centres.shape != self.anchors.shape or not torch.allclose(centres, self.anchors, rtol=1e-6):
            raise InputError(
                f"bins: the checkpoint counts with the anchors {[round(value, 5) for value in centres.tolist()]}, this "
                f"network with {[round(value, 5) for value in self.anchors.tolist()]}; build it with those bins"
            )
        self.load_state_dict(weights, strict=True)
