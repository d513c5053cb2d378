"""Checkpoints, configurations and imports of version 0.1 keep working: recorded with its code, read with today's."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import crowdcount
from crowdcount.data import Synthetic
from crowdcount.legacy import MODULES, NAMES, public_path, upgrade_config, upgrade_option

ROOT = Path(__file__).resolve().parents[1]
OLD = Path(__file__).parent / "golden" / "release_0.1"
COUNTS = (3966.425830986351, 5375.39700717479)  # of the two scenes, by the code that wrote the checkpoint


def test_a_checkpoint_counts_as_it_did():
    model = crowdcount.load_model(OLD / "last.ckpt")
    scenes = Synthetic(train=0, val=0, test=2).records("test")
    counts = [model.predict(record.read()).count for record in scenes]
    assert counts == pytest.approx(COUNTS, rel=1e-6)
    assert (model.inference.window, model.resize.rule) == (96, "bayesian")


def test_a_run_is_continued_with_its_own_configuration(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "train.py"), "fit", "--config", "old/config.yaml"]
    command += ["--ckpt_path", "old/last.ckpt", "--trainer.max_epochs", "2", "--data.paper_size.interpolation", "area"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    [run] = (tmp_path / "run").iterdir()
    written = (run / "config.yaml").read_text()
    config = yaml.safe_load(written)
    assert config["model"]["class_path"] == "crowdcount.training.BlockwiseModule"
    assert config["model"]["init_args"]["network"]["class_path"] == "crowdcount.models.Ebc"
    assert config["data"]["source"]["class_path"] == "crowdcount.data.Concat"
    assert config["data"]["resize_preset"]["interpolation"] == "area" and "paper_size" not in written
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["config"]
    assert not re.search(r"class_path: crowdcount\.\w+\.\w+\.", stored)
    assert crowdcount.load_model(run / "checkpoints" / "last.ckpt").resize.interpolation == "area"


@pytest.mark.parametrize("module", MODULES)
def test_an_old_module_has_its_public_names(module):
    sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning, match=f"{module} is now crowdcount"):
        old = importlib.import_module(module)
    homes = [importlib.import_module(f"crowdcount.{home}") for home in MODULES[module]]
    public = {
        name: value
        for home in homes
        for name, value in vars(home).items()
        if name[0] != "_" and getattr(value, "__module__", "") == home.__name__
    }
    assert public
    for name, value in public.items():
        with pytest.warns(DeprecationWarning):
            assert getattr(old, name) is value
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = old.nothing


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("crowdcount.models.base", "Counter"),
        ("crowdcount.models.base", "Network"),
        ("crowdcount.data", "Joined"),
        ("crowdcount.data", "PaperSize"),
        ("crowdcount.data.joined", "Joined"),
    ],
)
def test_an_old_name_is_the_new_one(module, name):
    home = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now") as caught:
        found = getattr(home, name)
    assert found.__name__ == NAMES[name]
    assert caught[-1].filename == __file__  # Python shows it at the line that uses the name


@pytest.mark.parametrize(
    "code",
    [
        "from crowdcount.data import Folder, read_image, Augment, CrowdData",
        "from crowdcount.data.sample import CrowdSource, Image, Record, read_image",
        "from crowdcount.data.synthetic import Synthetic",
        "from crowdcount.inference import Inference, Prediction",
        "from crowdcount.models.blockwise import BlockwiseCounter",
        "from crowdcount.models.clip_ebc.network import ClipEbc",
        "from crowdcount.models.hmode.network import Hmode",
        "from crowdcount.models.rec.network import ReferringDetector",
        "from crowdcount.visualize import overlay, heat_map, panel, draw_points",
        "from crowdcount.weights import list_weights, read_index",
        "from crowdcount.zoo import create_model, load_model, list_models",
    ],
)
def test_imports_that_need_no_warning(code, recwarn):
    exec(code, {})
    assert not [each for each in recwarn if "is now" in str(each.message)]


def test_earlier_keys_of_a_configuration():
    old = {
        "model": {"init_args": {"inference": {"class_path": "x.PointInference", "init_args": {"full": 1, "depth": 0}}}}
    }
    old["data"] = {"paper_size": {"rule": "man"}, "source": {"init_args": {"depth": 3}}}
    new = upgrade_config(old)
    assert new["model"]["init_args"]["inference"]["init_args"] == {"crowded_fraction": 1, "max_tiling_depth": 0}
    assert new["data"] == {"resize_preset": {"rule": "man"}, "source": {"init_args": {"depth": 3}}}
    assert upgrade_config(new) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--data.paper_size.rule=man", "--data.resize_preset.rule=man"),
        ("--data.paper_size", "--data.resize_preset"),
        ("--model.inference.full=1", "--model.inference.crowded_fraction=1"),
        ("--data.source.root=data.paper_size.full", "--data.source.root=data.paper_size.full"),
        ("data.paper_size", "data.paper_size"),
    ],
)
def test_earlier_keys_of_a_command_line(old, new):
    assert upgrade_option(old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("crowdcount.module.BlockwiseModule", "crowdcount.training.BlockwiseModule"),
        ("crowdcount.models.ebc.network.Ebc", "crowdcount.models.Ebc"),
        ("crowdcount.models.rec.module.ReferringModule", "crowdcount.training.ReferringModule"),
        ("crowdcount.data.joined.Joined", "crowdcount.data.Concat"),
        ("crowdcount.data.resize.Resize", "crowdcount.images.Resize"),
        ("crowdcount.losses.dace.Dace", "crowdcount.models.Dace"),
        ("crowdcount.schedule.WarmupRestarts", "crowdcount.training.WarmupRestarts"),
        ("crowdcount.models.Ebc", "crowdcount.models.Ebc"),
        ("crowdcount.nowhere.Ebc", "crowdcount.nowhere.Ebc"),
        ("torch.optim.Adam", "torch.optim.Adam"),
        ("Ebc", "Ebc"),
    ],
)
def test_class_paths_become_public(old, new):
    assert public_path(old) == new
    assert upgrade_config({"a": [{"class_path": old}]}) == {"a": [{"class_path": new}]}
