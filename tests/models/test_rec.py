"""The detector of referring expression counting, its weights, and the way from an image to points."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crowdcount.errors import InputError
from crowdcount.inference.points import PointInference
from crowdcount.losses.contrastive import SupCon
from crowdcount.models.rec import network as network_module
from crowdcount.models.rec.convert import from_authors
from crowdcount.models.rec.loss import RecLoss
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.models.rec.outputs import Phrases
from crowdcount.training.referring import ReferringModule
from crowdcount.weights.cache import import_file
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import find_entry
from tests.support.rec_checkpoint import as_released, original_keys

WORDS = ("person", "in", "red", "blue", "green")
BUILD = network_module._build


def detector(seed=0, **options):
    torch.manual_seed(seed)
    return ReferringDetector("tiny", **{"pretrained": False, "words": WORDS, **options})


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


# --- names of weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny detector, the folder that transformers saved it to, and its weights in the hub's layout."""
    network = detector().eval()
    folder = tmp_path_factory.mktemp("detector")
    network.detector.save_pretrained(folder)
    hub = load_file(folder / "model.safetensors")
    hub = {key: value for key, value in hub.items() if ".swin.layernorm." not in key}  # is of no use to a detector
    hub |= {key: hub[key.replace("embed.1.", "embed.0.")] for key in original_keys([], 0, 2, 0) if "embed.1." in key}
    return network, folder, hub


def test_an_original_checkpoint_gives_the_same_detector(saved):
    network, _, hub = saved
    released = as_released(hub, original_keys([1, 1, 1, 1], 1, 2, 1))
    converted = from_authors(released)
    copies = {f"model.decoder.{key}": value for key, value in hub.items() if key.startswith("bbox_embed.")}
    assert converted.keys() == (hub | copies).keys()
    assert all(torch.equal(value, (hub | copies)[key]) for key, value in converted.items())
    assert from_authors(released["model"]).keys() == converted.keys()
    other = detector(seed=1)
    other.load_published(released)
    assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


def test_joint_projections_are_split_in_order():
    joint = torch.arange(6.0)
    for key, hub in {
        "transformer.decoder.layers.0.ca_text.in_proj_bias": "model.decoder.layers.0.encoder_attn_text",
        "backbone.0.layers.0.blocks.1.attn.qkv.bias": "model.backbone.conv_encoder.model.encoder.layers.0.blocks.1"
        ".attention.self",
    }.items():
        parts = from_authors({key: joint})
        expected = {"query": [0, 1], "key": [2, 3], "value": [4, 5]}
        assert {key: part.tolist() for key, part in parts.items()} == {
            f"{hub}.{name}.bias": numbers for name, numbers in expected.items()
        }


@pytest.mark.parametrize("key", ["backbone.0.layers.0.blocks.0.norm3.bias", "transformer.strange", "fc.weight"])
def test_an_unknown_key_is_refused(key):
    with pytest.raises(InputError, match=f"'{key}' is not a key of a Grounding DINO"):
        from_authors({f"module.{key}": torch.zeros(1)})


@pytest.fixture(scope="module")
def recorded(shared):
    return np.load(shared / "golden" / "rec_model_tiny.npz")


