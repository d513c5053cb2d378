import functools
import hashlib
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

import crowdcount
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.models import timm_backbone as timm_features
from crowdcount.models.hmode.convert import _rename, from_authors
from crowdcount.models.hmode.loss import (
    HmodeLoss,
    Target,
    attention_loss,
    density_errors,
    hard_regions,
    importance_loss,
    local_counting,
    released_local_counting,
)
from crowdcount.models.hmode.network import SCALE, ExpertMaps, Hmode
from tests.golden.fill import make_image
from tests.support.hmode_checkpoint import published_weights

MAPS = ["E1", "E2", "E3", "Gr1", "Gr2", "Gr3", "Eout"]
SMALL = "mobilenetv4_conv_small"
CASES = {  # case -> largest difference of maps and losses, of gradient norms, relative to the largest value
    "eval": (1e-5, None),
    "eval64": (1e-9, None),
    "evalodd": (1e-5, None),
    "train": (5e-5, 5e-3),
    "train64": (1e-9, 1e-7),
    "trainb2": (5e-5, 5e-3),
}
TRAINED = [case for case in CASES if case.startswith("train")]


# --- the published network


@functools.lru_cache(maxsize=1)
def run(case, path):
    """Return the recorded case, and the network with what it makes of the recorded input."""
    recorded = np.load(path / f"hmode_{case}.npz")
    recipe = json.loads(str(recorded["recipe"]))
    dtype = torch.float64 if case.endswith("64") else torch.float32
    network = Hmode(pretrained=False, compat="released")
    network.load_state_dict(from_authors(published_weights()), strict=True)
    network.to(dtype).train(recipe["mode"] == "train")
    seen = watch(network)
    image = make_image(case.removesuffix("64"), *(recipe["shape"][i] for i in (0, 2, 3)))
    output = network(torch.from_numpy(image).to(dtype))
    return recorded, network, output, seen


def watch(network):
    """Record what the parts of the network return, under the published names."""
    parts = {f"features{i}": network.encoder.trunk[f"features_{n}"] for i, n in zip((1, 2), (5, 12), strict=True)}
    parts |= {f"de_pred{i}": part for i, part in enumerate(network.decoders, 1)}
    parts |= {f"head{i}": part for i, part in enumerate(network.heads, 1)}
    parts |= {"gating1.logits": network.group_gate, "gating2.logits": network.mixture_gate, "mask": network.attention}
    seen = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda _m, _i, output, name=name: seen.__setitem__(name, output.detach().clone()))
    network.encoder.register_forward_hook(
        lambda _m, _i, output: seen.update(
            {f"features{i}": x.detach().clone() for i, x in zip((3, 4, 5), output, strict=True)}
        )
    )
    return seen


def close(ours, recorded, tolerance):
    ours = ours.detach().double().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    assert ours.shape == recorded.shape
    assert np.abs(ours - recorded).max() <= tolerance * np.abs(recorded).max()


def test_weights_are_the_recorded_ones(golden):
    recipe = json.loads(str(np.load(golden / "hmode_eval.npz")["recipe"]))
    sha = hashlib.sha256()
    for key, value in sorted(published_weights().items()):
        sha.update(key.encode())
        sha.update(value.numpy().tobytes())
    assert sha.hexdigest() == recipe["weights_sha256_float32"]
    network = Hmode(pretrained=False, compat="released")
    assert sum(parameter.numel() for parameter in network.parameters()) == 82_621_261


@pytest.mark.parametrize("case", CASES)
def test_published_maps(case, golden):
    recorded, _, output, _ = run(case, golden)
    tolerance, _ = CASES[case]
    for name, map_ in zip(MAPS, output.maps.split(1, dim=1), strict=True):
        close(functional.interpolate(map_, recorded[f"out/{name}"].shape[2:]), recorded[f"out/{name}"], tolerance)
    close(output.density.sum(dim=(1, 2, 3)), recorded["count/Eout"], tolerance)
    close(output.attention.sigmoid(), recorded["out/amp"], tolerance)
    close(importance_loss(output.gates), recorded["out/importance"], max(tolerance, 1e-6))
    for group in range(3):
        close(output.gates[:, group], recorded[f"mid/gating1.{group}"], tolerance)


