"""CLIP-EBC against the recorded outputs of the published network."""

import json
import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.loss import Dace
from crowdcount.models.clip import pretrained
from crowdcount.models.clip.number_words import number_words
from crowdcount.models.clip.pretrained import from_openai
from crowdcount.models.clip.towers import CLIP_BACKBONES, resize_positions
from crowdcount.models.clip_ebc.convert import from_authors
from crowdcount.models.clip_ebc.network import ClipEbc
from crowdcount.models.clip_ebc.prompts import prompt
from crowdcount.weights.cache import import_file
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import find_entry
from tests.golden.fill import det_image, det_tensor
from tests.support.published_bins import published_bins

TINY = {
    "tiny-rn": {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"layers": [1, 2, 1, 2], "width": 8, "image_size": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "tiny-vit": {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"layers": 3, "width": 64, "head_width": 64, "patch_size": 16, "image_size": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
}


@pytest.fixture(scope="module", autouse=True)
def tiny_configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip")
    for name, config in TINY.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def tiny():
    """Small recorded outputs; inputs and weights follow from keys, shapes and seeds."""
    return np.load(Path(__file__).parents[1] / "golden" / "clip_ebc_tiny.npz")


def fill(network, shapes):
    """Load the reference weights under the published names."""
    state = {key: torch.from_numpy(np.asarray(det_tensor(key, shape))) for key, shape in shapes.items()}
    network.load_state_dict(from_authors(state), strict=True)
    return network.eval()


def published_shapes(network):
    """Our keys -> the published ones, with shapes: the inverse of `from_authors`."""
    names = {}
    for key, value in network.state_dict().items():
        for ours, theirs in (
            ("visual.prompts.", "vpt_"),
            ("visual.trunk.", "image_encoder."),
            ("decoder.", "image_decoder."),
            ("text.", "text_encoder."),
        ):
            if key.startswith(ours):
                names[theirs + key[len(ours) :]] = tuple(value.shape)
                break
        else:
            names[key] = tuple(value.shape)
    return names


def same(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, torch.from_numpy(np.asarray(expected)), atol=tolerance, rtol=0)


@pytest.mark.parametrize("reduction", [8, 16, 32])
@pytest.mark.parametrize(
    ("case", "shape"), [("sq", (2, 3, 64, 64)), ("rect", (1, 3, 64, 96)), ("odd", (1, 3, 75, 101))]
)
def test_resnet_equals_the_published_network(tiny, reduction, case, shape):
    network = ClipEbc("tiny-rn", published_bins("sha"), reduction)
    fill(network, published_shapes(network))
    with torch.inference_mode():
        output = network(torch.from_numpy(det_image(shape, 7)))
    same(output.logits, tiny[f"rn/r{reduction}/{case}/logits"])
    same(output.density, tiny[f"rn/r{reduction}/{case}/density"])


@pytest.mark.parametrize(
    ("case", "deep", "size"), [("deep64", True, 64), ("shallow64", False, None), ("deep96", True, 96)]
)
def test_transformer_equals_the_published_network(tiny, case, deep, size):
    network = ClipEbc("tiny-vit", published_bins("sha"), vpt=4, deep_vpt=deep, input_size=size)
    shapes = published_shapes(network)
    fill(network, shapes)
    if size == 96:  # its reference table is the 4 x 4 one, resized
        table = torch.from_numpy(tiny["vit/deep96/sd/image_encoder.positional_embedding"])
        network.visual.trunk.positional_embedding.data = table
        old = torch.from_numpy(det_tensor("image_encoder.positional_embedding", (17, 64)))
        same(resize_positions(old, 6, 6), table, 1e-6)
    side = size or 64
    for name, shape in (("sq", (2, 3, side, side)), ("rect", (1, 3, 64, 112)), ("odd", (1, 3, 75, 101))):
        with torch.inference_mode():
            output = network(torch.from_numpy(det_image(shape, 11)))
        same(output.logits, tiny[f"vit/{case}/{name}/logits"])
        same(output.density, tiny[f"vit/{case}/{name}/density"])


def test_only_the_published_parts_are_trained(tiny):
    network = ClipEbc("tiny-vit", published_bins("sha"), vpt=4, input_size=96)
    shapes = set(published_shapes(network))
    trained = {key for key, value in network.named_parameters() if value.requires_grad}
    published = {"visual.prompts.0", "visual.prompts.1", "visual.prompts.2", "logit_scale"}
    assert {key for key in trained if not key.startswith(("decoder.", "projection."))} == published
    # publishing a resized table made it trainable by accident (deep96); the tower is meant to be frozen
    expected = {str(key) for key in tiny["vit/deep64/trainable"]}
    assert expected <= shapes and len(trained) == len(expected)


def test_frozen_towers_stay_in_evaluation_mode():
    network = ClipEbc("tiny-vit", published_bins("sha"), vpt=4).train()
    assert network.decoder.training and network.visual.training
    assert not network.visual.trunk.training and not network.text.training
    assert ClipEbc("tiny-rn", published_bins("sha")).train().visual.trunk.layer1.training


@pytest.mark.parametrize("backbone", CLIP_BACKBONES)
def test_every_published_tower_builds(backbone, monkeypatch):
    monkeypatch.setattr(ClipEbc, "_encode_text", lambda network: None)  # the text tower is the same module throughout
    with torch.device("meta"):
        network = ClipEbc(backbone, published_bins("sha"))
        network.text_features = torch.empty(5, network.text.text_projection.shape[1])
        image = torch.empty(1, 3, 224, 224)
        assert network(image).density.shape == (1, 1, 28, 28)
    if backbone == "ViT-L-14-quickgelu":
        sizes = [p.numel() for p in network.parameters()]
        trained = [p.numel() for p in network.parameters() if p.requires_grad]
        assert (round(sum(sizes) / 1e6, 3), round(sum(trained) / 1e6, 3)) == (447.282, 20.452)


def test_a_training_step_equals_the_published_one(tiny):
    """Network in training mode, DACE with DM-Count and backward together; the published OT term sums two images."""
    network = ClipEbc("tiny-rn", published_bins("sha"))
    fill(network, published_shapes(network)).train()
    output = network(torch.from_numpy(det_image((2, 3, 64, 64), 7)))
    same(output.logits.detach(), tiny["rn/train/logits"], 2e-5)
    points = [tiny["rn/train/points0"], tiny["rn/train/points1"]]
    terms = Dace(ot_weight=0.2, once_per_pixel=True)(output, points, network.bins, network.stride)
    loss = torch.stack(list(terms.values())).sum()
    assert loss.item() == pytest.approx(float(tiny["rn/train/loss"][0]), rel=1e-6)
    loss.backward()
    gradients = {
        "logit_scale": network.logit_scale.grad,
        "projection.bias": network.projection.bias.grad,
        "image_encoder.conv1.weight": network.visual.trunk.conv1.weight.grad,
    }
    for key, gradient in gradients.items():
        expected = torch.from_numpy(np.asarray(tiny[f"rn/train/grad/{key}"]))
        torch.testing.assert_close(gradient, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
    same(network.visual.trunk.bn1.running_mean, tiny["rn/train/after/image_encoder.bn1.running_mean"])
    same(network.decoder[0].bn1.running_var, tiny["rn/train/after/image_decoder.0.bn1.running_var"])


def test_density_is_the_expected_anchor():
    network = ClipEbc("tiny-rn", Bins([0, "1-2", "3+"], [0.0, 1.4, 4.5])).eval()
    with torch.inference_mode():
        output = network(torch.from_numpy(det_image((1, 3, 64, 64), 1)))
    scores = output.logits[0, :, 2, 3].double().exp()
    expected = float((scores / scores.sum() * torch.tensor([0.0, 1.4, 4.5])).sum())
    assert float(output.density[0, 0, 2, 3]) == pytest.approx(expected, rel=1e-6)


def test_text_features_follow_the_loaded_tower():
    source, target = (ClipEbc("tiny-rn", published_bins("sha")).eval() for _ in range(2))
    image = torch.from_numpy(det_image((1, 3, 64, 64), 1))
    target.load_state_dict(source.state_dict())
    torch.testing.assert_close(target(image).logits, source(image).logits, atol=0, rtol=0)
    assert not any("text_features" in key or "tokens" in key for key in source.state_dict())


def test_dropped_remainder_matches_the_cut_image():
    network = ClipEbc("tiny-vit", published_bins("sha"), vpt=2).eval()
    image = torch.from_numpy(det_image((1, 3, 75, 101), 2))
    with torch.inference_mode():
        torch.testing.assert_close(network(image).density, network(image[..., :64, :96]).density)


def test_fetched_towers_replace_the_random_ones(tmp_path):
    network, tower = ClipEbc("tiny-vit", published_bins("sha"), vpt=2, input_size=96), None
    tower = open_clip.CustomTextCLIP(**TINY["tiny-vit"])
    torch.save(tower.state_dict(), tmp_path / "tower.pt")
    network.pretrained = str(tmp_path / "tower.pt")
    network.load_pretrained()
    torch.testing.assert_close(network.visual.trunk.conv1.weight, tower.visual.conv1.weight)
    table = resize_positions(tower.visual.positional_embedding, 6, 6)
    torch.testing.assert_close(network.visual.trunk.positional_embedding, table)
    expected = functional.normalize(tower.text.eval()(network.tokens), dim=-1)
    torch.testing.assert_close(network.text_features, expected.detach())


def test_openai_s_towers_come_from_the_index(tmp_path, local_index):
    """As OpenAI published them: a TorchScript archive in half precision."""
    tower = open_clip.CLIP(**TINY["tiny-vit"]).eval()
    text = torch.zeros(1, 77, dtype=torch.long)
    torch.jit.trace(tower, (torch.rand(1, 3, 64, 64), text)).half().save(tmp_path / "tiny.pt")
    local_index({"clip_ebc/tiny_vit.openai": {"sha256": file_sha256(tmp_path / "tiny.pt"), "bytes": None}})
    network = ClipEbc("tiny-vit", published_bins("sha"), vpt=2)
    network.load_state_dict(network.state_dict())
    import_file(find_entry("clip_ebc/tiny_vit.openai"), tmp_path / "tiny.pt")
    network.load_pretrained()
    torch.testing.assert_close(network.visual.trunk.conv1.weight, tower.visual.conv1.weight.half().float())
    with torch.no_grad():
        tower.half().float()
        expected = functional.normalize(tower.encode_text(network.tokens), dim=-1)
    torch.testing.assert_close(network.text_features, expected)
    with pytest.raises(InputError, match=r"'visual\.conv1\.weight' is missing, so this is not a"):
        from_openai({"conv1.weight": torch.zeros(1)})


def test_unreachable_weights_say_how_to_go_on(monkeypatch, local_index):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no route to host")

    network = ClipEbc("tiny-rn", published_bins("sha"), pretrained="laion")
    monkeypatch.setattr(pretrained.open_clip, "create_model", unreachable)
    with pytest.raises(InputError, match=r"'laion' of tiny-rn could not be fetched.*\n.*pretrained: null"):
        network.load_pretrained()
    network.pretrained = None
    network.load_pretrained()
    local_index({"clip_ebc/tiny_rn.openai": {}})
    network.pretrained = "openai"
    monkeypatch.setenv("CROWDCOUNT_OFFLINE", "1")
    with pytest.raises(InputError, match=r"(?s)clip_ebc/tiny_rn.openai: is not in .*\(offline\).*pretrained: null"):
        network.load_pretrained()


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match=r"RN51.*ViT-B-16-quickgelu"):
        ClipEbc("RN51", published_bins("sha"))
    with pytest.raises(InputError, match="QuickGELU; its weights belong to ViT-B-16-quickgelu"):
        ClipEbc("ViT-B-16", published_bins("sha"))
    with pytest.raises(InputError, match="vpt: 0 must be at least 1"):
        ClipEbc("tiny-vit", published_bins("sha"), vpt=0)
    with pytest.raises(InputError, match="0 is not a multiple of the patch side 16"):
        ClipEbc("tiny-vit", published_bins("sha"), input_size=0)
    with pytest.raises(InputError, match="100 is not a multiple of the patch side 16"):
        ClipEbc("tiny-vit", published_bins("sha"), input_size=100)


def test_conversion_refuses_other_checkpoints():
    weight = torch.zeros(1)
    assert list(from_authors({"module.vpt_3": weight, "model.logit_scale": weight})) == [
        "visual.prompts.3",
        "logit_scale",
    ]
    with pytest.raises(InputError, match=r"backbone\.features\.0\.weight"):
        from_authors({"backbone.features.0.weight": weight})


def test_prompts_and_tokens_equal_the_recorded_ones(golden):
    recorded = json.loads((golden / "clip_ebc_prompts.json").read_text())
    tokenizer = open_clip.get_tokenizer("RN50-quickgelu")
    for style in ("word", "number"):
        for truncation in (2, 4, 8, 11, 19):
            bins = [(count, count) for count in range(truncation)] + [(truncation, math.inf)]
            case = recorded[f"{style}_t{truncation}"]
            assert [prompt(low, high, style) for low, high in bins] == case["text"]
            for tokens, expected in zip(tokenizer(case["text"]).tolist(), case["tokens"], strict=True):
                assert tokens == expected + [0] * (77 - len(expected))


def test_ranges_have_prompts():
    assert prompt(4, 5, "word") == "There are between four and five people."
    assert prompt(16, 17, "number") == "There are between 16 and 17 people."
    words = {21: "twenty-one", 30: "thirty", 300: "three hundred", 1000: "one thousand", 101: "101", 1200: "1200"}
    assert {number: number_words(number) for number in words} == words


@pytest.mark.parametrize("granularity", ["fine", "dynamic", "coarse"])
@pytest.mark.parametrize(("reduction", "truncation"), [(16, 8), (32, 19)])
def test_ranges_train_with_clip(granularity, reduction, truncation):
    bins = published_bins("qnrf", reduction, truncation, granularity)
    network = ClipEbc("tiny-rn", bins, reduction)
    assert network(torch.zeros(2, 3, 64, 64)).logits.shape == (2, len(bins), 64 // reduction, 64 // reduction)
