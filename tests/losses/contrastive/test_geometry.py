import pytest
import torch

from crowdcount.losses.contrastive import (
    alignment,
    attraction,
    contrast,
    cosines,
    distance_shares,
    multi_view,
    repulsion,
    tolerance,
    uniformity,
)
from tests.support.contrastive import assert_ignored, assert_recorded, gradient, random_pairs, recorded


def eye(number):
    return torch.eye(number, dtype=torch.bool)


@pytest.mark.parametrize("case", recorded("cua"), ids=lambda case: len(case["z"]))
def test_recorded_cua(case):
    z = case.z
    first, second = z.chunk(2)
    own, cross = eye(len(first)), cosines(first, second)
    align = alignment(cross, own)
    uniform = sum(uniformity(cosines(each, each), ~own) for each in (first, second)) / 2
    across = uniformity(cross, ~own)
    scores = cross / case["tau"]
    clip = (contrast(scores, own, ~own) + contrast(scores.T, own, ~own)) / 2
    assert clip.item() == pytest.approx(case["loss_clip"], rel=1e-9)
    terms = {"align": align, "uniform": uniform, "xuniform": across}
    terms |= {"cua": clip + align + uniform, "cuaxu": clip + align + uniform + across}
    for name, value in terms.items():
        assert_recorded(case, value, z, loss=f"loss_{name}", grad=f"grad_z_{name}")