@pytest.mark.parametrize("case", CASES)
def test_published_intermediate_values(case, golden):
    recorded, _, _, seen = run(case, golden)
    tolerance, _ = CASES[case]
    for name, value in seen.items():
        value = value.sigmoid() if name == "mask" else value.relu()
        statistics = [value.mean().item(), value.std().item(), value.abs().sum().item()]
        close(statistics, recorded[f"mid/{name}/stat"], max(tolerance, 1e-8))
        if f"mid/{name}" in recorded:
            close(value, recorded[f"mid/{name}"], tolerance)


@pytest.mark.parametrize("case", TRAINED)
def test_published_losses(case, golden):
    recorded, _, output, _ = run(case, golden)
    tolerance = max(CASES[case][0], 1e-6)
    density, images = torch.from_numpy(recorded["gt_x100"]) / SCALE, len(output.maps)
    target = Target.from_density(density, output)
    close(density_errors(output.maps, target).sum(dim=0), recorded["loss/mse_sum"], tolerance)
    close(attention_loss(output.attention, target), recorded["loss/attention"], tolerance)
    close(released_local_counting(hard_regions(output.maps, target, 16, 9)), recorded["loss/rel"], tolerance)
    terms = HmodeLoss(reduction="sum", relative=None)(output, density)
    close(terms["density"] * images, recorded["loss/density"], tolerance)
    close(terms["importance"] * images, recorded["loss/importance"], tolerance)
    close(sum(terms.values()), recorded["loss/total_released"], tolerance)
    terms = HmodeLoss(reduction="sum", relative="released", relative_weight=1.0)(output, density)
    close(sum(terms.values()), recorded["loss/total_with_rel"], tolerance)


@pytest.mark.parametrize("case", TRAINED)
def test_published_hard_regions(case, golden):
    recorded, _, output, _ = run(case, golden)
    maps = output.maps[:, -1:].detach().requires_grad_()
    hard = hard_regions(maps, Target.from_density(torch.from_numpy(recorded["gt_x100"]) / SCALE, output), 16, 9)
    order = np.argsort(-recorded["rel/hard_gt_count_x100"], axis=1, kind="stable")
    for name, ours in (
        ("index", hard.index),
        ("sqerr", hard.error),
        ("gt_count_x100", hard.true),
        ("pred_count_x100", hard.predicted),
    ):
        close(ours[:, 0], np.take_along_axis(recorded[f"rel/hard_{name}"], order, axis=1), CASES[case][0])
    (gradient,) = torch.autograd.grad(released_local_counting(hard).sum(), maps)
    # a cell of the map is `16` pixels, whose gradients add up
    close(gradient, functional.avg_pool2d(torch.from_numpy(recorded["rel/dEout"]), 4).numpy() * 16, 1e-6)


@pytest.mark.parametrize("case", TRAINED)
@pytest.mark.parametrize("total", ["total_released", "total_with_rel"])
def test_published_gradients(case, total, golden):
    recorded, network, output, _ = run(case, golden)
    relative = "released" if total == "total_with_rel" else None
    loss = HmodeLoss(reduction="sum", relative=relative, relative_weight=1.0)
    density = torch.from_numpy(recorded["gt_x100"]) / SCALE
    ours = dict(network.named_parameters())
    named = {name: ours[_rename(name)] for name in recorded["param_names"]}
    gradients = torch.autograd.grad(sum(loss(output, density).values()), list(named.values()), retain_graph=True)
    norms = np.array([gradient.double().norm().item() for gradient in gradients])
    expected = recorded[f"gradnorm/{total}"]
    # the biases in front of batch norm have no true gradient: what is left there is rounding
    cancelled = np.array([name.startswith("features") and len(ours[_rename(name)].shape) == 1
                          and named[name.replace("bias", "weight")].ndim == 4 for name in named])  # fmt: skip
    assert cancelled.sum() == 13 and norms[cancelled].max() < 1e-3 * expected.max()
    assert (np.abs(norms - expected)[~cancelled] <= CASES[case][1] * expected[~cancelled]).all()
    if total == "total_released":
        for name, gradient in zip(named, gradients, strict=True):
            if f"grad/{name}" in recorded:
                close(gradient, recorded[f"grad/{name}"], CASES[case][1])


@pytest.mark.parametrize("case", TRAINED)
def test_published_batch_statistics(case, golden):
    recorded, network, _, _ = run(case, golden)
    state = network.state_dict()
    for name in (key for key in recorded.files if key.startswith("buffer_after/")):
        close(state[_rename(name.removeprefix("buffer_after/"))], recorded[name], 1e-5)


