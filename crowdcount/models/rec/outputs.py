"""Outputs of the detector, and the roles of an expression's tokens."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from crowdcount.losses.precision import widen


@dataclass
class Phrases:
    """E tokenised expressions, padded to T tokens ("[CLS] person in red . [SEP]").

    Attributes:
        ids: (E, T) token ids.
        tokens: (E, T) bool, true for tokens that are not padding.
        words: (E, T) bool, true for words, excluding [CLS], the final "." and [SEP].
        labels: (E, T) bool, true for [CLS] and the words, to which a query that found an object should respond.
        attributes: (E, T) bool, true for the words that distinguish the expression from others of its class, and for
            [CLS], "." and [SEP], as pooled by GroundingREC; all tokens if the attribute is not known.
    """

    ids: Tensor
    tokens: Tensor
    words: Tensor
    labels: Tensor
    attributes: Tensor

    @property
    def sizes(self) -> Tensor:
        """Number of tokens of each expression, (E,)."""
        return self.tokens.sum(dim=1)

    def to(self, device: torch.device) -> "Phrases":
        """Move the phrases to a device."""
        return Phrases(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass
class PointDetections:
    """Q queries for each of E expressions; each expression has one row.

    Attributes:
        logits: (E, Q, T) scores of the tokens; undefined for padding.
        points: (E, Q, 2) x, y of the centres, as fractions of the image's width and height.
        sizes: (E, Q, 2) width and height of the boxes, in the same unit; not supervised.
        queries: (E, Q, d) features of the last decoder layer.
        text: (E, T, d) features of the tokens.
        phrases: the expressions.
        image_index: (E,) index of the image that each row belongs to.
    """

    logits: Tensor
    points: Tensor
    sizes: Tensor
    queries: Tensor
    text: Tensor
    phrases: Phrases
    image_index: Tensor


def selected(logits: Tensor, phrases: Phrases, cls_threshold: float = 0.25, word_threshold: float = 0.35) -> Tensor:
    """Select the queries, (E, Q) bool, above `cls_threshold` at [CLS] and above `word_threshold` at every word.

    This is the rule of GroundingREC, without non-maximum suppression; the predicted count is the number of selected
    queries.

    Args:
        logits: (E, Q, T) scores of the tokens, before the sigmoid; arbitrary for padding.
        phrases: the expressions; [CLS] is their first token.
        cls_threshold: probability that [CLS] must exceed.
        word_threshold: probability that each word must exceed.
    """
    probabilities = widen(logits).sigmoid()
    named = (probabilities > word_threshold) | ~phrases.words[:, None]
    return (probabilities[..., 0] > cls_threshold) & named.all(dim=2)
