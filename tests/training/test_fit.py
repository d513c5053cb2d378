"""The training command, end to end on small data sets."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import yaml

import crowdcount
import crowdcount.data
from crowdcount.cli import train
from tests.support.tiny_rec import REC, SCENES

ROOT = Path(__file__).resolve().parents[2]


EBC = {"class_path": "crowdcount.models.ebc.network.Ebc", "init_args": {"backbone": "test_resnet", "pretrained": False}}
VGG = {**EBC, "init_args": {"backbone": "vgg11_ae", "pretrained": False}}
CLIP = {"class_path": "crowdcount.models.clip_ebc.network.ClipEbc", "init_args": {"backbone": "train-vit"}}

HMODE = {
    "class_path": "crowdcount.training.HmodeModule",
    "init_args": {
        "network": {
            "class_path": "crowdcount.models.hmode.network.Hmode",
            "init_args": {"backbone": "mobilenetv4_conv_small_035", "strides": [4, 8, 16], "pretrained": False},
        },
        "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.001}},
    },
}


@pytest.fixture(scope="module", autouse=True)
def tiny_clip(tmp_path_factory):
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"layers": 2, "width": 32, "head_width": 32, "patch_size": 16, "image_size": 64}
    folder = tmp_path_factory.mktemp("open_clip")
    config = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (folder / "train-vit.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture
def config(tmp_path, shanghaitech_root):
    """Writer of a configuration file; the arguments are merged into the sections `network`, `data` and `trainer`."""

    def write(network=EBC, data=(), trainer=(), **sections):
        network = {**network, "init_args": {"bins": {"intervals": [0, 1, "2+"]}, **network["init_args"]}}
        arguments = {"network": network, "loss": {}, "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.001}}}
        source = {
            "class_path": "crowdcount.data.ShanghaiTech",
            "init_args": {"root": str(shanghaitech_root), "part": "A"},
        }
        content = {
            "trainer": {
                "max_epochs": 2,
                "accelerator": "cpu",
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "log_every_n_steps": 1,
                "logger": {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": str(tmp_path), "name": "run"},
                },
                **dict(trainer),
            },
            "model": {"class_path": "crowdcount.training.BlockwiseModule", "init_args": arguments},
            "data": {
                "source": source,
                "augment": {"crop": 64},
                "batch_size": 2,
                "num_workers": 0,
                "val_fraction": 0.25,
                **dict(data),
            },
            **sections,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write


def metrics(folder):
    """Rows of a run's metrics.csv, without empty cells."""
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


def test_fit_tests_the_best_epoch_and_leaves_a_complete_run(config, tmp_path):
    train.main(["fit", "--config", config(test_after_fit=True, pictures={"every_n_epochs": 1, "images": 2})])
    run = tmp_path / "run" / "version_0"
    rows = metrics(run)
    validated = [float(row["val/mae"]) for row in rows if "val/mae" in row]
    assert len(validated) == 2
    assert {"test/mae", "test/rmse", "test/nae"} <= rows[-1].keys()
    assert {"train/loss", "train/mae", "train/cross_entropy", "train/transport", "lr"} <= set().union(*rows)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == validated.index(min(validated))
    assert yaml.safe_load(best["config"])["data"]["augment"]["crop"] == 64
    pictures = sorted(path.relative_to(run).as_posix() for path in run.rglob("*.png"))
    assert pictures == [
        "pictures/test/IMG_1.png",
        "pictures/test/IMG_2.png",
        *(f"pictures/val_epoch_000{epoch}/IMG_{held_out(run)}.png" for epoch in (1, 2)),
    ]


def held_out(run):
    name = next((run / "pictures").glob("val*/*.png")).stem
    return int(name.split("_")[1])


