"""Releases: one file that says what it is, read back without any other."""

import errno
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import crowdcount
from crowdcount.errors import InputError
from crowdcount.inference import release
from crowdcount.inference.card import model_card
from crowdcount.inference.preprocessing import preprocessing
from crowdcount.inference.release import save_release, without_folders
from crowdcount.weights.checkpoint import read_metadata
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import Measured, find_entry
from tests.support.disk import largest_file

ROOT = Path(__file__).resolve().parents[2]
NAME = "ebc/vgg19ae_qnrf.v1"


def tool(name):
    return importlib.import_module(f"crowdcount.cli.{name}")


convert, weights, train = tool("convert"), tool("weights"), tool("train")


@pytest.fixture
def published(tmp_path, local_index):
    """The file of an entry of a small network, as its authors would have written it, and its place in an index."""
    network = crowdcount.create_model("ebc/vgg19ae_qnrf", backbone="vgg11_ae")
    file = tmp_path / "best_mae.pth"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, file)
    entry = {"sha256": file_sha256(file), "bytes": file.stat().st_size, "arguments": {"backbone": "vgg11_ae"}}
    local_index({NAME: entry})
    return file


def make_image(seed=0, size=(150, 200)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def test_an_entry_becomes_a_release(published, tmp_path, capsys):
    assert weights.main(["get", NAME, "--from", str(published)]) == 0
    folder = tmp_path / "vgg"
    assert convert.main([NAME, "--output", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("read the terms in its README.md.\n")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # whoever reads the card reads the weights
    about = read_metadata(folder / "model.safetensors")
    origin = json.loads(about["origin"])
    assert about["name"] == NAME and origin["sha256"] == origin["download_sha256"] == file_sha256(published)
    assert (origin["code_license"], origin["urls"]) == ("MIT", list(find_entry(NAME).urls))
    config = yaml.safe_load(about["config"])
    assert config["model"]["init_args"]["network"]["init_args"]["backbone"] == "vgg11_ae"
    assert config["data"]["resize"]["max_side"] == 2048 and "source" not in config["data"]
    ready = json.loads(about["preprocessing"])
    assert (ready["mean"], ready["stride"]) == ([0.485, 0.456, 0.406], 8) and ready["size_rule"]["resize"][
        "max_side"
    ] == 2048
    direct, model = crowdcount.load_model("ebc/vgg19ae_qnrf"), crowdcount.load_model(folder / "model.safetensors")
    assert model.name == NAME and model.resize == direct.resize and model.origin == origin
    assert model.predict(make_image()).count == direct.predict(make_image()).count
    by_name = crowdcount.create_model("ebc/vgg19ae_qnrf", folder / "model.safetensors", backbone="vgg11_ae")
    assert all(map(torch.equal, by_name.state_dict().values(), model.network.state_dict().values()))


def test_the_same_model_gives_the_same_bytes(published, tmp_path):
    weights.main(["get", NAME, "--from", str(published)])
    for name in ("a", "b"):
        assert convert.main([NAME, "--output", str(tmp_path / name)]) == 0
    first, second = (tmp_path / name / "model.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    model = crowdcount.load_model(first)
    assert save_release(model, tmp_path / "c", NAME).read_bytes() == first.read_bytes()  # converted once more


def test_a_published_file_with_its_model(published, tmp_path, capsys):
    name, file = "ebc/resnet18_sha_scratch", tmp_path / "small.pth"
    network = crowdcount.create_model(name)
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, file)
    assert convert.main([str(file), "--model", name, "--output", str(tmp_path / "small")]) == 0
    model = crowdcount.load_model(tmp_path / "small" / "model.safetensors")
    assert all(map(torch.equal, model.network.state_dict().values(), network.state_dict().values()))
    assert model.name == "small" and model.origin == {"file": "small.pth", "sha256": file_sha256(file)}
    # the file of another network: the message names it, and nothing is left behind
    assert convert.main([str(published), "--model", name, "--output", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists() and "best_mae.pth: does not fit Ebc" in capsys.readouterr().err


def test_a_release_is_not_overwritten(published, tmp_path, capsys):
    weights.main(["get", NAME, "--from", str(published)])
    for file in ("model.safetensors", "config.json", "README.md"):
        folder = tmp_path / f"with {file}"
        folder.mkdir()
        (folder / file).write_text("mine")
        assert convert.main([NAME, "--output", str(folder)]) == 2
        assert f"{file}: already exists" in capsys.readouterr().err
        assert [path.read_text() for path in folder.iterdir()] == ["mine"]


def test_the_card(published, tmp_path):
    weights.main(["get", NAME, "--from", str(published)])
    model = crowdcount.load_model(NAME)
    model.origin["weights_license"] = "Apache-2.0"
    figure = Measured("qnrf/test", 334, 80.25, 136.0, 0.1, "whole images", "crowdcount evaluate x", "abc", "2026-01-31")
    model.origin["measured"] = [vars(figure)]
    model.origin["reported"] = [{"data": "qnrf/test", "mae": 81.5, "rmse": None, "source": "a paper"}]
    save_release(model, tmp_path / "card", "my/model")
    text = (tmp_path / "card" / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    (result,) = head.pop("model-index")[0]["results"]  # measured figures alone
    assert result["dataset"] == {"type": "qnrf", "name": "qnrf/test", "split": "test"}
    assert result["metrics"] == [{"type": "mae", "value": 80.25}, {"type": "rmse", "value": 136.0}]
    assert head == {"library_name": "crowdcount", "license": "apache-2.0", "tags": ["crowd-counting", "pytorch"]}
    assert "# my/model\n" in text
    reported, measured = text.index("Reported by a publication"), text.index("Measured with these weights")
    assert reported < text.index("| qnrf/test | 81.5 | not known | a paper |") < measured
    assert measured < text.index("| qnrf/test | 80.25 | 136.0 | `crowdcount evaluate x` |")
    assert (
        "the authors' code: MIT\n" in text and "of the weights: Apache-2.0\n" in text and find_entry(NAME).notes in text
    )
    assert "`crowdcount.models.Ebc` on `vgg11_ae`" in text and str(tmp_path) not in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    compile(code, "card", "exec")


def test_a_card_of_weights_without_a_licence(tmp_path):
    network = crowdcount.create_model("ebc/vgg19ae_qnrf", backbone="vgg11_ae")
    lone = crowdcount.Model(network, config={}, origin={"code_license": "NONE", "weights_license": None})
    save_release(lone, tmp_path / "lone", "lone")
    text = (tmp_path / "lone" / "README.md").read_text()
    assert "license: other\n" in text and "Licence of the authors' code: none is stated" in text
    assert "Licence of the weights: not known" in text and "None are known." in text
    # the code's licence is not that of the weights
    mit = crowdcount.Model(network, config={}, origin={"code_license": "MIT", "weights_license": None})
    assert "license: other\n" in model_card(mit, "x", "x")
    assert preprocessing(lone)["size_rule"] is None


def test_a_training_becomes_a_release(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = (
        "--trainer.max_epochs 1 --trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --data.num_workers 0"
    )
    train.main(
        ["fit", "--config", str(ROOT / "zoo_configs/quickstart.yaml"), *options.split(), "--test_after_fit", "false"]
    )
    checkpoint = next(tmp_path.glob("runs/**/best.ckpt"))
    assert convert.main([str(checkpoint), "--output", "counter"]) == 0
    about = read_metadata(Path("counter/model.safetensors"))
    origin = json.loads(about["origin"])
    score = origin.pop("validation")["val/mae"]
    logged = [line.split(",") for line in next(tmp_path.glob("runs/**/metrics.csv")).read_text().splitlines()]
    assert f"{score:.4f}" in {f"{float(row[logged[0].index('val/mae')] or 0):.4f}" for row in logged[1:]}
    assert about["name"] == "counter" and origin == {
        "file": "best.ckpt", "sha256": file_sha256(checkpoint), "epoch": 0, "global_step": 1,
        "trained_on": "crowdcount.data.Synthetic",
    }  # fmt: skip
    card = Path("counter/README.md").read_text()
    assert (
        f"Its training validated val/mae as {score:.2f}." in card and "Trained on `crowdcount.data.Synthetic`" in card
    )
    assert str(tmp_path) not in "".join(about.values()) + Path("counter/README.md").read_text()
    first, second = (crowdcount.load_model(path) for path in (checkpoint, "counter"))  # the folder will do
    image = make_image(1)
    assert np.array_equal(first.predict(image).density, second.predict(image).density)


def test_a_release_names_no_folder_of_this_machine(tmp_path):
    config = {"network": {"pretrained": str(tmp_path / "start.pth"), "bins": ["0", "1+"], "tower": "RN50/openai"}}
    assert without_folders(config) == {
        "network": {"pretrained": "start.pth", "bins": ["0", "1+"], "tower": "RN50/openai"}
    }


def test_what_is_no_model(local_index, tmp_path, capsys):
    local_index({"rec/swin_t.hub": {}, "clip_ebc/rn50_sha.v1": {}})
    save_file({"weight": torch.zeros(1)}, tmp_path / "bare.safetensors")
    for source, message in {
        str(
            tmp_path / "bare.safetensors"
        ): "holds no configuration; name its model in the zoo: load_model(NAME, weights=",
        "rec/swin_t.hub": "is a starting point for training, not a model that counts",
        "clip_ebc/rn50_shaa": "near it: clip_ebc/rn50_sha",
        "clip_ebc/vit_b16_sha": "the index has no weights for it",
        str(tmp_path): "is neither a file nor a model of the zoo",
    }.items():
        assert convert.main([source, "--output", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(
        InputError, match="v2: no such checkpoint, nor a tag of clip_ebc/rn50_sha in the index; its tags: v1"
    ):
        crowdcount.create_model("clip_ebc/rn50_sha", weights="v2")
    assert not (tmp_path / "out").exists()


def test_terms_follow_the_bytes(tmp_path, local_index):
    """A file that lies elsewhere, if it is the one of an entry, has the entry's terms."""
    name, file = "ebc/resnet18_sha_scratch", _small(tmp_path / "downloaded by hand.pth")
    assert "code_license" not in crowdcount.load_model(name, weights=file).origin
    local_index({"hmode/vgg16bn_sha_released.authors": {"sha256": file_sha256(file)}})
    origin = crowdcount.load_model(name, weights=file).origin
    assert origin["code_license"] == "NONE" and "ask them before passing it on" in origin["notes"]


def _small(file):
    torch.save(crowdcount.create_model("ebc/resnet18_sha_scratch").state_dict(), file)
    return file


def test_weights_beside_a_file_are_refused(tmp_path):
    file = _small(tmp_path / "small.pth")
    with pytest.raises(InputError, match=r"small\.pth: is a file with weights of its own; leave weights out"):
        crowdcount.load_model(file, weights="anything")


@pytest.mark.parametrize("origin", ["{", "[1]", '"x"'])
def test_metadata_that_are_none_of_ours(tmp_path, origin):
    network = crowdcount.create_model("ebc/resnet18_sha_scratch")
    path = save_release(
        crowdcount.load_model("ebc/resnet18_sha_scratch", _small(tmp_path / "w.pth")), tmp_path / "r", "r"
    )
    about = {**read_metadata(path), "origin": origin}
    save_file(network.state_dict(), tmp_path / "odd.safetensors", metadata=about)
    with pytest.raises(InputError, match=r"odd\.safetensors: its metadata `origin` is no JSON object"):
        crowdcount.load_model(tmp_path / "odd.safetensors")


def test_a_state_dict_that_is_none(tmp_path):
    torch.save({"state_dict": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth: its state_dict holds Tensor, not names and tensors"):
        crowdcount.create_model("ebc/resnet18_sha_scratch", tmp_path / "odd.pth")


def test_a_release_needs_room_and_a_folder(tmp_path, monkeypatch):
    model = crowdcount.load_model("ebc/resnet18_sha_scratch", _small(tmp_path / "w.pth"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file; give a folder"):
        save_release(model, tmp_path / "file", "x")
    needed = []

    def full(_folder, size):
        needed.append(size)
        raise InputError("no room")

    monkeypatch.setattr(release, "require_space", full)
    with pytest.raises(InputError, match="no room"):
        save_release(model, tmp_path / "r", "x")
    assert needed == [sum(value.nbytes for value in model.network.state_dict().values())]
    assert not list((tmp_path / "r").iterdir())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return crowdcount.load_model(
        "ebc/resnet18_sha_scratch", _small(tmp_path_factory.mktemp("small") / "w.pth")
    ).density_model()


def failing(number, error):
    """Return `Path.rename`, whose call of a number fails."""
    rename, calls = Path.rename, []

    def renamed(self, target):
        calls.append(target)
        if len(calls) == number:
            raise error
        return rename(self, target)

    return renamed


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interruption_leaves_no_part_of_a_release(small, tmp_path, monkeypatch, number):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", failing(number, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            save_release(small, tmp_path / "r", "x")
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["notes.txt"]
    assert crowdcount.load_model(save_release(small, tmp_path / "r", "x").parent).name == "x"


def test_the_weights_come_last(small, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "rename", lambda self, target: moved.append(target.name) or target)
    moved = []
    save_release(small, tmp_path / "r", "x")
    assert moved[-1] == "model.safetensors" and sorted(moved) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_what_cannot_be_written_is_named(small, tmp_path, size):
    with largest_file(size), pytest.raises(InputError, match=r"r: cannot be written \(File too large\)"):
        save_release(small, tmp_path / "r", "x")
    assert not list((tmp_path / "r").iterdir())


def test_a_card_that_cannot_be_written_leaves_no_weights(small, tmp_path, monkeypatch):
    def full(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(release, "atomic_write", full)
    with pytest.raises(InputError, match=r"r: cannot be written \(No space left on device\); free space there"):
        save_release(small, tmp_path / "r", "x")
    assert not list((tmp_path / "r").iterdir())