@pytest.mark.parametrize("selection", ["cls", "max"])
def test_both_captions_in_a_batch_as_recorded_one_at_a_time(recorded, monkeypatch, selection):
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    config = GroundingDinoConfig(**json.loads(str(recorded["config"])))
    monkeypatch.setattr(network_module, "_build", lambda name, words: GroundingDinoForObjectDetection(config))
    network = detector(query_selection=selection).eval()
    hub = {key[3:]: torch.from_numpy(recorded[key]) for key in recorded.files if key.startswith("w::")}
    converted = from_authors(as_released(hub, original_keys([1, 1, 2, 1], 2, 2, 2)))
    assert len(hub) == 373 and converted.keys() == hub.keys()
    assert all(torch.equal(value, hub[key]) for key, value in converted.items())
    network.load_published(as_released(hub, original_keys([1, 1, 2, 1], 2, 2, 2)))
    ids = torch.zeros(2, 7, dtype=torch.int64)
    for i in range(2):
        ids[i, : recorded[f"c{i}_ids"].shape[1]] = torch.from_numpy(recorded[f"c{i}_ids"][0])
    tokens = ids > 0
    image = torch.from_numpy(recorded["pixel_values"])
    inside = torch.ones(1, *image.shape[-2:], dtype=torch.bool)
    with torch.no_grad():
        found = network(image, inside, Phrases(ids, tokens, tokens, tokens, tokens), torch.zeros(2, dtype=torch.int64))
    stock = "" if selection == "cls" else "stock_"
    for i in range(2):
        n = int(tokens[i].sum())
        boxes = torch.cat([found.points[i], found.sizes[i]], dim=1)
        np.testing.assert_allclose(boxes, recorded[f"c{i}_{stock}boxes"][0], atol=1e-5)
        np.testing.assert_allclose(found.logits[i, :, :n], recorded[f"c{i}_{stock}logits"][0, :, :n], atol=1e-4)
        assert (found.logits[i, :, n:] == -math.inf).all()
        if selection == "cls":
            np.testing.assert_allclose(found.queries[i], recorded[f"c{i}_queries"][0], atol=1e-5)
            np.testing.assert_allclose(found.text[i, :n], recorded[f"c{i}_text"][0], atol=1e-5)


# --- the detector


TEXTS = ["person in red", "red", "blue person", "person", "green person in blue"]


def two_images(sizes=((96, 128), (128, 80))):
    """Return noise of two sizes on zeros, and where it is."""
    generator = torch.Generator().manual_seed(0)
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    images, inside = torch.zeros(2, 3, height, width), torch.zeros(2, height, width, dtype=torch.bool)
    for image, mask, (high, wide) in zip(images, inside, sizes, strict=True):
        mask[:high, :wide] = True
        image[:, :high, :wide] = torch.randn(3, high, wide, generator=generator)
    return images, inside


def test_a_padded_batch_against_the_library_one_expression_at_a_time():
    network = detector().eval()
    images, inside = two_images()
    stock = type(network.detector)(network.detector.config).eval()
    stock.load_state_dict(network.detector.state_dict())
    seen = []
    network.detector.model.backbone.conv_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    index = torch.tensor([1, 1, 0, 1, 0])
    phrases = network.tokenize(TEXTS, [""] * 5)
    with torch.no_grad():
        found = network(images, inside, phrases, index)
        for row, image in enumerate(index.tolist()):
            n = int(phrases.sizes[row])
            alone = {"input_ids": phrases.ids[row : row + 1, :n], "pixel_mask": inside[image : image + 1]}
            wanted = stock(pixel_values=images[image : image + 1], **alone)
            boxes = torch.cat([found.points[row], found.sizes[row]], dim=1)
            torch.testing.assert_close(boxes, wanted.pred_boxes[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(found.logits[row, :, :n], wanted.logits[0, :, :n], atol=1e-5, rtol=0)
            queries = wanted.intermediate_hidden_states[0, -1]
            torch.testing.assert_close(found.queries[row], queries, atol=1e-5, rtol=0)
    assert [[tuple(part.shape) for part in inputs] for inputs in seen] == [[(2, 3, 128, 128), (2, 128, 128)]]
    assert found.image_index is index and found.text.shape == (5, *phrases.ids.shape[1:], 32)


def test_points_are_parts_of_the_image_without_its_padding():
    network = detector().eval()
    images, inside = two_images(((128, 128), (128, 64)))
    with torch.no_grad():
        points = network(images, inside, network.tokenize(["red"] * 2, [""] * 2), torch.tensor([1, 0])).points[0]
    assert 0.6 < points[:, 0].max() <= 1 and points.min() >= 0  # of the whole batch the image has the left half


@pytest.mark.parametrize("selection", ["max", "cls"])
@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("family", ["GroundingDino", "MMGroundingDino"])
@pytest.mark.parametrize("options", [{}, {"positives": "text_topn"}, None])
def test_every_trained_parameter_gets_a_gradient(monkeypatch, selection, freeze, family, options):
    if family == "MMGroundingDino":
        monkeypatch.setattr(network_module, "_build", mm_tiny)
    network = detector(query_selection=selection, freeze=freeze, projection=None if options is None else 8).train()
    assert type(network.detector).__name__ == f"{family}ForObjectDetection"
    model = network.detector.model
    assert all(part.training is not freeze for part in (*model.backbone.modules(), *model.text_backbone.modules()))
    assert model.encoder.training
    images, inside = two_images()
    points = [torch.rand(n, 2) for n in (3, 0, 2)]
    for targets in (points, [each[:0] for each in points]):  # also where nothing is there
        network.zero_grad()
        found = network(images, inside, network.tokenize(TEXTS[:3], ["red", "", "blue"]), torch.tensor([0, 0, 1]))
        weights = {} if options is None else {"contrast_weight": 0.005, "contrast": SupCon(), **options}
        terms = RecLoss(**weights, image_text_weight=0.06)(found, targets, network.projection(found.queries))
        sum(terms.values()).backward()
        without = [name for name, each in network.named_parameters() if (each.grad is None) is each.requires_grad]
        assert not without
    frozen = [each.requires_grad for part in (model.backbone, model.text_backbone) for each in part.parameters()]
    assert any(frozen) is not freeze
    assert all(value.isfinite().all() for value in (each.grad for each in network.parameters()) if value is not None)


def mm_tiny(name, words):
    from transformers import MMGroundingDinoConfig, MMGroundingDinoForObjectDetection

    small = BUILD(name, words).config
    parts = {"backbone_config": small.backbone_config, "text_config": small.text_config}
    options = {**parts, **network_module._TINY, **network_module._MM}
    return MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**options, dropout=0.0))


