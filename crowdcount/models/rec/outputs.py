"""Outputs of the detector, and the meaning of an expression's tokens."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class Phrases:
    """Tokenised expressions: E of them, padded to T tokens ("[CLS] person in red . [SEP]").

    Attributes:
        ids: (E, T) token ids.
        tokens: (E, T) bool: not padding.
        words: (E, T) bool: the words, without [CLS], the final "." and [SEP].
        labels: (E, T) bool: the tokens a query that found an object should answer to, [CLS] and the words.
        attributes: (E, T) bool: the words that tell the expression from others of its class, and [CLS], "." and [SEP],
            as GroundingREC pools them; all tokens where the attribute is not known.
    """

    ids: Tensor
    tokens: Tensor
    words: Tensor
    labels: Tensor
    attributes: Tensor

    @property
    def sizes(self) -> Tensor:
        """(E,) the number of tokens of each expression."""
        return self.tokens.sum(dim=1)

    def to(self, device: torch.device) -> "Phrases":
        """Return the phrases on a device."""
        return Phrases(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass
class PointDetections:
    """Q queries for each of E expressions; an image has as many rows as expressions.

    Attributes:
        logits: (E, Q, T) score of each token; padding holds no number of meaning.
        points: (E, Q, 2) x, y of the centres, in [0, 1] of the image's width and height.
        sizes: (E, Q, 2) width and height of the boxes, in the same unit; not supervised.
        queries: (E, Q, d) features of the last decoder layer.
        text: (E, T, d) features of the tokens.
        phrases: the expressions.
        image_index: (E,) which image of the batch a row belongs to.
    """

    logits: Tensor
    points: Tensor
    sizes: Tensor
    queries: Tensor
    text: Tensor
    phrases: Phrases
    image_index: Tensor


def selected(logits: Tensor, phrases: Phrases, cls_threshold: float = 0.25, word_threshold: float = 0.35) -> Tensor:
    """Return which queries count, (E, Q) bool: one above `cls_threshold` at [CLS] and above the other at every word.

    The rule of GroundingREC, without suppression of neighbours; the predicted count is the number of such queries.

    Args:
        logits: (E, Q, T) score of each token, before the sigmoid; padding may hold anything.
        phrases: the expressions; [CLS] is their first token.
        cls_threshold: probability that [CLS] has to exceed.
        word_threshold: probability that each of the words has to exceed.
    """
    probabilities = logits.float().sigmoid()
    named = (probabilities > word_threshold) | ~phrases.words[:, None]
    return (probabilities[..., 0] > cls_threshold) & named.all(dim=2)
