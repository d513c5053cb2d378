import functools
import json
import math
from itertools import product

import jsonargparse
import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import ContrastiveLoss, SupCon, supcon_floor

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
FORMS = ["log_of_mean", "mean_of_logs"]
SWITCHES = list(product(FORMS, [False, True]))  # form, decoupled


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@functools.cache
def load(path):
    return dict(np.load(path))


def tokens_of(z, positive):
    """The arguments of the loss where the positives are the anchors and all other tokens their negatives."""
    is_positive = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    is_positive[positive] = True
    anchor = torch.zeros(len(positive), len(z), dtype=torch.bool, device=z.device)
    anchor[torch.arange(len(positive)), positive] = True
    return z[positive], z, is_positive & ~anchor, (~is_positive).expand(len(positive), -1)


def case(seed=0, anchors=9, references=14, width=5, dtype=torch.float64):
    """Random embeddings and masks with ignored pairs; one anchor lacks positives, one negatives, one both."""
    generator = torch.Generator().manual_seed(seed)
    z_anchor, z_ref = (torch.randn(n, width, generator=generator, dtype=dtype) for n in (anchors, references))
    kind = torch.randint(3, (anchors, references), generator=generator)  # positive, negative, neither
    kind[:, 0], kind[:, 1] = 0, 1
    kind[0, kind[0] == 0] = 2
    kind[1, kind[1] == 1] = 2
    kind[2] = 2
    return z_anchor, z_ref, kind == 0, kind == 1


def slow(z_anchor, z_ref, pos_mask, neg_mask, *, tau, form, decoupled, weight=None, group=None):
    """The formulas in plain loops."""
    losses = {}
    for i, a in enumerate(z_anchor):
        exp = [((a @ b) / a.norm() / b.norm() / tau).exp() for b in z_ref]
        positive = [j for j in range(len(z_ref)) if pos_mask[i, j]]
        bottom = [exp[j] * (1 if weight is None else weight[i, j]) for j in range(len(z_ref)) if neg_mask[i, j]]
        bottom += [] if decoupled else [exp[j] for j in positive]
        if not positive or not sum(bottom):
            continue
        shares = [exp[j] / sum(bottom) for j in positive]
        if form == "log_of_mean":
            loss = -(sum(shares) / len(shares)).log()
        else:
            loss = -sum(share.log() for share in shares) / len(shares)
        losses.setdefault(0 if group is None else int(group[i]), []).append(loss)
    means = [sum(each) / len(each) for each in losses.values()]
    return sum(means) / len(means)


def with_gradients(loss, *tensors):
    """Value of `loss(*tensors)` and its gradients."""
    tensors = [each.clone().requires_grad_() for each in tensors]
    value = loss(*tensors)
    return value.detach(), *torch.autograd.grad(value, tensors)


def assert_same(actual, expected, **tolerance):
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