def test_the_saved_configuration_replays_the_run(config, tmp_path):
    train.main(["fit", "--config", config(), "--data.augment.max_scale", "1.5"])
    train.main(["fit", "--config", str(tmp_path / "run" / "version_0" / "config.yaml")])
    first, second = (tmp_path / "run" / f"version_{number}" for number in (0, 1))
    assert metrics(first) == metrics(second)
    assert equal(weights(first / "checkpoints/last.ckpt"), weights(second / "checkpoints/last.ckpt"))


@pytest.mark.parametrize("stop", ["--trainer.max_epochs=2", "--trainer.max_steps=3", "--trainer.max_steps=5"])
def test_a_resumed_run_is_the_uninterrupted_one(config, tmp_path, stop):
    """Also inside an epoch, with dropout (torch's stream), augmentation, a schedule, two rates and worker processes."""
    vit = {"backbone": "train-vit", "pretrained": None, "vpt": 4, "vpt_dropout": 0.5, "input_size": 64}
    path = config(
        {**CLIP, "init_args": vit},
        data={"batch_size": 1, "num_workers": 1, "augment": {"crop": 64, "jitter": 1.0, "noise": 1.0}},
        trainer={"max_epochs": 4},
        last={"every_n_train_steps": 1},
    )
    schedule = ["--model.schedule=crowdcount.training.WarmupRestarts", "--model.schedule.warmup_epochs=2"]
    rates = [*schedule, "--model.lr_multipliers={projection: 0.5}"]
    train.main(["fit", "--config", path, *rates])
    train.main(["fit", "--config", path, *rates, stop])
    checkpoint = str(tmp_path / "run/version_1/checkpoints/last.ckpt")
    train.main(["fit", "--config", path, *rates, "--ckpt_path", checkpoint])
    whole, resumed = (tmp_path / f"run/version_{number}" for number in (0, 2))
    assert equal(weights(whole / "checkpoints/last.ckpt"), weights(resumed / "checkpoints/last.ckpt"))
    last = [row for row in metrics(whole) if "val/mae" in row][-1]
    assert last == [row for row in metrics(resumed) if "val/mae" in row][-1]
    assert not equal(weights(whole / "checkpoints/last.ckpt"), weights(checkpoint))
    assert equal(weights(whole / "checkpoints/best.ckpt"), weights(resumed / "checkpoints/best.ckpt"))


