import pytest
import torch

from crowdcount.losses.contrastive import cosines, euclidean, margin_contrast, mixed_distances
from tests.support.contrastive import assert_recorded, gradient, random_pairs, recorded


@pytest.mark.parametrize("case", recorded("metrix"), ids=lambda case: case["desc"][:22])
def test_recorded_metrix(case):
    z, labels, lam = case.z, case["labels"], case["lam"]
    own = torch.eye(len(z), dtype=torch.bool)
    pos, neg = (labels[:, None] == labels) & ~own, labels[:, None] != labels
    distance = euclidean(cosines(z, z))
    clean = margin_contrast(distance[pos], 1.0, margin=case["margin"])
    clean = clean + margin_contrast(distance[neg], 0.0, margin=case["margin"])
    assert clean.item() == pytest.approx(case["loss_clean"], rel=1e-9)
    share = torch.tensor(lam, dtype=torch.float64)
    if case["weight"] == 0.4:  # the released code mixes the first positive of an anchor, once for each of its positives
        first, number = pos & (pos.cumsum(dim=1) == 1), pos.sum(dim=1)
    else:
        first, number = own & ~pos.any(dim=1, keepdim=True), torch.ones(len(z), dtype=torch.long)
    anchor = (first[:, :, None] & neg[:, None]).nonzero()[:, 0]
    between = mixed_distances(z, z, first, neg, share).repeat_interleave(number[anchor])
    assert len(between) == len(case["anchor"])
    mixed = margin_contrast(between, lam, margin=case["margin"])
    assert mixed.item() == pytest.approx(case["loss_mixed"], rel=1e-9)
    assert_recorded(case, clean + case["weight"] * mixed, z)


def test_plain_margin():
    distance = torch.tensor([0.0, 0.2, 0.7], dtype=torch.float64, requires_grad=True)
    value = margin_contrast(distance, 0.25)
    expected = 0.25 * (0.2 + 0.7) / 2 + 0.75 * (0.5 + 0.3) / 2
    assert value.item() == pytest.approx(expected)
    assert gradient(value, distance).tolist() == pytest.approx([-0.375, 0.125 - 0.375, 0.125])


def test_equal_vectors_and_no_pairs():
    z = torch.ones(3, 4, requires_grad=True)
    mask = torch.ones(3, 3, dtype=torch.bool)
    value = margin_contrast(euclidean(cosines(z, z)), 1.0)
    assert gradient(value, z).isfinite().all()
    value = margin_contrast(mixed_distances(z, z, mask, mask & False, torch.tensor(0.5)), 0.5)
    assert value.item() == 0
    assert (gradient(value, z) == 0).all()


def test_only_pairs_of_the_masks_are_mixed():
    _, pos, neg = random_pairs()
    torch.manual_seed(0)
    anchors, refs = torch.randn(7, 4), torch.randn(11, 4, requires_grad=True)
    value = mixed_distances(anchors, refs, pos[:, :], neg, torch.tensor(0.3)).sum()
    slopes = gradient(value, refs)
    rows = pos.any(dim=1) & neg.any(dim=1)
    used = (pos | neg)[rows].any(dim=0)
    assert (slopes[~used] == 0).all()
    total = sum(int(p.sum() * n.sum()) for p, n in zip(pos, neg, strict=True))
    assert len(mixed_distances(anchors, refs, pos, neg, torch.tensor(0.3))) == total
