import functools
import re

import numpy as np
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.geometry import as_points, block_counts
from crowdcount.losses import transport as transport_module
from crowdcount.losses.dm_count import DmCount
from crowdcount.losses.transport import GibbsKernel, gibbs_kernel, sinkhorn, transport, variation
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.blockwise.loss import Dace
from tests.support.published_bins import published_bins

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
STRIDE = 8
NAMES = {
    "cross_entropy": "ce_loss",
    "count": "count_loss",
    "variation": "tv_loss",
    "mae": "mae_loss",
    "mse": "mse_loss",
}


@functools.cache
def load(path):
    return dict(np.load(path))


@pytest.fixture(params=["s64", "s224", "s448"])
def recorded(request, golden):
    """Numbers of one recorded case; the largest is read from the shared folder."""
    folder = request.getfixturevalue("shared") / "golden" if request.param == "s448" else golden
    prefix = request.param + "/"
    arrays = load(folder / "clip_ebc_loss.npz")
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def recorded_points(recorded):
    return [recorded[f"points{i}"] for i in range(len(recorded["n_points"]))]


class Head(BlockwiseCounter):
    def forward(self, image):
        return self.decode(image)


def published_total(loss, logits, points):
    """Total and logit gradient; the recorded runs used the SHA bins, truncation 4."""
    logits = torch.tensor(logits, requires_grad=True)
    bins = published_bins("sha")
    terms = loss(Head(bins, STRIDE).decode(logits), points, bins, STRIDE)
    total = sum(terms.values())
    return terms, total.item(), torch.autograd.grad(total, logits)[0].numpy()


def random_case(n, rows, columns, stride, seed=0):
    random = np.random.default_rng(seed)
    points = random.uniform(0, (columns * stride, rows * stride), (n, 2)).astype(np.float32)
    blocks = torch.from_numpy(block_counts(points, rows * stride, columns * stride, stride))
    density = 0.5 * blocks + torch.from_numpy(random.gamma(0.3, n / blocks.numel(), blocks.shape).astype(np.float32))
    return points, density


def dense_cost(points, rows, columns, stride):
    """(n, rows, columns) squared distances."""
    points = torch.as_tensor(points)
    x = (torch.arange(columns, dtype=points.dtype) + 0.5) * stride
    y = (torch.arange(rows, dtype=points.dtype) + 0.5) * stride
    return (points[:, 1, None, None] - y[:, None]) ** 2 + (points[:, 0, None, None] - x) ** 2


def plain_sinkhorn(kernel, target, stop=1e-9):
    """The published loop for one image; also the number of iterations it took."""
    n, blocks = kernel.shape
    u, v = kernel.new_full((n,), 1 / n), kernel.new_full((blocks,), 1 / blocks)
    for iteration in range(1, 101):
        before = u, v
        v = target / (kernel.T @ u + 1e-16)
        u = 1 / n / (kernel @ v + 1e-16)
        if not (u.isfinite().all() and v.isfinite().all()):
            return *before, iteration
        if iteration % 10 == 0 and (target - v * (kernel.T @ u)).square().sum() <= stop:
            break
    return u, v, iteration


def plain_gradient(points, density, stride):
    """Gradient of the transport term of one image in float64, density (rows, columns)."""
    flat = density.double().flatten()
    kernel = torch.exp(-dense_cost(points.astype(np.float64), *density.shape, stride).flatten(1) / 10)
    _, v, _ = plain_sinkhorn(kernel, flat / (flat.sum() + 1e-8))
    beta, total = 10 * torch.log(v + 1e-16), flat.sum()
    return ((beta * total - (flat * beta).sum()) / (total**2 + 1e-8)).view_as(density)


def as_kernel(dense):
    """A Kernel of one image from its (n, blocks) matrix."""
    n, blocks = dense.shape
    return GibbsKernel(
        matrix=dense.to_sparse_csr(),
        transposed=dense.T.contiguous().to_sparse_csr(),
        order=torch.arange(blocks)[None],
        mass=torch.full((n,), 1 / n),
        owner=torch.zeros(n, dtype=torch.long),
    )


