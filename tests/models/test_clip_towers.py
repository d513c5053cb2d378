"""Image towers of open_clip's other models: feature maps, stored text features, weights from local files."""

import numpy as np
import open_clip
import pytest
import timm
import torch
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.models.clip import timm_tower
from crowdcount.models.clip.pretrained import normalization
from crowdcount.models.clip.towers import Prompting, build_tower
from crowdcount.models.clip_ebc.network import ClipEbc
from crowdcount.models.clip_ebc.prompts import prompt
from crowdcount.models.zip.clip_network import ClipZip
from tests.golden.fill import det_image
from tests.support.open_clip_models import HUGGING_FACE_TEXT, PLAIN_TEXT, add_models, write_tokenizer
from tests.support.published_bins import published_bins

TEXT = PLAIN_TEXT
SIGLIP = {"timm_model_name": "vit_tiny_siglip_for_tests", "timm_pool": "map", "timm_proj": "none", "image_size": 32}
MODELS = {
    "tiny-coca": {
        "embed_dim": 24,
        "vision_cfg": {
            "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64,
            "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True,
        },
        "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "context_length": 76, "width": 24, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "tiny-vit-timm": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
    },
    "tiny-convnext": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
    },
    "tiny-relpos": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "test_vit_relpos", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
    },
}  # fmt: skip
TOWERS = ["tiny-coca", "tiny-siglip", "tiny-eva", "tiny-vit-timm", "tiny-convnext", "tiny-multilingual"]


@timm.models.register_model
def vit_tiny_siglip_for_tests(pretrained=False, **arguments):
    """SigLIP's image tower: no class token, and attention pooling."""
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False}
    return timm.models.vision_transformer._create_vision_transformer(
        "vit_tiny_siglip_for_tests", pretrained=pretrained, **{**shape, "global_pool": "map", **arguments}
    )


