import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import contrast, cosines, hardest
from tests.support.contrastive import assert_ignored, assert_recorded, random_pairs, recorded


@pytest.mark.parametrize("case", [c for c in recorded("hard_contrastive") if "alpha" in c], ids=lambda c: c["tau"])
def test_recorded_paper_form(case):
    z, (pos, neg) = case.z, case.masks()
    scores = cosines(z[case["anchor_index"]], z[case["ref_index"]]) / case["tau"]
    thinned = hardest(scores, neg, fraction=case["alpha"])
    assert (thinned == hardest(scores, neg, number=case["top_k"])).all()
    assert_recorded(case, contrast(scores, pos, thinned), z)


@pytest.mark.parametrize(
    "case", [c for c in recorded("hard_contrastive") if "positive_in_top" in c], ids=lambda c: c["tau"]
)
def test_recorded_released_form(case):
    """The authors' code keeps the positive in the denominator only where it is hard, and adds 1e-7 to the share."""
    z, (pos, neg) = case.z, case.masks()
    scores = cosines(z[case["anchor_index"]], z[case["ref_index"]]) / case["tau"]
    top = hardest(scores, pos | neg, number=case["top_k"])
    assert (top & pos).any(dim=1).tolist() == case["positive_in_top"].tolist()
    rows = [contrast(scores[[i]], pos[[i]], top[[i]], denominator="negatives") for i in range(len(scores))]
    value = -((-torch.stack(rows)).exp() + 1e-7).log().mean()
    assert_recorded(case, value, z)


@pytest.mark.parametrize("keep", [{"fraction": 0.4}, {"number": 2}])
def test_plain_choice(keep):
    scores, _, neg = random_pairs()
    for row, mask, chosen in zip(scores, neg, hardest(scores, neg, **keep), strict=True):
        candidates = sorted(mask.nonzero()[:, 0].tolist(), key=lambda j, row=row: -row[j].item())
        number = keep.get("number", -(-len(candidates) * 2 // 5))
        assert sorted(candidates[:number]) == chosen.nonzero()[:, 0].tolist()


def test_fraction_is_rounded_up_exactly():
    scores, neg = torch.randn(1, 100), torch.ones(1, 100, dtype=torch.bool)
    for number in range(1, 101):
        assert hardest(scores, neg, fraction=number / 100).sum() == number
    assert hardest(scores, neg, fraction=0.001).sum() == 1


def test_equal_scores_keep_the_number():
    assert hardest(torch.zeros(2, 9), torch.ones(2, 9, dtype=torch.bool), number=4).sum(dim=1).tolist() == [4, 4]


def test_ignored_pairs():
    assert_ignored(lambda s, p, n: contrast(s, p, hardest(s, n, fraction=0.5)), *random_pairs())


@pytest.mark.parametrize("keep", [{}, {"fraction": 0.5, "number": 3}, {"fraction": 0}, {"fraction": 2}, {"number": 0}])
def test_bad_choice(keep):
    scores, _, neg = random_pairs()
    with pytest.raises(InputError, match="hardest"):
        hardest(scores, neg, **keep)
