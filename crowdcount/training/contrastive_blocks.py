"""Pairs of count blocks: the features that a blockwise network classifies, by the bin of each block."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.losses.contrastive.pairs import Pairs, class_pairs, draw_per_class
from crowdcount.losses.contrastive.term import ContrastiveTerm, Place
from crowdcount.losses.density import block_targets
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.training.contrastive import ContrastiveTerms

_PLACES: Final[tuple[Place, ...]] = ("count_bins",)


class BlockFeatures:
    """The features of the last forward pass: the input of the layer that the network names.

    Args:
        network: a blockwise network.
        in_training: keep them of passes in training alone, so that those of a whole image in between are not held.

    Raises:
        InputError: the network names no such layer.
    """

    def __init__(self, network: BlockwiseCounter, *, in_training: bool) -> None:
        self._last: Tensor | None = None
        self._in_training = in_training
        self._handle = feature_layer(network).register_forward_pre_hook(self._keep)

    def take(self) -> Tensor:
        """Return the features (B, C, rows, columns), once."""
        assert self._last is not None
        features, self._last = self._last, None
        return features

    def close(self) -> None:
        """Stop keeping features."""
        self._handle.remove()

    def _keep(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if layer.training or not self._in_training:
            self._last = inputs[0]


class BlockContrast(ContrastiveTerms):
    """Contrastive terms on the features of blocks.

    Args:
        terms: lines of the configuration, all at count_bins.
        network: the network; it is looked into only if there is a term.

    Raises:
        InputError: a term belongs elsewhere, or the network does not name its features.
    """

    def __init__(self, terms: Sequence[ContrastiveTerm], network: BlockwiseCounter) -> None:
        super().__init__(terms, _PLACES, len(network.bins), network.feature_channels)
        self._features = BlockFeatures(network, in_training=True) if terms else None
        self._bins, self._stride, self._values = network.bins, network.stride, network.bins.values

    def losses(
        self, density: Tensor, points: Sequence[Points], step: int, *, once_per_pixel: bool
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the forward pass that has just ended.

        Args:
            density: (B, 1, rows, columns), its output.
            points: (n, 2) of each crop, in its pixels.
            step: optimizer steps so far.
            once_per_pixel: several points in one pixel count once.
        """
        if self._features is None:
            return {}
        features = self._features.take()
        classes = self._bins.classes(block_targets(points, density.float(), self._stride, once_per_pixel)[:, 0])
        values = features.new_tensor(self._values, dtype=torch.float32)
        return self.forward({"count_bins": partial(bin_pairs, features, classes, values)}, step)


def feature_layer(network: BlockwiseCounter) -> nn.Module:
    """Return the layer whose input are the features of the blocks.

    Raises:
        InputError: the network names none.
    """
    if not network.feature_layer:
        raise InputError(
            f"model.contrastive: {type(network).__name__} does not name the layer whose input are its features; set "
            "feature_layer and feature_channels in its class"
        )
    return network.get_submodule(network.feature_layer)


def bin_pairs(features: Tensor, classes: Tensor, values: Tensor, number: int) -> Pairs:
    """Return the pairs of some blocks with each other, as many of each bin: most blocks are empty.

    Args:
        features: (B, C, rows, columns).
        classes: (B, rows, columns) int64, the bin of each block.
        values: (K,) the count that each bin stands for.
        number: of blocks, at most.
    """
    labels = classes.flatten()
    present = int((labels.bincount() > 0).sum())
    chosen = draw_per_class(labels, max(number // max(present, 1), 1))
    return class_pairs(features.movedim(1, -1).flatten(0, 2)[chosen], labels[chosen], values)