def test_last_is_last_and_the_best_survives_a_resumption(config, tmp_path):
    """The rate falls to zero, so that no epoch after the first is better, in the resumed run neither."""
    path = config(VGG, test_after_fit=True, trainer={"max_epochs": 3})
    stop = [
        "--model.schedule=torch.optim.lr_scheduler.StepLR",
        "--model.schedule.step_size=1",
        "--model.schedule.gamma=0",
    ]
    train.main(["fit", "--config", path, *stop, "--trainer.max_epochs=2"])
    train.main(["fit", "--config", path, *stop, "--ckpt_path", str(tmp_path / "run/version_0/checkpoints/last.ckpt")])
    for version, last in ((0, 1), (1, 2)):
        folder = tmp_path / f"run/version_{version}/checkpoints"
        epochs = [torch.load(folder / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")]
        assert epochs == [0, last]
    assert not list((tmp_path / "run").glob("version_*/checkpoints/best-*"))
    first, resumed = (metrics(tmp_path / f"run/version_{version}")[-1] for version in (0, 1))
    assert first["test/mae"] == resumed["test/mae"]


def test_hmode_trains_resumes_and_counts(config, tmp_path):
    path = config(model=HMODE, test_after_fit=True, pictures={"every_n_epochs": 0, "images": 1})
    options = ["--model.kernel.size=null", "--model.kernel.adaptive=true", "--model.loss.relative_weight=0.2"]
    train.main(["fit", "--config", path, *options])
    train.main(["fit", "--config", path, *options, "--trainer.max_epochs=1"])
    half, whole, resumed = (tmp_path / f"run/version_{number}" for number in (1, 0, 2))
    train.main(["fit", "--config", path, *options, "--ckpt_path", str(half / "checkpoints/last.ckpt")])
    assert equal(weights(whole / "checkpoints/last.ckpt"), weights(resumed / "checkpoints/last.ckpt"))
    terms = {f"train/{name}" for name in ("density", "attention", "importance", "relative", "loss", "mae")}
    assert terms <= set().union(*metrics(whole)) and (whole / "pictures/test/IMG_1.png").is_file()
    train.main(["test", "--config", path, "--ckpt_path", str(whole / "checkpoints/best.ckpt")])
    assert metrics(tmp_path / "run/version_3")[-1]["test/mae"] == metrics(whole)[-1]["test/mae"]
    model = crowdcount.load_model(whole / "checkpoints/best.ckpt")
    records = crowdcount.data.ShanghaiTech(path_of_data(path), "A").records("test")
    errors = [abs(model.predict(record.read()).count - record.count) for record in records]
    assert sum(errors) / len(errors) == pytest.approx(float(metrics(whole)[-1]["test/mae"]), rel=1e-6)


def path_of_data(config):
    return yaml.safe_load(Path(config).read_text())["data"]["source"]["init_args"]["root"]


def test_referring_expression_counting_trains_resumes_and_counts(config, tmp_path):
    path = config(model=REC, data=SCENES, test_after_fit=True, pictures={"every_n_epochs": 2, "images": 1})
    options = ["--model.schedule=torch.optim.lr_scheduler.CosineAnnealingLR", "--model.schedule.T_max=2"]
    train.main(["fit", "--config", path, *options])
    train.main(["fit", "--config", path, *options, "--trainer.max_steps=4", "--last.every_n_train_steps=1"])
    half, whole, resumed = (tmp_path / f"run/version_{number}" for number in (1, 0, 2))
    train.main(["fit", "--config", path, *options, "--ckpt_path", str(half / "checkpoints/last.ckpt")])
    assert equal(weights(whole / "checkpoints/last.ckpt"), weights(resumed / "checkpoints/last.ckpt"))
    assert not equal(weights(whole / "checkpoints/last.ckpt"), weights(half / "checkpoints/last.ckpt"))
    terms = {f"train/{name}" for name in ("label", "point", "image_text", "contrast", "loss", "mae")}
    assert terms <= set().union(*metrics(whole))
    pictures = sorted(path.relative_to(whole).as_posix() for path in whole.rglob("*.png"))
    assert pictures == ["pictures/test/test_00000.png", "pictures/val_epoch_0002/val_00000.png"]


def test_a_checkpoint_alone_counts_what_expressions_name(config, tmp_path):
    """The counts of the Python API give the errors that the test printed."""
    path = config(model=REC, data=SCENES, test_after_fit=True, trainer={"max_epochs": 1})
    train.main(["fit", "--config", path])
    checkpoint = tmp_path / "run/version_0/checkpoints/best.ckpt"
    train.main(["test", "--config", path, "--ckpt_path", str(checkpoint)])
    fitted, tested = (metrics(tmp_path / f"run/version_{number}")[-1] for number in (0, 1))
    scores = {"mae", "rmse", "nae", "precision", "recall", "f1", "precision_fixed", "recall_fixed", "f1_fixed"}
    assert {f"test/{name}" for name in scores} <= tested.keys()
    assert all(fitted[key] == tested[key] for key in tested if key.startswith("test/"))
    model = crowdcount.load_model(checkpoint)
    assert model.inference.cls_threshold == 0.3
    errors, found = [], 0
    for record in crowdcount.data.ReferringScenes(**SCENES["source"]["init_args"]).records("test"):
        predictions = model.predict(record.read(), [each.text for each in record.expressions])
        errors += [each.count - len(true.points) for each, true in zip(predictions, record.expressions, strict=True)]
        found += sum(each.count for each in predictions)
    assert found > 0
    assert sum(map(abs, errors)) / len(errors) == pytest.approx(float(tested["test/mae"]), rel=1e-6)
    squares = sum(error**2 for error in errors) / len(errors)
    assert squares**0.5 == pytest.approx(float(tested["test/rmse"]), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.augment.crop=64"], "data.augment: set it to null"),
        (["--data.source=crowdcount.data.Synthetic"], "has no expressions; this family needs them"),
        (["--model.network.words=[]"], "words: []; tiny needs the list of words"),
        (["--model.network.detector=swin_t"], "words: ["),
        (["--model.network.detector=swin_x"], "model.network.detector: expected"),
        (["--model.network.query_selection=first"], "model.network.query_selection: expected"),
        (["--model.radius=0"], "model.radius: 0.0 must be above 0, in pixels"),
        (["--model.loss.contrast.form=log"], "model.loss.contrast.form: expected"),
        (["--model.loss.contrast.temperature=0"], "SupCon.temperature: 0.0 must be"),
        (["--model.loss.positives=all"], "model.loss.positives: expected"),
        (["--model.loss.contrast_wieght=1"], "contrast_wieght: no such key; did you mean loss.contrast_weight?"),
        (["--model.loss.point_weight=-1"], "loss.point_weight: -1.0"),
        (["--model.loss.matcher.columns=0"], "loss.matcher.columns: 0"),
        (["--model.inference.crowded_fraction=2"], "inference.crowded_fraction: 2.0 must be between 0 and 1"),
        (["--best.mode=highest"], "best.mode: expected"),
        (["--data.source.size=8"], "ReferringScenes: size is 8; give 32 or more"),
    ],
)
def test_mistakes_with_referring_expressions_are_refused(config, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(model=REC, data=SCENES), *arguments])
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :]
    assert stopped.value.code == 2 and message in error and len(error.splitlines()) <= 5


