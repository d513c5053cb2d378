"""The fixed padding of exported graphs against timm's, which is computed from the image."""

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from crowdcount.models.same_padding import fixed_padding


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 1), (3, 1, 2), (1, 2, 1)])
def test_sides_that_are_multiples_of_the_stride_are_padded_the_same(kernel, stride, dilation):
    torch.manual_seed(0)
    network = nn.Sequential(Conv2dSame(3, 4, kernel, stride, dilation=dilation), nn.ReLU())
    image = torch.randn(1, 3, 12, 16)
    with torch.no_grad():
        expected = network(image)
        with fixed_padding(network):
            assert not isinstance(network[0], Conv2dSame)
            torch.testing.assert_close(network(image), expected, rtol=0, atol=0)
    assert isinstance(network[0], Conv2dSame)
