"""Outside density networks: a module of one's own trains, counts, is measured, drawn and passed on like the zoo's."""

import csv
import json
import sys

import numpy as np
import pytest
import torch
import yaml

import crowdcount
from crowdcount.cli import train
from crowdcount.data import Synthetic
from crowdcount.errors import InputError
from crowdcount.inference.receptive_field import receptive_margin, tile_multiple
from crowdcount.inference.release import save_release
from crowdcount.losses import CountL1
from crowdcount.models import CountMap, DensityNetwork
from crowdcount.models.blockwise.loss import Dace
from crowdcount.training import BlockwiseModule, DensityModule, HmodeModule
from tests.support.pages import files

LOSSES = {
    "crowdcount.losses.DensityMse": {"density"},
    "crowdcount.losses.DmCount": {"count", "transport", "variation"},
    "crowdcount.losses.BayesianLoss": {"points", "background"},
    "crowdcount.losses.CountL1": {"count"},
}
POSITIVE = """

class Positive(Mcnn):
    def forward(self, image):
        return CountMap(density=nn.functional.softplus(super().forward(image).density - 4))
"""
SCENES = {"train": 6, "val": 2, "test": 2, "width": 96, "height": 80, "max_people": 20}


@pytest.fixture
def mcnn(tmp_path, monkeypatch):
    """The folder with the module of docs/extending.md, current, as a user has it; the module is not imported yet."""
    (tmp_path / "mcnn.py").write_text(files("Add a model")["mcnn.py"] + POSITIVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mcnn", raising=False)
    yield tmp_path
    sys.modules.pop("mcnn", None)


@pytest.fixture
def config(mcnn):
    """Writer of a configuration that trains the network of a page with a loss."""

    def write(loss="crowdcount.losses.CountL1", module="crowdcount.training.DensityModule", **sections):
        content = yaml.safe_load(files("Add a model")["mcnn.yaml"])
        content["trainer"] |= {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
        content["model"]["class_path"] = module
        content["model"]["init_args"]["loss"] = {"class_path": loss} if loss else {}
        content["data"] |= {"augment": {"crop": 64}, "batch_size": 3, "num_workers": 0}
        content["data"]["source"]["init_args"] = SCENES
        (mcnn / "config.yaml").write_text(yaml.safe_dump(content | sections))
        return "config.yaml"

    return write


def metrics(folder):
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("loss", LOSSES)
def test_an_outside_network_trains_with_every_loss(config, mcnn, loss):
    network = ["--model.network=mcnn.Positive"] if loss.endswith("DmCount") else []
    train.main(["fit", "--config", config(loss, test_after_fit=True), *network])
    run = mcnn / "runs" / "mcnn" / "version_0"
    rows = metrics(run)
    terms = {f"train/{name}" for name in LOSSES[loss]}
    assert terms | {"train/loss", "train/mae", "val/mae", "test/mae"} <= set().union(*rows)
    last = next(row for row in reversed(rows) if "train/loss" in row)
    assert float(last["train/loss"]) == pytest.approx(sum(float(last[name]) for name in terms), rel=1e-5)
    model = crowdcount.load_model(run / "checkpoints" / "best.ckpt")
    errors = [abs(model.predict(each.read()).count - each.count) for each in Synthetic(**SCENES).records("test")]
    assert np.mean(errors) == pytest.approx(float(rows[-1]["test/mae"]), rel=1e-5)


def test_a_resumed_run_is_the_uninterrupted_one(config, mcnn):
    path = config("crowdcount.losses.BayesianLoss")
    for arguments in (["--trainer.max_epochs=2"], [], ["--trainer.max_epochs=2", "--ckpt_path"]):
        last = [str(mcnn / "runs/mcnn/version_1/checkpoints/last.ckpt")] if arguments[-1:] == ["--ckpt_path"] else []
        train.main(["fit", "--config", path, *arguments, *last])
    whole, half, resumed = (weights(mcnn / f"runs/mcnn/version_{n}/checkpoints/last.ckpt") for n in range(3))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    assert not all(torch.equal(value, half[key]) for key, value in whole.items())


@pytest.fixture
def checkpoint(config, mcnn):
    train.main(["fit", "--config", config()])
    return mcnn / "runs/mcnn/version_0/checkpoints/best.ckpt"


def test_a_checkpoint_imports_nothing(checkpoint, tmp_path):
    import mcnn

    save_release(crowdcount.load_model(checkpoint), tmp_path / "release", "mine")
    del sys.modules["mcnn"], mcnn
    for source in (checkpoint, tmp_path / "release"):
        with pytest.raises(InputError, match=r"is made of mcnn\.Mcnn.*import") as stopped:
            crowdcount.load_model(source)
        assert "mcnn" not in sys.modules and "trust" in str(stopped.value)


def test_tiles_of_an_outside_network_are_exact(checkpoint):
    """Convolutions of 9, 7 and 5 around two poolings see 4 + 2 * 3 + 4 * 3 * 2 + 1 pixels, rounded up to cells."""
    model = crowdcount.load_model(checkpoint)
    assert tile_multiple(model.network) == 4 and receptive_margin(model.network) == 36
    assert all(
        each.is_contiguous(memory_format=torch.channels_last) for each in model.network.parameters() if each.ndim == 4
    )
    image = Synthetic(test=1, width=403, height=301).records("test")[0].read()
    whole = crowdcount.Predictor(model).predict(image)
    tiled = crowdcount.Predictor(model, max_memory=0.03).predict(image)
    assert whole.exact and tiled.exact and tiled.density.shape == (76, 101)
    np.testing.assert_allclose(tiled.density, whole.density, atol=1e-6)
    assert tiled.count == pytest.approx(whole.count, abs=1e-4)


def test_a_release_has_the_class_path(checkpoint, tmp_path):
    model = crowdcount.load_model(checkpoint)
    save_release(model, tmp_path / "release", "mine")
    again = crowdcount.load_model(tmp_path / "release")
    network = again.config["model"]["init_args"]["network"]
    assert network["class_path"] == "mcnn.Mcnn" and type(again.network) is type(model.network)
    image = Synthetic(test=1, width=96, height=80).records("test")[0].read()
    np.testing.assert_array_equal(again.predict(image).density, model.predict(image).density)
    card = (tmp_path / "release" / "README.md").read_text()
    assert "import crowdcount\nimport mcnn\n" in card and "`mcnn`, which has the network" in card
    assert json.loads(card.split("```json\n")[1].split("```")[0])["size_divisor"] == 4


def test_a_loss_that_refuses_stops_the_training(config, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config("crowdcount.losses.DmCount")])
    assert stopped.value.code == 2 and "the network gives negative densities" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["BlockwiseModule", "HmodeModule"])