def transport_gradient(density, points, stride=STRIDE):
    density = density.clone().requires_grad_()
    return torch.autograd.grad(transport(density, points, stride).sum(), density)[0]


# the recorded runs


def test_dace_as_recorded(recorded):
    points = recorded_points(recorded)
    runs = {key.split("/")[0] for key in recorded if key.startswith("dace_")}
    assert len(runs) in (3, 6)  # three count losses at weight 1, two of the cases at 0.5 as well
    for run in runs:
        count_loss, weight = re.match(r"dace_(\w+)_w(.+)", run).groups()
        # the published transport term is a sum over the batch, times 0.1
        loss = Dace(count_loss, float(weight), ot_weight=0.1 * len(points), once_per_pixel=True)
        terms, total, gradient = published_total(loss, recorded["logits"], points)
        assert total == pytest.approx(recorded[f"{run}/loss"].item(), rel=1e-5), run
        np.testing.assert_allclose(gradient, recorded[f"{run}/grad"], rtol=1e-4, atol=1e-6, err_msg=run)
        factors = {"cross_entropy": 1.0, "variation": 0.01 * loss.weight}
        for name in terms.keys() - {"transport"}:
            published = factors.get(name, loss.weight) * recorded[f"{run}/info/{NAMES[name]}"]
            assert terms[name].item() == pytest.approx(published, rel=1e-5), (run, name)
        assert "transport" not in terms or abs(terms["transport"].item()) < 1e-3


@pytest.mark.parametrize("device", DEVICES)
def test_dm_count_gradient_as_recorded(recorded, device):
    points = recorded_points(recorded)
    density = torch.tensor(recorded["dm/density"], device=device, requires_grad=True)
    blocks = torch.tensor(recorded["gt_block"], device=device)
    counts = torch.tensor([float(len(each)) for each in points], device=device)
    count = (density.sum(dim=(1, 2, 3)) - counts).abs().mean()
    term = transport(density, points, STRIDE)
    loss = 0.1 * term.sum() + 0.01 * variation(density, blocks, counts).mean() + count
    gradient = torch.autograd.grad(loss, density)[0].cpu().numpy()
    # close enough to tell the published rounding of the distances from exact ones
    np.testing.assert_allclose(gradient, recorded["dm/grad"], rtol=1e-6, atol=5e-7)
    assert loss.item() == pytest.approx(recorded["dm/loss"].item(), rel=1e-5)
    assert term.sum().item() == pytest.approx(recorded["ot/loss"].item(), abs=1e-3)


def test_labels_as_recorded(recorded):
    height, width = (side * STRIDE for side in recorded["gt_block"].shape[-2:])
    for points, blocks in zip(recorded_points(recorded), recorded["gt_block"], strict=True):
        np.testing.assert_array_equal(block_counts(points, height, width, STRIDE, once_per_pixel=True), blocks[0])


def test_sinkhorn_as_recorded(recorded):
    """That run was given exact distances, so the kernel is built here."""
    density = torch.tensor(recorded["dm/density"][0, 0])
    cost = dense_cost(recorded["points0"], *density.shape, STRIDE).flatten(1)
    dense = torch.exp(-cost / 10)
    target = density.flatten() / (density.sum() + 1e-8)
    u, v = sinkhorn(as_kernel(dense), target[None])
    v = v[0]
    np.testing.assert_allclose(u, recorded["sinkhorn/u"], rtol=1e-5)
    np.testing.assert_allclose(v, recorded["sinkhorn/v"], rtol=2e-5)
    np.testing.assert_allclose(10 * torch.log(v + 1e-16), recorded["sinkhorn/beta"], atol=1e-4)
    error = (target - v * (dense.T @ u)).square().sum()
    assert error.item() == pytest.approx(recorded["sinkhorn/err"][-1], rel=1e-4)
    distance = (cost * u[:, None] * dense * v).sum()
    assert distance.item() == pytest.approx(recorded["sinkhorn/wd"].item(), rel=1e-5)