def test_the_best_epoch_may_have_the_highest_value(config, tmp_path):
    """The rate rises, so that the epoch with the most is the last; a resumed run goes on comparing the same way."""
    rising = [
        "--model.schedule=torch.optim.lr_scheduler.StepLR",
        "--model.schedule.step_size=1",
        "--model.schedule.gamma=2",
    ]
    path = config(best={"monitor": "lr", "mode": "max"})
    train.main(["fit", "--config", path, *rising])
    last = tmp_path / "run/version_0/checkpoints/last.ckpt"
    train.main(["fit", "--config", path, *rising, "--trainer.max_epochs=3", "--ckpt_path", str(last)])
    train.main(["fit", "--config", path, *rising, "--best.mode=min"])
    best = (tmp_path / f"run/version_{number}/checkpoints/best.ckpt" for number in (0, 1, 2))
    assert [torch.load(file, weights_only=True)["epoch"] for file in best] == [1, 2, 0]


def test_the_released_form_of_hmode_trains(config, tmp_path):
    released = ["--model.network.compat=released", "--model.kernel.compat=released", "--model.loss.reduction=sum"]
    relative = ["--model.loss.relative=released", "--model.loss.relative_weight=1"]
    train.main(["fit", "--config", config(model=HMODE), *released, *relative])
    rows = metrics(tmp_path / "run/version_0")
    assert all(float(row["train/relative"]) > 0 for row in rows if "train/relative" in row)
    assert {"train/relative", "val/mae"} <= set().union(*rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.network.strides=[4,8,64]"], "strides: mobilenetv4_conv_small_035 has no feature map of stride 64"),
        (["--model.network.compat=authors"], "model.network.compat: expected"),
        (["--model.loss.relative=both"], "model.loss.relative: expected"),
        (["--model.loss.regons=4"], "model.loss.regons: no such key; did you mean loss.regions?"),
        (["--model.loss.region=18"], "loss.region: 18 should be a multiple of 4"),
        (["--data.short_side.length=90", "--data.short_side.longest=80"], "data.short_side.length, longest: 90, 80"),
        (["--data.short_side.longst=80"], "data.short_side.longst: no such key; did you mean"),
        (["--data.short_side.length=90", "--data.resize={min_side: 64, max_side: 64}"], "data.resize, data.short_side"),
        (["--model.loss=null"], "model.loss: null is no setting; leave the key out"),
        (["--model.kernel=null"], "model.kernel: null is no setting"),
        (["--model.kernel.sigma=0"], "kernel.sigma: 0.0"),
        (["--model.kernel.size=14"], "kernel.size: 14"),
        (["--data.augment.crop=72"], "data.augment.crop: 72 is not a multiple of 16"),
        (["--model.network.compat=released", "--data.augment.crop=71"], "data.augment.crop: 71"),
    ],
)
def test_mistakes_with_hmode_are_refused(config, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(model=HMODE), *arguments])
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :]
    assert stopped.value.code == 2 and message in error and len(error.splitlines()) <= 5


