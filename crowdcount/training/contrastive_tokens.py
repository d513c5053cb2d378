"""Pairs of referring expression counting: image tokens with each other, and their scores with expressions."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from crowdcount.losses.contrastive.pairs import Pairs
from crowdcount.losses.contrastive.scores import cosines
from crowdcount.losses.precision import widen
from crowdcount.models.rec.loss import strangers
from crowdcount.models.rec.matcher import Match
from crowdcount.models.rec.outputs import PointDetections


def token_pairs(
    detections: PointDetections,
    targets: Sequence[Tensor],
    matches: Sequence[Match],
    tokens: Tensor,
    ids: Tensor,
    number: int,
) -> Pairs:
    """Return the pairs of matched tokens with all tokens of the batch.

    Positives of a token are the other matched tokens of its expression; negatives are the expression's other tokens,
    and the matched tokens of the image's other expressions whose point does not belong to both. Anything else is
    ignored: tokens of another image, or of another expression's pass over the same place.

    Args:
        detections: of E expressions.
        targets: points of each.
        matches: queries and points of each.
        tokens: (E, Q, d) embeddings.
        ids: (E,) id of each expression.
        number: of anchors, at most; drawn at random.
    """
    matched = matched_queries(detections, matches)
    anchors = matched.flatten().nonzero()[:, 0]
    if len(anchors) > number:
        anchors = anchors[torch.randperm(len(anchors), device=anchors.device)[:number].sort().values]
    expressions, queries = matched.shape
    row = anchors // queries
    other = torch.zeros(expressions, expressions * queries, dtype=torch.bool, device=anchors.device)
    for index in range(expressions):
        found = strangers(index, detections.image_index, targets, matches)
        other[index, found[:, 0] * queries + found[:, 1]] = True
    own = row[:, None] == torch.arange(expressions * queries, device=anchors.device) // queries
    pos = own & matched.flatten()
    pos[torch.arange(len(anchors), device=anchors.device), anchors] = False
    flat = tokens.flatten(0, 1)
    neg = (own & ~matched.flatten()) | (other[row] & ~own)
    return Pairs(cosines(flat[anchors], flat), pos, neg, flat[anchors], flat, group=row, ids=ids[row])


def logit_pairs(detections: PointDetections, matches: Sequence[Match], ids: Tensor) -> Pairs:
    """Return the scores of each expression with its Q queries, the matched ones positive.

    A score is the lowest logit of [CLS] and the expression's words, which decides whether the query is counted.

    Args:
        detections: of E expressions.
        matches: queries and points of each.
        ids: (E,) id of each expression.
    """
    labels = detections.phrases.labels[:, None]
    lowest = widen(detections.logits).masked_fill(~labels, torch.inf).amin(dim=2)
    matched = matched_queries(detections, matches)
    return Pairs(lowest, matched, ~matched, ids=ids)


def matched_queries(detections: PointDetections, matches: Sequence[Match]) -> Tensor:
    """Return which queries are matched to a point, (E, Q) bool."""
    matched = torch.zeros(detections.queries.shape[:2], dtype=torch.bool, device=detections.queries.device)
    for row, (query, _) in zip(matched, matches, strict=True):
        row[query] = True
    return matched


def text_ids(texts: Sequence[str], device: torch.device) -> Tensor:
    """Return a number for each text, the same in every run, (E,) int64."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return torch.tensor([int.from_bytes(each, signed=True) for each in digests], dtype=torch.int64, device=device)
