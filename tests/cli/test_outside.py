"""Models, data sets and losses of an outside package: trained, counted with, measured, drawn and converted."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import crowdcount
from crowdcount.cli import main as cli
from crowdcount.errors import InputError

MODULE = '''
from pathlib import Path

import numpy as np
import torch

from crowdcount.data import CrowdSource, Record
from crowdcount.losses import DensityMse
from crowdcount.models.base import CountMap, DensityNetwork

Path("imported").touch()


class TinyMcnn(DensityNetwork):
    """Two convolutions."""

    stride = size_divisor = 8

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, width, 8, 8), torch.nn.Conv2d(width, 1, 1))

    def forward(self, image: torch.Tensor) -> CountMap:
        """Count."""
        return CountMap(self.layers(image).exp())


class HalfMse(DensityMse):
    """Half of a loss."""


class Station(CrowdSource):
    """Images with an array of points beside each."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def records(self, split: str) -> list[Record]:
        """Return the records."""
        images = sorted((self.root / split).glob("*.jpg"))
        return [Record(image.stem, image, np.load(image.with_suffix(".npy"))) for image in images]
'''

CONFIG = {
    "model": {
        "class_path": "crowdcount.training.DensityModule",
        "init_args": {"network": {"class_path": "TinyMcnn"}, "loss": {"class_path": "HalfMse"}},
    },
    "data": {
        "source": {"class_path": "Station", "init_args": {"root": "station"}},
        "batch_size": 2,
        "augment": {"crop": 64},
        "num_workers": 0,
    },
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": ".", "name": "run"}},
    },
    "pictures": {"every_n_epochs": 0, "images": 0},
}
CHECKPOINT = "run/version_0/checkpoints/best.ckpt"


def write_folder(folder, name, mark=""):
    """Write the module, a data set of noise and a configuration that names the classes alone.

    `mark` ends the names of the classes: those of an earlier module are known to the process for ever.
    """
    (folder / f"{name}.py").write_text(marked(MODULE, mark))
    rng = np.random.default_rng(0)
    for split, images in (("train", 3), ("val", 1), ("test", 1)):
        (folder / "station" / split).mkdir(parents=True)
        for number in range(images):
            path = folder / "station" / split / f"{number}.jpg"
            cv2.imwrite(str(path), rng.integers(0, 256, (72, 96, 3), np.uint8))
            np.save(path.with_suffix(".npy"), rng.uniform(0, 70, (5, 2)))
    (folder / "mine.yaml").write_text(marked(yaml.safe_dump(CONFIG), mark))
    (folder / "named.yaml").write_text(marked(yaml.safe_dump({"import": name, **CONFIG}), mark))


def marked(text, mark):
    return re.sub(r"\b(TinyMcnn|HalfMse|Station)\b", rf"\g<1>{mark}", text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a training whose configuration names its package."""
    folder = tmp_path_factory.mktemp("outside")
    write_folder(folder, "outsidemodels")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        assert cli.main(["train", "fit", "--config", "named.yaml"]) == 0
    return folder


@pytest.fixture
def folder(trained, monkeypatch):
    """The folder of the training, in a process that has not imported the package."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget("outsidemodels")
    Path("imported").unlink(missing_ok=True)
    yield trained
    forget("outsidemodels")


def forget(name):
    sys.modules.pop(name, None)


def test_a_run_keeps_the_key(folder):
    config = yaml.safe_load((folder / "run/version_0/config.yaml").read_text())
    assert config["import"] == ["outsidemodels"]
    assert config["model"]["init_args"]["network"]["class_path"] == "outsidemodels.TinyMcnn"
    assert yaml.safe_load(torch.load(CHECKPOINT, weights_only=True)["config"])["import"] == ["outsidemodels"]


def test_a_checkpoint_imports_nothing_by_itself(folder, capsys):
    """Its stored configuration has the key; the module lies in the current folder, which is on the path."""
    sys.path.append(str(folder))
    with pytest.raises(InputError, match=r"is made of outsidemodels\.TinyMcnn; give --import outsidemodels \(or"):
        crowdcount.load_model(CHECKPOINT)
    for words in (["predict", "station/test/0.jpg", "--model", CHECKPOINT], ["convert", CHECKPOINT, "--output", "no"]):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"crowdcount {words[0]}: {CHECKPOINT}: is made of outsidemodels.TinyMcnn; give --imp")
        assert error.count("\n") == 1
    assert not Path("imported").exists() and "outsidemodels" not in sys.modules


@pytest.mark.parametrize("place", ["before", "after", "end"])
def test_prediction(folder, capsys, place):
    named = ["--import", "outsidemodels"]
    words = ["station/test/0.jpg", "--model", CHECKPOINT]
    commands = {
        "before": [*named, "predict", *words],
        "after": ["predict", *named, *words],
        "end": ["predict", *words, "--import=outsidemodels"],
    }
    assert cli.main(commands[place]) == 0
    assert capsys.readouterr().out.startswith("station/test/0.jpg: count ")


def test_conversion_and_drawing(folder, capsys, tmp_path):
    release = str(tmp_path / "release")
    assert cli.main(["convert", CHECKPOINT, "--output", release, "--import", "outsidemodels"]) == 0
    forget("outsidemodels")
    drawn = ["visualize", "station/test/0.jpg", "--model", release, "--output", str(tmp_path / "drawn")]
    assert cli.main(drawn) == 2 and "give --import outsidemodels" in capsys.readouterr().err
    assert cli.main([*drawn, "--import", "outsidemodels"]) == 0
    assert (tmp_path / "drawn/0_overlay.png").is_file()


@pytest.mark.parametrize(
    "named", [["--data", "run/version_0/config.yaml"], ["--data", "mine.yaml", "--import", "outsidemodels"]]
)
def test_evaluation(folder, capsys, named):
    assert cli.main(["evaluate", CHECKPOINT, *named, "--bootstrap", "0"]) == 0
    assert "station/test" in capsys.readouterr().out


def test_a_run_replays_and_is_tested(folder):
    config = "run/version_0/config.yaml"
    out = "--trainer.logger.init_args.save_dir=again"
    assert cli.main(["train", "fit", "--config", config, out]) == 0
    again = yaml.safe_load(Path("again/run/version_0/config.yaml").read_text())
    assert again["import"] == ["outsidemodels"]
    forget("outsidemodels")
    assert cli.main(["train", "test", "--config", config, out, "--ckpt_path", CHECKPOINT]) == 0


@pytest.mark.parametrize("place", [1, 2, 4])
def test_training_with_the_option(tmp_path, monkeypatch, place):
    name = f"outsidemodels{place}"
    write_folder(tmp_path, name, f"Option{place}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["train", "fit", "--config", "mine.yaml"]
    words = [*words[:place], "--import", name, *words[place:]]
    assert cli.main(words) == 0
    assert yaml.safe_load(Path("run/version_0/config.yaml").read_text())["import"] == [name]
    sys.modules.pop(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothere", "nothere: there is no module nothere, neither installed nor in "),
        ("crowdcount.nothere", "crowdcount.nothere: there is no module crowdcount.nothere"),
        ("failing", "failing: fails while it is imported (RuntimeError: no luck)"),
        ("needy", "needy: needs absentpackage, which is not installed"),
        ("typo", "typo: fails while it is imported (SyntaxError: "),
        ("leaving", "leaving: fails while it is imported (SystemExit: 3)"),
        ("models/mine.py", "models/mine.py: is no name of a package; write it as in Python"),
        ("", ": is no name of a package"),
    ],
)
def test_packages_that_cannot_be_imported(tmp_path, monkeypatch, capsys, name, message):
    contents = {"failing": "raise RuntimeError('no\\nluck')", "needy": "import absentpackage", "typo": "def"}
    for module, content in (contents | {"leaving": "raise SystemExit(3)"}).items():
        (tmp_path / f"{module}.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("c.yaml").write_text(yaml.safe_dump({"import": [name], "data": {}}))
    commands = {
        "": ["--import", name, "predict", "a.jpg"],
        " predict": ["predict", "a.jpg", "--import", name],
        " train": ["train", "--import", name, "fit"],
        " weights get": ["weights", "get", "x", "--import", name],
    }
    for command, words in commands.items():
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        error = capsys.readouterr().err
        assert end.value.code == 2 and error.startswith(f"crowdcount{command}: --import {message}")
        assert error.count("\n") == 1
    assert cli.main(["evaluate", "x", "--data", "c.yaml"]) == 2
    assert capsys.readouterr().err.startswith(f"crowdcount evaluate: c.yaml: import: {message}")
    with pytest.raises(SystemExit):
        cli.main(["train", "fit", "--config", "c.yaml"])
    assert capsys.readouterr().err.startswith(f"crowdcount train: c.yaml: import: {message}")


def test_a_key_that_holds_no_names(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("import: {a: 1}\ndata: {}\n")
    assert cli.main(["evaluate", "x", "--data", str(tmp_path / "c.yaml")]) == 2
    assert "import: {'a': 1} is no name of a package, nor a list of them" in capsys.readouterr().err
