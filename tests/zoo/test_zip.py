"""The zoo of ZIP: recipes, and checkpoints as the authors save them, from the index to the recorded outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import crowdcount
from crowdcount.errors import InputError
from crowdcount.inference.release import save_release
from crowdcount.models.blockwise.bins import Bins
from crowdcount.weights.cache import import_file
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import find_entry
from tests.golden.fill import det_image, zip_state

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "zip"
SETS = {"sha": (16, 448, 2.0), "shb": (16, 448, 2.5), "qnrf": (32, 672, 2.0), "nwpu": (16, 672, 2.0)}
TRAINABLE = {"p": 0.818, "n": 3.370, "t": 10.535, "s": 33.604, "b": 12.291}  # millions, of the models of sha
BACKBONES = {
    "p": "mobilenetv4_conv_small_050", "n": "mobilenetv4_conv_small", "t": "mobilenetv4_conv_medium",
    "s": "MobileCLIP-S1", "b_sha": "ViT-B-16", "b_shb": "RN50x4", "b_qnrf": "convnext_base_w_320",
    "b_nwpu": "convnext_base_w_320",
}  # fmt: skip


def model_config(name):
    return yaml.safe_load((ROOT / "zoo_configs" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("size", "pntsb")
@pytest.mark.parametrize("dataset", SETS)
def test_published_recipes(size, dataset):
    """The numbers of the authors' code (commit bada31d), data set by data set."""
    config = model_config(f"zip/{size}_{dataset}")
    model, data = config["model"]["init_args"], config["data"]
    network, transformer = model["network"]["init_args"], (size, dataset) == ("b", "sha")
    block, crop, most = SETS[dataset]
    block, crop = (8 if (size, dataset) == ("b", "nwpu") else block), (224 if transformer else crop)
    assert network["backbone"] == BACKBONES.get(size, BACKBONES.get(f"{size}_{dataset}"))
    assert network["reduction"] == block and network.get("clip_normalization", True)
    table = json.loads((GOLDEN / "zip_bins.json").read_text())[f"{dataset}{block}"]
    bins = Bins(**network["bins"])
    assert [[low, high if high < float("inf") else "inf"] for low, high in bins.edges] == table["bins"]
    assert bins.values == table["centers"]
    assert model["loss"] == {"epsilon": 1e-8, "whole_windows": True, "once_per_pixel": True}
    assert model["optimizer"]["init_args"] == {"lr": 1e-4, "weight_decay": 1e-4}
    warmup = {"warmup_epochs": 25, "warmup_lr": 1e-3 if transformer else 1e-5, "min_lr": 1e-6, "warmup": "log"}
    assert model["schedule"]["init_args"] == warmup and config["trainer"]["max_epochs"] == 1300
    assert model.get("inference", {}).get("window") == (224 if transformer else None)
    augment = data["augment"]
    assert (augment["crop"], augment["min_scale"], augment["max_scale"]) == (crop, 0.75, most)
    assert (augment["jitter"], augment["noise"], augment["mirror"], data["batch_size"]) == (1, 1, "pixel", 8)
    blur = {"blur": 0.2, "blur_range": [0.1, 2.0], "blur_kind": "vertical"} if dataset == "nwpu" else {"blur": 0.0}
    assert augment.items() >= blur.items()
    assert augment["jitter_range"] == ([0.2, 0.2, 0.15] if dataset == "nwpu" else [0.15, 0.15, 0.1])
    assert data["resize_preset"] == {"rule": "zip/672" if dataset in ("qnrf", "nwpu") else "zip/224"}


@pytest.mark.parametrize("size", TRAINABLE)
def test_trained_parameters(size):
    with torch.device("meta"):
        network = crowdcount.create_model(f"zip/{size}_sha")
    trained = sum(each.numel() for each in network.parameters() if each.requires_grad)
    assert round(trained / 1e6, 3) == TRAINABLE[size]