def test_recorded_uniformity_and_alignment():
    case = recorded("hard_contrastive")[8]
    z = case.z
    cosine = cosines(z, z)
    assert_recorded(case, uniformity(cosine, ~eye(len(z))), z)
    same = (case["labels"][:, None] == case["labels"]) & ~eye(len(z))
    assert tolerance(cosine, same).item() == pytest.approx(case["tolerance"], rel=1e-12)
    case = recorded("hard_contrastive")[9]
    z = case.z
    assert_recorded(case, alignment(cosines(*z.chunk(2)), eye(len(z) // 2)), z)


def cacr(case, z):
    """Attraction and repulsion of several views."""
    views = z.chunk(case["views"])
    sample = torch.arange(len(z)) % len(views[0])
    same = (sample[:, None] == sample) & ~eye(len(z))
    attract = attraction(cosines(z, z), same, sharpness=case["t_pos"])
    pairs = [(x, y) for x in range(len(views)) for y in range(x + 1, len(views))]
    repel = [repulsion(cosines(views[x], views[y]), ~eye(len(views[0])), sharpness=case["t_neg"]) for x, y in pairs]
    return attract, sum(repel) / len(pairs)


@pytest.mark.parametrize("case", recorded("cacr")[:9], ids=lambda case: f"{case['part']}-{case['views']}")
def test_recorded_cacr(case):
    z = case.z
    attract, repel = cacr(case, z)
    value = {"attraction": attract, "repulsion": repel, "both": attract + repel}[case["part"]]
    assert_recorded(case, value, z)


def test_recorded_debiased_cacr():
    case = recorded("cacr")[9]
    z = case.z
    attract, repel = cacr(case, z)
    share = case["tau_plus"]
    own = alignment(cosines(*z.chunk(2)), eye(len(z) // 2))
    assert_recorded(case, attract + (repel - share * own) / (1 - share), z)


@pytest.mark.parametrize("case", recorded("cacr")[10:], ids=lambda case: case["part"])
def test_recorded_cacr_of_crops(case):
    """ImageNet's two forms: crops against keys, each crop with its share in the attraction of its key."""
    z, tau = case.z, case["temperature"]
    size = len(z) // case["views"]
    crops, keys = z[:-size], z[-size:]
    cosine = cosines(crops, keys)
    own = eye(size).repeat(case["views"] - 1, 1)
    part = (distance_shares(cosine.T, own.T, 1 / tau).T * own).sum(dim=1).detach()
    if case["part"] == "cacr_rbfloss":
        rows = [contrast(cosine[[i]] / tau, own[[i]], ~own[[i]]) for i in range(len(cosine))]
        value = (part * torch.stack(rows)).sum() / size
    else:
        shares = distance_shares(cosine, ~own, -0.5 / tau).detach()
        value = (part * ((own.float() - shares) * (1 - cosine)).sum(dim=1)).sum()
    assert_recorded(case, value, z)


@pytest.mark.parametrize("case", recorded("mv"), ids=lambda case: f"{case['variant']}-{case['views']}")
def test_recorded_multi_view(case):
    z = case.z
    size = len(z) // case["views"]
    instance, view = torch.arange(len(z)) % size, torch.arange(len(z)) // size
    pos, neg = (instance[:, None] == instance) & ~eye(len(z)), instance[:, None] != instance
    decoupled = case["variant"] == "MVDHEL"
    if decoupled:
        pos, neg = pos.triu(), neg & (view[:, None] == view)
    assert_recorded(case, multi_view(cosines(z, z) / case["tau"], pos, neg, instance, decoupled=decoupled), z)


def rows(cosine, mask):
    """For each anchor the squared distances of its pairs."""
    return [torch.stack([2 - 2 * cosine[i, j] for j in mask[i].nonzero()[:, 0]]) for i in mask.any(1).nonzero()[:, 0]]


def test_plain_formulas():
    cosine, pos, neg = random_pairs()
    near = [(d.mul(1.5).softmax(0) * d).sum() for d in rows(cosine, pos)]
    far = [(d.mul(-0.9).softmax(0) * d).sum() for d in rows(cosine, neg)]
    every = torch.cat(rows(cosine, pos))
    expected = {
        attraction(cosine, pos, sharpness=1.5): sum(near) / len(near),
        repulsion(cosine, neg, sharpness=0.9): -sum(far) / len(far),
        alignment(cosine, pos): every.mean(),
        uniformity(cosine, pos): (-2 * every).exp().mean().log(),
        tolerance(cosine, pos): 1 - every.mean() / 2,
    }
    for actual, wanted in expected.items():
        torch.testing.assert_close(actual, wanted)
        torch.testing.assert_close(gradient(actual, cosine), gradient(wanted, cosine))


@pytest.mark.parametrize("decoupled", [False, True])
def test_plain_multi_view(decoupled):
    scores, pos, neg = random_pairs()
    instance = torch.tensor([0, 0, 5, 3, 3, 3, 1])
    losses = []
    for each in (0, 1, 3):  # instance 5 has neither positives nor negatives
        members = (instance == each).nonzero()[:, 0].tolist()
        pulls = torch.cat([scores[i][pos[i]] for i in members])
        pushes = [scores[i][neg[i]] for i in members if neg[i].any()]
        if decoupled:
            losses.append(sum(row.logsumexp(0) for row in pushes) - pulls.logsumexp(0))
        else:
            losses.append(torch.cat([pulls, *pushes]).logsumexp(0) - pulls.logsumexp(0))
    actual = multi_view(scores, pos, neg, instance, decoupled=decoupled)
    torch.testing.assert_close(actual, sum(losses) / 3)


LOSSES = {
    "cacr": lambda s, p, n: attraction(s, p) + repulsion(s, n),
    "align": lambda s, p, n: alignment(s, p) + uniformity(s, n),
    "tolerance": lambda s, p, n: tolerance(s, p),
    "mv_infonce": lambda s, p, n: multi_view(s, p, n, torch.arange(7) // 2),
    "mv_dhel": lambda s, p, n: multi_view(s, p, n, torch.arange(7) // 2, decoupled=True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_and_missing_pairs(name):
    scores, pos, neg = random_pairs()
    assert_ignored(LOSSES[name], scores, pos, neg)
    value = LOSSES[name](scores, pos & False, neg & False)
    assert value.item() == 0
    assert (gradient(value, scores) == 0).all()
