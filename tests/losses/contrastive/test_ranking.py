import math

import pytest
import torch
from torch.nn import functional

from crowdcount.losses.contrastive import auc, contrast, cosines, hardest, mann_whitney, mean_gap
from tests.support.contrastive import assert_ignored, assert_recorded, gradient, random_pairs, recorded


@pytest.mark.parametrize("case", recorded("mw"), ids=lambda case: case["tau"])
def test_recorded_mann_whitney(case):
    z, (pos, neg) = case.z, case.masks()
    cosine = cosines(z[case["anchor_index"]], z[case["ref_index"]])
    value = mann_whitney(cosine / case["tau"], pos, neg)
    assert_recorded(case, value, z)
    assert value.item() * neg.sum().item() == pytest.approx(case["loss_sum_over_negatives"], rel=1e-9)
    assert auc(cosine, pos, neg).item() == pytest.approx(case["auc"], abs=1e-15)
    assert 1 - auc(cosine, pos, neg) <= value / math.log(2)


@pytest.mark.parametrize("case", [c for c in recorded("hard_contrastive") if "Simple" in c["desc"]])
def test_recorded_simple(case):
    z, (pos, neg) = case.z, case.masks()
    cosine = cosines(z[case["anchor_index"]], z[case["ref_index"]])
    chosen = pos | neg  # the authors' candidates include the positive
    if "HardSimple" in case["desc"]:
        chosen = hardest(cosine, chosen, number=case["top_k"])
    assert_recorded(case, mean_gap(cosine, pos, chosen), z)


def test_plain_mann_whitney():
    scores, pos, neg = random_pairs()
    terms = [functional.softplus(n - p) for p in scores[pos] for n in scores[neg]]
    expected, actual = sum(terms) / len(terms), mann_whitney(scores, pos, neg)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(gradient(actual, scores), gradient(expected, scores))
    wins = [1.0 if p > n else 0.0 for p in scores[pos] for n in scores[neg]]
    assert auc(scores, pos, neg).item() == pytest.approx(sum(wins) / len(wins))


def test_plain_mean_gap():
    scores, pos, neg = random_pairs()
    rows = [i for i in range(len(scores)) if pos[i].any() and neg[i].any()]
    expected = sum(scores[i][neg[i]].mean() - scores[i][pos[i]].mean() for i in rows) / len(rows)
    torch.testing.assert_close(mean_gap(scores, pos, neg), expected)


@pytest.mark.parametrize("loss", [mann_whitney, mean_gap])
def test_ignored_and_missing_pairs(loss):
    scores, pos, neg = random_pairs()
    assert_ignored(loss, scores, pos, neg)
    value = loss(scores, pos & False, neg)
    assert value.item() == 0
    assert (gradient(value, scores) == 0).all()


def test_a_constant_per_anchor_is_seen():
    scores, pos, neg = random_pairs()
    shifted = scores + torch.arange(len(scores))[:, None]
    torch.testing.assert_close(contrast(shifted, pos, neg), contrast(scores, pos, neg))
    assert abs(mann_whitney(shifted, pos, neg) - mann_whitney(scores, pos, neg)) > 0.1


def test_large_gaps_are_finite():
    scores = torch.tensor([[-100.0, 100.0]], requires_grad=True)
    pos = torch.tensor([[True, False]])
    value = mann_whitney(scores, pos, ~pos)
    assert value.item() == 200
    assert gradient(value, scores).tolist() == [[-1, 1]]


@pytest.mark.parametrize(("positives", "max_pairs"), [(3, 300), (500, 10_000), (997, 100), (1, 1)])
def test_drawn_pairs(positives, max_pairs):
    torch.manual_seed(0)
    scores = torch.randn(1, 1000, dtype=torch.float64)
    pos = torch.arange(1000)[None] < positives
    leaf = scores.requires_grad_()
    value = mann_whitney(leaf, pos, ~pos, max_pairs=max_pairs, generator=torch.Generator().manual_seed(1))
    again = mann_whitney(leaf, pos, ~pos, max_pairs=max_pairs, generator=torch.Generator().manual_seed(1))
    assert value == again
    used = gradient(value, leaf) != 0
    pairs = (used & pos).sum() * (used & ~pos).sum()
    assert max_pairs / 4 <= pairs <= max_pairs


def test_auc_of_ties_and_nothing():
    scores = torch.tensor([1.0, 1.0, 0.0, 2.0])
    pos = torch.tensor([True, False, False, False])
    assert auc(scores, pos, ~pos).item() == pytest.approx(0.5)
    assert auc(scores, pos & False, ~pos).isnan()
    assert auc(scores, pos, pos & False).isnan()
