"""The variance of the blocks: as the distribution has it, and the same in one pass, windows and tiles."""

import numpy as np
import pytest
import torch
from torch import nn

from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.models.base import CountMap, DensityNetwork, count_map
from crowdcount.models.blockwise import Bins, BlockwiseCounter


class Classes(BlockwiseCounter):
    """A blockwise classifier that sees its own block only."""

    size_divisor = 8

    def __init__(self):
        super().__init__(Bins([0, 1, "2+"], [0, 1, 3.5]), 8)
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 8, stride=8)

    def forward(self, image):
        return self.decode(3 * self.conv(image))


class Undeclared(DensityNetwork):
    """A network whose map has a variance that it does not declare."""

    stride = size_divisor = 8

    def forward(self, image):
        density = nn.functional.avg_pool2d(image.mean(1, keepdim=True), 8)
        return CountMap(density, variance=density)


@pytest.mark.parametrize("inference", [Inference(), Inference(window=16, window_stride=8), Inference(max_memory=1e-4)])
def test_variance_is_that_of_the_classes(inference):
    image = torch.randint(0, 256, (3, 40, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = inference(Classes().eval(), image)
    anchors = np.array([0, 1, 3.5])[:, None, None]
    classes = found.probabilities.astype(np.float64)
    expected = (classes * anchors**2).sum(0) - (classes * anchors).sum(0) ** 2
    np.testing.assert_allclose(found.variance, expected, atol=1e-5)
    np.testing.assert_allclose(found.density, (classes * anchors).sum(0), atol=1e-5)
    assert found.total_variance == pytest.approx(expected.sum(), rel=1e-5)


def test_networks_declare_their_variance():
    with pytest.raises(InputError, match=r"has a variance, and Undeclared\.predicts_variance is False"):
        count_map(Undeclared(), torch.zeros(1, 3, 32, 32))
    network = Classes()
    network.predicts_variance = True
    network.decode = lambda scores: CountMap(scores[:, :1])
    with pytest.raises(InputError, match="has no variance"):
        count_map(network, torch.zeros(1, 3, 32, 32))


def test_networks_declare_their_size_difference():
    network = Classes().eval()
    network.compares_sizes = True
    with pytest.raises(InputError, match=r"has no size difference, and Classes\.compares_sizes is True"):
        count_map(network, torch.zeros(1, 3, 32, 32))
    count_map(network.train(), torch.zeros(1, 3, 32, 32))  # trainings see one size


def test_loss_sends_no_gradient_through_the_variance():
    assert not Classes()(torch.rand(1, 3, 16, 16)).variance.requires_grad
