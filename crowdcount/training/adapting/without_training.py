"""Levels without a training: a factor, and statistics of batch normalisation."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from crowdcount.inference.model import Model
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.training.adapting.frames import Frame
from crowdcount.training.adapting.levels import normalisations

LOWEST: Final = 0.1
"""Lowest factor; its inverse is the highest."""

PRIOR: Final = 16
"""Number of frames that the statistics of the training count as."""

MOST: Final = 8
"""Number of frames whose statistics are measured, the first; further ones would change little and take time."""


def best_factor(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Return the factor f with the lowest sum of |true - f predicted|: a median, which single frames hardly move.

    The sum is that of predicted |true / predicted - f|, so f is the median of the ratios, weighted by the predictions;
    `LOWEST` and its inverse are its limits.

    Args:
        true: (N,) true counts.
        predicted: (N,) predicted counts.

    Example:
        >>> best_factor(np.array([10.0, 20.0, 90.0]), np.array([5.0, 10.0, 10.0]))
        2.0
    """
    seen = predicted > 0
    if not seen.any():
        return 1.0
    ratios, weights = true[seen] / predicted[seen], predicted[seen]
    order = np.argsort(ratios, kind="stable")
    reached = np.cumsum(weights[order])
    middle = ratios[order][np.searchsorted(reached, reached[-1] / 2)]
    return float(np.clip(middle, LOWEST, 1 / LOWEST))


def scale_counts(network: BlockwiseCounter, factor: float) -> None:
    """Multiply the counts of a network by a factor: that of its anchors, which its configuration holds."""
    network.use_bins(Bins(list(network.bins.intervals), [value * factor for value in network.bins.values]))


@torch.no_grad()
def renew_statistics(model: Model, frames: Sequence[Frame]) -> None:
    """Mix the statistics of batch normalisation with those of frames, whose labels are not needed.

    N frames weigh N / (N + `PRIOR`) against the statistics of the training, as in Schneider et al., "Improving
    robustness against common corruptions by covariate shift adaptation", NeurIPS 2020 (arXiv 2006.16971).
    """
    layers = normalisations(model.network)
    before = [(_tensor(layer.running_mean).clone(), _tensor(layer.running_var).clone()) for layer in layers]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # plain means over the frames
        layer.train()
    for frame in frames[:MOST]:
        model.inference.density(model.network, model.pixels(frame.record.read())[None])
    share = min(len(frames), MOST) / (min(len(frames), MOST) + PRIOR)
    for layer, (mean, variance), momentum in zip(layers, before, momenta, strict=True):
        _tensor(layer.running_mean).lerp_(mean, 1 - share)
        _tensor(layer.running_var).lerp_(variance, 1 - share)
        layer.momentum = momentum
        layer.eval()


def _tensor(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None, "`normalisations` leaves out layers without statistics"
    return value
