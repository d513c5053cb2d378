"""Names, configurations and checkpoints."""

import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import crowdcount
from crowdcount.cli import train
from crowdcount.errors import InputError
from crowdcount.models.blockwise.bins import Bins
from crowdcount.weights.cache import import_file, remove
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import find_entry
from tests.support.published_bins import published_bins
from tests.support.server import serving

ROOT = Path(__file__).resolve().parents[2]
NAMES = crowdcount.list_models()


def model_config(name):
    return yaml.safe_load((ROOT / "zoo_configs" / f"{name}.yaml").read_text())


def test_names_are_the_paths_of_the_configurations():
    published = {
        f"{family}_{data}" for family in ("rn50", "vit_b16", "vit_l14") for data in ("sha", "shb", "qnrf", "nwpu")
    }
    assert {name.split("/")[1] for name in crowdcount.list_models("clip_ebc/*")} == published
    assert {f"ebc/vgg19ae_{data}" for data in ("sha", "shb", "qnrf", "nwpu")} <= set(crowdcount.list_models("ebc/*"))
    assert crowdcount.list_models("*_nwpu") == [name for name in NAMES if name.endswith("_nwpu")]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("rec/", "image_text/"))])
def test_every_density_network_builds_and_says_what_it_is(name):
    with torch.device("meta"):
        network = crowdcount.create_model(name)
        density = network(torch.empty(1, 3, 224, 224)).density
    assert not network.training
    assert density.shape == (1, 1, 224 // network.stride, 224 // network.stride)
    assert 224 % network.size_divisor == 0
    assert network.size_divisor % network.stride == 0 or name.endswith("_released")


@pytest.mark.parametrize("name", [*NAMES, "quickstart"])
def test_every_configuration_is_accepted_by_the_command(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", str(ROOT / "zoo_configs" / f"{name}.yaml"), "--print_config"])
    assert stopped.value.code in (None, 0)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["max_epochs"] == model_config(name)["trainer"]["max_epochs"]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "ebc/" in name and not name.endswith(("scratch", "mixed", "imagenet"))]
)
def test_published_recipes(name):
    """The numbers of the authors' code (commit b52a594), data set by data set."""
    config = model_config(name)
    model, data = config["model"]["init_args"], config["data"]
    dataset, transformer = name.rsplit("_", 1)[1], "/vit_" in name
    bins = Bins(**model["network"]["init_args"]["bins"])
    published = published_bins(dataset)
    assert (bins.edges, bins.values) == (published.edges, published.values)
    limit = {"sha": 4096, "shb": 4096, "qnrf": 2048, "nwpu": 3072}[dataset]
    assert data["resize"] == {"min_side": 448, "max_side": limit, "multiple": 32, "jpeg_quality": 95}
    crops = data["batch_size"] * data.get("crops_per_image", 1)
    expected = (224, 32, 224, 1e-3) if transformer else (448, 8, None, 1e-6)
    window, warmup = model.get("inference", {}).get("window"), model["schedule"]["init_args"]["warmup_lr"]
    assert (data["augment"]["crop"], crops, window, warmup) == expected
    assert model["loss"]["ot_weight"] == pytest.approx(0.1 * crops)
    assert model["optimizer"]["init_args"] == {"lr": 1e-4, "weight_decay": 1e-4}
    first = (ROOT / "zoo_configs" / f"{name}.yaml").read_text().splitlines()[0]
    assert re.match(r'# Ma et al\., arXiv 2403\.09281, row ".+", column .+ \(table number not checked\)\.', first)


@pytest.mark.parametrize("model", ["gdino_point", "grounding_rec", "c_rex"])
@pytest.mark.parametrize("dataset", ["rec8k", "fsc147"])
def test_recipes_of_referring_expression_counting(model, dataset):
    """GroundingREC's as in the authors' code (commit e8f5a54); the others as reconstructed, which each file says."""
    name = f"rec/{model}_swint_{dataset}"
    config = model_config(name)
    arguments, data = config["model"]["init_args"], config["data"]
    grounding = model == "grounding_rec"
    assert arguments["optimizer"]["init_args"] == {"lr": 1e-5, "weight_decay": 1e-4}
    assert (config["trainer"]["max_epochs"], data["batch_size"]) == (15 if grounding else 30, 1)
    assert data["augment"] is None and data["short_side"] == {"length": 800, "longest": 1333}
    network = {"detector": "swin_t", "pretrained": True, "freeze": True}
    assert arguments["network"]["init_args"] == {**network, "query_selection": "cls" if grounding else "max"}
    thresholds = {"cls_threshold": 0.25, "word_threshold": 0.35}
    assert arguments["inference"].items() >= thresholds.items()
    contrast = {"class_path": "crowdcount.losses.SupCon"}
    contrast["init_args"] = {"temperature": 0.07, "form": "log_of_mean"}
    terms = {
        "gdino_point": {},
        "grounding_rec": {"image_text_weight": 0.06},
        "c_rex": {"contrast_weight": 0.005, "contrast": contrast, "positives": "hungarian"},
    }
    assert arguments["loss"] == {"label_weight": 5.0, "point_weight": 1.0, **terms[model]}
    step = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 10, "gamma": 0.1}}
    assert arguments.get("schedule") == (step if dataset == "fsc147" and not grounding else None)
    by_f1 = grounding and dataset == "rec8k"
    assert config["best"] == ({"monitor": "val/f1", "mode": "max"} if by_f1 else {"monitor": "val/mae"})
    text = (ROOT / "zoo_configs" / f"{name}.yaml").read_text()
    assert "# Reported: nothing that could be verified here" in text and f"{name}.yaml --data" in text
    assert grounding or "econstructed" in text


