import math

import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import class_temperatures, cluster_numbers, contrast, cosine_kmeans, cosines
from crowdcount.losses.contrastive.scores import unit
from tests.support.contrastive import assert_recorded, recorded

CASES = recorded("sbcl")


def test_recorded_clusters():
    case = CASES[6]
    sizes = case["class_sizes"].tolist()
    labels = torch.arange(3).repeat_interleave(case["class_sizes"])
    numbers = cluster_numbers(sizes)
    assert numbers == case["cluster_numbers"].tolist()
    offset, found = 0, []
    for label, number in enumerate(numbers):
        members = case["features"][labels == label]
        if number > 1:
            found.append(cosine_kmeans(members, case[f"centres_init{label}"])[0] + offset)
        else:
            found.append(torch.full((len(members),), offset))
        offset += number
    assert torch.cat(found).tolist() == case["subclass"].tolist()
    temperatures = class_temperatures(case["features"], labels, numbers, temperature=case["temperature"])
    torch.testing.assert_close(temperatures, case["rank_tau"], rtol=2e-7, atol=0)  # recorded in single precision


@pytest.mark.parametrize("case", CASES[4:6], ids=lambda case: case["variant"])
def test_recorded_queue(case):
    """The version of MoCo: the own key is a positive everywhere."""
    z, tau = case.z, case["tau"]
    anchors = len(case["labels"])
    query, key, queue = z[:anchors], z[anchors : 2 * anchors], z[2 * anchors :]
    own = torch.eye(anchors, dtype=torch.bool)
    similarity = torch.cat([cosines(query, key), cosines(query, queue)], dim=1)
    same = torch.cat([own, case["labels"][:, None] == case["labels_queue"]], dim=1)
    sub = torch.cat([own, case["subclass"][:, None] == case["subclass_queue"]], dim=1)
    view = torch.cat([own, torch.zeros(anchors, len(queue), dtype=torch.bool)], dim=1)
    there = torch.cat([own, torch.ones(anchors, len(queue), dtype=torch.bool)], dim=1)  # only the own key
    first = contrast(similarity / tau, sub, there & ~sub)
    if case["variant"] == "moco_rank":
        pos = (same & ~sub) | view
        second = contrast(similarity / case["rank_tau"], pos, there & ~sub & ~pos)
    else:
        second = contrast(similarity / tau, same, there & ~same)
    assert_recorded(case, first + case["gamma"] * second, z)


def test_recorded_balanced_clusters_are_left_out():
    """The release cannot call its balanced clusters (a wrong argument name), so there are none here; only sizes."""
    case = CASES[7]
    sizes = case["assignment"].bincount()
    assert sizes.max() - sizes.min() <= 1


def test_plain_kmeans():
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, 8, dtype=torch.float64), dim=1)
    label = torch.arange(60) % 3
    vectors = centres[label] + 0.1 * torch.randn(60, 8, dtype=torch.float64)
    members, found = cosine_kmeans(vectors * 7, vectors[:3])
    assert (members == label).all()
    means = torch.stack([unit(vectors[label == k]).mean(dim=0) for k in range(3)])
    torch.testing.assert_close(found, means)


def test_an_empty_cluster_keeps_its_centre():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    members, centres = cosine_kmeans(vectors, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert members.tolist() == [0, 0] and centres[1].tolist() == [-1, 0]


def test_plain_temperatures():
    torch.manual_seed(0)
    labels = torch.tensor([0] * 30 + [1] * 20 + [3] * 12)
    vectors = torch.randn(62, 5, dtype=torch.float64) + 3 * torch.eye(5, dtype=torch.float64)[labels]
    spreads = []
    for label in (0, 1, 3):
        members = unit(vectors[labels == label])
        spreads.append(float((members - members.mean(0)).norm(dim=1).mean()) / math.log(len(members) + 10))
    low, middle, high = sorted(spreads)
    bounds = low + 0.4 * (middle - low), middle + 0.6 * (high - middle)
    clipped = [min(max(each, bounds[0]), bounds[1]) for each in spreads]
    expected = [0.1 * each / (sum(clipped) / 3) for each in clipped]
    actual = class_temperatures(vectors, labels, [3, 2, 1, 1])
    assert actual.tolist() == pytest.approx([expected[0], expected[1], 0.1, 0.1])


def test_numbers_and_bad_arguments():
    assert cluster_numbers([1000, 25, 0, 40]) == [40, 1, 1, 1]
    assert cluster_numbers([5, 12]) == [1, 1] and cluster_numbers([0, 0]) == [1, 1]
    with pytest.raises(InputError, match=r"class_temperatures\.temperature"):
        class_temperatures(torch.ones(1, 2), torch.zeros(1, dtype=torch.long), [1], temperature=0)
    with pytest.raises(InputError, match=r"cosine_kmeans\.iterations"):
        cosine_kmeans(torch.ones(1, 2), torch.ones(1, 2), iterations=0)