# --- recorded numbers and other implementations


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("chosen", ["pos", "topn"])
def test_recorded_values(golden, index, chosen):
    recorded = load(golden / "rec_crex_supcon_formula.npz")
    z, positive = (torch.from_numpy(recorded[f"c{index}_{key}"]) for key in ("z", chosen))
    arguments = tokens_of(z.double(), positive)
    tau = float(recorded[f"c{index}_tau"])
    suffix = "_topn" if chosen == "topn" else ""
    expected = recorded[f"c{index}_loss_in{suffix}"]
    assert SupCon(tau)(*arguments).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert SupCon(tau)(*tokens_of(z, positive)).item() == pytest.approx(expected, rel=1e-6, abs=1e-6)
    if chosen == "pos":
        classic = SupCon(tau, "mean_of_logs")(*arguments).item()
        assert classic == pytest.approx(recorded[f"c{index}_loss_out"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("index", range(5))
def test_recorded_gradients(golden, index):
    recorded = load(golden / "rec_crex_supcon_formula.npz")
    z, positive, expected = (torch.from_numpy(recorded[f"c{index}_{key}"]) for key in ("z", "pos", "grad_in"))
    loss = SupCon(float(recorded[f"c{index}_tau"]))
    _, gradient = with_gradients(lambda z: loss(*tokens_of(z, positive)), z)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=2e-6 * float(expected.abs().max()) + 1e-7)


@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_plain_formula(form, decoupled, weighted, grouped):
    z_anchor, z_ref, pos_mask, neg_mask = case()
    weight = torch.rand(pos_mask.shape, dtype=torch.float64) * 3
    weight[3] = 0  # without negatives in effect
    weight[4, ::2] = 0
    group = torch.tensor([7, 7, 0, 3, 3, 3, 9, 9, 7])  # group 0 has no anchor that counts
    given = {"weight": weight} if weighted else {}
    given |= {"group": group} if grouped else {}
    plain = functools.partial(slow, tau=0.2, form=form, decoupled=decoupled, **given)
    loss = functools.partial(SupCon(0.2, form, decoupled), **given)
    actual, expected = (
        with_gradients(lambda a, b, f=f: f(a, b, pos_mask, neg_mask), z_anchor, z_ref) for f in (loss, plain)
    )
    assert_same(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_weight_gradient(decoupled):
    masked = case()
    weight = torch.rand(masked[2].shape, dtype=torch.float64) + 0.1
    loss = SupCon(0.2, decoupled=decoupled)
    actual, expected = (
        with_gradients(lambda weight, f=f: f(*masked, weight=weight), weight)
        for f in (loss, functools.partial(slow, tau=0.2, form="log_of_mean", decoupled=decoupled))
    )
    assert_same(actual, expected, rtol=1e-10, atol=1e-12)
    _, gradient = with_gradients(lambda weight: loss(*masked, weight=weight), weight * (weight > 0.5))
    assert gradient.isfinite().all()


def test_classic_form_agrees_with_library_on_labels():
    z = torch.randn(20, 8, dtype=torch.float64)
    labels = torch.tensor([0, 1] + [2, 3, 4] * 6)  # two tokens alone in their class
    same, other = labels[:, None] == labels, ~torch.eye(20, dtype=torch.bool)
    actual = with_gradients(lambda z: SupCon(0.1, "mean_of_logs")(z, z, same & other, ~same), z)
    expected = with_gradients(lambda z: SupConLoss(temperature=0.1)(z, labels), z)
    assert_same(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("references", [9, 25])
def test_classic_form_agrees_with_library_on_pairs(references):
    z_anchor, z_ref, pos_mask, neg_mask = case(references=references)
    pairs = (*pos_mask.nonzero(as_tuple=True), *neg_mask.nonzero(as_tuple=True))
    library = SupConLoss(temperature=0.07)
    actual = with_gradients(lambda a, b: SupCon(form="mean_of_logs")(a, b, pos_mask, neg_mask), z_anchor, z_ref)
    expected = with_gradients(lambda a, b: library(a, indices_tuple=pairs, ref_emb=b), z_anchor, z_ref)
    assert not pos_mask.any(dim=1).all()
    assert_same(actual, expected, rtol=1e-9, atol=1e-12)


# --- properties


@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
def test_ignored_pairs_change_nothing(form, decoupled):
    z_anchor, z_ref, pos_mask, neg_mask = case()
    loss = SupCon(0.2, form, decoupled)
    before = with_gradients(lambda a, b: loss(a, b, pos_mask, neg_mask), z_anchor, z_ref)
    nothing = torch.zeros(len(z_anchor), 3, dtype=torch.bool)
    masks = [torch.cat([mask, nothing], dim=1) for mask in (pos_mask, neg_mask)]
    extra = torch.cat([z_anchor[:2], torch.full((1, 5), 1e4, dtype=torch.float64)])  # at cosine 1 with two anchors
    value, anchors, references = with_gradients(lambda a, b: loss(a, b, *masks), z_anchor, torch.cat([z_ref, extra]))
    assert_same((value, anchors, references[:-3]), before)
    assert (references[-3:] == 0).all()


@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
def test_lengths_do_not_matter(form, decoupled):
    z_anchor, z_ref, *masks = case()
    loss = SupCon(0.2, form, decoupled)
    scaled = loss(z_anchor * torch.rand(9, 1).add(0.1) * 50, z_ref * torch.rand(14, 1).add(0.1) / 50, *masks)
    torch.testing.assert_close(scaled, loss(z_anchor, z_ref, *masks), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
def test_order_does_not_matter(form, decoupled):
    z_anchor, z_ref, pos_mask, neg_mask = case()
    weight, group = torch.rand(pos_mask.shape, dtype=torch.float64), torch.arange(9) // 2
    rows, columns = torch.randperm(9), torch.randperm(14)
    loss = SupCon(0.2, form, decoupled)
    before = with_gradients(lambda a, b: loss(a, b, pos_mask, neg_mask, weight=weight, group=group), z_anchor, z_ref)
    pos_mask, neg_mask, weight = (each[rows][:, columns] for each in (pos_mask, neg_mask, weight))
    after = with_gradients(
        lambda a, b: loss(a, b, pos_mask, neg_mask, weight=weight, group=group[rows]), z_anchor[rows], z_ref[columns]
    )
    assert_same(after, (before[0], before[1][rows], before[2][columns]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("grouped", [False, True])
def test_zero_without_positives(form, decoupled, number, grouped):
    positive = torch.arange(number)
    group = {"group": torch.zeros(number, dtype=torch.long)} if grouped else {}
    loss = SupCon(form=form, decoupled=decoupled)
    value, gradient = with_gradients(lambda z: loss(*tokens_of(z, positive), **group), torch.randn(6, 4))
    assert value.item() == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_nan_appears_nowhere(form, decoupled):
    z_anchor, z_ref, *masks = case()
    loss = SupCon(form=form, decoupled=decoupled)
    with torch.autograd.set_detect_anomaly(True):
        value, *gradients = with_gradients(lambda a, b: loss(a, b, *masks), z_anchor, z_ref)
    assert value.isfinite()
    assert all(each.isfinite().all() for each in gradients)


def test_zero_without_references():
    z_anchor, z_ref, pos_mask, neg_mask = case(references=2)
    nothing = (z_anchor, z_ref[:0], pos_mask[:, :0], neg_mask[:, :0])
    value, gradient = with_gradients(lambda a: SupCon()(a, *nothing[1:]), z_anchor)
    assert value.item() == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_anchor_without_negatives(form):
    z = torch.randn(4, 5, dtype=torch.float64)
    arguments = tokens_of(z, torch.arange(4))
    coupled, gradient = with_gradients(lambda z: SupCon(0.1, form)(*tokens_of(z, torch.arange(4))), z)
    if form == "log_of_mean":  # constant
        assert coupled.item() == pytest.approx(math.log(3), rel=1e-12)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    else:
        assert coupled.item() > math.log(3)
    assert SupCon(0.1, form, decoupled=True)(*arguments).item() == 0


@pytest.mark.parametrize("form", FORMS)
def test_floor_is_reached(form):
    z = torch.tensor([[1.0, 0.0]] * 5 + [[-1.0, 0.0]] * 7, dtype=torch.float64)
    arguments = tokens_of(z, torch.arange(5))
    assert SupCon(form=form)(*arguments).item() == pytest.approx(math.log(4), abs=1e-10)
    assert supcon_floor(arguments[2]).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("form", FORMS)
def test_floor_bounds_the_loss(form):
    z_anchor, z_ref, pos_mask, neg_mask = case()
    group = torch.arange(9) // 3
    for given in ({}, {"group": group}):
        floor = supcon_floor(pos_mask, **given)
        assert SupCon(0.2, form)(z_anchor, z_ref, pos_mask, neg_mask, **given) > floor
    numbers = [pos_mask[i].sum().item() for i in range(9)]
    logs = [[math.log(n) for n in numbers[i : i + 3] if n] for i in (0, 3, 6)]
    assert floor.item() == pytest.approx(np.mean([np.mean(each) for each in logs]))


def test_equal_tokens():
    arguments = tokens_of(torch.ones(10, 3, dtype=torch.float64), torch.arange(4))
    assert SupCon()(*arguments).item() == pytest.approx(math.log(9), rel=1e-12)


def test_decoupled_pull_does_not_fade():
    """Half of the tokens are positives, all similarities equal: the pull on the positives doubles."""
    z_anchor = torch.eye(2, dtype=torch.float64)[:1]
    z_ref = torch.eye(2, dtype=torch.float64)[1:].repeat(1000, 1)
    positive = (torch.arange(1000) < 500)[None]
    pull = []
    for decoupled in (False, True):
        loss = SupCon(1.0, decoupled=decoupled)
        _, gradient = with_gradients(lambda b, loss=loss: loss(z_anchor, b, positive, ~positive), z_ref)
        pull.append(-gradient[:500, 0].sum().item())
    assert pull == pytest.approx([0.5, 1.0])


# --- precision, devices, configuration


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("form", "decoupled"), SWITCHES)
def test_low_precision(device, dtype, form, decoupled):
    z_anchor, z_ref, *masks = (each.to(device) for each in case())
    z_anchor, z_ref = (each.to(dtype) * 300 for each in (z_anchor, z_ref))  # their squares overflow float16
    loss = SupCon(form=form, decoupled=decoupled)
    value, *gradients = with_gradients(lambda a, b: loss(a, b, *masks), z_anchor, z_ref)
    assert value.dtype == torch.float32
    assert [each.dtype for each in gradients] == [dtype, dtype]
    assert all(each.isfinite().all() for each in gradients)
    torch.testing.assert_close(value.double(), loss(z_anchor.double(), z_ref.double(), *masks), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_changes_nothing(device):
    arguments = [each.to(device) for each in case(dtype=torch.float32)]
    with torch.autocast(device, dtype=torch.bfloat16):
        value = SupCon()(*arguments)
    assert value.dtype == torch.float32
    assert value == SupCon()(*arguments)


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.inf, math.nan])
def test_bad_temperature(temperature):
    with pytest.raises(InputError, match=r"SupCon\.temperature"):
        SupCon(temperature=temperature)


def test_bad_form():
    with pytest.raises(InputError, match="'outside' is not one of log_of_mean, mean_of_logs"):
        SupCon(form="outside")


def test_configuration():
    def configured(contrast: ContrastiveLoss):
        return contrast

    options = {"temperature": 0.1, "form": "mean_of_logs", "decoupled": True}
    given = {"class_path": "crowdcount.losses.SupCon", "init_args": options}
    assert jsonargparse.auto_cli(configured, args=[json.dumps(given)]) == SupCon(**options)