def test_the_shipped_tables_equal_the_recorded_ones(golden):
    for name, table in json.loads((golden / "clip_ebc_bins.json").read_text()).items():
        reduction, truncation, dataset, granularity = re.fullmatch(r"r(\d+)_t(\d+)_(\w+)_(\w+)", name).groups()
        for anchors in ("average", "middle"):
            bins = published_bins(dataset, int(reduction), int(truncation), granularity, anchors)
            assert [list(edges) for edges in bins.edges] == [[low, float(high)] for low, high in table["bins"]]
            assert bins.values == table[anchors]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, "2+"],), "1 should start at 0"),
        (([0, "2-1", "3+"],), "should start at 1"),
        (([0, 1],), "must be open"),
        (([0, "x"],), "'x' is not a count"),
        (([0, "1+"], [0.0]), "2 ascending numbers"),
        (([0, "1+"], [1.0, 0.0]), "ascending"),
    ],
)
def test_impossible_bins_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Bins(*arguments)


def test_wrong_names_and_arguments_are_refused():
    with pytest.raises(InputError, match="near it: clip_ebc/rn50_sha"):
        crowdcount.create_model("clip_ebc/rn50_shaa")
    with pytest.raises(InputError, match=r"backbon: no such key; did you mean backbone\?"):
        crowdcount.create_model("ebc/vgg19ae_sha", backbon="vgg16_ae")
    with pytest.raises(InputError, match=r"'vgg18_ae' is unknown; did you mean"):
        crowdcount.create_model("ebc/vgg19ae_sha", backbone="vgg18_ae")
    with pytest.raises(InputError, match="ebc/vgg19ae_sha: the index has no weights for it; train it, or give a file"):
        crowdcount.load_model("ebc/vgg19ae_sha")


@pytest.fixture
def small(tmp_path):
    """A small network under a zoo name, and its weights as the authors' files and as ours hold them."""
    network = crowdcount.create_model("ebc/vgg19ae_sha", backbone="vgg11_ae")
    state = {key: value.clone() for key, value in network.state_dict().items()}
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "authors.pth")
    save_file({f"model.{key}": value for key, value in state.items()}, tmp_path / "authors.safetensors")
    save_file(state, tmp_path / "ours.safetensors")
    return network, tmp_path


def test_published_and_own_weights_load(small):
    network, folder = small
    for file in ("authors.pth", "authors.safetensors", "ours.safetensors"):
        loaded = crowdcount.create_model("ebc/vgg19ae_sha", weights=folder / file, backbone="vgg11_ae")
        for key, value in network.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], value, atol=0, rtol=0)
    with pytest.raises(InputError, match=r"authors\.pth: does not fit Ebc"):
        crowdcount.load_model("ebc/vgg19ae_sha", weights=folder / "authors.pth")