def test_class_tables_as_recorded(golden):
    tables = {key: value for key, value in load(golden / "clip_ebc_loss.npz").items() if key.endswith("class_of_0..39")}
    assert len(tables) == 17
    for key, classes in tables.items():
        reduction, truncation, dataset, granularity = re.match(r"bins/r(\d+)_t(\d+)_(\w+)_(\w+)/", key).groups()
        bins = published_bins(dataset, int(reduction), int(truncation), granularity)
        np.testing.assert_array_equal(bins.classes(torch.arange(40.0)), classes, err_msg=key)


# a slow plain formula


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("n", "rows", "columns", "stride"),
    [(1, 8, 8, 8), (1, 1, 1, 8), (60, 6, 12, 8), (40, 11, 5, 8), (25, 4, 7, 16), (9, 3, 2, 32), (30, 15, 20, 4)],
)
def test_transport_gradient_is_that_of_the_plain_formula(n, rows, columns, stride, device):
    points, density = random_case(n, rows, columns, stride)
    got = transport_gradient(density[None, None].to(device), [points], stride).cpu()[0, 0].double()
    expected = plain_gradient(points, density, stride)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item() + 1e-7)


def test_images_of_a_batch_do_not_meet():
    cases = [random_case(n, 6, 9, STRIDE, seed=n) for n in (1, 70, 4)]
    batch = torch.stack([density for _, density in cases])[:, None]
    together = transport_gradient(batch, [points for points, _ in cases])
    for index, (points, density) in enumerate(cases):
        alone = transport_gradient(density[None, None], [points])[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-5, atol=1e-8)


def test_the_kernel_holds_every_entry_float32_can_tell():
    points, _ = random_case(50, 9, 14, STRIDE)
    points[0], points[1] = (0, 0), (14 * STRIDE - 0.001, 9 * STRIDE - 0.001)
    kernel = gibbs_kernel([points], 9, 14, STRIDE)
    plain = torch.exp(-dense_cost(points.astype(np.float64), 9, 14, STRIDE).flatten(1) / 10)
    built = torch.zeros(50, 126, dtype=torch.float64)
    built[:, kernel.order[0]] = kernel.matrix.to_dense().double()
    torch.testing.assert_close(built, plain, rtol=2e-3, atol=1.2e-38)
    torch.testing.assert_close(kernel.transposed.to_dense(), kernel.matrix.to_dense().T, rtol=0, atol=0)
    assert kernel.matrix.values().numel() < 50 * 64  # a window of 8 x 8 blocks at the most


def test_an_image_stops_where_the_published_loop_does():
    points = [random_case(n, 4, 4, STRIDE, seed=52)[0] for n in (1, 30)]
    fit = torch.from_numpy(block_counts(points[0], 32, 32, STRIDE)).flatten() + 1e-5 * torch.arange(1, 17)
    targets = torch.stack([fit / fit.sum(), torch.full((16,), 1 / 16)])
    _, together = sinkhorn(gibbs_kernel(points, 4, 4, STRIDE), targets)
    kernels = [torch.exp(-dense_cost(each, 4, 4, STRIDE).flatten(1) / 10) for each in points]
    steps = []
    for kernel, target, v in zip(kernels, targets, together, strict=True):
        _, expected, taken = plain_sinkhorn(kernel, target)
        torch.testing.assert_close(v, expected, rtol=2e-4, atol=0)
        steps.append(taken)
    assert steps == [10, 100]
    _, further, _ = plain_sinkhorn(kernels[0], targets[0], stop=0)
    assert not torch.allclose(together[0], further, rtol=5e-4)


