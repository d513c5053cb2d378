import math
from itertools import product

import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import (
    contrast,
    cosines,
    dclw_pull,
    gated_scores,
    label_distance_weight,
    ordinal_target,
    similarity_target,
)
from tests.support.contrastive import assert_ignored, assert_recorded, gradient, random_pairs, recorded

FORMS = ["log_of_mean", "mean_of_logs"]
DENOMINATORS = ["all", "own", "negatives"]
SWITCHES = list(product(FORMS, DENOMINATORS, ["anchors", "pairs"]))


def scores_of(case, z, tau=None):
    return cosines(z[case["anchor_index"]], z[case["ref_index"]]) / (tau or case["tau"])


# --- recorded numbers


@pytest.mark.parametrize("case", recorded("supcon"), ids=lambda case: case["desc"][:30])
def test_supcon(case):
    z = case.z
    options = {"form": case.get("form", "mean_of_logs"), "weight": case.get("weight"), "group": case.get("group")}
    value = contrast(scores_of(case, z), *case.masks(), **options)
    value = value * case["tau"] / case.get("base_temperature", case["tau"])
    assert_recorded(case, value / case.get("scale", 1), z)  # the authors count anchors without positives


@pytest.mark.parametrize("case", [c for c in recorded("dcl") if "sigma" not in c], ids=lambda case: case["desc"][:30])
def test_dcl(case):
    z = case.z
    assert_recorded(case, contrast(scores_of(case, z), *case.masks(), denominator="negatives"), z)


@pytest.mark.parametrize("case", [c for c in recorded("dcl") if "sigma" in c], ids=lambda case: case["desc"][:30])
def test_dclw(case):
    z = case.z
    scores, (pos, neg) = scores_of(case, z), case.masks()
    own = (scores * pos).sum(dim=1) * case["tau"]
    view = case["anchor_index"] // (len(z) // 2)
    pull = dclw_pull(own, sigma=case["sigma"], view=view)
    value = contrast(scores, pos, neg, denominator="negatives", pull=pull)
    assert value.item() == pytest.approx(case["loss"], rel=1e-9)
    if not case["weight_grad"]:  # the other implementation's weights have a gradient
        assert_recorded(case, value, z)