def test_null_is_refused_for_the_settings_of_a_module_from_outside(config, tmp_path, monkeypatch, capsys):
    (tmp_path / "outside_module.py").write_text(
        "from crowdcount.geometry import Kernel\n"
        "from crowdcount.models import Hmode\n"
        "from crowdcount.training import HmodeModule\n"
        "class Drawn(HmodeModule):\n"
        "    def __init__(self, network: Hmode, brush: Kernel = Kernel(), limit: int | None = 3):\n"
        "        super().__init__(network)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = {"class_path": "outside_module.Drawn", "init_args": {"network": HMODE["init_args"]["network"]}}
    with pytest.raises(SystemExit) as stopped:
        overrides = ["--import=outside_module", "--model.limit=null", "--model.brush=null"]
        train.main(["fit", "--config", config(model=model), *overrides])
    assert stopped.value.code == 2 and "model.brush: null is no setting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.batchsize=3"], "data.batchsize: no such key; did you mean data.batch_size?"),
        (["--trainer.max_epoch=3"], "trainer.max_epoch: no such key; did you mean trainer.max_epochs?"),
        (["--model.network.reducton=8"], "model.network.reducton: no such key; did you mean reduction?"),
        (
            ["--model.network.bins.interval=[0]"],
            "model.network.bins.interval: no such key; did you mean bins.intervals?",
        ),
        (["--model.loss.ot_wieght=1"], "model.loss.ot_wieght: no such key; did you mean loss.ot_weight?"),
        (["--model.optimizer.lrr=1"], "model.optimizer.lrr: no such key; did you mean lr?"),
        (["--model.network.reduction=9"], "model.network.reduction: expected Literal[8, 16, 32]. Got value: 9"),
        (["--data.batch_size=four"], "data.batch_size: expected int. Got value: four"),
        (["--data.batch_size=0"], "data.batch_size: 0 must be at least 1"),
        (["--data.source=ShanghaiTek"], "data.source: ShanghaiTek is not a class of this kind; give its import path"),
        (["--data.augment.flip=1.5"], "flip: 1.5 must be between 0 and 1"),
        (["--model.network.bins.intervals=[0,2,4+]"], "bins.intervals: 2 should start at 1"),
        (["--model.network.backbone=resnet19"], "resnet19"),
        (["--model.inference.window=0"], "inference.window: 0 must be at least 1"),
        (["--model.inference.window=72"], "inference.window: 72 is not a multiple of 32"),
        (["--data.augment.crop=72"], "data.augment.crop: 72 is not a multiple of 32"),
        (["--data.seed=-1"], "data.seed: -1 must be at least 0"),
        (["--model.optimizer.lr=-1"], "model.optimizer: Invalid learning rate: -1"),
        (["--trainer.accelerator=gpu", "--trainer.devices=7"], "trainer: "),
        (["--trainer.accelerator=gpuu"], "trainer: "),
        (["--trainer.logger=TensorBoardLoger"], "trainer.logger: TensorBoardLoger is not a class of this kind"),
        (["--model.optimizer.lr=abc"], "model.optimizer.lr: expected float"),
        (["--ckpt_path=nowhere.ckpt"], "--ckpt_path: nowhere.ckpt is no file"),
        (["--data.source.root=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_refused_in_a_few_lines(config, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(), *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    error = error[error.index("crowdcount train: ") :]
    assert message in error
    assert len(error.splitlines()) <= 5
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(("there", "message"), [(False, "no test images here"), (True, "have no public annotation")])
def test_a_test_that_cannot_be_is_refused_before_the_training(config, tmp_path, monkeypatch, capsys, there, message):
    def records(self, split):
        found = official(self, split)
        return found if split != "test" else [replace(each, points=None) for each in found] if there else []

    official = crowdcount.data.ShanghaiTech.records
    monkeypatch.setattr(crowdcount.data.ShanghaiTech, "records", records)
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(test_after_fit=True)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "set test_after_fit to false" in error
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dta": {"batch_size": 3}}, "dta.batch_size: no such key; did you mean data.batch_size?"),
        ({"model": {"class_path": "crowdcount.training.BlockwiseModul"}}, "did you mean BlockwiseModule?"),
    ],
)
def test_mistakes_in_a_file_are_refused(config, capsys, wrong, message):
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(**wrong)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_only_a_training_from_scratch_fetches_weights(config, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr("crowdcount.models.ebc.network.Ebc.load_pretrained", lambda network: fetched.append(network))
    path = config(trainer={"max_epochs": 1})
    train.main(["fit", "--config", path])
    checkpoint = ["--ckpt_path", str(tmp_path / "run/version_0/checkpoints/last.ckpt")]
    train.main(["fit", "--config", path, "--trainer.max_epochs=2", *checkpoint])
    train.main(["test", "--config", path, *checkpoint])
    assert len(fetched) == 1


def test_a_boundary_checkpoint_is_written_after_the_validation(config, tmp_path):
    path = config(VGG, trainer={"max_epochs": 1}, last={"every_n_train_steps": 2})
    train.main(["fit", "--config", path, "--data.batch_size=2"])
    last = torch.load(tmp_path / "run/version_0/checkpoints/last.ckpt", weights_only=True)
    best = next(state for key, state in last["callbacks"].items() if key.startswith("BestCheckpoint"))
    assert last["global_step"] == 2 and best["best_model_score"] is not None


def test_a_run_goes_on_without_its_old_folder(config, tmp_path):
    path = config(VGG, trainer={"max_epochs": 1}, test_after_fit=True)
    train.main(["fit", "--config", path])
    moved = tmp_path / "moved.ckpt"
    (tmp_path / "run/version_0/checkpoints/last.ckpt").rename(moved)
    (tmp_path / "run/version_0/checkpoints/best.ckpt").unlink()
    train.main(["fit", "--config", path, "--trainer.max_epochs=2", "--ckpt_path", str(moved)])
    assert torch.load(tmp_path / "run/version_1/checkpoints/best.ckpt", weights_only=True)["epoch"] == 1
    train.main(["test", "--config", path, "--ckpt_path", str(moved)])
    assert not (tmp_path / "run/version_2/checkpoints").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 cut", "cannot be read as a checkpoint"),
        ({"weight": torch.zeros(1)}, "was not written by a training"),
        (
            {"state_dict": {"network.x": torch.zeros(1)}, "pytorch-lightning_version": "2"},
            "is of another network; network.",
        ),
    ],
)
def test_other_files_are_no_checkpoint(config, tmp_path, capsys, content, message):
    path = tmp_path / "file.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(SystemExit) as stopped:
        train.main(["test", "--config", config(), "--ckpt_path", str(path)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and "file.ckpt" in error


@pytest.mark.parametrize("command", ["test", "validate"])
def test_untrained_networks_are_not_evaluated(config, capsys, command):
    with pytest.raises(SystemExit) as stopped:
        train.main([command, "--config", config()])
    assert stopped.value.code == 2
    assert f"--ckpt_path: {command} needs a checkpoint" in capsys.readouterr().err


def test_a_damaged_image_is_named(config, tmp_path, capsys, write_shanghaitech):
    root = write_shanghaitech(tmp_path / "data")
    for path in root.glob("part_A/train_data/images/*.jpg"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "--config", config(), "--data.source.root", str(root), "--data.num_workers=1"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("crowdcount train: ") and "IMG_" in error and "is damaged" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"trainer:\n\tx: 1\n", "line 2"), (b"", "holds no configuration"), (b"\xff\xfe\x00", "is not text in UTF-8")],
)
def test_a_broken_configuration_file_is_named(tmp_path, capsys, content, message):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", f"--config={path}"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "broken.yaml: " in error and message in error