def test_encoder_is_torchvisions_vgg16_bn():
    theirs = torchvision.models.vgg16_bn(weights=None).features[:43].eval()
    published = {key: value for key, value in published_weights().items() if key.startswith("features")}
    offsets = dict(zip("12345", (0, 6, 13, 23, 33), strict=True))
    state = {}
    for key, value in published.items():
        part, number, leaf = key.split(".")
        state[f"{offsets[part[-1]] + int(number)}.{leaf}"] = value
    theirs.load_state_dict(state, strict=True)
    network = Hmode(pretrained=False, compat="released").eval()
    network.load_state_dict(from_authors(published_weights()), strict=True)
    image = torch.randn(1, 3, 48, 64)
    with torch.inference_mode():
        ours = network.encoder(image)
        for number, layer in enumerate(theirs):
            image = layer(image)
            if number in (22, 32, 42):
                assert torch.equal(ours.pop(0), image)


# --- checkpoints


@pytest.mark.parametrize("wrap", [
    lambda state: state,
    lambda state: {f"module.{key}": value for key, value in state.items()},
    lambda state: {"model": state, "optimizer": {}, "best_mae": np.float64(54.0)},
])  # fmt: skip
def test_published_checkpoints_load(wrap, tmp_path, golden):
    recorded = np.load(golden / "hmode_eval.npz")
    torch.save(wrap(published_weights()), tmp_path / "best.pth")
    network = crowdcount.create_model("hmode/vgg16bn_sha_released", tmp_path / "best.pth")
    with torch.inference_mode():
        output = network(torch.from_numpy(make_image("eval", 1, 64, 96)).float())
    close(output.density.sum().reshape(1), recorded["count/Eout"], 1e-5)


def test_weights_of_one_form_are_not_run_in_the_other():
    released, ours = (Hmode(SMALL, pretrained=False, compat=compat) for compat in ("released", None))
    with pytest.raises(InputError, match="compat: null, but these weights were made with compat: released"):
        ours.load_state_dict(released.state_dict())
    with pytest.raises(InputError, match="compat: released, but these weights were made with compat: null"):
        released.load_state_dict(ours.state_dict())


def test_foreign_keys_are_refused():
    with pytest.raises(InputError, match=r"'features6\.0\.weight' is not a key of a published HMoDE checkpoint"):
        from_authors({"features6.0.weight": torch.zeros(1)})


def test_pretrained_weights_reach_the_encoder(monkeypatch):
    network = Hmode(SMALL)
    source = Hmode(SMALL).encoder.trunk
    fetched = []
    monkeypatch.setattr(timm_features, "fetch", lambda name, arguments, file: fetched.append((name, file)) or source)
    network.load_pretrained()
    assert fetched == [(SMALL, None)]
    assert all(torch.equal(a, b) for a, b in zip(network.encoder.trunk.parameters(), source.parameters(), strict=True))
    Hmode(SMALL, pretrained=False).load_pretrained()
    assert fetched == [(SMALL, None)]
    Hmode(SMALL, pretrained="a.safetensors").load_pretrained()
    assert fetched[1:] == [(SMALL, Path("a.safetensors"))]


# --- the network for any encoder and number of experts


