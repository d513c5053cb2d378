"""The losses of ZIP against the recorded ones, scipy and slow formulas."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from crowdcount.errors import InputError
from crowdcount.losses.density import block_targets
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.zip import loss as loss_module
from crowdcount.models.zip.base import ZeroInflatedNetwork
from crowdcount.models.zip.loss import ZipLoss
from crowdcount.models.zip.terms import SCALES, multiscale_errors, poisson_nll, zero_inflated_nll

GOLDEN = Path(__file__).parents[1] / "golden" / "zip"
PUBLISHED = {"epsilon": 1e-8, "whole_windows": True, "once_per_pixel": True}
TERMS = {"zipnll": "zip", "pnll": "poisson", "msmae": "multiscale", "dm": "dmcount", "mae": "mae", "mse": "mse"}
INFO = {
    "cls_zice": "cross_entropy", "cls_ce_loss": "cross_entropy", "zipnll": "zip", "pnll": "poisson", "mae": "mae",
    "mse": "mse", "mae_loss_1": "scale_1", "mae_loss_2": "scale_2", "mae_loss_4": "scale_4", "tv_loss": "variation",
    "cnt_loss": "count",
}  # fmt: skip


class Heads(ZeroInflatedNetwork):
    def forward(self, image):
        raise NotImplementedError


class Head(BlockwiseCounter):
    def forward(self, image):
        raise NotImplementedError


@pytest.fixture
def clamped(monkeypatch):
    """The published label maps move points outside the image, which no crop has, to the pixels at its border."""

    def targets(points, density, stride, once_per_pixel):
        sides = [side * stride for side in reversed(density.shape[-2:])]
        inside = [np.clip(np.trunc(each), 0, np.array(sides) - 1).astype(np.float32) for each in points]
        return block_targets(inside, density, stride, once_per_pixel)

    monkeypatch.setattr(loss_module, "block_targets", targets)
    return targets


@pytest.fixture(scope="module")
def tables():
    return json.loads((GOLDEN / "zip_bins.json").read_text())


def make_bins(table):
    intervals = [f"{low}+" if high == "inf" else low if low == high else f"{low}-{high}" for low, high in table["bins"]]
    return Bins(intervals, table["centers"])


def read(request, name):
    committed = GOLDEN / f"{name}.npz"
    folder = GOLDEN if committed.is_file() else request.getfixturevalue("shared") / "golden" / "zip"
    return np.load(folder / f"{name}.npz")


def recorded_options(name, images):
    """The options of a recorded run, and whether it has one head."""
    batch = {"ot_weight": 0.1 * images, **PUBLISHED}
    parts = name.removeprefix("k_").removeprefix("aux_").split("_")
    if name.startswith("k_"):
        auxiliary = TERMS[parts[1]] if len(parts) > 1 else None
        return ZipLoss(TERMS[parts[0]], auxiliary, **batch), True
    if name.startswith("aux_"):
        return ZipLoss("zip", TERMS[parts[0]], **batch), False
    return {
        "shipped": ZipLoss(**batch),
        "weighted": ZipLoss(class_weight=0.5, regression_weight=2.0, auxiliary_weight=0.1, **batch),
        "noaux": ZipLoss(auxiliary=None, **batch),
        "minscale": ZipLoss(scale_weights=(0.2375, 0.35, 0.8), **batch),  # from 0.2 to 0.8, decaying by 1/4
    }[name], False


SINGLE = "k_pnll k_dm k_msmae k_mae k_mse k_dm_msmae"
OTHERS = f"noaux minscale aux_pnll aux_dm aux_mae aux_mse {SINGLE}"
CASES = {
    "zip_loss": (("sha16", "shipped weighted"), ("allempty", f"shipped weighted {OTHERS}")),
    "zip_loss_alt": (("sha16", OTHERS),),
    "zip_loss_more": (("nwpu8", f"shipped weighted {OTHERS}"), ("qnrf32", f"shipped weighted {OTHERS}")),
    "zip_loss_edge": (("edge14", "shipped"), ("edge21", "shipped")),
}
RUNS = [(file, case, run) for file, cases in CASES.items() for case, runs in cases for run in runs.split()]


@pytest.mark.parametrize(("file", "case", "run"), RUNS, ids=lambda value: value)
def test_totals_terms_and_gradients_equal_the_recorded_ones(file, case, run, tables, request, clamped):
    arrays = read(request, file)
    inputs = read(request, "zip_loss") if file == "zip_loss_alt" else arrays
    stride, _ = inputs[f"{case}/args"]
    bins = make_bins(tables[f"{inputs[f'{case}/dataset']}{stride}"])
    points = [inputs[f"{case}/points{index}"] for index in range(len(inputs[f"{case}/kinds"]))]
    loss, single = recorded_options(run, len(points))
    names = ["logits_k"] if single else ["logits_pi", "logits_lambda"]
    logits = [torch.tensor(inputs[f"{case}/{name}"], requires_grad=True) for name in names]
    output = Head(bins, stride).decode(*logits) if single else Heads(bins, stride).combine(*logits)
    terms = loss(output, points, bins, int(stride))
    total = torch.stack(list(terms.values())).sum()
    key = f"{case}/{run}"
    assert total.item() == pytest.approx(float(arrays[f"{key}/total"]), rel=2e-5)
    for name, gradient in zip(names, torch.autograd.grad(total, logits, allow_unused=True), strict=True):
        expected = arrays[f"{key}/chain/{name}"]
        limit = (2e-5 if "dm" in run else 1e-5) * np.abs(expected).max()
        ours = np.zeros_like(expected) if gradient is None else gradient.numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=limit, err_msg=name)
    check_terms(terms, {each: arrays[each] for each in arrays if each.startswith(f"{key}/info/")}, loss)


def check_terms(terms, recorded, loss):
    compared = 0
    for key, value in recorded.items():
        name = key.rpartition("/")[2]
        prefix = "auxiliary_" if name.startswith("aux_") else ""
        name = INFO.get(name, INFO.get(name.removeprefix("aux_").removeprefix("reg_")))
        if name is None:  # the transport term, whose value is rounding, and what it is made of
            continue
        weight = {"cross_entropy": loss.class_weight, "count": 1.0}.get(
            name, loss.auxiliary_weight if prefix else loss.regression_weight
        )
        factor = loss.scale_weights[(1, 2, 4).index(int(name[-1]))] if name.startswith("scale") else None
        expected = weight * (factor or {"variation": 0.01}.get(name, 1.0)) * float(value)
        assert terms[prefix + name].item() == pytest.approx(expected, rel=2e-5, abs=1e-6), key
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("y", [0, 1, 50])
def test_extreme_scores_and_rates_equal_the_recorded_ones(y, request):
    arrays = read(request, "zip_loss")
    logits = torch.tensor(arrays["corner/logits_pi"], requires_grad=True)
    rate = torch.tensor(arrays["corner/lambda"], requires_grad=True)
    loss = zero_inflated_nll(logits, rate, torch.full_like(rate, y), 1e-8)
    np.testing.assert_allclose(loss.detach().flatten(), arrays[f"corner/y{y}/loss"].ravel(), rtol=1e-5, atol=1e-7)
    for name, gradient in zip(("logits", "lambda"), torch.autograd.grad(loss.sum(), [logits, rate]), strict=True):
        expected = arrays[f"corner/y{y}/grad_{name}"]
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_blocks_and_classes_equal_the_recorded_ones(tables, request, clamped):
    arrays = read(request, "zip_loss")
    for case in ("sha16", "allempty"):
        stride, _ = arrays[f"{case}/args"]
        points = [arrays[f"{case}/points{index}"] for index in range(len(arrays[f"{case}/kinds"]))]
        blocks = clamped(points, torch.from_numpy(arrays[f"{case}/density"]), int(stride), True)
        np.testing.assert_array_equal(blocks, arrays[f"{case}/blocks"])
        bins = make_bins(tables[f"{arrays[f'{case}/dataset']}{stride}"])
        np.testing.assert_array_equal(bins.classes(blocks[:, 0]), arrays[f"{case}/classes"])


# the likelihood by other means


def random_blocks(dtype=torch.float64, seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 2, 5, 7, generator=random, dtype=torch.float64)
    rate = torch.rand(2, 1, 5, 7, generator=random, dtype=torch.float64) * 12 + 0.01
    counts = torch.poisson(rate * (torch.rand(rate.shape, generator=random) < 0.5), generator=random)
    return [each.to(dtype).requires_grad_() for each in (logits, rate)], counts.to(dtype)


def test_likelihood_is_scipy_s():
    (logits, rate), counts = random_blocks()
    zero = logits.detach().softmax(dim=1)[:, :1].numpy()
    y, mean = counts.numpy(), rate.detach().numpy()
    likelihood = np.log((1 - zero) * poisson.pmf(y, mean) + zero * (y == 0))
    ours = -zero_inflated_nll(logits, rate, counts).detach() - torch.lgamma(counts + 1)
    np.testing.assert_allclose(ours, likelihood, rtol=1e-12)
    np.testing.assert_allclose(
        -poisson_nll(rate, counts).detach() - torch.lgamma(counts + 1), poisson.logpmf(y, mean), rtol=1e-10, atol=1e-10
    )


def slow_nll(scores, rate, y, epsilon):
    """One block in plain Python; value and the derivatives by the two scores and the rate."""
    zero, present = (math.exp(score) / sum(math.exp(each) for each in scores) for score in scores)
    if y == 0:
        inner = zero + present * math.exp(-rate) + epsilon
        by_zero = -zero * present * (1 - math.exp(-rate)) / inner
        return -math.log(inner), (by_zero, -by_zero, present * math.exp(-rate) / inner)
    by_zero = zero * present / (present + epsilon)
    value = -math.log(present + epsilon) - y * math.log(rate + epsilon) + rate
    return value, (by_zero, -by_zero, 1 - y / (rate + epsilon))


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 1e-2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_likelihood_and_gradient_equal_a_slow_loop(epsilon, dtype):
    (logits, rate), counts = random_blocks(dtype)
    ours = zero_inflated_nll(logits, rate, counts, epsilon)
    assert ours.dtype == dtype and ours.shape == rate.shape
    by_logits, by_rate = torch.autograd.grad(ours.sum(), [logits, rate])
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-4}
    for image, row, column in np.ndindex(2, 5, 7):
        scores = logits[image, :, row, column].tolist()
        at = image, 0, row, column
        value, derivatives = slow_nll(scores, rate[at].item(), counts[at].item(), epsilon)
        np.testing.assert_allclose(ours[at].item(), value, **tolerance)
        found = [*by_logits[image, :, row, column].tolist(), float(by_rate[at])]
        np.testing.assert_allclose(found, derivatives, **tolerance)


def test_a_wrong_head_keeps_its_gradient_without_epsilon():
    logits = torch.tensor([[60.0, -60.0]]).view(1, 2, 1, 1).requires_grad_()
    rate, one = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    published, ours = (zero_inflated_nll(logits, rate, one, epsilon) for epsilon in (1e-8, 0.0))
    assert published.item() == pytest.approx(1 - math.log(1e-8)) and ours.item() == pytest.approx(121)
    assert torch.autograd.grad(published, logits)[0].abs().max() < 1e-20
    assert torch.autograd.grad(ours, logits)[0].flatten().tolist() == [1.0, -1.0]


@pytest.mark.parametrize("whole", [False, True])
def test_errors_of_windows_equal_a_slow_loop(whole):
    random = torch.Generator().manual_seed(1)
    density, counts = (torch.rand(2, 1, 6, 9, generator=random, dtype=torch.float64) for _ in range(2))
    for scale, found in zip(SCALES, multiscale_errors(density, counts, whole), strict=True):
        for image in range(2):
            total = 0.0
            for row in range(0, 6, scale):
                for column in range(0, 9, scale):
                    window = (density - counts)[image, 0, row : row + scale, column : column + scale]
                    if not whole or window.shape == (scale, scale):
                        total += abs(float(window.sum())) / scale**2
            assert float(found[image]) == pytest.approx(total, rel=1e-12)


def test_the_loss_takes_double_precision_and_bfloat16():
    heads = Heads(Bins([0, 1, "2+"], [0.0, 1.0, 2.5]), 16)
    points = [np.array([[3.0, 4.0], [3.2, 4.1], [40.0, 20.0]], np.float32), np.empty((0, 2), np.float32)]
    random = torch.Generator().manual_seed(2)
    logits = [torch.randn(2, 2, 2, 3, generator=random, dtype=torch.float64) for _ in range(2)]
    totals = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        terms = ZipLoss(ot_weight=0.0)(heads.combine(*(each.to(dtype) for each in logits)), points, heads.bins, 16)
        totals[dtype] = sum(terms.values())
    assert totals[torch.float64].dtype == torch.float64 and totals[torch.bfloat16].dtype == torch.float32
    assert float(totals[torch.float32]) == pytest.approx(float(totals[torch.float64]), rel=1e-5)
    assert float(totals[torch.bfloat16]) == pytest.approx(float(totals[torch.float64]), rel=0.02)
    once, twice = (
        ZipLoss(once_per_pixel=option)(heads.combine(*logits), points, heads.bins, 16) for option in (True, False)
    )
    assert once["count"] == twice["count"] and once["zip"] != twice["zip"]


def test_impossible_losses_are_refused():
    with pytest.raises(InputError, match=r"loss\.regression: 'nll' is not one of zip, poisson"):
        ZipLoss("nll")
    with pytest.raises(InputError, match=r"loss\.epsilon: -1"):
        ZipLoss(epsilon=-1)
    with pytest.raises(InputError, match=r"loss\.scale_weights\[1\]: nan"):
        ZipLoss(scale_weights=(1.0, math.nan, 1.0))
    bins = Bins([0, "1+"])
    points = [np.empty((0, 2), np.float32)]
    with pytest.raises(InputError, match="'zip' needs a network of the family zip"):
        ZipLoss()(Head(bins, 8).decode(torch.zeros(1, 2, 2, 2)), points, bins, 8)
    with pytest.raises(InputError, match="gives a density only"):
        ZipLoss("mae")(CountMap(torch.zeros(1, 1, 2, 2)), points, bins, 8)