def test_null_on_the_command_line_is_null(config, capsys):
    with pytest.raises(SystemExit):
        train.main(
            [
                "fit",
                "--config",
                config(),
                "--model.network.feature_level=null",
                "--model.inference.window",
                "null",
                "--print_config",
            ]
        )
    printed = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    assert printed["network"]["init_args"]["feature_level"] is None and printed["inference"]["window"] is None
    path = config(CLIP, trainer={"max_epochs": 0})
    clip = ["--model.network.backbone=train-vit", "--model.network.init_args.pretrained", "null"]
    train.main(["fit", "--config", path, *clip])  # any other value would be fetched


def test_accumulated_batches_train_as_one(config, tmp_path):
    """VGG has no batch statistics; the transport term dominates and must not depend on how a batch is cut."""
    path = config(VGG, data={"val_fraction": 0.5}, trainer={"max_epochs": 1})
    options = ["--model.loss.ot_weight=20", "--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=1e-5"]
    train.main(["fit", "--config", path, *options])
    train.main(["fit", "--config", path, *options, "--data.batch_size=1", "--trainer.accumulate_grad_batches=2"])
    one, two = (weights(tmp_path / f"run/version_{number}/checkpoints/last.ckpt") for number in (0, 1))
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], atol=5e-6, rtol=0, msg=key)


