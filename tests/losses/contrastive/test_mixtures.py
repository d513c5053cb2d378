import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import (
    contrast,
    cosines,
    hardest,
    label_distance_weight,
    mix_hardest,
    mix_ordinal,
    mixture,
)
from crowdcount.losses.contrastive.scores import unit
from tests.support.contrastive import assert_recorded, gradient, recorded

ORDINAL = recorded("supremix")


def mochi_mixtures(case, z, scores, neg):
    """The recorded draws as mixtures."""
    hard = scores.masked_fill(~neg, -torch.inf).argsort(dim=1, descending=True)[:, : case["n_hard"]]
    assert (hard.sort(dim=1).values == case["hard_index"].sort(dim=1).values).all()
    refs = z[case["ref_index"]]
    place = case["mix1_index"]
    first, second = (refs[case["hard_index"].gather(1, each)] for each in place)
    parts = [mixture(first, second, case["mix1_alpha"])]
    if "mix2_index" in case:
        other = refs[case["hard_index"].gather(1, case["mix2_index"])]
        own = z[case["anchor_index"]][:, None].expand_as(other)
        parts.append(mixture(own, other, case["mix2_beta"]))
    return unit(torch.cat(parts, dim=1))


@pytest.mark.parametrize("case", recorded("mochi"), ids=lambda case: case["n_hard"])
def test_recorded_mochi(case):
    z, (pos, neg) = case.z, case.masks()
    anchors = z[case["anchor_index"]]
    scores = cosines(anchors, z[case["ref_index"]].detach())
    vectors = mochi_mixtures(case, z, scores, neg)
    extra = torch.einsum("ad,asd->as", unit(anchors), vectors)
    wide = torch.cat([scores, extra], dim=1) / case["tau"]
    more = torch.ones_like(extra, dtype=torch.bool)
    value = contrast(wide, torch.cat([pos, ~more], 1), torch.cat([neg, more], 1))
    torch.testing.assert_close(value.item(), case["loss"], rtol=1e-9, atol=1e-9)
    slopes = gradient(value, z)[case["anchor_index"]]
    torch.testing.assert_close(slopes, case["grad_anchor"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", ORDINAL[4:6], ids=["released", "paper"])
def test_recorded_ordinal_mixtures(case):
    z, (pos, neg) = case.z, case.masks()
    anchors = z[case["anchor_index"]]
    real = cosines(anchors, z[case["ref_index"]]) / case["tau"]
    mixed = torch.einsum("ad,asd->as", unit(anchors), case["mixtures"]) / case["tau"]
    if case["shifted"]:  # the released code subtracts another maximum from the mixtures' scores than from the others'
        real = real - real.detach().amax(dim=1, keepdim=True)
        mixed = mixed - mixed.detach().amax(dim=1, keepdim=True)
    role, labels = case["mixture_role"], case["labels"]
    delta = torch.cat([case["delta"], case["mixture_labels"] - labels[:, None]], dim=1)
    value = contrast(
        torch.cat([real, mixed], 1),
        torch.cat([pos, role == 1], 1),
        torch.cat([neg, role == 0], 1),
        weight=label_distance_weight(delta),
    )
    assert_recorded(case, value, z)


def test_the_candidates_are_those_recorded():
    """Over all its pairs, the released rule mixes exactly the references that the drawn mixtures may be of."""
    case = ORDINAL[6]
    label = case["targets"].flatten().repeat(2)
    delta = label - label[:, None]
    for i, role in enumerate(case["role"].long().view(6, 6, 6)):
        for j in range(6):
            for k in range(6):
                negative = j == i and delta[i, k] != 0
                positive = j not in (i, k) and -5 < delta[i, j] < 0 < delta[i, k] < 5
                mixed = {1: role[j, k] == 1, 0: role[j, k] == 0}
                assert mixed[0] == negative
                # either order of the two is one mixture
                assert (mixed[1] or role[k, j] == 1) == (positive or -5 < delta[i, k] < 0 < delta[i, j] < 5)


def pairs(seed=0, anchors=5, references=40, width=6):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(anchors + references, width, generator=generator, dtype=torch.float64)
    return z[:anchors], z[anchors:], generator


def test_drawn_hardest():
    anchors, refs, generator = pairs()
    neg = torch.rand(5, 40, generator=generator) < 0.7
    neg[1], neg[2, 3:] = False, False
    scores = cosines(anchors, refs)
    made = mix_hardest(anchors, refs, scores, neg, hardest=6, pairs=200, with_anchor=100, generator=generator)
    assert made.vectors.shape == (5, 300, 6)
    torch.testing.assert_close(made.vectors.norm(dim=2), torch.ones(5, 300, dtype=torch.float64))
    assert not made.pos.any() and made.neg.all(dim=1).tolist() == [True, False, True, True, True]
    chosen = hardest(scores, neg, number=6)
    for i in (0, 2, 3, 4):
        members = unit(refs[chosen[i]])
        for vector in made.vectors[i, :200]:  # a positive combination of two hard negatives
            fits = [residual(vector, members[[j, k]]) for j in range(len(members)) for k in range(j, len(members))]
            assert min(fits) < 1e-9
        for vector in made.vectors[i, 200:]:
            weights = [combination(vector, torch.stack([unit(anchors[i]), member])) for member in members]
            own, other = min(weights, key=lambda each: each[1])[0]
            assert 0 <= own <= other + 1e-9  # the anchor is the smaller part
    assert made.cosines(anchors).shape == (5, 300)


def combination(vector, basis):
    solution = torch.linalg.lstsq(basis.T, vector[:, None]).solution[:, 0]
    return solution, (basis.T @ solution - vector).norm().item()


def residual(vector, basis):
    solution, error = combination(vector, basis) if (basis[0] != basis[1]).any() else combination(vector, basis[:1])
    return error if (solution > -1e-9).all() else 1.0


def test_drawn_ordinal():
    anchors, refs, generator = pairs()
    labels = torch.randint(0, 5, (40,), generator=generator).double()
    delta = labels - torch.tensor([0.0, 1, 2, 3, 9])[:, None]
    allowed = torch.rand(5, 40, generator=generator) < 0.8
    options = {"window": 2.5, "negatives": 300, "positives": 50}
    made = mix_ordinal(anchors, refs, delta, allowed, **options, generator=generator)
    assert made.neg[:, :300].all() and not made.neg[:, 300:].any() and not made.pos[:, :300].any()
    assert made.pos[:, 300:].all(dim=1).tolist() == [False, True, True, True, False]
    assert (made.delta[:, 300:] == 0).all()
    for i in range(5):
        for vector, distance in zip(made.vectors[i, :300:30], made.delta[i, :300:30], strict=True):
            found = False
            for j in allowed[i].nonzero()[:, 0].tolist():
                (own, other), error = combination(vector, torch.stack([unit(anchors[i]), unit(refs[j])]))
                found |= error < 1e-9 and abs(own + other - 1) < 1e-9 and abs(other * delta[i, j] - distance) < 1e-9
            assert found
    share = 1 - made.delta[4, :300] / delta[4][allowed[4]].mean()  # labels of the far anchor differ little
    assert 0.1 < share.mean() < 0.3  # the mean of Beta(2, 8) is 0.2


def test_positive_mixtures_have_the_anchors_label():
    """Vectors on a line, in the order of their labels: the mixture lies where its anchor's label is."""
    labels = torch.tensor([0.0, 1, 4, 6], dtype=torch.float64)
    angle = labels / 10
    refs = torch.stack([angle.cos(), angle.sin()], dim=1)
    delta = (labels - 3)[None]
    made = mix_ordinal(refs[:1], refs, delta, delta == delta, window=2.5, negatives=0, positives=20)
    low, high = refs[1], refs[2]  # 0 and 6 are too far
    torch.testing.assert_close(made.vectors[0], ((low + 2 * high) / 3).expand(20, -1))


def test_mixtures_have_no_gradient_and_ignore_ignored_pairs():
    anchors, refs, _ = pairs()
    anchors.requires_grad_()
    refs.requires_grad_()
    neg = torch.arange(40).expand(5, 40) < 20
    wild = refs.detach().clone()
    wild[20:] = 1e6
    scores = cosines(anchors, refs)
    for given in (refs, wild):
        made = mix_hardest(anchors, given, scores, neg, generator=torch.Generator().manual_seed(1))
        other = mix_hardest(anchors, refs, scores, neg, generator=torch.Generator().manual_seed(1))
        assert not made.vectors.requires_grad and (made.vectors == other.vectors).all()
        delta = (torch.arange(40.0) % 5 - 2).expand(5, 40)
        made = mix_ordinal(anchors, given, delta, neg, generator=torch.Generator().manual_seed(1))
        other = mix_ordinal(anchors, refs, delta, neg, generator=torch.Generator().manual_seed(1))
        assert not made.vectors.requires_grad and (made.vectors == other.vectors).all()


def test_nothing_to_mix():
    anchors, refs, _ = pairs()
    nothing = torch.zeros(5, 40, dtype=torch.bool)
    assert not mix_hardest(anchors, refs, cosines(anchors, refs), nothing).neg.any()
    made = mix_ordinal(anchors, refs, torch.zeros(5, 40), ~nothing)
    assert not made.pos.any() and not made.neg.any() and made.vectors.isfinite().all()


def test_bad_numbers():
    anchors, refs, _ = pairs()
    mask = torch.ones(5, 40, dtype=torch.bool)
    with pytest.raises(InputError, match=r"mix_hardest\.hardest"):
        mix_hardest(anchors, refs, cosines(anchors, refs), mask, hardest=0)
    with pytest.raises(InputError, match=r"mix_ordinal\.window"):
        mix_ordinal(anchors, refs, torch.zeros(5, 40), mask, window=0)
