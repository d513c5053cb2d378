"""Networks and losses in the modes that a caller may have set: without gradients, in double precision."""

import numpy as np
import pytest
import torch

from crowdcount.geometry import render_density
from crowdcount.losses import BayesianLoss, CountL1, DensityMse, DmCount
from crowdcount.models import Ebc, Hmode, Zip
from crowdcount.models.base import count_map
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.loss import Dace
from crowdcount.models.hmode.loss import HmodeLoss
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.models.zip.loss import ZipLoss

BINS = Bins([0, 1, "2+"], [0.0, 1.0, 2.6])
POINTS = [np.array([[3.0, 4.0], [40.5, 20.0], [41.0, 60.0]], np.float32), np.zeros((0, 2), np.float32)]
BUILD = {
    "ebc": lambda: Ebc("test_resnet", BINS, pretrained=False),
    "zip": lambda: Zip("test_resnet", BINS, pretrained=False),
    "hmode": lambda: Hmode("mobilenetv4_conv_small_035", (4, 8, 16), pretrained=False),
    "rec": lambda: ReferringDetector(detector="tiny", words=["person"]),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("family", BUILD)
def test_a_network_is_the_same_without_gradients(family, mode):
    network = BUILD[family]()
    with mode():
        without = BUILD[family]()
    trained, other = ([(k, p.requires_grad) for k, p in each.named_parameters()] for each in (network, without))
    assert trained == other and any(gradient for _, gradient in trained)
    assert getattr(network, "size_divisor", None) == getattr(without, "size_divisor", None)


@pytest.fixture(params=["ebc", "zip", "hmode"])
def network(request):
    torch.manual_seed(0)
    return BUILD[request.param]().double()


def losses(network, output):
    """Return the terms of every loss that the network can be trained with."""
    terms = {}
    for loss in (DensityMse(), CountL1(), DmCount(), BayesianLoss()):
        terms |= {f"{type(loss).__name__} {key}": each for key, each in loss(output.density, POINTS, 16).items()}
    if isinstance(network, Hmode):
        true = torch.from_numpy(np.stack([render_density(each, 64, 64, DensityMse().kernel) for each in POINTS]))
        return HmodeLoss()(output, true)
    for kind in ("mae", "mse", "dmcount"):
        terms |= {f"{kind} {key}": each for key, each in Dace(kind)(output, POINTS, BINS, network.stride).items()}
    if isinstance(network, Zip):
        terms |= ZipLoss()(output, POINTS, BINS, network.stride)
    return terms


def test_double_precision_stays_double_to_the_loss(network):
    """In single precision anywhere on the way, a small difference of two losses would be lost."""
    output = count_map(network, torch.rand(2, 3, 64, 64, dtype=torch.float64))
    assert {each.dtype for each in vars(output).values() if isinstance(each, torch.Tensor)} == {torch.float64}
    terms = losses(network, output)
    assert {key for key, each in terms.items() if each.dtype != torch.float64} == set()
    sum(terms.values()).backward()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)