def test_mixed_precision_and_tensorboard(config, tmp_path):
    pictures = {"every_n_epochs": 1, "images": 1}
    trainer = {"precision": "bf16-mixed", "max_epochs": 1}
    board = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": str(tmp_path)}}
    train.main(["fit", "--config", config(trainer={**trainer, "logger": board}, pictures=pictures)])
    events = next(tmp_path.rglob("events.out*")).read_bytes()
    assert b"val/mae" in events and b"PNG" in events


def test_a_checkpoint_alone_counts(config, tmp_path):
    resize = {"min_side": 64, "max_side": 128, "multiple": 32}
    path = config(data={"resize": resize})
    train.main(["fit", "--config", path, "--trainer.max_epochs=1", "--model.inference.window=64"])
    checkpoint = tmp_path / "run/version_0/checkpoints/best.ckpt"
    train.main(["test", "--config", path, "--model.inference.window=64", "--ckpt_path", str(checkpoint)])
    tested = float(metrics(tmp_path / "run/version_1")[-1]["test/mae"])
    model = crowdcount.load_model(checkpoint)
    assert model.inference.window == 64 and model.resize.multiple == 32
    source = crowdcount.data.ShanghaiTech(
        yaml.safe_load(Path(path).read_text())["data"]["source"]["init_args"]["root"], "A"
    )
    errors = [abs(model.predict(record.read()).count - record.count) for record in source.records("test")]
    assert sum(errors) / len(errors) == pytest.approx(tested, rel=1e-6)


def run_two_processes(command, path, *arguments):
    line = [
        sys.executable,
        "-m",
        "crowdcount",
        "train",
        command,
        "--config",
        path,
        "--trainer.devices=2",
        "--trainer.strategy=ddp",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*line, *arguments], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


