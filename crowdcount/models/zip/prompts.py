"""Texts of the classes, and the search for those with the least similar text features.

The wording is that of the published code (commit bada31d), including its errors: the open bin "15 or more" may read
"more than 15".
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.models.clip.number_words import number_words

Edges = Sequence[tuple[int, float]]
"""Lowest and highest count of each class."""

ZERO_EDGES: Edges = ((0, 0), (1, math.inf))
"""Classes of the head for structural zeros."""

PREFIXES = (
    "", "A photo of", "A block of", "An image of", "A picture of", "There are", "The image contains",
    "The photo contains", "The picture contains", "The image shows", "The photo shows", "The picture shows",
)  # fmt: skip
COMPARATIVES = (
    "more than", "greater than", "higher than", "larger than", "bigger than", "greater than or equal to", "at least",
    "no less than", "not less than", "not fewer than", "not lower than", "not smaller than",
    "not less than or equal to", "over", "above", "beyond", "exceeding", "surpassing",
)  # fmt: skip
NOUNS = ("people", "persons", "individuals", "humans", "faces", "heads", "figures", "")


@dataclass
class Prompts:
    """A text for each class.

    Args:
        zero: texts for no person and for some.
        rate: texts of the bins from 1 up.
    """

    zero: list[str]
    rate: list[str]

    def check(self, bins: int) -> None:
        """Check that there is one text for each class.

        Args:
            bins: number of bins, including the bin of 0.

        Raises:
            InputError: the number of texts is wrong; the message names the list and its length.
        """
        for name, texts, needed in (("zero", self.zero, 2), ("rate", self.rate, bins - 1)):
            if len(texts) != needed:
                raise InputError(f"prompts.{name}: {len(texts)} texts are given, and there are {needed} classes")


@dataclass(frozen=True)
class Template:
    """Template for the wording of counts.

    Attributes:
        prefix: words before the number.
        words: whether numbers are spelled out.
        comparative: words before the lowest count of the open bin.
        noun: counted objects, in the plural; may be empty.
    """

    prefix: str
    words: bool
    comparative: str
    noun: str

    def text(self, low: int, high: float) -> str:
        """Return the sentence for the counts `low` to `high`."""
        number, noun, prefix = self._number(low), self.noun, self.prefix
        if high == math.inf:
            number = f"{self.comparative} {number}"
        elif low != high:
            number = f"between {number} and {self._number(int(high))}"
        elif low <= 1:
            noun, prefix = _singular(noun), prefix.replace("There are", "There is")
        return f"{prefix} {number} {noun}".strip() + "."

    def _number(self, count: int) -> str:
        return number_words(count) if self.words else str(count)


def templates() -> Iterator[Template]:
    """Yield the published templates in order: by prefix, digits before words, comparative, noun."""
    for prefix, words, comparative, noun in itertools.product(PREFIXES, (False, True), COMPARATIVES, NOUNS):
        yield Template(prefix, words, comparative, noun)


def find_prompts(edges: Edges, encode: Callable[[list[str]], Tensor]) -> Prompts:
    """Choose the texts of both heads whose features are least similar.

    Args:
        edges: edges of all bins, starting with the bin of 0.
        encode: function from texts to (N, D) features of unit length.
    """
    return Prompts(least_alike(ZERO_EDGES, encode), least_alike(edges[1:], encode))


def least_alike(edges: Edges, encode: Callable[[list[str]], Tensor]) -> list[str]:
    """Return the texts of the first template with the smallest mean cosine between classes.

    Many templates share most sentences and differ only in the open bin; each sentence is encoded once.

    Args:
        edges: edges of the classes.
        encode: function from texts to (N, D) features of unit length.
    """
    candidates = [[template.text(low, high) for low, high in edges] for template in templates()]
    row = {text: index for index, text in enumerate(dict.fromkeys(itertools.chain(*candidates)))}
    features = encode(list(row))
    chosen = features[torch.tensor([[row[text] for text in texts] for texts in candidates], device=features.device)]
    cosines = chosen @ chosen.mT
    others = cosines.sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(dim=1)
    return candidates[int(others.argmin())]


def _singular(noun: str) -> str:
    return "person" if noun == "people" else noun[:-1]
