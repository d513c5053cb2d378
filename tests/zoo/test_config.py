"""Configurations: a network without arguments, and every way to get the model section wrong."""

import copy
import re

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import crowdcount
from crowdcount.errors import InputError
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.zoo import config as zoo_config

HERE = __name__


class Plain(DensityNetwork):
    """A network that takes no argument, as a newcomer's first one."""

    stride = size_divisor = 8

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 8, 8)

    def forward(self, image):
        return CountMap(self.layer(image).relu())


class Deep(Plain):
    """A network of several layers."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), torch.nn.Conv2d(1, 1, 1))


class Bare(torch.nn.Module):
    """A class that is no counting network."""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A function that writes the configuration of the zoo's only model, own/plain."""
    monkeypatch.setattr(zoo_config, "configs_folder", lambda: tmp_path / "configs")
    path = tmp_path / "configs" / "own" / "plain.yaml"
    path.parent.mkdir(parents=True)

    def write(config):
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return "own/plain"

    return write


def checkpoint(path, config):
    network = Plain()
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    text = config if isinstance(config, str) else yaml.safe_dump(config)
    torch.save({"config": text, "state_dict": state}, path)
    return path, network


def network_config(network, **more):
    return {"model": {"class_path": "crowdcount.training.BlockwiseModule", "init_args": {"network": network, **more}}}


@pytest.mark.parametrize(
    "network",
    [{"class_path": f"{HERE}.Plain"}, {"class_path": f"{HERE}.Plain", "init_args": None}, f"{HERE}.Plain"],
)
def test_a_network_without_arguments(zoo, tmp_path, network):
    name = zoo(network_config(network))
    assert type(crowdcount.create_model(name)).__name__ == "Plain"
    with pytest.raises(InputError, match=r"surplus: no such key"):
        crowdcount.create_model(name, surplus=1)
    file, trained = checkpoint(tmp_path / "own.ckpt", network_config(network))
    for model in (crowdcount.load_model(file), crowdcount.load_model(name, weights=file)):
        assert torch.equal(model.network.layer.weight, trained.layer.weight)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "holds no keys and values, but nothing"),
        ("[]", r"holds no keys and values, but \[\]"),
        ("model:", "model should hold keys and values; got nothing"),
        ("model: []", r"model should hold keys and values; got \[\]"),
        ("trainer: {max_epochs: 1}", "model should hold keys and values; got nothing"),
        ("model: {class_path: crowdcount.training.BlockwiseModule}", "model: init_args should hold .*; got nothing"),
        (network_config(None), "model.network: give class_path, .*; got nothing"),
        (network_config([]), r"model.network: give class_path, .*; got \[\]"),
        (network_config({"init_args": {}}), "model.network: give class_path"),
        (network_config({"class_path": 3}), "model.network: give class_path"),
        (network_config({"class_path": f"{HERE}.Plain", "init_args": [1]}), "model.network: init_args should hold"),
        (network_config({"class_path": f"{HERE}.Plane"}), "has no Plane; did you mean Plain"),
        (network_config({"class_path": f"{HERE}.Bare"}), "Bare does not correspond to a subclass of CrowdNetwork"),
        (network_config({"class_path": "crowdcount.models.base.DensityNetwork"}), "network: .*DensityNetwork"),
        ({**network_config(f"{HERE}.Plain"), "data": [1]}, "data should hold keys and values"),
    ],
)
def test_a_malformed_configuration_names_file_and_key(zoo, tmp_path, config, message):
    name = zoo(config)
    with pytest.raises(InputError, match=f"(?s)plain.*{message}"):
        crowdcount.create_model(name)
    file, _ = checkpoint(tmp_path / "bad.ckpt", config)
    with pytest.raises(InputError, match=f"(?s)bad.ckpt.*{message}"):
        crowdcount.load_model(file)


@pytest.mark.parametrize("path", ["nowhere.Net", f"{HERE}.Plane", f"{HERE}.Bare", "Plain", "os.path.join", ""])
def test_weights_for_a_class_that_is_no_network(zoo, tmp_path, path):
    file, _ = checkpoint(tmp_path / "own.ckpt", network_config(f"{HERE}.Plain"))
    name = zoo(network_config({"class_path": path}))
    for call in (crowdcount.create_model, crowdcount.load_model):
        with pytest.raises(InputError, match="own/plain: network: "):
            call(name, weights=file)


