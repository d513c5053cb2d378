"""Expressions -> tokens, words, labels, attributes and vocabularies."""

import numpy as np
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.models.rec.tokenize import SPECIAL, detector_text, tokenize, vocabulary

WORDS = ("person", "in", "red", "blue", "on", "the", "left", "side", "woman", "man", "small", "car")


@pytest.fixture(scope="module")
def network():
    return ReferringDetector("tiny", pretrained=False, words=WORDS)


def marked(phrases, name, row=0):
    """Return a mask of a row as a string of 0 and 1."""
    return "".join(map(str, getattr(phrases, name)[row].int().tolist()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Person in Red", "person in red."),
        ("person in red.", "person in red."),
        ("  person   in\tred ..", "person in red."),
        ("which car? the U.S. one", "which car the u s one."),
        ("person . in . red", "person in red."),
    ],
)
def test_caption(text, expected):
    assert detector_text(text) == expected


@pytest.mark.parametrize("text", ["", "  ", ".", "?. ."])
def test_an_expression_without_words_is_refused(text, network):
    with pytest.raises(InputError, match="holds no word"):
        network.tokenize(["person", text], ["", ""])


def test_masks_by_hand(network):
    phrases = network.tokenize(["Person in red", "car", "small car on the left side"], ["red", "", "left side"])
    ids = {word: number for word, number in vocabulary(WORDS).items() if number > 1029}
    expected = [ids["person"], ids["in"], ids["red"]]
    assert phrases.ids[0].tolist() == [101, *expected, 1012, 102, 0, 0, 0]
    assert phrases.ids[1].tolist() == [101, ids["car"], 1012, 102, 0, 0, 0, 0, 0]
    masks = {
        "tokens": ["111111000", "111100000", "111111111"],
        "words": ["011100000", "010000000", "011111100"],
        "labels": ["111100000", "110000000", "111111100"],
        "attributes": ["100111000", "111100000", "100001111"],
    }
    for name, rows in masks.items():
        assert [marked(phrases, name, row) for row in range(3)] == rows
    assert phrases.sizes.tolist() == [6, 4, 9]


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("person on the left side", "on the", "10110011"),  # in the middle
        ("red person in red", "red", "1100011"),  # repeated: the first
        ("woman man", "man", "10111"),  # not within another word
        ("person in red", " In   RED. ", "101111"),  # written in another way
        ("person in red", "blue", "111111"),  # not found: all tokens
        ("person in red", "in blue", "111111"),
        ("person in red", "person in red", "111111"),
        ("person (in red)", "(in red)", "10111111"),  # nothing is a pattern
    ],
)
def test_attributes(network, text, attribute, expected):
    assert marked(network.tokenize([text], [attribute]), "attributes") == expected


def test_parts_of_a_word_belong_to_it():
    from transformers import BertTokenizer

    names = vocabulary(["person", "walk", "fast"])
    tokenizer = BertTokenizer(vocab=names | {"##ing": len(names)})
    phrases = tokenize(tokenizer, ["Person walking fast"], ["walking"], 16)
    assert phrases.ids[0, 2:4].tolist() == [names["walk"], len(names)]
    assert marked(phrases, "attributes") == "1011011"
    assert marked(phrases, "words") == "0111100"


def test_length(network):
    assert network.tokenize(["person " * 13], [""]).tokens.sum() == 16
    with pytest.raises(InputError, match="has 17 tokens, the detector reads at most 16"):
        network.tokenize(["car", "person " * 14], ["", ""])


def test_labels_and_sizes_as_recorded(golden, network):
    recorded = np.load(golden / "rec_targets.npz")
    texts = ["red car", "person on the left side", "car"]  # of as many tokens as those recorded
    phrases = network.tokenize(texts, [""] * 3)
    assert phrases.sizes.tolist() == [int(recorded[f"t{i}_caption_size"]) for i in range(3)]
    for labels, i in zip(phrases.labels, range(3), strict=True):
        for row in recorded[f"t{i}_labels"]:
            np.testing.assert_array_equal(labels, row[: len(labels)] > 0)
            assert not row[len(labels) :].any()


def test_a_batch_changes_no_expression(network):
    texts, attributes = ["car", "woman on the left side", "red car"], ["", "left", "red"]
    together = network.tokenize(texts, attributes)
    for row, pair in enumerate(zip(texts, attributes, strict=True)):
        alone = network.tokenize(*([part] for part in pair))
        length = alone.ids.shape[1]
        for name in ("ids", "tokens", "words", "labels", "attributes"):
            assert torch.equal(getattr(together, name)[row, :length], getattr(alone, name)[0])
            assert not getattr(together, name)[row, length:].any()


def test_vocabulary():
    names = vocabulary(["Red", "person", "red", "in"])
    assert [names[token] for token in SPECIAL] == [101, 102, 1012, 1029]
    assert (names["[PAD]"], names["[UNK]"]) == (0, 100)
    assert [names[word] for word in ("red", "person", "in")] == [1030, 1031, 1032]
    assert sorted(names.values()) == list(range(1033))


def test_unknown_words_are_marked_so(network):
    assert network.tokenize(["green person"], [""]).ids[0].tolist()[:2] == [101, 100]


@pytest.mark.parametrize("word", ["t-shirt", "in red", "", "."])
def test_words_that_would_be_taken_apart_are_refused(word):
    with pytest.raises(InputError, match="is not one word"):
        ReferringDetector("tiny", pretrained=False, words=("person", word))


@pytest.mark.parametrize("options", [{"detector": "tiny"}, {"detector": "swin_t", "words": ("person",)}])
def test_words_belong_to_the_tiny_detector(options):
    with pytest.raises(InputError, match=r"words: .*tiny needs the list"):
        ReferringDetector(pretrained=False, **options)