def test_mm_heads_of_each_layer_are_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(network_module, "_build", mm_tiny)
    source = detector(seed=1).detector
    for layer, head in enumerate(source.bbox_embed):
        torch.nn.init.constant_(head.layers[-1].bias, float(layer))
    source.save_pretrained(tmp_path)
    network = detector(pretrained=str(tmp_path))
    network.load_pretrained()
    assert [head.layers[-1].bias.unique().tolist() for head in network.detector.bbox_embed] == [[0.0], [1.0]]
    assert all(torch.equal(a, b) for a, b in zip(network.detector.parameters(), source.parameters(), strict=True))


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_towers_are_in_evaluation_mode_from_the_start(freeze):
    """A trainer restores the modes it finds, and never calls train() before the first step."""
    model = detector(freeze=freeze).detector.model
    assert model.backbone.training is not freeze and model.text_backbone.training is not freeze
    assert model.encoder.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query_selection": "first"}, "query_selection: 'first' is not one of max, cls"),
        ({"projection": 0}, "projection: 0 must be at least 1"),
        ({"detector": "huge"}, "detector: 'huge' is not one of swin_t, swin_b"),
    ],
)
def test_impossible_detectors_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ReferringDetector(**{"detector": "tiny", "words": WORDS, **options})


def test_a_head_that_nothing_would_train_is_refused():
    with pytest.raises(InputError, match=r"network.projection: .* or model.loss.contrast_weight above 0"):
        ReferringModule(detector(projection=8), RecLoss(image_text_weight=0.06))
    assert ReferringModule(detector(projection=8), RecLoss(contrast_weight=0.005)).network.projection


def test_bf16():
    network = detector().train()
    images, inside = two_images()
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images, inside, network.tokenize(TEXTS[:2], ["", ""]), torch.tensor([0, 1]))
        loss = sum(RecLoss()(found, [torch.rand(2, 2), torch.rand(0, 2)]).values())
    loss.backward()
    assert loss.isfinite() and found.logits[found.phrases.tokens[:, None].expand_as(found.logits)].isfinite().all()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)