def test_an_inference_of_another_kind_of_model_is_refused(zoo):
    name = zoo(network_config(f"{HERE}.Plain", inference={"cls_threshold": 0.5}))
    with pytest.raises(InputError, match=r"own/plain: inference.cls_threshold: no such key"):
        crowdcount.create_model(name)


def test_a_class_that_cannot_be_imported(zoo):
    with pytest.raises(InputError, match=r"own/plain: network: .*nowhere"):
        crowdcount.create_model(zoo(network_config({"class_path": "nowhere.Net"})))


@pytest.mark.parametrize("text", [": [", "a: !!python/object:os.system {}", "2020-13-45", "&a [*a]", 7, {"a": 1}, None])
def test_a_stored_configuration_that_is_no_text(tmp_path, text):
    torch.save({"config": text, "state_dict": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt"):
        crowdcount.load_model(tmp_path / "odd.ckpt")


def test_foreign_weights_need_a_family_that_converts_them(zoo, tmp_path):
    name = zoo(network_config(f"{HERE}.Plain"))
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "theirs.pth")
    message = r"theirs\.pth: .*names than those of Plain \('conv1.weight' is unknown\).*override Plain.load_published"
    with pytest.raises(InputError, match=message):
        crowdcount.create_model(name, weights=tmp_path / "theirs.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "network.", "model.module."])
@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
def test_wrapped_weights_are_loaded(zoo, tmp_path, prefix, key):
    name, trained = zoo(network_config(f"{HERE}.Plain")), Plain()
    state = {f"{prefix}{key}": value for key, value in trained.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pth")
    assert torch.equal(crowdcount.create_model(name, weights=tmp_path / "w.pth").layer.weight, trained.layer.weight)


def test_states_of_losses_in_a_training_checkpoint_are_no_weights_of_the_network(zoo, tmp_path):
    name = zoo(network_config(f"{HERE}.Plain"))
    file, trained = checkpoint(tmp_path / "own.ckpt", network_config(f"{HERE}.Plain"))
    content = torch.load(file)
    content["state_dict"]["contrastive.states.0.learned.temperature"] = torch.ones(3)
    torch.save(content, file)
    for model in (crowdcount.load_model(file), crowdcount.load_model(name, weights=file)):
        assert torch.equal(model.network.layer.weight, trained.layer.weight)


@pytest.mark.parametrize("prefix", ["", "module.", "network."])
def test_weights_that_nearly_fit_are_told_what_differs(zoo, tmp_path, prefix):
    name = zoo(network_config({"class_path": f"{HERE}.Deep"}))
    state = {f"{prefix}{key}": value for key, value in Deep().state_dict().items()}
    del state[f"{prefix}layers.1.bias"]
    torch.save({"state_dict": state, "config": yaml.safe_dump(network_config(f"{HERE}.Deep"))}, tmp_path / "w.pth")
    for load in (lambda path: crowdcount.create_model(name, weights=path), crowdcount.load_model):
        with pytest.raises(InputError, match=r"w\.pth: does not fit Deep \(1 missing: layers\.1\.bias\); choose the"):
            load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "network",
    [
        {"class_path": f"{HERE}.Plane"},
        {"class_path": f"{HERE}.Bare"},
        {"class_path": "crowdcount.models.base.DensityNetwork"},
        {"class_path": f"{HERE}.Plain", "init_args": {"surplus": 1}},
        {"class_path": "crowdcount.models.Ebc", "init_args": {"backbone": "vgg11_ae", "bins": {"intervals": [3, 1]}}},
        {"class_path": "crowdcount.models.Ebc", "init_args": {"backbone": "nothing", "bins": {"intervals": [0, "1+"]}}},
    ],
)
def test_a_release_that_cannot_be_built_is_named_by_its_file(tmp_path, network):
    file = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"config": yaml.safe_dump(network_config(network)), "name": "a good model"})
    for config in (network_config(network), network_config(f"{HERE}.Plain", inference={"window": -1})):
        save_file({"x": torch.zeros(1)}, file, {"config": yaml.safe_dump(config), "name": "a good model"})
        with pytest.raises(InputError, match=re.escape(f"{file}: ")) as error:
            crowdcount.load_model(file)
        assert "a good model" not in str(error.value)