@timm.models.register_model
def eva_tiny_for_tests(pretrained=False, **arguments):
    """EVA-02's image tower: rotary positions, SwiGLU, and the normalisation after pooling."""
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 36, "depth": 2, "num_heads": 3, "swiglu_mlp": True}
    shape |= {"use_rot_pos_emb": True, "ref_feat_shape": (2, 2), "mlp_ratio": 2}
    return timm.models.eva._create_eva("eva_tiny_for_tests", pretrained=pretrained, **{**shape, **arguments})


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip")
    write_tokenizer(folder / "hub")
    hub = {"hf_tokenizer_name": str(folder / "hub")}
    signed = {"embed_dim": 32, "init_logit_bias": -10, "custom_text": True}
    eva = {"timm_model_name": "eva_tiny_for_tests", "timm_pool": "token", "timm_proj": None, "image_size": 32}
    text = {**HUGGING_FACE_TEXT, **hub, "hf_model_name": str(folder / "hub")}
    add_models(folder, {
        **MODELS,
        "tiny-siglip": {**signed, "vision_cfg": SIGLIP, "text_cfg": {**TEXT, **hub, "pool_type": "last"}},
        "tiny-eva": {"embed_dim": 24, "vision_cfg": eva, "text_cfg": TEXT, "custom_text": True},
        "tiny-multilingual": {"embed_dim": 24, "vision_cfg": {
            "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}, "text_cfg": text},
    })  # fmt: skip


def network(name, **arguments):
    torch.manual_seed(0)
    return ClipEbc(name, published_bins("sha"), pretrained=None, vpt=2, **arguments).eval()


@pytest.mark.parametrize("name", TOWERS)
def test_every_tower_gives_a_map_of_images_of_any_size(name):
    model = network(name)
    side = model.size_divisor
    for rows, columns in ((2, 2), (3, 5)):
        image = torch.from_numpy(det_image((1, 3, rows * side, columns * side), 3))
        with torch.inference_mode():
            features = model.visual(image)
            density = model(image).density
        assert features.shape[1] == model.visual.channels and features.shape[2:] == (
            rows * side // model.visual.stride, columns * side // model.visual.stride
        )  # fmt: skip
        assert density.shape == (1, 1, rows * side // 8, columns * side // 8) and density.isfinite().all()


@pytest.mark.parametrize("name", TOWERS)
def test_only_used_parameters_are_trained(name):
    """An unused one would stop distributed training."""
    model = network(name).train()
    image = torch.from_numpy(det_image((2, 3, 64, 96), 3))
    model(image).density.square().sum().backward()
    idle = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert idle == []


@pytest.mark.parametrize("name", ["tiny-siglip", "tiny-eva", "tiny-vit-timm"])
def test_a_transformer_s_map_is_its_patch_tokens_in_place(name):
    """Changing one patch of the input changes the map most at that patch."""
    tower = build_tower(name, False, 8, Prompting(2)).eval()
    image = torch.from_numpy(det_image((1, 3, 48, 80), 3))
    other = image.clone()
    other[..., 16:32, 48:64] += 1
    with torch.inference_mode():
        change = (tower(image) - tower(other)).abs().sum(dim=1)[0]
        ragged = torch.nn.functional.pad(image, (0, 9, 0, 7))
        torch.testing.assert_close(tower(ragged), tower(image))
    assert divmod(int(change.argmax()), 5) == (1, 3)


def test_coca_leaves_the_last_block_as_it_is():
    tower = build_tower("tiny-coca", False, 8, Prompting(1, deep=False)).eval()
    seen = []
    tower.trunk.transformer.resblocks[-1].register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.inference_mode():
        found = tower(torch.from_numpy(det_image((1, 3, 64, 64), 3)))
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), seen[0][:, 1:17])
    assert not any("attn_pool" in key for key in tower.state_dict())


@pytest.mark.parametrize("name", [name for name in TOWERS if name not in ("tiny-vit-timm", "tiny-convnext")])
def test_pretrained_weights_from_a_local_file(name, tmp_path):
    """Image tower and text features are those of open_clip's model, whatever its tokenizer and text tower."""
    torch.manual_seed(1)
    theirs = open_clip.create_model(name, force_custom_text=True, pretrained_text=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    model = network(name)
    model.pretrained = str(tmp_path / "weights.pt")
    before = model.text_features.clone()
    model.load_pretrained()
    ours, source = model.visual.trunk.state_dict(), theirs.visual.state_dict()
    for key, value in ours.items():
        torch.testing.assert_close(value, source.get(f"trunk.{key}", source.get(key)))
    with torch.no_grad():
        texts = [prompt(low, high, "word") for low, high in model.bins.edges]
        expected = functional.normalize(theirs.encode_text(open_clip.get_tokenizer(name)(texts)), dim=-1)
    torch.testing.assert_close(model.text_features, expected)
    assert not torch.equal(before, expected) and len(expected) == len(model.bins)


def test_stored_text_features_travel_with_the_weights():
    source, target = network("tiny-siglip"), network("tiny-siglip")
    source.text_features.copy_(functional.normalize(torch.randn_like(source.text_features), dim=-1))
    target.load_state_dict(source.state_dict())
    torch.testing.assert_close(target.text_features, source.text_features)
    assert not any(key.startswith("text.") for key in source.state_dict())


def test_images_are_normalised_as_the_weights_expect():
    assert normalization("ViT-B-16-SigLIP", "webli") == ((0.5,) * 3, (0.5,) * 3)
    assert normalization("MobileCLIP-S1", None) == ((0.0,) * 3, (1.0,) * 3)
    assert normalization("coca_ViT-B-32", "a/file.pt")[0] == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert network("tiny-siglip").mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)  # it has no tags


@pytest.mark.parametrize("name", ["tiny-coca", "tiny-siglip", "tiny-convnext"])
def test_windows_and_tiles(name):
    model = network(name)
    image = np.random.default_rng(0).integers(0, 255, (3, 96, 160), np.uint8)
    for inference in (Inference(window=64, window_stride=32), Inference(max_memory=None)):
        found = inference(model, torch.from_numpy(image))
        assert found.density.shape == (12, 20)
        assert found.count == pytest.approx(float(found.density.sum()), rel=1e-5)


@pytest.mark.parametrize(("name", "reduction"), [("tiny-siglip", 16), ("tiny-coca", 16), ("tiny-convnext", 32)])
def test_zip_takes_the_same_towers(name, reduction):
    model = ClipZip(name, published_bins("sha", 8), reduction, pretrained=None, vpt=2).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 96)).density.shape == (1, 1, 64 // reduction, 96 // reduction)


def test_a_tower_of_one_size_is_refused():
    with pytest.raises(InputError, match=r"VisionTransformerRelPos, gives no feature map of images of any size"):
        network("tiny-relpos")


def test_openai_s_weights_belong_to_its_own_models():
    with pytest.raises(InputError, match=r"OpenAI did not train ViT-B-16-SigLIP; give a tag of open_clip \(webli\)"):
        ClipEbc("ViT-B-16-SigLIP", published_bins("sha"))


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "ViT-B-16-SigLIP"])
def test_towers_by_their_names_in_open_clip(name, monkeypatch):
    monkeypatch.setattr(timm_tower, "_require_map", lambda tower: None)  # as the forward pass below
    with torch.device("meta"):
        model = ClipEbc(name, published_bins("sha"), pretrained=None)
        assert model(torch.empty(1, 3, 128, 192)).density.shape == (1, 1, 16, 24)
    assert model.text is None