@pytest.mark.parametrize(
    ("name", "family", "millions"),
    [("swin_t", "GroundingDino", 172.25), ("swin_b", "GroundingDino", 232.3), ("mm_swin_t", "MMGroundingDino", 172.91)],
)
def test_sizes_of_the_published_detectors(name, family, millions):
    with torch.device("meta"):
        network = ReferringDetector(name)
    assert type(network.detector).__name__ == f"{family}ForObjectDetection"
    assert sum(each.numel() for each in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert network.queries == 900


def test_a_copy_works_on_its_own():
    network = detector().eval()
    other = copy.deepcopy(network)
    images, inside = two_images()
    with torch.no_grad():
        args = (images, inside, network.tokenize(TEXTS[:3], [""] * 3), torch.tensor([0, 0, 1]))
        assert torch.equal(other(*args).points, network(*args).points)


@pytest.mark.parametrize("side", [20, 64])
def test_an_image_with_too_few_places_is_refused(side):
    network = detector().eval()
    with pytest.raises(InputError, match=f"an image of {side} x {side} pixels is too small"):
        PointInference()(network, torch.zeros(3, side, side, dtype=torch.uint8), ["red"])
    assert PointInference()(network, torch.zeros(3, 65, 65, dtype=torch.uint8), ["red"])[0].text == "red"


# --- pretrained weights


def test_a_saved_folder_is_loaded(saved):
    network, folder, _ = saved
    other = detector(seed=1, pretrained=str(folder))
    other.load_pretrained()
    assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


def test_an_original_file_is_loaded(saved, tmp_path):
    network, _, hub = saved
    released = as_released(hub, original_keys([1, 1, 1, 1], 1, 2, 1))
    torch.save({**released, "best": np.float64(0.7)}, tmp_path / "release.pth")  # as training scripts write it
    other = detector(seed=1, pretrained=str(tmp_path / "release.pth"))
    other.load_pretrained()
    assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


def test_weights_of_another_size_name_the_key(saved):
    network, folder, hub = saved
    larger = detector(pretrained=str(folder), words=(*WORDS, "yellow"))
    with pytest.raises(InputError, match=r"does not fit the detector tiny \(mismatched: .*word_embeddings"):
        larger.load_pretrained()
    released = as_released(hub, original_keys([1, 1, 1, 1], 1, 2, 1))
    del released["model"]["module.feat_map.bias"]
    with pytest.raises(InputError, match=r"does not fit the detector tiny \(missing: model.text_projection.bias"):
        network.load_published(released)


def test_weights_that_cannot_be_had(offline, tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    for source, message in {
        True: "no published weights of the detector tiny; set it to false",
        str(tmp_path / "bad.pth"): "pretrained: .*bad.pth: cannot be read as a checkpoint",
        str(tmp_path / "absent.pth"): "pretrained: .*absent.pth: no such checkpoint",
        str(tmp_path / "absent"): r"(?s)the weights .*absent could not be fetched .*Check the connection, or set",
        "nobody/nothing": r"(?s)the weights nobody/nothing could not be fetched .*Check the connection, or set",
    }.items():
        with pytest.raises(InputError, match=message):
            detector(pretrained=source).load_pretrained()
    detector(pretrained=False).load_pretrained()


@pytest.mark.parametrize("name", ["swin_t", "swin_b", "mm_swin_t"])
def test_the_published_detectors_say_what_to_do_without_a_network(local_index, monkeypatch, name):
    local_index({f"rec/{name}.hub": {}, "rec/vocabulary.bert": {}})
    monkeypatch.setenv("CROWDCOUNT_OFFLINE", "1")
    with torch.device("meta"):
        network = ReferringDetector(name)
    with pytest.raises(InputError, match=r"rec/vocabulary.bert: is not in .*, and downloads are forbidden \(offline\)"):
        network.tokenize(["red"], [""])
    with pytest.raises(InputError, match=rf"(?s)rec/{name}.hub: is not in .*To start from random weights: .* false"):
        network.load_pretrained()


def test_published_weights_and_words_come_from_the_index(saved, local_index, tmp_path, monkeypatch):
    network, folder, _hub = saved
    words = network_module.vocabulary(WORDS)
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    weights = folder / "model.safetensors"
    local_index({
        "rec/swin_t.hub": {"sha256": file_sha256(weights), "bytes": None},
        "rec/vocabulary.bert": {"sha256": file_sha256(tmp_path / "vocab.txt")},
    })  # fmt: skip
    import_file(find_entry("rec/swin_t.hub"), weights)
    import_file(find_entry("rec/vocabulary.bert"), tmp_path / "vocab.txt")
    monkeypatch.setattr(network_module, "_build", lambda _name, _words: BUILD("tiny", words))
    other = ReferringDetector("swin_t", pretrained=True)
    other.load_pretrained()
    assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))
    for texts in (TEXTS[:2], TEXTS[2:]):
        ours, theirs = (each.tokenize(texts, [""] * len(texts)) for each in (network, other))
        assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.words, theirs.words)
