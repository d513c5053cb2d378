"""Models on the Hugging Face hub: their folders, what is uploaded, and what is loaded by address."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import crowdcount
from crowdcount.cli import predict as predict_tool
from crowdcount.cli import weights as weights_tool
from crowdcount.errors import InputError
from crowdcount.intervals import Calibration, Intervals
from crowdcount.intervals.scale import Scale
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import Measured
from tests.golden.fill import det_image, zip_checkpoint
from tests.support.counter import noise_image, save_counter, write_images
from tests.support.hub import hub
from tests.support.open_clip_models import PLAIN_TEXT, add_models

__all__ = ["hub"]
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MEASURED = Measured("sha/test", 182, 60.5, 99.0, 0.1, "whole images", "crowdcount evaluate x", "abc", "2026-01-31")


@pytest.fixture
def counter(tmp_path):
    """A model with figures, terms and intervals of its own."""
    model = crowdcount.load_model(save_counter(tmp_path / "start"))
    scores = Calibration(Scale("constant"), (np.arange(20.0),), (), (0.0, 9.0))
    intervals = Intervals("0" * 64, model.protocol, "mine/val", "a square", "0" * 64, image=scores)
    reported = {"data": "sha/test", "mae": 59.0, "rmse": None, "source": "a paper"}
    origin = {"measured": [vars(MEASURED)], "reported": [reported], "trained_on": "crowdcount.data.Folder"}
    return dataclasses.replace(model, origin=origin, intervals=intervals)


def test_a_folder_is_read_back(counter, tmp_path):
    path = counter.save_pretrained(tmp_path / "mine", license="CC-BY-4.0", data_terms="own images")
    names = ["README.md", "config.json", "model.intervals.json", "model.safetensors"]
    assert sorted(each.name for each in path.parent.iterdir()) == names
    model, image = crowdcount.load_model(path.parent), noise_image()
    assert model.predict(image).count == counter.predict(image).count
    assert model.name == "mine" and model.intervals.image.images == 20
    assert (model.origin["weights_license"], model.origin["data_terms"]) == ("CC-BY-4.0", "own images")
    about = json.loads(path.with_name("config.json").read_text())
    assert about["weights"] == {"file": path.name, "sha256": file_sha256(path), "bytes": path.stat().st_size}
    assert about["model"]["init_args"]["network"]["class_path"].endswith("Ebc") and about["name"] == "mine"
    with pytest.raises(InputError, match="license: 'free for all' is no SPDX identifier"):
        counter.save_pretrained(tmp_path / "other", license="free for all")
    (tmp_path / "left").mkdir()
    path.with_name("model.intervals.json").rename(tmp_path / "left/model.intervals.json")  # of other weights
    with pytest.raises(InputError, match=r"model\.intervals\.json: already exists"):
        counter.save_pretrained(tmp_path / "left")


def test_weights_that_are_not_those_of_the_folder(counter, tmp_path):
    path, other = counter.save_pretrained(tmp_path / "a"), save_counter(tmp_path / "b", seed=1)
    path.write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="is not the file that its config"):
        crowdcount.load_model(path.parent)
    config = tmp_path / "b" / "config.json"
    config.write_text('{"bins": [1], "backbone": "vgg"}')  # of another program
    assert crowdcount.load_model(other).name == "tiny"
    config.write_text("{" * 3000)
    with pytest.raises(InputError, match=r"config\.json: not readable as JSON"):
        crowdcount.load_model(other)
    config.write_text(" " * (1 << 20) + "{}")
    with pytest.raises(InputError, match=r"config\.json: is too large"):
        crowdcount.load_model(other)


def test_the_card(counter, tmp_path):
    text = counter.save_pretrained(tmp_path / "mine", license="MIT").with_name("README.md").read_text()
    assert "intervals of the counts of an image from 20 images, of mine/val (a square)" in text
    assert "- Licence of the weights: MIT\n- Trained on `crowdcount.data.Folder`\n" in text
    half = counter.save_pretrained(tmp_path / "half", half=True).with_name("README.md").read_text()
    assert "None: these weights were not calibrated." in half and "Before you publish these weights" in half


def test_what_is_uploaded_is_loaded(hub, counter, tmp_path, capsys):
    with pytest.raises(InputError, match="hf:who/counter: the licence of the weights is not known; state it"):
        counter.push_to_hub("who/counter")
    page = counter.push_to_hub("who/counter", license="MIT", data_terms="own images")
    commit = hub.refs["who/counter", "main"]
    assert page.endswith(f"/who/counter/commit/{commit}")
    model, image = crowdcount.load_model("hf:who/counter"), noise_image()
    assert model.predict(image).count == counter.predict(image).count
    assert model.name == "who/counter" and model.origin["hub"] == f"hf:who/counter@{commit}/model.safetensors"
    assert model.intervals is not None
    card = hub.files("who/counter")["README.md"].decode()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert 'crowdcount.load_model("hf:who/counter")' in code
    (photo,) = write_images(tmp_path / "images", ["photo.jpg"])
    assert predict_tool.main([str(photo), "--model", f"hf:who/counter@{commit}"]) == 0
    assert f"photo.jpg: count {model.predict(crowdcount.data.read_image(photo)).count:.1f}" in capsys.readouterr().out
    with pytest.raises(InputError, match="has weights of its own; leave weights out"):
        crowdcount.load_model("hf:who/counter", weights="x")


def test_the_command_uploads(hub, tmp_path, capsys):
    release = save_counter(tmp_path / "tiny")
    assert weights_tool.main(["push", release, "who/counter"]) == 2
    assert "--license" in capsys.readouterr().err
    words = ["--license", "MIT", "--data-terms", "own images", "--branch", "next", "--message", "Add it"]
    assert weights_tool.main(["push", release, "who/counter", *words]) == 0
    assert f"/who/counter/commit/{hub.refs['who/counter', 'next']}" in capsys.readouterr().out
    assert (
        "- Terms of the data they were trained on: own images" in hub.files("who/counter", "next")["README.md"].decode()
    )
    assert crowdcount.load_model("hf:who/counter@next").name == "who/counter"


def test_published_files_of_zip(local_index, hub, tmp_path):
    """A file as its authors saved it, at their address, with the facts of the index."""
    recipe = json.loads((GOLDEN / "zip" / "zip_p_sha16_state.json").read_text())
    content = zip_checkpoint(recipe)
    weights = {key: torch.from_numpy(np.asarray(value)) for key, value in content["weights"].items()}
    torch.save({**content, "weights": weights}, tmp_path / "zip.pth")
    paths = ("checkpoints/sha/best_mae.pth", "checkpoints/shb/best_mae.pth")
    hub.commit("Yiming-M/ZIP-P", dict.fromkeys(paths, (tmp_path / "zip.pth").read_bytes()))
    local_index({"zip/p_sha.authors": {}, "zip/p_shb.authors": {}})
    with pytest.raises(InputError, match=r"has several models; name one of them:\n  hf:Yiming-M/ZIP-P/checkpoints/sha"):
        crowdcount.load_model("hf:Yiming-M/ZIP-P")
    address = f"hf:Yiming-M/ZIP-P@{hub.refs['Yiming-M/ZIP-P', 'main']}/checkpoints/sha/best_mae.pth"
    model = crowdcount.load_model(address)
    assert (model.name, model.origin["code_license"], model.origin["hub"]) == ("zip/p_sha.authors", "MIT", address)
    assert model.origin["reported"][0]["mae"] == 71.18
    arrays = np.load(GOLDEN / "zip" / "zip_p_sha16.npz")
    image = torch.from_numpy(det_image(tuple(arrays["224/shape"]), int(arrays["224/x_seed"])))
    by_name = crowdcount.create_model("zip/p_sha", weights=address)
    for network in (model.network, by_name):
        with torch.inference_mode():
            density = network(image).density
        torch.testing.assert_close(density, torch.from_numpy(arrays["224/density"]), atol=2e-5, rtol=0)


def test_published_files_of_clip_ebc(local_index, hub, tmp_path):
    """A folder of the authors' repository: their names of weights, and a config.json that is not ours."""
    vision = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    add_models(
        tmp_path,
        {"tiny-clip-quickgelu": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": PLAIN_TEXT}},
    )
    name, small = "clip_ebc/vit_b16_nwpu", {"backbone": "tiny-clip-quickgelu", "input_size": 64, "vpt": 2}
    network = crowdcount.create_model(name, **small)
    save_file(
        {f"model.{_authors_name(key)}": each for key, each in network.state_dict().items()}, tmp_path / "x.safetensors"
    )
    folder, config = "nwpu_weights/CLIP_EBC_ViT_B_16", {"backbone": "vit_b_16", "reduction": 8, "prompt_type": "word"}
    files = {"model.safetensors": (tmp_path / "x.safetensors").read_bytes(), "config.json": json.dumps(config).encode()}
    hub.commit("Yiming-M/CLIP-EBC", {f"{folder}/{each}": content for each, content in files.items()})
    local_index({f"{name}.authors_hub": {"arguments": small}})
    model = crowdcount.load_model(f"hf:Yiming-M/CLIP-EBC/{folder}")
    assert model.name == f"{name}.authors_hub" and model.origin["reported"][0]["data"] == "nwpu/test"
    assert all(map(torch.equal, model.network.state_dict().values(), network.state_dict().values()))


def _authors_name(key):
    rules = {
        "visual.prompts.": "vpt_",
        "visual.trunk.": "image_encoder.",
        "decoder.": "image_decoder.",
        "text.": "text_encoder.",
    }
    own = next((each for each in rules if key.startswith(each)), "")
    return rules.get(own, "") + key.removeprefix(own)


def test_another_file_than_the_index_knows(local_index, hub, tmp_path, caplog):
    network = crowdcount.create_model("zip/p_sha")
    torch.save(network.state_dict(), tmp_path / "zip.pth")
    path = "checkpoints/sha/best_mae.pth"
    hub.commit("Yiming-M/ZIP-P", {path: (tmp_path / "zip.pth").read_bytes()})
    local_index({"zip/p_sha.authors": {"sha256": "0" * 64}})
    model = crowdcount.load_model("hf:Yiming-M/ZIP-P")  # the only one of the index
    assert not model.origin["reported"] and "another than the index knows" in caplog.text
    assert model.name == "zip/p_sha.other"


def test_files_that_are_no_model(hub, tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "bare.safetensors")
    hub.commit("who/bare", {"model.safetensors": (tmp_path / "bare.safetensors").read_bytes()})
    with pytest.raises(InputError, match=r"hf:who/bare@[0-9a-f]{40}/model\.safetensors: holds no configuration; name"):
        crowdcount.load_model("hf:who/bare")
    hub.commit("who/page", {"model.safetensors": b"<!doctype html><title>Log in</title>"})
    with pytest.raises(InputError, match="it is a web page"):
        crowdcount.load_model("hf:who/page")
    config = yaml.safe_dump({"model": {"init_args": {"network": {"class_path": "os.system"}}}})
    save_file({"weight": torch.zeros(1)}, tmp_path / "bad.safetensors", metadata={"config": config})
    hub.commit("who/bad", {"model.safetensors": (tmp_path / "bad.safetensors").read_bytes()})
    with pytest.raises(InputError, match="os"):
        crowdcount.load_model("hf:who/bad")


def test_what_training_starts_from(hub, tmp_path):
    network = crowdcount.create_model("ebc/resnet18_sha_scratch", pretrained="hf:who/backbone/resnet18.safetensors")
    hub.commit("who/backbone", {"resnet18.safetensors": b"none"})
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        network.load_pretrained()
    assert ("GET", "/who/backbone/resolve/main/resnet18.safetensors") in hub.requests
