import math

import pytest
import torch
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import contrast, cosines
from crowdcount.losses.count import (
    count_token_loss,
    counterfactual_loss,
    detector_scale,
    soft_count,
    soft_count_loss,
    top_score_hinge,
)
from tests.support.contrastive import assert_recorded, gradient, recorded


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("case", recorded("d2d"), ids=lambda case: case["target"])
def test_recorded_soft_count(case):
    logits = case["logits"].clone().requires_grad_()
    count = soft_count(logits[None], threshold=case["threshold"], steepness=case["beta"])
    assert count.item() == pytest.approx(case["count"], rel=1e-12)
    value = soft_count_loss(count, torch.tensor([case["target"]]))
    assert_recorded(case, value, logits, grad="grad_logits")


@pytest.mark.parametrize("case", recorded("count_clip"), ids=lambda case: case["n_images"])
def test_recorded_counterfactuals(case):
    z, images, counting = case.z, case["n_images"], case["n_counting"]
    image, caption, wrong = z[:images], z[images : 2 * images], z[2 * images :]
    own = torch.eye(images, dtype=torch.bool)
    right, other = cosines(image, caption).diagonal()[:counting], cosines(image[:counting], wrong).diagonal()
    value = counterfactual_loss(right, other)
    assert_recorded(case, value, z)
    scores = cosines(image, caption) / case["tau"]
    clip = (contrast(scores, own, ~own) + contrast(scores.T, own, ~own)) / 2
    assert_recorded(case, clip + case["lam"] * value, z, loss="loss_total", grad="grad_z_total")


@pytest.mark.parametrize("case", recorded("count_token"), ids=lambda case: f"{case['target']}-{case['dynamic']}")
def test_recorded_count_token(case):
    density = case["density"].clone().requires_grad_()
    cosine = torch.tensor([case["cosine"]], dtype=torch.float64, requires_grad=True)
    scale = detector_scale(density, torch.tensor([case["n_detected"]])) if case["dynamic"] else 70.0
    assert float(scale) == pytest.approx(case["scale"], rel=1e-12)
    value = count_token_loss(density, torch.tensor([case["target"]]), cosine, scale=scale, likeness=case["lam"])
    assert_recorded(case, value, density, grad="grad_density")
    assert gradient(value, cosine).item() == pytest.approx(case["grad_cosine"], rel=1e-12)


def class_scores(case, logits):
    """Scores of each class: all queries at all tokens of its name."""
    mask = case["token_mask"][:, :, None].expand(-1, -1, logits.shape[1], -1)
    scores = logits.sigmoid()[:, None].expand_as(mask)
    return scores.flatten(2), mask.flatten(2)


@pytest.mark.parametrize("case", recorded("pfcd"), ids=lambda case: case["threshold"])
def test_recorded_hinge(case):
    logits = case["logits"].clone().requires_grad_()
    scores, mask = class_scores(case, logits)
    value = case["scale"] * top_score_hinge(scores, case["counts"], threshold=case["threshold"], mask=mask)
    assert value.item() == pytest.approx(case["loss_batch_mean"], rel=1e-9)
    assert_recorded(case, value * len(logits), logits, grad="grad_logits")  # the recorded code takes the sum


@pytest.mark.parametrize("surplus", [None, 0.4])
def test_plain_hinge(surplus):
    scores = torch.rand(3, 2, 7, dtype=torch.float64).requires_grad_()
    mask = torch.rand(scores.shape) < 0.8
    mask[..., :4] = True
    counts = torch.tensor([[4, 0], [1, 2], [0, 0]])
    losses = []
    for image in range(3):
        lost = torch.zeros((), dtype=torch.float64)
        for name in range(2):
            ordered = sorted((scores[image, name, q] for q in range(7) if mask[image, name, q]), reverse=True)
            for k, score in enumerate(ordered):
                if k < counts[image, name]:
                    lost = lost + (0.9 - score).clamp(min=0)
                elif surplus is not None:
                    lost = lost + (score - surplus).clamp(min=0)
        losses.append(lost / max(int(counts[image].sum()), 1))
    expected = sum(losses) / 3
    actual = top_score_hinge(scores, counts, threshold=0.9, surplus=surplus, mask=mask)
    torch.testing.assert_close(actual, expected)
    slopes = gradient(actual, scores)
    torch.testing.assert_close(slopes, gradient(expected, scores))
    assert (slopes[~mask] == 0).all()
    if surplus is None:
        assert (slopes[2] == 0).all()
    else:
        assert (slopes[2] > 0).any()  # an image without objects is taught too


def test_plain_soft_count():
    logits, mask = torch.randn(2, 9, dtype=torch.float64).requires_grad_(), torch.rand(2, 9) < 0.7
    edge = math.log(0.3 / 0.7)
    expected = [
        sum(1 / (1 + torch.exp(-7 * (x - edge))) for x in row[keep]) for row, keep in zip(logits, mask, strict=True)
    ]
    count = soft_count(logits, threshold=0.3, steepness=7.0, mask=mask)
    torch.testing.assert_close(count, torch.stack(expected))
    slopes = gradient(count.sum(), logits)
    assert (slopes[~mask] == 0).all()
    assert (slopes[mask] > 0).all()


def test_steep_count_is_the_count_of_the_threshold():
    logits = torch.randn(4, 50, dtype=torch.float64)
    hard = (logits.sigmoid() > 0.4).sum(dim=1).double()
    torch.testing.assert_close(soft_count(logits, threshold=0.4, steepness=1e6), hard)


def test_plain_counterfactuals():
    right, wrong = (torch.randn(*shape, dtype=torch.float64).requires_grad_() for shape in ((5,), (5, 8)))
    every = torch.cat([right[:, None], wrong], 1) * 3
    expected = functional.cross_entropy(every, torch.zeros(5, dtype=torch.long))
    actual = counterfactual_loss(right, wrong, scale=3.0)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(gradient(actual, wrong), gradient(expected, wrong))
    own = torch.arange(9).expand(5, 9) == 0
    torch.testing.assert_close(contrast(every, own, ~own), expected)


def test_no_counting_pairs():
    right = torch.zeros(0, requires_grad=True)
    assert counterfactual_loss(right, torch.zeros(0, 8)).item() == 0


def test_half_precision_is_widened():
    assert soft_count(torch.randn(2, 3).half(), threshold=0.3).dtype == torch.float32
    assert top_score_hinge(torch.rand(1, 1, 3).half(), torch.tensor([[2]])).dtype == torch.float32


@pytest.mark.parametrize(("counts", "message"), [([[4, 0]], "4 objects of class 0"), ([[0, -1]], "-1 objects of cl")])
def test_bad_counts(counts, message):
    with pytest.raises(InputError, match=message):
        top_score_hinge(torch.rand(1, 2, 3), torch.tensor(counts))


@pytest.mark.parametrize("options", [{"threshold": 0}, {"threshold": 1}, {"threshold": 0.3, "steepness": 0}])
def test_bad_soft_count(options):
    with pytest.raises(InputError, match="soft_count"):
        soft_count(torch.zeros(1, 2), **options)


def test_bad_scale():
    with pytest.raises(InputError, match=r"counterfactual_loss\.scale"):
        counterfactual_loss(torch.zeros(1), torch.zeros(1), scale=0)
    with pytest.raises(InputError, match="take a fixed scale instead"):
        detector_scale(torch.ones(2, 3, 3), torch.tensor([1, 0]))