def test_an_entry_s_arguments_replace_those_of_its_configuration(small, local_index):
    """As the checkpoints whose prompts have digits: the same tensors fit the wrong prompts as well."""
    network, folder = small
    known = {"sha256": file_sha256(folder / "authors.pth"), "bytes": None}
    local_index({
        f"ebc/vgg19ae_nwpu.{tag}": {**known, "arguments": arguments}
        for tag, arguments in {"v1": {"backbone": "vgg11_ae"}, "v1_rmse": {}}.items()
    })  # fmt: skip
    for tag in ("v1", "v1_rmse"):
        import_file(find_entry(f"ebc/vgg19ae_nwpu.{tag}"), folder / "authors.pth")
    loaded = crowdcount.create_model("ebc/vgg19ae_nwpu", weights="v1")
    # the file itself says as much as its tag
    by_file = crowdcount.load_model("ebc/vgg19ae_nwpu", weights=folder / "authors.pth")
    assert by_file.network.state_dict().keys() == loaded.state_dict().keys()
    assert (
        crowdcount.create_model("ebc/vgg19ae_nwpu", folder / "authors.pth").state_dict().keys()
        == loaded.state_dict().keys()
    )
    assert all(map(torch.equal, loaded.state_dict().values(), network.state_dict().values()))
    assert crowdcount.load_model("ebc/vgg19ae_nwpu").network.state_dict().keys() == loaded.state_dict().keys()
    with pytest.raises(InputError, match="does not fit Ebc"):
        crowdcount.create_model("ebc/vgg19ae_nwpu", weights="v1_rmse")


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bomb.ckpt").write_bytes(pickle.dumps(Bomb()))
    Path("half.safetensors").write_bytes(b"12345678abc")
    for file in ("bomb.ckpt", "half.safetensors"):
        with pytest.raises(InputError, match=f"{file}: cannot be read as a checkpoint"):
            crowdcount.load_model(file, weights=None)
    assert not Path("exploded").exists()
    torch.save([torch.zeros(1)], "list.pth")
    with pytest.raises(InputError, match=r"list\.pth: holds no state dict, but list"):
        crowdcount.create_model("ebc/vgg19ae_sha", weights="list.pth")
    outer = {"class_path": "evilmodule.Network"}
    inner = {"class_path": "crowdcount.models.ebc.network.Ebc", "init_args": {"bins": outer}}
    strange = [{"model": {"init_args": {"network": network}}} for network in (outer, inner)]
    strange.append({"model": {"init_args": {"network": {"class_path": "crowdcount.X"}}}, "data": {"resize": outer}})
    refusals = [(yaml.safe_dump(config), "give --import evilmodule ") for config in strange]
    for config, message in [*refusals, ("model: [", "its configuration is not YAML")]:
        torch.save({"config": config}, "strange.ckpt")
        with pytest.raises(InputError, match=message):
            crowdcount.load_model("strange.ckpt")
    with pytest.raises(InputError, match=r"nowhere\.ckpt: no such checkpoint"):
        crowdcount.create_model("ebc/vgg19ae_sha", weights="nowhere.ckpt")


@pytest.mark.parametrize(
    "text", ["evilmodule.Thing", '{"class_path": "evilmodule.Thing"}', "{class_path: evilmodule.Thing}"]
)
@pytest.mark.parametrize("place", ["inference", "bins", "resize", "resize_preset"])
def test_a_text_in_a_stored_configuration_imports_nothing(tmp_path, monkeypatch, text, place):
    """jsonargparse takes a text for a class, or for a whole object, where it expects one."""
    (tmp_path / "evilmodule.py").write_text("import pathlib\npathlib.Path('exploded').touch()\nclass Thing: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = {"backbone": "vgg11_ae", "bins": {"intervals": [0, "1+"]}, "pretrained": False}
    model = {"network": {"class_path": "crowdcount.models.ebc.network.Ebc", "init_args": arguments}}
    data = {}
    {"inference": model, "bins": arguments}.get(place, data)[place] = text
    torch.save({"config": yaml.safe_dump({"model": {"init_args": model}, "data": data}), "state_dict": {}}, "odd.ckpt")
    advice = "objects written as text are not built" if "{" in text else "give --import evilmodule "
    with pytest.raises(InputError, match=rf"odd\.ckpt: is made of .*; {advice}"):
        crowdcount.load_model("odd.ckpt")
    assert not Path("exploded").exists() and "evilmodule" not in sys.modules


def test_unverified_weights_need_leave_in_python_too(local_index, tmp_path):
    weights_file = tmp_path / "weights.pth"
    torch.save(crowdcount.create_model("ebc/vgg19ae_nwpu", backbone="vgg11_ae").state_dict(), weights_file)
    with serving(weights_file.read_bytes()) as server:
        local_index({"ebc/vgg19ae_nwpu.v1": {
            "urls": [server.url], "sha256": None, "bytes": None, "arguments": {"backbone": "vgg11_ae"},
        }})  # fmt: skip
        for call in (lambda **leave: crowdcount.create_model("ebc/vgg19ae_nwpu", weights="v1", **leave),
                     lambda **leave: crowdcount.load_model("ebc/vgg19ae_nwpu", **leave)):  # fmt: skip
            with pytest.raises(InputError, match="its SHA-256 is not known"):
                call()
            assert call(allow_unverified=True) is not None
            remove(find_entry("ebc/vgg19ae_nwpu.v1"))


@pytest.mark.parametrize("content", [
    {"state_dict": {1: torch.zeros(1)}}, {"model": {1: torch.zeros(1)}}, {"state_dict": torch.zeros(1)},
])  # fmt: skip
def test_names_that_are_no_text(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth"):
        crowdcount.create_model("ebc/vgg19ae_nwpu", tmp_path / "odd.pth", backbone="vgg11_ae")
