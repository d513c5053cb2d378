"""Losses of density maps against slow plain formulas, values and gradients."""

import math

import numpy as np
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.geometry import Kernel, render_density
from crowdcount.losses import BayesianLoss, CountL1, DensityLoss, DensityMse, DmCount
from crowdcount.losses.transport import transport, variation

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
STRIDE = 4
SIZE = (7, 9)  # rows, columns
LOSSES = [DensityMse(), CountL1(), DmCount(), BayesianLoss(), BayesianLoss(background=None)]


def batch(numbers=(5, 1, 0, 40), dtype=torch.float64, seed=0):
    """Densities (B, 1, rows, columns) and points of images with so many people."""
    random = np.random.default_rng(seed)
    rows, columns = SIZE
    high = (columns * STRIDE, rows * STRIDE)
    points = [random.uniform(0, high, (number, 2)).astype(np.float32) for number in numbers]
    density = torch.from_numpy(random.gamma(0.5, 0.3, (len(numbers), 1, rows, columns))).to(dtype)
    return density.requires_grad_(), points


def gradient(loss, density, points):
    return torch.autograd.grad(sum(loss(density, points, STRIDE).values()), density)[0]


def gaussian(distance, sigma):
    return math.exp(-(distance**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)


def plain_bayesian(density, points, sigma, background):
    """Loss of one image and its gradient, cell by cell and point by point; density (rows, columns)."""
    rows, columns = density.shape
    expected, parts = [0.0] * (len(points) + 1), {}
    for row in range(rows):
        for column in range(columns):
            centre = ((column + 0.5) * STRIDE, (row + 0.5) * STRIDE)
            distances = [math.dist(centre, point) for point in points.tolist()]
            likelihoods = [gaussian(distance, sigma) for distance in distances]
            margin = (background or 0) * min(rows, columns) * STRIDE
            outside = gaussian(margin - min(distances), sigma) if background else 0.0
            parts[row, column] = [each / (sum(likelihoods) + outside) for each in (*likelihoods, outside)]
            for n, part in enumerate(parts[row, column]):
                expected[n] += part * density[row, column]
    targets = [1.0] * len(points) + [0.0]
    slopes = [math.copysign(1, count - target) for count, target in zip(expected, targets, strict=True)]
    slope = np.array([[np.dot(parts[row, column], slopes) for column in range(columns)] for row in range(rows)])
    errors = [abs(target - count) for target, count in zip(targets, expected, strict=True)]
    return sum(errors[:-1]), errors[-1], slope


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("sigma", "background"), [(8.0, 0.15), (8.0, None), (3.0, 0.5), (5.0, None)])
def test_bayesian_loss_is_the_plain_formula(sigma, background, device):
    density, points = batch((5, 1, 40))
    loss = BayesianLoss(sigma, background)
    terms = {name: term.item() for name, term in loss(density.to(device), points, STRIDE).items()}
    slopes = gradient(loss, density.to(device), points).cpu()
    plain = [
        plain_bayesian(map_[0].detach().numpy(), each, sigma, background)
        for map_, each in zip(density, points, strict=True)
    ]
    assert terms["points"] == pytest.approx(np.mean([each for each, _, _ in plain]), rel=1e-9)
    assert terms["background"] == pytest.approx(np.mean([each for _, each, _ in plain]), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(slopes[:, 0], np.stack([each for _, _, each in plain]) / 3, rtol=1e-7, atol=1e-9)


def test_bayesian_loss_without_background_shares_all_of_the_density():
    """The expected counts then add up to the predicted count, so one point has all of it."""
    density, points = batch((1,))
    terms = BayesianLoss(background=None)(density, points, STRIDE)
    assert terms["points"].item() == pytest.approx(abs(1 - density.sum().item()), rel=1e-9)
    assert terms["background"].item() == 0


def test_bayesian_loss_far_from_every_point_is_finite():
    """Likelihoods of cells 1000 standard deviations away underflow; their posterior does not."""
    density, _ = batch((1,), torch.float32)
    points = [np.array([[0.5, 0.5], [1, 1]], np.float32)]
    for background in (0.15, None):
        loss = BayesianLoss(0.03, background)
        assert all(term.isfinite() for term in loss(density, points, STRIDE).values())
        assert gradient(loss, density, points).isfinite().all()


def test_mse_is_the_plain_formula():
    density, points = batch()
    kernel = Kernel(sigma=2.0, size=None)
    rows, columns = SIZE
    total, slope = 0.0, np.zeros((4, 1, rows, columns))
    for index, each in enumerate(points):
        pixels = render_density(each, rows * STRIDE, columns * STRIDE, kernel)
        assert pixels.sum() == pytest.approx(len(each), rel=1e-5)
        for row in range(rows):
            for column in range(columns):
                cell = pixels[row * STRIDE : (row + 1) * STRIDE, column * STRIDE : (column + 1) * STRIDE]
                error = density[index, 0, row, column].item() - float(cell.astype(np.float64).sum())
                total, slope[index, 0, row, column] = total + error**2, 2 * error
    loss = DensityMse(kernel)
    assert loss(density, points, STRIDE)["density"].item() == pytest.approx(total / 4, rel=1e-6)
    np.testing.assert_allclose(gradient(loss, density, points), slope / 4, rtol=1e-5, atol=1e-7)


def test_count_is_the_plain_formula():
    density, points = batch()
    errors = [map_.sum().item() - len(each) for map_, each in zip(density, points, strict=True)]
    assert CountL1()(density, points, STRIDE)["count"].item() == pytest.approx(np.abs(errors).mean(), rel=1e-9)
    slope = gradient(CountL1(), density, points)
    for map_, error in zip(slope, errors, strict=True):
        np.testing.assert_allclose(map_, math.copysign(0.25, error))


def test_dm_count_is_its_three_terms():
    """The terms themselves are held to recorded numbers and plain formulas in test_transport.py."""
    density, points = batch(dtype=torch.float32)
    rows, columns = SIZE
    counts = torch.zeros(4, 1, rows, columns)
    for index, each in enumerate(points):
        for x, y in each.tolist():
            counts[index, 0, int(y) // STRIDE, int(x) // STRIDE] += 1
    terms = DmCount()(density, points, STRIDE)
    assert list(terms) == ["count", "transport", "variation"]
    torch.testing.assert_close(terms["count"], CountL1()(density, points, STRIDE)["count"])
    torch.testing.assert_close(terms["transport"], 0.1 * transport(density, points, STRIDE).mean())
    numbers = counts.sum(dim=(1, 2, 3))
    torch.testing.assert_close(terms["variation"], 0.01 * variation(density, counts, numbers).mean())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_terms_are_means_over_the_images(loss):
    assert isinstance(loss, DensityLoss)
    density, points = batch(dtype=torch.float32)
    together = loss(density, points, STRIDE)
    alone = [loss(density[index : index + 1], points[index : index + 1], STRIDE) for index in range(4)]
    for name, term in together.items():
        assert term.shape == ()
        torch.testing.assert_close(term, torch.stack([each[name] for each in alone]).mean(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_that_of_the_density_alone(loss, dtype):
    """Rounded densities give what they give in float32: nothing is added up in less; autocast changes nothing."""
    density, points = batch(dtype=dtype)
    wide = density.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(density, points, STRIDE)
    for name, term in loss(wide, points, STRIDE).items():
        assert low[name].dtype == torch.float32
        torch.testing.assert_close(low[name], term)
    slope = gradient(loss, density, points)
    assert slope.dtype == dtype
    torch.testing.assert_close(slope, gradient(loss, wide, points).to(dtype))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_an_image_without_people_is_pulled_to_zero(loss):
    density, points = batch((0,), torch.float32)
    assert (gradient(loss, density, points) > 0).all()
    assert sum(loss(torch.zeros_like(density), points, STRIDE).values()).item() == 0


def test_dm_count_refuses_what_is_no_distribution():
    density, points = batch(dtype=torch.float32)
    density = density.detach()
    density[1, 0, 2, 3] = -1e-3
    with pytest.raises(InputError, match="negative densities; let it end in a ReLU or softplus"):
        DmCount()(density, points, STRIDE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BayesianLoss(sigma=0), "loss.sigma: 0 must be"),
        (lambda: BayesianLoss(background=-0.1), "loss.background: -0.1 must be"),
        (lambda: BayesianLoss(sigma=math.nan), "loss.sigma: nan"),
        (lambda: DmCount(ot_weight=-1), "loss.ot_weight: -1 must be"),
        (lambda: DmCount(tv_weight=math.inf), "loss.tv_weight: inf"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(InputError) as stopped:
        make()
    assert message in str(stopped.value)
