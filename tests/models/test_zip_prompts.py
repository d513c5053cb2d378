"""The texts of ZIP's classes and the search among them."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.models.zip.prompts import (
    COMPARATIVES,
    NOUNS,
    PREFIXES,
    ZERO_EDGES,
    Prompts,
    find_prompts,
    least_alike,
    templates,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "zip"
RECORDED = json.loads((GOLDEN / "zip_prompts.json").read_text())
TABLES = json.loads((GOLDEN / "zip_bins.json").read_text())


def edges(case):
    if case == "pi":
        return ZERO_EDGES
    return [(low, float(high)) for low, high in TABLES[case]["bins"]][1:]


def test_word_lists_are_the_published_ones():
    assert list(PREFIXES) == RECORDED["prefixes"]
    assert list(COMPARATIVES) == RECORDED["comparatives"]
    assert list(NOUNS) == RECORDED["nouns"]


@pytest.mark.parametrize("case", RECORDED["cases"])
def test_texts_equal_the_recorded_ones(case):
    recorded = RECORDED["cases"][case]
    texts = [[template.text(low, high) for low, high in edges(case)] for template in templates()]
    assert len(texts) == recorded["templates"] == 3456
    every = "\n".join("\n".join(each) for each in texts)
    assert hashlib.sha256(every.encode()).hexdigest() == recorded["sha256"]
    assert (texts[0], texts[-1]) == (recorded["first"], recorded["last"])
    assert (texts[1000], texts[1728]) == (recorded["number_1000"], recorded["number_1728"])
    assert texts[recorded["stub_best_number"]] == recorded["stub_best"]


def fake_features(texts):
    """A stand-in for a text tower: features of length 1 that follow from the text alone."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
    rows = [torch.randn(16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return functional.normalize(torch.stack(rows), dim=-1)


def test_the_search_equals_a_slow_loop_and_encodes_each_text_once():
    encoded = []

    def encode(texts):
        encoded.extend(texts)
        return fake_features(texts)

    few = edges("sha8")
    found = least_alike(few, encode)
    assert len(encoded) == len(set(encoded)) < 3456 * len(few) / 3
    features = dict(zip(encoded, fake_features(encoded), strict=True))
    best, least = None, 2.0
    for template in templates():
        texts = [template.text(low, high) for low, high in few]
        pairs = [float(features[a] @ features[b]) for a in texts for b in texts if a != b]
        mean = sum(pairs) / len(pairs)
        if mean < least - 1e-12:
            best, least = texts, mean
    assert found == best


def test_the_first_of_equal_templates_wins():
    found = find_prompts([(0, 0), *edges("sha8")], lambda texts: torch.ones(len(texts), 2))
    assert found == Prompts(RECORDED["cases"]["pi"]["first"], RECORDED["cases"]["sha8"]["first"])


def test_the_number_of_texts_is_checked():
    Prompts(["a", "b"], ["c"]).check(2)
    with pytest.raises(InputError, match=r"prompts\.rate: 1 texts are given, and there are 3 classes"):
        Prompts(["a", "b"], ["c"]).check(4)