@pytest.mark.parametrize("target", [float("nan"), -1e-16])
def test_a_broken_image_keeps_its_last_finite_pair(target):
    """A negative target can make K v + eps exactly 0: u is infinite after the first iteration."""
    point = np.array([[4, 4]], np.float32)
    kernel = gibbs_kernel([point, point], 1, 1, STRIDE)
    u, v = sinkhorn(kernel, torch.tensor([[target], [1.0]]))
    expected_u, expected_v, _ = plain_sinkhorn(torch.ones(1, 1), torch.tensor([target]))
    assert (u[0].item(), v[0].item()) == (expected_u.item(), expected_v.item()) == (1, 1)
    alone_u, alone_v = sinkhorn(gibbs_kernel([point], 1, 1, STRIDE), torch.ones(1, 1))
    assert (u[1], v[1]) == (alone_u[0], alone_v[0])


def test_variation_is_the_plain_formula():
    density, blocks = torch.rand(3, 1, 4, 5), torch.randint(0, 3, (3, 1, 4, 5)).float()
    blocks[1] = 0
    counts = blocks.sum(dim=(1, 2, 3))
    for d, t, n, got in zip(density, blocks, counts, variation(density, blocks, counts), strict=True):
        assert got.item() == pytest.approx(n.item() * (d / d.sum() - t / max(n.item(), 1)).abs().sum().item(), rel=1e-5)