@pytest.mark.parametrize("index", range(4))
def test_cwcl(index):
    case = recorded("cwcl")[index]
    z = case.z
    scores = scores_of(case, z)
    include = case.get("include", torch.ones_like(scores, dtype=torch.bool))
    if "frozen" in case:
        target = torch.stack([similarity_target(each) for each in case["frozen"].unbind(1)]).mean(dim=0)
        tolerance = {"rtol": 1e-7, "atol": 1e-7}  # the recorded code adds 1e-8 to its norms and sums
    else:
        target, tolerance = ordinal_target(case["delta"], case["bandwidth"]) * include, {"rtol": 1e-12, "atol": 0}
    rows = target / target.sum(dim=1, keepdim=True)
    expected = case["target_weight"] / case["target_weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(rows, expected, **tolerance)
    value = contrast(scores, include, ~include & False, target=target)
    if "frozen" in case:
        own = torch.eye(len(scores), dtype=torch.bool)
        assert value.item() == pytest.approx(case["loss_weighted"], rel=1e-7)
        value = value + contrast(scores.T, own, ~own)
    assert_recorded(case, value, z, tolerance=1e-7 if "frozen" in case else 1e-9)


DISTANCES = {"L1_inv": "linear", "L1": "inverse_linear", "L2_inv": "square", "L2": "inverse_square"}


@pytest.mark.parametrize("case", recorded("supremix")[:4], ids=lambda case: case["distance"])
def test_supremix_weights(case):
    z = case.z
    weight = label_distance_weight(case["delta"], DISTANCES[case["distance"]])
    assert_recorded(case, contrast(scores_of(case, z), *case.masks(), weight=weight), z)


@pytest.mark.parametrize("case", recorded("coconut_nspt"), ids=lambda case: case["tau"])
def test_coconut(case):
    z = case.z
    student, teacher = z.chunk(2)
    scores = cosines(student, torch.cat([student, teacher.detach()])) / case["tau"]
    nothing = torch.zeros_like(case["pos_mask"])
    pos, neg = torch.cat([nothing, case["pos_mask"]], 1), torch.cat([case["denominator_mask"], nothing], 1)
    assert_recorded(case, contrast(scores, pos, neg, denominator="negatives"), z)


@pytest.mark.parametrize("case", recorded("simlap"), ids=lambda case: len(case["labels"]))
def test_simlap(case):
    z = case.z
    scores = gated_scores(z[case["anchor_index"]], z[case["ref_index"]], case["gate"], scale=case["scale"])
    assert_recorded(case, contrast(scores, *case.masks(), denominator="own", over="pairs"), z)


@pytest.mark.parametrize("case", [c for c in recorded("sbcl") if c.get("variant") == "rank"], ids=lambda c: len(c["z"]))
def test_sbcl_rank(case):
    z, tau, labels, subclass = case.z, case["tau"], case["labels"], case["subclass"]
    own = torch.eye(len(z), dtype=torch.bool)
    view = own.roll(len(z) // 2, dims=1)
    sub = (subclass[:, None] == subclass) & ~own
    same = (labels[:, None] == labels) & ~own
    similarity = cosines(z, z)
    first = contrast(similarity / tau, sub, ~sub & ~own)
    others = (subclass[:, None] != subclass) | view
    pos = (same & others) | view
    second = contrast(similarity / case["rank_tau"][labels][:, None], pos, others & ~pos)
    value = first * tau / case["base_temperature"] + case["gamma"] * second
    assert_recorded(case, value, z)


@pytest.mark.parametrize("case", [c for c in recorded("sbcl") if c.get("variant") == "ccl"], ids=lambda c: len(c["z"]))
def test_sbcl_one_softmax(case):
    z, tau, labels, subclass = case.z, case["tau"], case["labels"], case["subclass"]
    own = torch.eye(len(z), dtype=torch.bool)
    scores = cosines(z, z) / tau
    sub, same = ((each[:, None] == each) & ~own for each in (subclass, labels))
    value = contrast(scores, sub, ~sub & ~own) * tau / case["base_temperature"]
    assert_recorded(case, value + case["gamma"] * contrast(scores, same, ~same & ~own), z)


# --- plain loops and properties


def slow(scores, pos, neg, *, form, denominator, over, weight=None, target=None, pull=None, group=None):
    """The formulas in plain loops."""
    losses = {}
    rows, columns = range(len(scores)), range(scores.shape[1])
    for i in rows:
        positive = [j for j in columns if pos[i, j] and (target is None or target[i, j] > 0)]
        push = [scores[i, j].exp() * (1 if weight is None else weight[i, j]) for j in columns if neg[i, j]]
        own = [scores[i, j].exp() for j in positive]
        bottom = sum(push) + (sum(own) if denominator == "all" else 0)
        if not positive or (denominator == "negatives" and not push):
            continue
        shares, parts = [], []
        for j, exp in zip(positive, own, strict=True):
            up = scores[i, j] * (1 if pull is None else pull[i, j])
            shares.append(up.exp() / (sum(push) + exp if denominator == "own" else bottom))
            parts.append(1 if target is None else target[i, j])
        parts = [part / sum(parts) for part in parts]
        if form == "log_of_mean":
            loss = -sum(part * share for part, share in zip(parts, shares, strict=True)).log()
        else:
            loss = -sum(part * share.log() for part, share in zip(parts, shares, strict=True))
        copies = len(positive) if over == "pairs" else 1
        losses.setdefault(0 if group is None else int(group[i]), []).extend([loss] * copies)
    means = [sum(each) / len(each) for each in losses.values()]
    return sum(means) / len(means)


@pytest.mark.parametrize(("form", "denominator", "over"), SWITCHES)
@pytest.mark.parametrize("extra", [(), ("weight", "target"), ("pull", "group")])
def test_plain_formula(form, denominator, over, extra):
    scores, pos, neg = random_pairs()
    torch.manual_seed(0)
    options = {
        "weight": 3 * torch.rand_like(scores),
        "target": torch.rand_like(scores),
        "pull": torch.rand_like(scores),
    }
    options["group"] = torch.tensor([7, 7, 0, 3, 3, 3, 9])
    options["target"][4, pos[4].nonzero()[0]] = 0
    given = {key: options[key] for key in extra} | {"form": form, "denominator": denominator, "over": over}
    actual, expected = contrast(scores, pos, neg, **given), slow(scores, pos, neg, **given)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient(actual, scores), gradient(expected, scores), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("form", "denominator", "over"), SWITCHES)
def test_ignored_pairs(form, denominator, over):
    def loss(*pairs):
        return contrast(*pairs, form=form, denominator=denominator, over=over)

    assert_ignored(loss, *random_pairs())


@pytest.mark.parametrize(("form", "denominator", "over"), SWITCHES)
def test_no_pairs(form, denominator, over):
    scores, pos, _ = random_pairs()
    value = contrast(scores, pos & False, pos & False, form=form, denominator=denominator, over=over)
    assert value.item() == 0
    assert (gradient(value, scores) == 0).all()


def test_temperature_per_pair():
    scores, pos, neg = random_pairs()
    tau = torch.rand(scores.shape, dtype=torch.float64).add(0.1).requires_grad_()
    value = contrast(scores / tau, pos, neg)
    slopes = gradient(value, tau)
    assert (slopes[~(pos | neg)] == 0).all()
    assert (slopes != 0).any()


def test_extreme_scores_are_finite():
    scores = torch.tensor([[200.0, -200.0, 100.0]], requires_grad=True)
    pos = torch.tensor([[True, False, False]])
    for denominator in DENOMINATORS:
        value = contrast(scores, pos.roll(1), ~pos.roll(1), denominator=denominator)
        assert value.item() == pytest.approx(400)
        assert gradient(value, scores).isfinite().all()


def test_low_precision_is_widened():
    scores, pos, neg = random_pairs()
    assert contrast(scores.bfloat16(), pos, neg).dtype == torch.float32


@pytest.mark.parametrize("option", ["form", "denominator", "over"])
def test_unknown_word(option):
    with pytest.raises(InputError, match=rf"contrast\.{option}: 'else' is not one of"):
        contrast(*random_pairs(), **{option: "else"})


def test_dclw_weights_have_mean_one():
    own = torch.tensor([0.9, 0.1, -0.5, 0.3], dtype=torch.float64)
    pull = dclw_pull(own)
    assert pull.mean().item() == pytest.approx(1)
    expected = [2 - 4 * math.exp(s / 0.5) / sum(math.exp(t / 0.5) for t in own.tolist()) for s in own.tolist()]
    assert pull[:, 0].tolist() == pytest.approx(expected)


def test_bad_distance_and_numbers():
    with pytest.raises(InputError, match=r"label_distance_weight\.distance"):
        label_distance_weight(torch.zeros(1, 1), "cubic")
    with pytest.raises(InputError, match=r"ordinal_target\.bandwidth"):
        ordinal_target(torch.zeros(1, 1), 0)
    with pytest.raises(InputError, match=r"dclw_pull\.sigma"):
        dclw_pull(torch.zeros(1), sigma=-1)