def test_other_modules_name_the_one_that_trains_it(config, capsys, module):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(loss=None, module=f"crowdcount.training.{module}")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "model.network: Mcnn" in error and "crowdcount.training.DensityModule" in error


class Small(DensityNetwork):
    stride = size_divisor = 8

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 8, stride=8)

    def forward(self, image):
        return CountMap(density=self.layer(image))


class Undeclared(Small):
    stride = None


class Bare(Small):
    def forward(self, image):
        return self.layer(image)


class Coarse(Small):
    stride = size_divisor = 4


class TwoChannels(Small):
    def forward(self, image):
        return CountMap(density=self.layer(image).repeat(1, 2, 1, 1))


def test_modules_in_python_refuse_the_same():
    with pytest.raises(InputError, match="DensityModule"):
        BlockwiseModule(Small(), Dace())
    with pytest.raises(InputError, match="DensityModule"):
        HmodeModule(Small())
    assert DensityModule(Small(), CountL1()).network.stride == 8


def test_a_network_without_a_stride_is_refused():
    with pytest.raises(InputError, match=r"Undeclared\.stride: None; declare"):
        DensityModule(Undeclared(), CountL1())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Bare, r"Bare\.forward: returns Tensor; return CountMap"),
        (Coarse, r"density of shape \(1, 1, 4, 6\).*with stride 4 it should be \(1, 1, 8, 12\)"),
        (TwoChannels, r"density of shape \(1, 2, 4, 6\).*should be \(1, 1, 4, 6\)"),
    ],
)
def test_what_is_no_density_is_refused(network, message):
    module = DensityModule(network().eval(), CountL1())
    with pytest.raises(InputError, match=message):
        module.inference(module.network, torch.zeros(3, 32, 48, dtype=torch.uint8))