def test_two_processes_train_and_evaluate_as_one(config, tmp_path):
    """One step on two images, both in one batch or one in each process; the transport term dominates.

    Summed over the batch, as published, it would count half in two processes. VGG has no batch statistics. Three test
    images do not divide by two: one process has a ghost.
    """
    path = config(
        VGG, data={"batch_size": 1, "val_fraction": 0.5}, trainer={"max_epochs": 1, "num_sanity_val_steps": 0}
    )
    options = ["--model.loss.ot_weight=20", "--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=1e-5"]
    train.main(["fit", "--config", path, *options, "--data.batch_size=2"])
    run_two_processes("fit", path, *options, "--test_after_fit=true")
    train.main(["fit", "--config", path, *options, "--data.batch_size=2", "--model.loss.ot_weight=10"])
    one, two, half = (weights(tmp_path / f"run/version_{number}/checkpoints/last.ckpt") for number in range(3))
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], atol=5e-6, rtol=0, msg=key)
    assert max(float((one[key] - half[key]).abs().max()) for key in one) > 1e-3
    train.main(["test", "--config", path, "--ckpt_path", str(tmp_path / "run/version_1/checkpoints/best.ckpt")])
    of_two, of_one = (metrics(tmp_path / f"run/version_{number}")[-1] for number in (1, 3))
    assert of_one.keys() >= {"test/mae", "test/rmse", "test/nae"}
    assert {key: of_two[key] for key in of_one if key.startswith("test/")}.items() <= of_one.items()


def test_two_processes_train_on_a_mixture_and_average(config, tmp_path, shanghaitech_root):
    """The average of the weights, draws by weight, and one value of the relative error of each data set."""
    part = {"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"}}
    held = {"class_path": "crowdcount.data.HoldOut", "init_args": {"source": part, "val": 0.25}}
    other = {**held, "init_args": {**held["init_args"], "seed": 1, "val": 0.5}}
    source = {
        "class_path": "crowdcount.data.Concat",
        "init_args": {"sources": {"x": held, "y": other}, "weights": {"x": 3, "y": 1}},
    }
    averaging = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.5}}
    path = config(
        data={"source": source, "epoch_images": 8},
        trainer={"max_epochs": 1, "callbacks": [averaging]},
        best={"monitor": "val/macro_nae"},
    )
    run_two_processes("fit", path)
    best = tmp_path / "run/version_0/checkpoints/best.ckpt"
    train.main(["validate", "--config", path, "--ckpt_path", str(best)])
    two, one = (metrics(tmp_path / f"run/version_{number}") for number in (0, 1))
    two = next(row for row in two if "val/mae" in row)
    names = ("val/macro_nae", "val/macro_nae/x", "val/macro_nae/y", "val/mae")
    assert all(float(two[name]) == pytest.approx(float(one[-1][name]), rel=1e-5) for name in names)
    macro = (float(two["val/macro_nae/x"]) + float(two["val/macro_nae/y"])) / 2
    assert float(two["val/macro_nae"]) == pytest.approx(macro, rel=1e-5)


def test_two_processes_find_what_expressions_name(config, tmp_path):
    """Every trained parameter gets a gradient, or the second step would stop; the scores are those of one process."""
    source = {**SCENES["source"], "init_args": {"train": 4, "val": 1, "test": 3}}
    path = config(
        model=REC, data={**SCENES, "source": source, "batch_size": 1}, trainer={"max_epochs": 1}, test_after_fit=True
    )
    run_two_processes("fit", path)
    best = tmp_path / "run/version_0/checkpoints/best.ckpt"
    train.main(["test", "--config", path, "--ckpt_path", str(best)])
    two, one = (metrics(tmp_path / f"run/version_{number}")[-1] for number in (0, 1))
    assert {key: value for key, value in two.items() if key.startswith("test/")}.keys() >= {"test/mae", "test/f1"}
    assert all(float(two[key]) == pytest.approx(float(one[key]), rel=1e-6) for key in one if key.startswith("test/"))


@pytest.mark.parametrize(
    ("words", "message"), [([], "give fit, validate or test"), (["fit"], "fit needs a configuration")]
)
def test_a_command_without_a_configuration_says_what_to_give(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "quickstart" in error and error.count("\n") == 1