@pytest.mark.parametrize(
    ("backbone", "strides"),
    [
        (SMALL, (8, 16)),
        ("resnet10t", (4, 8, 16)),
        ("convnext_atto", (4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", (4, 8, 16)),
    ],
)
def test_other_encoders_and_numbers_of_experts(backbone, strides):
    network = Hmode(backbone, strides, pretrained=False)
    image = torch.randn(2, 3, 224, 224)
    seen = {}
    network.group_gate.register_forward_hook(lambda _m, _i, output: seen.update(within=output))
    network.mixture_gate.register_forward_hook(lambda _m, _i, output: seen.update(between=output))
    output = network(image)
    count, cells = len(strides), 224 // strides[0]
    assert output.maps.shape == (2, 2 * count + 1, cells, cells) and output.density.shape == (2, 1, cells, cells)
    experts, groups, mixture = output.maps.split([count, count, 1], dim=1)
    shares = seen["between"].softmax(dim=1).repeat_interleave(strides[-1] // strides[0], 2)
    shares = shares.repeat_interleave(strides[-1] // strides[0], 3)
    expected = 0
    for group, members in enumerate(combinations(range(count), count - 1)):
        first = group * (count - 1)
        gate = seen["within"][:, first : first + count - 1].softmax(dim=1)
        gate = gate.repeat_interleave(strides[-1] // strides[0], 2).repeat_interleave(strides[-1] // strides[0], 3)
        mixed = sum(gate[:, k] * experts[:, member] for k, member in enumerate(members))
        assert torch.allclose(groups[:, group], mixed, atol=1e-6)
        expected = expected + shares[:, group] * mixed
    assert torch.allclose(mixture[:, 0], expected, atol=1e-6)
    density = torch.rand(2, 224, 224) / 1000
    sum(HmodeLoss()(output, density).values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vgg16bn"}, "backbone: 'vgg16bn' is unknown; did you mean vgg16_bn"),
        ({"strides": (4, 8, 64)}, r"strides: vgg16_bn has no feature map of stride 64; it has \[1, 2, 4, 8, 16, 32\]"),
        ({"strides": (4,)}, r"strides: \[4\] should be at least two numbers"),
        ({"strides": (8, 4)}, r"strides: \[8, 4\] should be"),
        ({"compat": "Released"}, "compat: 'Released' is not one of null, released"),
        ({"backbone": "inception_v3"}, "backbone: inception_v3 does not give maps of 1/4 to 1/16 of any image"),
        ({"backbone": "hiera_tiny_224"}, "backbone: hiera_tiny_224 does not give maps"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Hmode(**arguments)


def test_an_encoder_that_joins_its_scales():
    network = Hmode("hrnet_w18_small", pretrained=False)
    assert network.size_divisor == 32
    density = torch.rand(1, 64, 96) / 1000
    sum(HmodeLoss()(network.train()(torch.randn(1, 3, 64, 96)), density).values()).backward()
    assert not [key for key, value in network.named_parameters() if value.requires_grad and value.grad is None]


def alive(network, image):
    """Return for each expert the share of cells with a density, and the size of its head's gradient."""
    maps = network(image).maps[:, : len(network.strides)]
    shares = [(map_ > 0).float().mean().item() for map_ in maps.unbind(dim=1)]
    gradients = [
        torch.autograd.grad(map_.sum(), head[-1].weight, retain_graph=True)[0].abs().max().item()
        for map_, head in zip(maps.unbind(dim=1), network.heads, strict=True)
    ]
    return shares, gradients


def test_no_expert_is_dead_at_the_start():
    image = torch.from_numpy(make_image("alive", 1, 96, 128)).float()
    dead = {"released": 0, None: 0}
    for compat in dead:
        for seed in range(20):
            torch.manual_seed(seed)
            shares, gradients = alive(Hmode(SMALL, pretrained=False, compat=compat).train(), image)
            dead[compat] += min(shares) < 0.01 or min(gradients) < 1e-6
            if compat is None:
                assert min(shares) == 1
    assert dead[None] == 0
    assert dead["released"] > 0  # what the test is able to see


def test_the_start_is_a_small_positive_density():
    torch.manual_seed(0)
    maps = Hmode(SMALL, pretrained=False).train()(torch.randn(2, 3, 64, 64)).maps
    assert maps.min() > 0.02 and maps.max() < 0.15


@pytest.mark.parametrize("compat", ["released", None])
@pytest.mark.parametrize("size", [(64, 96), (75, 101), (16, 16), (5, 3), (1, 1)])
def test_images_of_any_size(size, compat):
    network = Hmode(SMALL, pretrained=False, compat=compat).eval()
    if compat:
        for head in network.heads:
            torch.nn.init.constant_(head[-1].bias, 0.5)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    prediction = Inference()(network, image)
    assert prediction.density.shape == (-(-size[0] // 4), -(-size[1] // 4))
    assert prediction.count == pytest.approx(prediction.density.sum(), rel=1e-5) and prediction.count > 0
    if compat and min(size) >= 16:  # as published: nothing is padded, the map is stretched over the image
        with torch.inference_mode():
            mixture = network(network.normalize(image[None])).maps[:, -1:]
        assert prediction.count == pytest.approx(functional.interpolate(mixture, size).sum().item() / 100, rel=1e-5)


def test_windows_of_the_released_form():
    network = Hmode(SMALL, pretrained=False, compat="released").eval()
    image = torch.randint(0, 256, (3, 75, 101), dtype=torch.uint8)
    assert Inference(window=64, window_stride=32)(network, image).density.shape == (19, 26)
    with pytest.raises(InputError, match="window: 66 is not a multiple of 4"):
        Inference(window=66)(network, image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_stay_in_single_precision_under_autocast(dtype):
    network = Hmode(SMALL, pretrained=False).train()
    with torch.autocast("cpu", dtype):
        output = network(torch.randn(2, 3, 64, 64))
        terms = HmodeLoss()(output, torch.rand(2, 64, 64) / 100)
    assert output.density.dtype == output.maps.dtype == output.gates.dtype == torch.float32
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


# --- losses against slow plain formulas


def example(images=3, height=64, width=80, experts=3, seed=0, dtype=torch.float64):
    """Return an output on cells of 4 and 16 pixels, and a true density with empty and crowded regions."""
    rng = np.random.default_rng(seed)
    grid = (images, 2 * experts + 1, height // 4, width // 4)
    maps = torch.from_numpy(rng.gamma(0.5, 0.4, grid)).to(dtype).requires_grad_()
    gates = torch.from_numpy(rng.normal(size=(images, experts, experts - 1, *grid[2:]))).to(dtype).softmax(dim=2)
    attention = torch.from_numpy(rng.normal(size=(images, 1, height // 16, width // 16))).to(dtype).requires_grad_()
    density = rng.gamma(0.2, 0.01, (images, height, width)) * (rng.random((images, height, width)) < 0.3)
    density[:, :20, :30] = 0
    output = ExpertMaps(density=maps[:, -1:], maps=maps, gates=gates, attention=attention)
    return output, torch.from_numpy(density).to(dtype)


def pixels(maps, side):
    return maps.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)


def plain_density(output, density):
    total = 0.0
    for maps, true in zip(pixels(output.maps, 4), density, strict=True):
        for weight, map_ in zip([1, 1, 1, 2, 2, 2, 4], maps, strict=True):
            total = total + weight * (map_ - 100 * true).square().sum()
    return total


def plain_attention(output, density):
    total = 0.0
    for attention, true in zip(pixels(output.attention, 16)[:, 0].sigmoid(), density, strict=True):
        somebody = (100 * true > 1e-3).to(true)
        total = total - (somebody * (attention + 1e-10).log() + (1 - somebody) * (1 - attention + 1e-10).log()).sum()
    return total


def plain_importance(gates):
    total = 0.0
    for group in range(gates.shape[1]):
        use = [gates[:, group, k].sum() for k in range(gates.shape[2])]
        mean = sum(use) / len(use)
        total = total + sum((u - mean) ** 2 for u in use) / (len(use) - 1) / (mean**2 + 1e-10)
    return total


def plain_regions(map_, true, region=16, count=9):
    """Return (squared error, predicted, true), in people times 100, of the hard regions in the order of their truth."""
    tiles = []
    for top in range(0, true.shape[0] - region + 1, region):
        for left in range(0, true.shape[1] - region + 1, region):
            tile = np.s_[top : top + region, left : left + region]
            error = (map_[tile] - 100 * true[tile]).square().sum().detach()
            tiles.append((error, map_[tile].sum(), 100 * true[tile].sum()))
    hardest = sorted(tiles, key=lambda tile: -tile[0])[:count]
    return sorted(hardest, key=lambda tile: -tile[2])


def plain_local(map_, true, region=16, count=9):
    tiles = plain_regions(map_, true, region, count)
    level = sum(abs(x - y) for _, x, y in tiles) / 100 / len(tiles)
    pairs = [(above[1] - below[1]) / 100 for above, below in zip(tiles, tiles[3:], strict=False)]
    return level + (sum(torch.relu(-pair) for pair in pairs) / len(pairs) if pairs else 0)


def plain_released(map_, true, region=16, count=9):
    tiles = plain_regions(map_, true, region, count)
    total = 0.0 * map_.sum() + sum(error for error, _, _ in tiles)
    for start in range(3):
        ranks = [x for _, x, _ in tiles[start::3]]
        total = total + sum(torch.relu(below - above) for above, below in combinations(ranks, 2))
    return total


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_density_attention_and_importance_are_the_plain_formulas(reduction, dtype):
    output, density = example(dtype=dtype)
    terms = HmodeLoss(reduction=reduction, relative=None)(output, density)
    size = density.numel() if reduction == "mean" else len(density)
    expected = {
        "density": plain_density(output, density) / size,
        "attention": plain_attention(output, density) / size,
        "importance": plain_importance(output.gates) / (1 if reduction == "mean" else len(density)),
    }
    assert terms.keys() == expected.keys()
    rtol = 1e-5 if dtype == torch.float32 else 1e-9
    for name, value in terms.items():
        # importance is in single precision, as published: a small variance of large sums
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-4 if name == "importance" else rtol)
    inputs = (output.maps, output.attention)
    ours = torch.autograd.grad(terms["density"] + terms["attention"], inputs)
    theirs = torch.autograd.grad(expected["density"] + expected["attention"], inputs)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("form", "plain"), [("local", plain_local), ("released", plain_released)])
@pytest.mark.parametrize("size", [(64, 80), (32, 64), (16, 48), (24, 40)])
def test_local_counting_is_the_plain_formula(form, plain, size):
    """Also with fewer regions than the nine asked for, and with a remainder that fills none."""
    density = example(height=64, width=80)[1][:, : size[0], : size[1]]
    output = example(height=size[0], width=size[1])[0]
    output.attention = torch.zeros(3, 1, *(side // 8 for side in size))
    weights = [1, 1, 1, 2, 2, 2, 4]
    terms = HmodeLoss(relative=form, relative_weight=0.5)(output, density)
    expected = 0.0
    for maps, true in zip(pixels(output.maps, 4), density, strict=True):
        expected = expected + sum(w * plain(map_, true) for w, map_ in zip(weights, maps, strict=True))
    expected = 0.5 * expected / (len(density) if form == "local" else density.numel())
    summed = HmodeLoss(relative=form, relative_weight=0.5, reduction="sum")(output, density)["relative"]
    assert summed.item() == pytest.approx(expected.item() * density[0].numel(), rel=1e-9)
    assert terms["relative"].item() == pytest.approx(expected.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(loss, output.maps)[0] for loss in (terms["relative"], expected))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_only_our_local_term_sets_a_level():
    output, density = example()
    target = Target.from_density(density, output)

    def gradient(form):
        hard = hard_regions(output.maps, target, 16, 9)
        return torch.autograd.grad(form(hard).sum(), output.maps)[0].sum(dim=(2, 3))

    assert gradient(released_local_counting).abs().max() < 1e-12
    assert gradient(local_counting).abs().min() > 0
    low = torch.full_like(output.maps, 0.0, requires_grad=True)
    (upward,) = torch.autograd.grad(local_counting(hard_regions(low, target, 16, 9)).sum(), low)
    assert (upward <= 0).all() and (upward < 0).any()


def test_every_image_meets_its_own_target():
    """The released code broadcasts a batch: all predictions are pulled to all targets."""
    output, density = example(images=2)
    exact = functional.avg_pool2d(100 * density[:, None], 4)
    smooth = functional.interpolate(exact, scale_factor=4)[:, 0] / 100
    output.maps = exact.expand(2, 7, -1, -1)
    assert HmodeLoss(relative=None)(output, smooth)["density"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_weight": -1}, "loss.output_weight: -1 must"),
        ({"relative_weight": float("inf")}, "loss.relative_weight: inf"),
        ({"regions": 0}, "loss.regions: 0 must be at least 1"),
        ({"relative": "Local"}, "loss.relative: 'Local' is not one of null, local, released"),
        ({"reduction": "avg"}, "loss.reduction: 'avg'"),
    ],
)
def test_impossible_weights_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        HmodeLoss(**arguments)


@pytest.mark.parametrize(
    ("arguments", "size", "message"),
    [
        ({"region": 18}, (64, 80), "loss.region: 18 should be a multiple of 4"),
        ({"region": 128}, (64, 80), "fit into crops of 80 x 64"),
        ({}, (64, 82), "data.augment.crop: 82 x 64 pixels are not made of whole cells"),
    ],
)
def test_crops_that_do_not_fit_are_refused(arguments, size, message):
    output, _ = example()
    with pytest.raises(InputError, match=message):
        HmodeLoss(**arguments)(output, torch.zeros(3, *size, dtype=torch.float64))
