import math

import pytest
import torch
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import cosines, group_ordering, hardest, soft_sort
from tests.support.contrastive import assert_recorded, gradient, recorded


@pytest.mark.parametrize("case", recorded("groco"), ids=lambda case: case["views"])
def test_recorded_network(case):
    values, ranks = soft_sort(case["sequence"], steepness=case["steepness"])
    torch.testing.assert_close(values, case["sorted"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ranks, case["perm"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", recorded("groco"), ids=lambda case: case["views"])
def test_recorded_loss(case):
    z = case.z
    views, top = z.chunk(case["views"]), case["top_k"]
    losses = []
    for index, view in enumerate(views):
        own = cosines(view, view.detach())
        neg = hardest(own, ~torch.eye(len(view), dtype=torch.bool), number=top)
        others = [cosines(view, other.detach()).diagonal() for k, other in enumerate(views) if k != index]
        losses.append(
            group_ordering(torch.stack(others, 1), own[neg].reshape(len(view), top), steepness=case["steepness"])
        )
    assert_recorded(case, sum(losses) / len(losses), z)


def slow_sort(values, steepness):
    """The network in plain loops over one sequence: values and mass of items on ranks."""
    values, ranks = list(values), [[float(i == j) for j in range(len(values))] for i in range(len(values))]
    for layer in range(len(values)):
        for k in range(layer % 2, len(values) - 1, 2):
            hold = 0.5 + torch.atan(steepness * (values[k + 1] - values[k])) / math.pi
            values[k], values[k + 1] = (
                hold * values[k] + (1 - hold) * values[k + 1],
                (1 - hold) * values[k] + hold * values[k + 1],
            )
            for row in ranks:
                row[k], row[k + 1] = hold * row[k] + (1 - hold) * row[k + 1], (1 - hold) * row[k] + hold * row[k + 1]
    return values, ranks


def test_plain_formula():
    torch.manual_seed(0)
    pos, neg = (torch.randn(3, n, dtype=torch.float64).requires_grad_() for n in (2, 4))
    terms = []
    for high, low in zip(pos, neg, strict=True):
        _, ranks = slow_sort([*low.sort().values, *high.sort().values], 2.0)
        for item, row in enumerate(ranks):
            terms.append(functional.binary_cross_entropy(sum(row[4:]), torch.tensor(float(item >= 4)).double()))
    expected, actual = sum(terms) / len(terms), group_ordering(pos, neg, steepness=2.0)
    torch.testing.assert_close(actual, expected)
    for leaf in (pos, neg):
        torch.testing.assert_close(gradient(actual, leaf), gradient(expected, leaf))


def test_steep_network_sorts():
    torch.manual_seed(0)
    values = torch.randn(5, 9, dtype=torch.float64)
    ordered, ranks = soft_sort(values, steepness=1e12)
    torch.testing.assert_close(ordered, values.sort(dim=1).values, rtol=0, atol=1e-9)
    torch.testing.assert_close(ranks.sum(dim=1), torch.ones(5, 9).double())
    torch.testing.assert_close(ranks.sum(dim=2), torch.ones(5, 9).double())


@pytest.mark.parametrize("numbers", [(0, 3), (3, 0), (0, 0), (1, 0)])
def test_one_side_only(numbers):
    pos, neg = (torch.randn(2, n).requires_grad_() for n in numbers)
    value = group_ordering(pos, neg)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert all(gradient(value, leaf).isfinite().all() for leaf in (pos, neg))


def test_separated_groups_lose_less():
    pos, neg = torch.full((1, 2), 0.9), torch.full((1, 3), -0.9)
    assert group_ordering(pos, neg, steepness=10) < group_ordering(neg, pos, steepness=10)


def test_bad_steepness():
    with pytest.raises(InputError, match=r"soft_sort\.steepness"):
        soft_sort(torch.zeros(1, 2), steepness=0)