@pytest.mark.parametrize("key", ["origin", "preprocessing"])
def test_metadata_that_is_nested_too_deeply(tmp_path, key):
    file = tmp_path / "model.safetensors"
    state = Plain().state_dict()
    config = yaml.safe_dump(network_config(f"{HERE}.Plain"))
    save_file(state, file, {"config": config, key: "[" * 100_000 + "]" * 100_000})
    with pytest.raises(InputError, match=f"model.safetensors: .*metadata `{key}` is no JSON object"):
        crowdcount.load_model(file)


def test_a_stored_configuration_that_hangs_whoever_reads_it(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    file, _ = checkpoint(tmp_path / "odd.ckpt", "\n".join(lines))
    with pytest.raises(InputError, match=r"odd\.ckpt: its configuration is not YAML \(more than \d+ values"):
        crowdcount.load_model(file)


def test_a_name_of_thousands_of_letters(tmp_path):
    file = tmp_path / "model.safetensors"
    for name in ("x" * 5000, "a\nb", ""):
        save_file(Plain().state_dict(), file, {"config": yaml.safe_dump(network_config(f"{HERE}.Plain")), "name": name})
        with pytest.raises(InputError, match=r"model\.safetensors: its metadata `name`: .* should be 1 to 200 visible"):
            crowdcount.load_model(file)
    for call in (crowdcount.load_model, crowdcount.create_model, zoo_config.find_config, crowdcount.Predictor):
        with pytest.raises(InputError, match=r"x\.\.\.") as error:
            call("x" * 5000)
        assert len(str(error.value)) < 300
    with pytest.raises(InputError, match="no such checkpoint, nor a tag"):
        crowdcount.load_model("ebc/vgg19ae_sha", weights="x" * 5000)


JUNK = st.sampled_from([
    None, [], {}, "", 0, -1.5, True, "x", "a.b", "crowdcount.models.Ebc", "crowdcount.models.Nothing",
    "torch.nn.Linear", f"{HERE}.Bare", "crowdcount.models.base.DensityNetwork", "nowhere.Net", ".", "..", "a b", "{",
    "{class_path: 1}", [1, "x"], {1: 2}, {"class_path": "crowdcount.data.Resize"},
    {"class_path": f"{HERE}.Plain", "init_args": {"a": 1}},
    {"class_path": None}, {"init_args": {}}, {"window": "wide"}, {"window": 0}, {"cls_threshold": 2}, "None", "null",
    {"class_path": "crowdcount.inference.density.Inference", "init_args": {"window": 224}}, "os.system", "builtins.int",
])  # fmt: skip
VALID = network_config(
    {"class_path": "crowdcount.models.Ebc", "init_args": {"backbone": "vgg11_ae", "bins": {"intervals": [0, "1+"]}}},
    inference={"window": 224, "window_stride": 112},
) | {"data": {"resize": {"min_side": 448, "multiple": 32}}}


def places(tree, path=()):
    """Yield the path of every node below the root."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def malformed(draw):
    config = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(list(places(config))))
        node = config
        for key in path:
            node = node[key]
        action = draw(st.sampled_from(["replace", "drop", "add"]))
        if action == "drop":
            del node[last]
        else:
            key = (
                last
                if action == "replace"
                else draw(st.sampled_from(["class_path", "init_args", "dict_kwargs", "odd", 7]))
            )
            node[key] = copy.deepcopy(draw(JUNK))
        if not config:
            break
    return config


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=malformed())
def test_nothing_but_an_input_error(zoo, tmp_path, config):
    """Whatever is wrong with a configuration, it builds or says what is wrong: no KeyError, no TypeError."""
    with torch.device("meta"):
        try:
            crowdcount.create_model(zoo(config))
        except InputError as error:
            assert re.search("own/plain", str(error))
    file, _ = checkpoint(tmp_path / "bad.ckpt", config)
    try:
        crowdcount.load_model(file)
    except InputError as error:
        assert re.search(r"bad\.ckpt", str(error))


@pytest.mark.parametrize("text", ["a: 2024-13-45", "[" * 3000, "a: [", "\t- x"])
def test_texts_that_are_no_yaml_are_refused_with_their_file(text, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"c\.yaml: not a YAML file"):
        zoo_config.read_config_file(file)


def test_an_unknown_name_without_similar_ones_says_where_all_are():
    with pytest.raises(InputError, match=r"crowdcount\.list_models\(\) shows the models"):
        zoo_config.read_config("zzzzzz")