@pytest.mark.parametrize("start", ["efficientnet_lite0_sha_imagenet", "mobilenetv4_sha_scratch"])
def test_heads_are_compared_at_equal_recipes(start):
    ours, theirs = (model_config(f"{family}/{start}") for family in ("zip", "ebc"))
    for config in (ours, theirs):
        model = config["model"]["init_args"]
        assert model["network"]["init_args"].pop("backbone_stride", 16) == 16
        assert model["network"]["init_args"].pop("feature_level", 3) == 3
        for part in (config["model"], model["network"]):
            part.pop("class_path")
        model.pop("loss", None)
        config["trainer"].pop("logger")
    assert ours == theirs
    sizes = [sum(each.numel() for each in crowdcount.create_model(f"{f}/{start}").parameters()) for f in ("zip", "ebc")]
    assert abs(sizes[0] - sizes[1]) < 200


def write_published(case, path):
    """Save a file as the authors do, with the reference weights."""
    state = json.loads((GOLDEN / f"zip_{case}_state.json").read_text())
    config = dict(state["config"])
    config["bins"] = [(float(low), float(high)) for low, high in config["bins"]]
    weights = zip_state({key: shape for key, (shape, _) in state["keys"].items()}, config["bin_centers"])
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in weights.items()}
    torch.save({"config": config, "weights": tensors}, path)
    return path


def recorded(case, name):
    arrays = np.load(GOLDEN / f"zip_{case}.npz")
    image = det_image(tuple(arrays[f"{name}/shape"]), int(arrays[f"{name}/x_seed"]))
    return torch.from_numpy(image), torch.from_numpy(arrays[f"{name}/density"])


def test_a_published_file_counts_through_the_index_and_as_a_release(tmp_path, local_index):
    path = write_published("p_sha16", tmp_path / "best_mae.pth")
    local_index({"zip/p_sha.authors": {"sha256": file_sha256(path), "bytes": None}})
    import_file(find_entry("zip/p_sha.authors"), path)
    model = crowdcount.load_model("zip/p_sha")
    assert model.origin["paper"] == "arXiv:2506.19955"
    again = crowdcount.load_model(save_release(model, tmp_path / "release", "a model"))
    image, density = recorded("p_sha16", "224")
    for network in (model.network, again.network):
        with torch.inference_mode():
            torch.testing.assert_close(network(image).density, density, atol=2e-5, rtol=0)
    photo = np.random.default_rng(0).integers(0, 256, (150, 100, 3), dtype=np.uint8)
    prediction = model.predict(photo)
    assert prediction.density.shape == (336 // 16, 224 // 16)  # enlarged to 224 pixels
    assert prediction.count == pytest.approx(again.predict(photo).count)
    assert prediction.probabilities.shape == (14, 21, 14)


def test_a_published_file_says_its_block_side_and_bins(tmp_path):
    path = write_published("n_qnrf32", tmp_path / "best_mae.pth")
    network = crowdcount.create_model("zip/n_sha", weights=path)
    assert network.stride == 32 and len(network.bins) == 21
    image, density = recorded("n_qnrf32", "224")
    with torch.inference_mode():
        torch.testing.assert_close(network(image).density, density, atol=2e-5, rtol=0)
    model = crowdcount.load_model("zip/n_sha", weights=path)
    assert model.config["model"]["init_args"]["network"]["init_args"]["reduction"] == 32
    with pytest.raises(InputError, match=r"best_mae\.pth: .*build it with those bins"):
        crowdcount.create_model("zip/n_sha", weights=path, bins={"intervals": [0, "1+"]})
    with pytest.raises(InputError, match=r"best_mae\.pth: does not fit Zip"):
        crowdcount.create_model("zip/p_sha", weights=path)


def test_a_published_file_alone_is_not_enough(tmp_path):
    path = write_published("p_sha16", tmp_path / "best_mae.pth")
    with pytest.raises(InputError, match="holds no configuration; name its model in the zoo"):
        crowdcount.load_model(path)
    torch.save({"config": torch.load(path)["config"], "weights": None}, tmp_path / "model_info.pth")
    with pytest.raises(InputError, match="give the one with the weights"):
        crowdcount.load_model("zip/p_sha", weights=tmp_path / "model_info.pth")
