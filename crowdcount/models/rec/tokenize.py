"""Tokenisation of expressions, with masks of words, labels and attributes."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.models.rec.outputs import Phrases

SPECIAL = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
"""Ids of special tokens that Grounding DINO assumes in any vocabulary."""


def detector_text(text: str) -> str:
    """Normalise an expression for the detector: lower case, no "." or "?" inside, one "." at the end.

    Raises:
        InputError: no word is left.
    """
    words = _words(text)
    if not words:
        raise InputError(f"expression {text!r}: holds no word; name what to count")
    return f"{words}."


def tokenize(tokenizer: Any, texts: Sequence[str], attributes: Sequence[str], limit: int) -> Phrases:
    """Tokenise expressions.

    Args:
        tokenizer: a fast BERT tokenizer of transformers.
        texts: the expressions.
        attributes: words that distinguish each expression from others of its class; "" if not known.
        limit: maximum number of tokens of an expression.

    Raises:
        InputError: an expression is empty or too long.
    """
    written = [detector_text(text) for text in texts]
    encoded = tokenizer(written, padding=True, return_offsets_mapping=True, return_tensors="pt")
    ids, tokens = encoded["input_ids"], encoded["attention_mask"].bool()
    for text, count in zip(texts, tokens.sum(dim=1).tolist(), strict=True):
        if count > limit:
            raise InputError(f"expression {text!r}: has {count} tokens, the detector reads at most {limit}; shorten it")
    ends = _last(ids == SPECIAL["."])
    place = torch.arange(ids.shape[1])
    labels = place < ends[:, None]
    spans = [_span(text, words) for text, words in zip(written, attributes, strict=True)]
    starts, stops = encoded["offset_mapping"].unbind(dim=2)
    first, last = torch.tensor(spans).T.unsqueeze(2)
    words = labels & (place > 0)
    pooled = tokens & (~words | ((starts < last) & (stops > first)))
    return Phrases(ids=ids, tokens=tokens, words=words, labels=labels, attributes=pooled)


def vocabulary(words: Sequence[str]) -> dict[str, int]:
    """Return a vocabulary of special tokens and whole words, for detectors trained from scratch.

    Raises:
        InputError: a word is not a single word that the tokenizer keeps whole.
    """
    for word in words:
        if not word.isalnum():
            raise InputError(f"words: {word!r} is not one word of letters and digits; list its parts one by one")
    names = {number: f"[unused{number}]" for number in range(max(SPECIAL.values()) + 1)}
    names |= {0: "[PAD]", 100: "[UNK]"} | {number: token for token, number in SPECIAL.items()}
    known = dict.fromkeys(word.lower() for word in words)
    return {token: number for number, token in enumerate([*names.values(), *known])}


def _words(text: str) -> str:
    return " ".join(re.sub(r"[.?]", " ", text.lower()).split())


def _span(text: str, words: str) -> tuple[int, int]:
    """Return the span of the first occurrence of `words` in `text` as whole words; all of `text` if there is none."""
    wanted = _words(words)
    found = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) if wanted else None
    return found.span() if found else (0, len(text))


def _last(mask: Tensor) -> Tensor:
    """Return the column of the last True of each row."""
    return mask.shape[1] - 1 - mask.int().flip(dims=(1,)).argmax(dim=1)
