"""Pairs of anchors and references, as the places of a network make them and the losses take them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from crowdcount.losses.contrastive.scores import cosines


@dataclass
class Pairs:
    """Scores of A anchors with R references, and what a loss may want to know about them.

    Attributes:
        scores: (A, R) cosine similarities, or logits, without temperature.
        pos: (A, R) bool, the positives of each anchor.
        neg: (A, R) bool, its negatives; a pair in neither is ignored.
        z_anchor: (A, d) embeddings; None for logits.
        z_ref: (R, d) embeddings; None for logits.
        delta: (A, R) label of the reference less that of the anchor, for ordered labels.
        labels: (A,) int64 class of each anchor, where anchors and references are the same.
        group: (A,) int64, over whose means the loss is averaged.
        ids: (A,) int64, under which the state of an anchor is kept.
    """

    scores: Tensor
    pos: Tensor
    neg: Tensor
    z_anchor: Tensor | None = None
    z_ref: Tensor | None = None
    delta: Tensor | None = None
    labels: Tensor | None = None
    group: Tensor | None = None
    ids: Tensor | None = None

    def rows(self, kept: Tensor) -> "Pairs":
        """Return the pairs of some anchors, (A,) bool, without `labels`: the references are others."""

        def take(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[kept]

        return Pairs(
            self.scores[kept],
            self.pos[kept],
            self.neg[kept],
            take(self.z_anchor),
            self.z_ref,
            delta=take(self.delta),
            group=take(self.group),
            ids=take(self.ids),
        )


def class_pairs(z: Tensor, labels: Tensor, values: Tensor) -> Pairs:
    """Return the pairs of embeddings with each other: those of a class attract, those of different classes repel.

    Args:
        z: (A, d) of any length.
        labels: (A,) int64 class of each.
        values: (K,) the number that each class stands for, for instance the anchor of a count bin.
    """
    same = labels[:, None] == labels
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    value = values[labels]
    return Pairs(cosines(z, z), same & ~own, ~same, z, z, delta=value - value[:, None], labels=labels, ids=labels)


def draw_per_class(labels: Tensor, number: int) -> Tensor:
    """Return the places of at most so many members of each class, drawn at random, in ascending order.

    Args:
        labels: (N,) int64 class of each.
        number: members of a class, at most.
    """
    shuffled = torch.randperm(len(labels), device=labels.device)
    order = shuffled[labels[shuffled].argsort(stable=True)]
    ranked = labels[order]
    start = torch.searchsorted(ranked, ranked)
    return order[torch.arange(len(order), device=order.device) - start < number].sort().values