def test_cross_entropy_and_block_errors_are_the_plain_formulas():
    bins = Bins([0, 1, "2+"])
    points = [np.array([[1, 1], [2, 2], [3, 3], [9, 1]], np.float32), np.zeros((0, 2), np.float32)]
    logits, truth = torch.randn(2, 3, 2, 3), torch.tensor([[[3.0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    output = Head(bins, STRIDE).decode(logits)
    entropy = 0.0
    for image, row, column in np.ndindex(2, 2, 3):
        chances = logits[image, :, row, column].softmax(0)
        entropy -= chances[min(int(truth[image, row, column]), 2)].log().item() / 2
    error = output.density[:, 0] - truth
    for name, power in (("mae", error.abs()), ("mse", error**2)):
        terms = Dace(name, weight=0.5)(output, points, bins, STRIDE)
        assert terms["cross_entropy"].item() == pytest.approx(entropy, rel=1e-5)
        assert terms[name].item() == pytest.approx(0.5 * power.sum().item() / 2, rel=1e-5)


# properties


def random_batch(sizes, rows=5, columns=7):
    points = [random_case(n, rows, columns, STRIDE, seed=n)[0] for n in sizes]
    return torch.randn(len(sizes), 5, rows, columns, generator=torch.Generator().manual_seed(1)), points


def test_no_term_changes_its_weight_with_the_batch():
    bins = published_bins("sha")
    logits, points = random_batch([12, 0, 40, 7])
    for name in ("cross_entropy", "count", "transport", "variation"):

        def gradient(part, name=name):
            chosen = logits[part].clone().requires_grad_()
            terms = Dace()(Head(bins, STRIDE).decode(chosen), points[part], bins, STRIDE)
            return torch.autograd.grad(terms[name], chosen)[0]

        whole = gradient(slice(0, 4))
        # two processes, or two accumulated batches: the mean of their gradients
        halves = torch.cat([gradient(slice(0, 2)), gradient(slice(2, 4))]) / 2
        torch.testing.assert_close(whole, halves, rtol=1e-5, atol=1e-8)
        assert whole.abs().max() > 0, name


@pytest.mark.parametrize("count_loss", ["mae", "mse", "dmcount"])
@pytest.mark.parametrize("sizes", [[0], [0, 0], [0, 5], [1]])
def test_empty_and_one_point_images(sizes, count_loss):
    logits, points = random_batch(sizes)
    terms, total, gradient = published_total(Dace(count_loss), logits.numpy(), points)
    assert np.isfinite(total)
    assert np.isfinite(gradient).all()
    if count_loss == "dmcount" and not any(sizes):
        assert terms["transport"].item() == 0
        assert terms["variation"].item() == 0


@pytest.mark.parametrize("empty", [0, 3])
def test_a_density_of_zeros_has_a_finite_gradient(empty):
    points = [np.full((empty, 2), 5, np.float32)]
    density = torch.zeros(1, 1, 4, 4)
    assert transport_gradient(density, points).isfinite().all()
    terms = Dace()(CountMap(density.requires_grad_(), torch.zeros(1, 5, 4, 4)), points, published_bins("sha"), STRIDE)
    assert torch.autograd.grad(sum(terms.values()), density)[0].isfinite().all()


def test_points_counted_once_per_pixel_change_the_blocks_only():
    points = [np.array([[3.2, 3.2], [3.7, 3.1]], np.float32)]
    logits = torch.zeros(1, 5, 1, 1)
    bins = published_bins("sha")
    output = CountMap(torch.full((1, 1, 1, 1), 2.0), logits + torch.tensor([0.0, 5, 0, 0, 0]).view(1, 5, 1, 1))
    all_points = Dace()(output, points, bins, STRIDE)
    once = Dace(once_per_pixel=True)(output, points, bins, STRIDE)
    assert once["cross_entropy"] < 0.1 < all_points["cross_entropy"]
    assert once["count"] == all_points["count"] == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_nothing_but_the_logits(dtype, device):
    bins = published_bins("sha")
    logits, points = random_batch([20, 3])
    rounded = logits.to(device, dtype)
    head = Head(bins, STRIDE).to(device)

    def results(values):
        values = values.clone().requires_grad_()
        terms = Dace()(head.decode(values), points, bins, STRIDE)
        return *terms.values(), torch.autograd.grad(sum(terms.values()), values)[0]

    expected = results(rounded.float())
    with torch.autocast(device, dtype):
        got = results(rounded)
    torch.testing.assert_close(got[:-1], expected[:-1], rtol=0, atol=0)
    torch.testing.assert_close(got[-1], expected[-1].to(dtype), rtol=0, atol=0)
    half = Dace()(CountMap(head.decode(rounded).density.to(dtype), rounded), points, bins, STRIDE)
    assert {term.dtype for term in half.values()} == {torch.float32}
    torch.testing.assert_close(half["cross_entropy"], expected[0], rtol=0, atol=0)


def test_a_transport_of_weight_0_is_not_computed(monkeypatch):
    density = torch.rand(2, 1, 4, 4, requires_grad=True)
    points = [as_points([[3.0, 5.0]]), as_points([])]
    expected = DmCount(ot_weight=1.0)(density, points, 8)
    monkeypatch.setattr("crowdcount.losses.dm_count.transport", None)
    terms = DmCount(ot_weight=0.0)(density, points, 8)
    assert terms["transport"] == 0 and list(terms) == list(expected)
    assert terms["count"] == expected["count"] and terms["variation"] == expected["variation"]


def test_no_dense_kernel_is_formed(monkeypatch):
    largest = 0
    original = transport_module._to_torch

    def watch(matrix, device):
        nonlocal largest
        largest = max(largest, matrix.nnz)
        return original(matrix, device)

    monkeypatch.setattr(transport_module, "_to_torch", watch)
    points, density = random_case(100, 56, 56, STRIDE)
    transport(density[None, None], [points], STRIDE)
    assert 100 < largest < 100 * 56 * 56 / 60


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"count_loss": "dm_count"}, "loss.count_loss: 'dm_count'"),
        ({"weight": -1.0}, "loss.weight: -1"),
        ({"ot_weight": float("nan")}, "loss.ot_weight: nan"),
        ({"tv_weight": float("inf")}, "loss.tv_weight: inf"),
    ],
)
def test_impossible_options_are_refused(arguments, named):
    with pytest.raises(InputError, match=re.escape(named)):
        Dace(**arguments)


def test_a_network_without_class_scores_is_refused():
    with pytest.raises(InputError, match="class scores"):
        Dace()(CountMap(torch.ones(1, 1, 2, 2)), [np.zeros((0, 2), np.float32)], Bins([0, "1+"]), STRIDE)
