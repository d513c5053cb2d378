"""Expressions -> tokens, and which of them are words, labels and attributes."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.models.rec.outputs import Phrases

SPECIAL = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
"""The ids that Grounding DINO takes for granted, in any vocabulary."""


def detector_text(text: str) -> str:
    """Return an expression as the detector reads it: lower case, without "." and "?" inside, one "." at the end.

    Raises:
        InputError: nothing is left.
    """
    words = _words(text)
    if not words:
        raise InputError(f"expression {text!r}: holds no word; say what is to be counted")
    return f"{words}."


def tokenize(tokenizer: Any, texts: Sequence[str], attributes: Sequence[str], limit: int) -> Phrases:
    """Tokenise expressions.

    Args:
        tokenizer: a fast BERT tokenizer of transformers.
        texts: the expressions.
        attributes: for each the words that tell it from others of its class; "" where that is not known.
        limit: most tokens of an expression.

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
    """Return a vocabulary of whole words around the special tokens, for detectors that are trained from scratch.

    Raises:
        InputError: what the tokenizer would take apart is no word.
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
    """Return where `words` first stand in `text`, not within other words; all of it where they do not."""
    wanted = _words(words)
    found = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) if wanted else None
    return found.span() if found else (0, len(text))


def _last(mask: Tensor) -> Tensor:
    """Return the column of the last True of each row."""
    return mask.shape[1] - 1 - mask.int().flip(dims=(1,)).argmax(dim=1)
