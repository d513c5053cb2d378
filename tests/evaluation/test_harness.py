"""One harness from a model and a data set to figures: the same ones that a training logs."""

import csv
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn

import crowdcount
from crowdcount.cli.data_section import split_overrides
from crowdcount.data import JhuCrowd, Nwpu, Record, ShanghaiTech, Synthetic, UcfCc50
from crowdcount.errors import InputError
from crowdcount.evaluation.harness import ImageResult, Scoring, evaluate
from crowdcount.evaluation.index_record import commit, data_name, index_key, public_command, update_index
from crowdcount.evaluation.submission import check_ids
from crowdcount.evaluation.summary import Tables, summarise
from crowdcount.evaluation.table import results_csv
from crowdcount.evaluation.text import summary_text
from crowdcount.geometry import as_points, inside
from crowdcount.images.mask import IgnoreMask
from crowdcount.inference.peaks import density_peaks
from crowdcount.inference.prediction import Prediction
from crowdcount.metrics import boxes_to_heads, count_errors, hits, pairs_within
from crowdcount.visualize.density import true_density
from crowdcount.weights.cache import import_file
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import Measured, find_entry, read_index
from tests.support.counter import save_counter
from tests.support.tiny_rec import REC, SCENES

ROOT = Path(__file__).resolve().parents[2]
EBC = {"class_path": "crowdcount.models.ebc.network.Ebc", "init_args": {"backbone": "test_resnet", "pretrained": False}}


def tool(name):
    return importlib.import_module(f"crowdcount.cli.{name}")


train, evaluator, calibrate = tool("train"), tool("evaluate"), tool("calibrate")


class Annotation(crowdcount.Model):
    """A model that knows the annotation of every picture, and adds `extra` people in the last block."""

    def __init__(self, records, extra=0.0, stride=1):
        super().__init__(nn.Linear(1, 1))
        self.records, self.extra, self.stride = records, extra, stride

    def predict(self, image):
        record = next(record for record in self.records if np.array_equal(record.read(), image))
        height, width = image.shape[:2]
        density = true_density(record.points, height, width, self.stride)
        density[-1, -1] += self.extra
        return Prediction(float(density.sum(dtype=np.float64)), density, self.stride, height, width)


@pytest.fixture(scope="module")
def run(tmp_path_factory, shanghaitech_root):
    """Folder of a short training on windows, with a size rule and its configuration."""
    folder = tmp_path_factory.mktemp("run")
    network = {**EBC, "init_args": {"bins": {"intervals": [0, 1, "2+"]}, **EBC["init_args"]}}
    source = {"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"}}
    content = {
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder), "name": "run"},
            },
        },
        "model": {
            "class_path": "crowdcount.training.BlockwiseModule",
            "init_args": {
                "network": network,
                "loss": {},
                "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.001}},
                "inference": {"window": 64, "window_stride": 32},
            },
        },
        "data": {
            "source": source,
            "augment": {"crop": 64},
            "resize": {"min_side": 96, "max_side": 192},
            "num_workers": 0,
            "val_fraction": 0.5,
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    train.main(["fit", "--config", str(folder / "config.yaml")])
    return folder


def logged(folder, version, prefix):
    with (folder / f"run/version_{version}/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"{prefix}/mae")]
    return {name: float(rows[-1][f"{prefix}/{name}"]) for name in ("mae", "rmse", "nae")}


def checkpoint(folder):
    return str(folder / "run/version_0/checkpoints/best.ckpt")


def images_of(folder):
    root = yaml.safe_load((folder / "config.yaml").read_text())["data"]["source"]["init_args"]["root"]
    return ShanghaiTech(root, "A").records("test")


def evaluated(arguments, output):
    assert evaluator.main([*arguments, "--output", str(output)]) == 0
    return json.loads((output / "summary.json").read_text())


def test_the_figures_are_those_of_a_training(run, tmp_path, capsys):
    config = str(run / "config.yaml")
    train.main(["test", "--config", config, "--ckpt_path", checkpoint(run)])
    train.main(["validate", "--config", config, "--ckpt_path", checkpoint(run)])
    capsys.readouterr()
    for version, split, prefix in ((1, "test", "test"), (2, "val", "val")):
        summary = evaluated([checkpoint(run), "--data", config, "--split", split], tmp_path / split)
        expected = logged(run, version, prefix)  # the logger keeps single precision
        assert {name: float(np.float32(summary[name])) for name in expected} == expected
        assert summary["data"] == f"sha/{split}" and summary["images"] == (3 if split == "test" else 2)
    out = capsys.readouterr().out
    assert "windows of 64 px every 32 px" in out and "min_side=96" in out and "GAME" in out


def test_every_image_counts_for_itself_and_processes_make_no_difference(run, tmp_path):
    """Two processes of three images; and the per-image table has every digit."""
    config = str(run / "config.yaml")
    arguments = [checkpoint(run), "--data", config, "--bootstrap", "20", "--worst", "1"]
    one = evaluated(arguments, tmp_path / "one")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "crowdcount", "evaluate", *arguments, "--output", str(tmp_path / "two")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("images 3") == 1  # the first process alone speaks
    two = json.loads((tmp_path / "two/summary.json").read_text())
    assert {**two, "arguments": None} == {**one, "arguments": None}
    tables = [(tmp_path / name / "images.csv").read_text() for name in ("one", "two")]
    assert tables[0] == tables[1]
    model = crowdcount.load_model(checkpoint(run))
    records = ShanghaiTech(
        yaml.safe_load((run / "config.yaml").read_text())["data"]["source"]["init_args"]["root"], "A"
    )
    for record, row in zip(records.records("test"), csv.DictReader(tables[0].splitlines()), strict=True):
        assert row["name"] == record.name and float(row["predicted"]) == model.predict(record.read()).count


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_of_windows_changes_no_more_than_rounding(run, batch):
    model = crowdcount.load_model(checkpoint(run))
    records = images_of(run)
    whole = [result.predicted for result in evaluate(model, records)]
    model.inference.window_batch = batch
    assert [result.predicted for result in evaluate(model, records)] == pytest.approx(whole, rel=1e-6)


def test_a_model_that_knows_the_annotation_makes_no_error(shanghaitech_root):
    records = ShanghaiTech(shanghaitech_root, "A").records("test")
    results = evaluate(Annotation(records), records, Scoring(radii=(0, 1)))
    summary = summarise(results, Tables(resamples=0))
    heads = sum(record.count for record in records)
    assert (summary["mae"], summary["rmse"], summary["nae"]) == (0, 0, 0) and summary["game"] == [0, 0, 0, 0]
    same_pixel = heads - sum(len(np.unique(np.floor(record.points), axis=0)) for record in records)
    assert summary["localisation"]["0 px"]["true_positives"] >= 0.8 * heads  # of neighbours one is a maximum
    assert same_pixel < 5 and "intervals" not in summary


def test_people_under_a_mask_are_neither_counted_nor_missed(tmp_path, capsys, caplog):
    """With the size of people, in the command and for Python."""
    model, mask = save_counter(tmp_path / "model"), np.zeros((64, 96, 3), np.uint8)
    mask[:, :48] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    source = Synthetic(1, 0, 2, 96, 64)
    loaded = crowdcount.load_model(model).for_camera(0.5, ignored=IgnoreMask(mask[..., 0] > 0))
    results = evaluate(loaded, source.records("test"))
    inside = [int((record.points[:, 0] >= 48).sum()) for record in source.records("test")]
    assert [each.true for each in results] == inside and all((each.points[:, 0] >= 48).all() for each in results)
    assert sum(inside) < sum(record.count for record in source.records("test"))
    expected = [loaded.predict(record.read()).count for record in source.records("test")]
    arguments = {"train": 1, "val": 0, "test": 2, "width": 96, "height": 64}
    data = {"data": {"source": {"class_path": "crowdcount.data.Synthetic", "init_args": arguments}}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
    words = [model, "--data", str(tmp_path / "data.yaml"), "--ignore", str(tmp_path / "mask.png")]
    summary = evaluated([*words, "--image-scale", "0.5", "--bootstrap", "0"], tmp_path / "out")
    errors = [abs(count - true) for count, true in zip(expected, inside, strict=True)]
    assert summary["mae"] == pytest.approx(sum(errors) / 2) and summary["protocol"] == loaded.protocol
    assert "ImageScale(factor=0.5" in summary["protocol"] and "without the pixels of mask" in capsys.readouterr().out

    assert calibrate.main([*words[:3], "--split", "test"]) == 0  # without mask and scale
    assert evaluator.main([*words, "--bootstrap", "0"]) == 0
    assert "the coverage of its intervals is not measured" in caplog.text
    intervals = ["--intervals", str(tmp_path / "model/model.intervals.json")]
    assert evaluator.main([*words, *intervals]) == 2
    assert "--intervals: tiny was calibrated with 'images as they are; in one pass'" in capsys.readouterr().err
    caplog.clear()
    assert "calibrated_intervals" in evaluated([*words[:3], *intervals], tmp_path / "same") and not caplog.text


def test_figures_against_plain_formulas(shanghaitech_root):
    """A model that errs by 2.5, in the last block."""
    records = ShanghaiTech(shanghaitech_root, "B").records("test")
    model = Annotation(records, extra=2.5, stride=8)
    results = evaluate(model, records)
    summary = summarise(results)
    true = [record.count for record in records]
    assert summary["mae"] == pytest.approx(2.5) and summary["rmse"] == pytest.approx(2.5)
    assert summary["nae"] == pytest.approx(sum(2.5 / count for count in true) / len(true))
    assert summary["game"][0] == pytest.approx(2.5) and summary["game"][3] >= 2.5
    assert summary["intervals"]["mae"] == pytest.approx([2.5, 2.5])
    assert summary["crowd_levels"] == {
        "1-100": {"images": 3, **{key: pytest.approx(summary[key]) for key in ("mae", "rmse", "nae")},
                  "bias": pytest.approx(2.5)}
    }  # fmt: skip
    for record, result in zip(records, results, strict=True):
        seen = model.predict(record.read())
        points = np.floor(density_peaks(seen)).astype(int)
        assert np.array_equal(result.points, points) and len(points) <= round(seen.count)
        for radius in (4, 8):
            assert result.hits[f"{radius} px"] == hits(pairs_within(points, np.floor(record.points), radius))


def test_points_outside_count_and_lie_in_no_block(tmp_path, write_shanghaitech):
    root = write_shanghaitech(tmp_path, test=1)
    record = ShanghaiTech(root, "A").records("test")[0]
    moved = as_points(np.concatenate([record.points, [[-5, 9], [400, 20]]]))
    far = Record(record.name, record.image, moved)
    [result] = evaluate(Annotation([far]), [far])
    assert result.outside == 2 and result.true == len(moved) and result.error == -2
    assert result.game == (2, 2, 2, 2)
    text = summary_text(summarise([result]))
    assert "2 annotated points lie outside" in text
    assert int(inside(moved, 160, 128).sum()) == len(moved) - 2


@pytest.mark.parametrize("annotations", ["mats", "jsons"])
def test_nwpu_has_its_levels_its_luminance_and_its_radii(tmp_path, write_nwpu, annotations):
    root = write_nwpu(tmp_path / "nwpu", annotations)
    records = Nwpu(root).records("val")
    results = evaluate(Annotation(records, extra=3.0), records)
    summary = summarise(results, Tables(resamples=50))
    nwpu = summary["nwpu"]
    empty, some = sorted(records, key=lambda record: record.count)
    assert empty.count == 0 < some.count
    assert nwpu["mae"] == 3 and nwpu["nae"] == pytest.approx(3 / some.count)  # of the image with people
    assert nwpu["level"] == {"0": 3, "1": 3, "2": -1, "3": -1, "4": -1, "mean": 3 / 5}
    lights = {record.attributes["luminance"] for record in records}
    assert nwpu["luminance"] == {
        **{each: 3.0 if each in lights else -1.0 for each in "0123"},
        "mean": (3 * len(lights) - (4 - len(lights))) / 4,
    }
    heads = boxes_to_heads(some.boxes)
    result = next(result for result in results if result.name == some.name)
    assert result.hits["sigma_l"] == hits(pairs_within(result.points, heads.points, heads.sigma_l))
    assert result.hits["sigma_s"] == hits(pairs_within(result.points, heads.points, heads.sigma_s))
    assert sum(level["heads"] for level in summary["box_levels"].values()) == len(heads.levels)
    nobody = next(result for result in results if result.name == empty.name)
    assert nobody.hits["sigma_l"] == (0, len(nobody.points), 0)
    text = summary_text(summary)
    assert "as the server of NWPU-Crowd counts" in text and "sigma_s" in text and "luminance" in text


def test_jhu_has_its_attributes_and_named_edges(tmp_path, write_jhu_crowd):
    records = JhuCrowd(write_jhu_crowd(tmp_path)).records("test")
    results = evaluate(Annotation(records, extra=1.0), records)
    summary = summarise(results, Tables(edges=(50, 500), resamples=0))
    assert summary["crowd_levels"].keys() == {"0-50"} and "nwpu" not in summary
    for key in ("weather", "distractor"):
        groups = summary["attributes"][key]
        expected = {record.attributes[key] for record in records}
        assert groups.keys() == expected and sum(group["images"] for group in groups.values()) == len(records)
    header = results_csv(results).splitlines()[0].split(",")
    assert {"weather", "scene", "distractor", "TP 4 px", "game3", "FN sigma_l"} <= set(header)


def test_an_evaluation_needs_images_and_sound_options():
    with pytest.raises(InputError, match="no images"):
        summarise([])
    for wrong in ({"edges": (5, 5)}, {"edges": (9, 3)}, {"edges": (-1,)}, {"resamples": -1}, {"seed": -1}):
        with pytest.raises(InputError, match=r"edges|bootstrap|seed"):
            Tables(**wrong)
    with pytest.raises(InputError, match="radii"):
        Scoring(radii=(4, -1))
    with pytest.raises(InputError, match="peak_threshold"):
        Scoring(peak_threshold=float("nan"))


# The command


@pytest.fixture
def written(tmp_path):
    """Writer of a configuration with a data section."""

    def write(source, **more):
        path = tmp_path / "data.yaml"
        path.write_text(yaml.safe_dump({"data": {"source": source, **more}}))
        return str(path)

    return write


def test_withheld_annotations_leave_a_submission(tmp_path, write_nwpu, written, monkeypatch, capsys):
    root = write_nwpu(tmp_path / "nwpu")
    config = written({"class_path": "crowdcount.data.Nwpu", "init_args": {"root": "nowhere"}})

    class Seven(Annotation):
        def predict(self, image):
            height, width = image.shape[:2]
            density = np.zeros((height // 8, width // 8), np.float32)
            density[2, 3] = 7.25
            return Prediction(7.25, density, 8, height, width)

    monkeypatch.setattr(crowdcount, "load_model", lambda source, weights=None, intervals=None: Seven([]))
    files = {name: tmp_path / f"{name}.txt" for name in ("counts", "points")}
    arguments = ["any", "--data", config, f"--data.source.root={root}", "--submission", str(files["counts"])]
    summary = evaluated([*arguments, "--localisation-submission", str(files["points"])], tmp_path / "out")
    assert summary["images"] == 0 and summary["without_annotation"] == 2 and "mae" not in summary
    assert "2 without public annotation" in capsys.readouterr().out
    assert files["counts"].read_text() == "0003 7.25\n5001 7.25"
    assert files["points"].read_text() == "0003 1 28 20\n5001 1 28 20"
    report = (tmp_path / "out/report.html").read_text()
    assert "without public annotation" in report and "Worst images" not in report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "missing.yaml"], "missing.yaml: no such file, nor a name in the zoo"),
        (["--data", "list.yaml"], "list.yaml: holds no configuration"),
        (["--data", "bad.yaml"], "bad.yaml: not a YAML file"),
        (["--data", "good.yaml", "--data.source.rot", "x"], "rot: no such key; did you mean root?"),
        (
            ["--data", "good.yaml", "--data.resize_preset.rule", "pet/nwpu"],
            "--data.resize_preset.rule: has no effect here",
        ),
        (["--data", "good.yaml", "--data.cache=x"], "--data.cache=x: has no effect here"),
        (["--data", "good.yaml", "--data.source.root", "--output"], "--data.source.root: has no value"),
        (["--data", "good.yaml", "--output", "list.yaml"], "--output: list.yaml cannot be made (File exists)"),
        (["--data", "good.yaml", "--submission", "."], "--submission: . is a folder; give a file"),
        (["--data", "good.yaml", "--device", "meta"], "--device: meta"),
        (["--data", "good.yaml", "--radii", "4", "4.0000001"], "each once"),
        (["--data", "good.yaml", "--radii", "inf"], "radii"),
        (["--data", "good.yaml", "--peak-threshold", "inf"], "peak_threshold"),
        (["--data", "mine.yaml", "--update-index"], "the index is for published data sets, not for Folder"),
        (["--data", "good.yaml", "--data.source.part=C"], "good.yaml: data.source.part: expected"),
        (["--data", "good.yaml", "--data.source.root", "nowhere"], "found no ShanghaiTech part A"),
        (["--data", "good.yaml", "--radii", "-3"], "radii"),
        (["--data", "good.yaml", "--edges", "5", "2"], "edges: [5, 2]"),
        (["--data", "good.yaml", "--device", "abacus"], "--device: abacus"),
        (["--data", "good.yaml", "--update-index"], "--update-index: the index holds released weights, and"),
        (["--data", "good.yaml", "--weights", "x.pth"], "is a file with weights of its own; leave weights out"),
    ],
)
def test_mistakes_are_named(run, tmp_path, capsys, monkeypatch, shanghaitech_root, arguments, message):
    monkeypatch.chdir(tmp_path)
    source = {"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"}}
    Path("good.yaml").write_text(yaml.safe_dump({"data": {"source": source}}))
    Path("list.yaml").write_text("- 1\n")
    mine = {"class_path": "crowdcount.data.Folder", "init_args": {"root": "mine"}}
    Path("mine.yaml").write_text(yaml.safe_dump({"data": {"source": mine}}))
    (tmp_path / "mine/test").mkdir(parents=True)
    (tmp_path / "mine/test/a b.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    (tmp_path / "mine/test/a b.txt").write_text("1 1\n")
    Path("bad.yaml").write_text("data: [\n")
    assert evaluator.main([checkpoint(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]


def test_a_damaged_picture_leaves_no_file(run, tmp_path, capsys, write_shanghaitech, written):
    root = write_shanghaitech(tmp_path / "data")
    (root / "part_A/test_data/images/IMG_2.jpg").write_bytes(b"no picture")
    config = written({"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(root), "part": "A"}})
    assert evaluator.main([checkpoint(run), "--data", config, "--output", str(tmp_path / "out")]) == 2
    assert "IMG_2.jpg: not a readable image" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_split_without_images(run, tmp_path, capsys, written):
    config = written({"class_path": "crowdcount.data.Synthetic", "init_args": {"test": 0, "train": 1}})
    assert evaluator.main([checkpoint(run), "--data", config]) == 2
    assert "--split test: Synthetic has no such images here; try --split val" in capsys.readouterr().err


def test_overrides_are_told_from_the_options():
    words = ["a.ckpt", "--data.source.root", "x", "--data", "c.yaml", "--data.seed=3", "--split", "val"]
    assert split_overrides(words) == (
        ["a.ckpt", "--data", "c.yaml", "--split", "val"],
        ["--data.source.root", "x", "--data.seed=3"],
    )


# The index of weights

MEASURED = {
    "data": "sha/test", "images": 182, "mae": 60.5, "rmse": 99.0, "nae": None, "protocol": "in one pass",
    "command": "crowdcount evaluate", "commit": None, "date": "2026-01-01",
}  # fmt: skip


def write_index(path):
    entry = {"url": "https://example.org/é", "measured": [{**MEASURED, "data": "shb/test"}, {**MEASURED, "mae": 70.0}]}
    other = {"zoo": 1, "a": [1, 2]}
    index = {"schema": 1, "weights": {"ebc/vgg19ae_sha.best": entry, "ebc/vgg19ae_sha.old": other}, "more": {"b": 0}}
    path.write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    return index


def test_a_measurement_takes_the_place_of_its_older_one(tmp_path):
    path = tmp_path / "index.json"
    before = write_index(path)
    update_index(path, "ebc/vgg19ae_sha.best", MEASURED)
    after = json.loads(path.read_text())
    before["weights"]["ebc/vgg19ae_sha.best"]["measured"][1] = MEASURED
    assert after == before and json.dumps(after) == json.dumps(before)  # in the same order
    assert path.read_text() == json.dumps(before, indent=2, ensure_ascii=False) + "\n"
    update_index(path, "ebc/vgg19ae_sha.best", {**MEASURED, "protocol": "windows"})
    update_index(path, "ebc/vgg19ae_sha.old", MEASURED)
    after = json.loads(path.read_text())["weights"]
    assert len(after["ebc/vgg19ae_sha.best"]["measured"]) == 3 and after["ebc/vgg19ae_sha.old"]["measured"] == [
        MEASURED
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["index.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not readable"), ("[]", "no object 'weights'"), ('{"weights": {"k": 3}}', "k is no entry")],
)
def test_a_damaged_index_stays_as_it_is(tmp_path, text, message):
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        update_index(path, "k", MEASURED)
    assert path.read_text() == text


@pytest.fixture
def released(tmp_path, local_index):
    """The file of an entry of the index, and the index."""
    network = crowdcount.create_model("ebc/vgg19ae_sha", backbone="vgg11_ae")
    file = tmp_path / "vgg.pth"
    torch.save(network.state_dict(), file)
    entry = {"sha256": file_sha256(file), "bytes": None, "config": "ebc/vgg19ae_sha", "format": "torch"}
    return file, local_index({"ebc/vgg19ae_sha.best": {**entry, "arguments": {"backbone": "vgg11_ae"}}})


def test_weights_of_the_index_are_known_by_their_bytes(released, tmp_path):
    file, path = released
    import_file(find_entry("ebc/vgg19ae_sha.best"), file)
    model = crowdcount.load_model("ebc/vgg19ae_sha", weights="best")
    assert index_key(path, model) == "ebc/vgg19ae_sha.best"
    model.origin["name"] = "ebc/vgg19ae_sha.bets"
    with pytest.raises(InputError, match=r"index\.json: has no ebc/vgg19ae_sha\.bets, which the weights are of"):
        index_key(path, model)
    with pytest.raises(InputError, match="the index holds released weights, and mine has others"):
        index_key(path, crowdcount.Model(model.network, name="mine"))


def test_the_command_writes_the_index(released, tmp_path, shanghaitech_root, written):
    file, path = released
    import_file(find_entry("ebc/vgg19ae_sha.best"), file)
    config = written({"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": "nowhere", "part": "A"}})
    arguments = ["ebc/vgg19ae_sha", "--weights", "best", "--data", config, "--update-index", str(path)]
    assert evaluator.main([*arguments, "--data.source.root", str(shanghaitech_root)]) == 0
    found = json.loads(path.read_text())["weights"]["ebc/vgg19ae_sha.best"]["measured"][-1]
    records = ShanghaiTech(shanghaitech_root, "A").records("test")
    predicted = [crowdcount.load_model("ebc/vgg19ae_sha").predict(record.read()).count for record in records]
    errors = count_errors(predicted, [record.count for record in records])
    assert {key: found[key] for key in errors} == pytest.approx(errors)
    assert found["data"] == "sha/test" and found["images"] == 3 and found["protocol"].endswith("; in one pass")
    assert found.keys() == MEASURED.keys()
    read_index.cache_clear()
    assert find_entry("ebc/vgg19ae_sha").measured == (Measured(**found),)  # the index stays one
    assert "--data.source.root ROOT" in found["command"] and str(shanghaitech_root) not in found["command"]


def test_a_public_command_names_no_folder_of_this_machine():
    words = ["m", "--output", "/a", "--submission=/b", "--data.source.root=/c", "--split", "val", "--update-index"]
    expected = "crowdcount evaluate m --data.source.root ROOT --split val --update-index"
    assert public_command(words) == expected
    words = ["/home/me/best.ckpt", "--data", "/home/me/secret/c.yaml", "--update-index", "/home/me/index.json"]
    words += ["--data.source", '{"class_path": "X", "init_args": {"root": "/home/me/ST"}}', "--weights=/home/me/w.pth"]
    found = public_command(words)
    assert "home" not in found and "me" not in found.split("evaluate")[1].replace("name", "").split("/")
    assert found.startswith("crowdcount evaluate best.ckpt --data c.yaml --update-index --data.source")
    assert public_command(["m", "--submission", "--split", "val"]) == "crowdcount evaluate m --split val"


def test_the_commit_is_that_of_the_clone(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    assert commit(tmp_path) is None
    git("init")
    assert commit(tmp_path) is None  # nothing is committed yet
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    git("tag", "v1")
    assert commit(tmp_path) == "v1"
    (tmp_path / "file").write_text("2")
    assert commit(tmp_path) == "v1-dirty"
    (tmp_path / "package").mkdir()
    assert commit(tmp_path / "package") is None  # inside another clone


def test_names_and_protocols(shanghaitech_root, run):
    assert data_name(ShanghaiTech(shanghaitech_root, "B"), "val") == "shb/val"
    assert data_name(Nwpu("x"), "test") == "nwpu/test" and data_name(JhuCrowd("x"), "val") == "jhu/val"
    text = crowdcount.load_model(checkpoint(run)).protocol
    assert text.startswith("size rule Resize(min_side=96") and text.endswith("every 32 px, overlaps averaged")


# Referring expressions


def test_expressions_are_scored_one_by_one(tmp_path, written, monkeypatch):
    """As its training logs them."""
    content = {
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False,
                    "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger",
                               "init_args": {"save_dir": str(tmp_path), "name": "run"}}},
        "model": REC,
        "data": {**SCENES, "batch_size": 2, "num_workers": 0},
        "test_after_fit": True,
    }  # fmt: skip
    config = tmp_path / "rec.yaml"
    config.write_text(yaml.safe_dump(content))
    train.main(["fit", "--config", str(config)])
    summary = evaluated([checkpoint(tmp_path), "--data", str(config), "--bootstrap", "0"], tmp_path / "out")
    expected = logged(tmp_path, 0, "test")
    assert {name: float(np.float32(summary[name])) for name in expected} == expected
    with (tmp_path / "run/version_0/metrics.csv").open() as file:
        f1 = [row["test/f1"] for row in csv.DictReader(file) if row.get("test/f1")][-1]
    assert summary["localisation"]["GroundingREC"]["f1"] == pytest.approx(float(f1), abs=0.02)
    with (tmp_path / "out/images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == summary["expressions"] > summary["images"] == 3 and all(": " in row["name"] for row in rows)
    assert (tmp_path / "out/report.html").is_file()


def test_a_detector_needs_expressions(shanghaitech_root):
    torch.manual_seed(0)
    network = crowdcount.create_model("rec/tiny_scenes", pretrained=False)
    model = crowdcount.ReferringModel(network, name="rec/tiny_scenes")
    with pytest.raises(InputError, match="IMG_1 has no expressions"):
        evaluate(model, ShanghaiTech(shanghaitech_root, "A").records("test"))


def test_an_index_written_before_does_not_make_the_code_dirty(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    for name in ("weights_index.json", "code.py"):
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = commit(tmp_path)
    (tmp_path / "weights_index.json").write_text("2")
    assert commit(tmp_path) == clean and "dirty" not in clean
    (tmp_path / "code.py").write_text("2")
    assert commit(tmp_path) == f"{clean}-dirty"


def test_folds_have_names_of_their_own():
    assert data_name(UcfCc50("x", fold=2), "test") == "ucfcc50.fold2/test"
    assert data_name(UcfCc50("x", fold=3), "test") == "ucfcc50.fold3/test"


@pytest.mark.parametrize("names", [["a b", "c"], ["a", "a"]])
def test_names_that_no_submission_can_have(names):
    with pytest.raises(InputError, match=r"one word for each image|two images have this name"):
        check_ids(names)


def test_a_submission_is_refused_before_anything_is_counted(run, tmp_path, capsys, written):
    folder = tmp_path / "mine" / "test"
    folder.mkdir(parents=True)
    (folder / "a b.png").write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    (folder / "a b.txt").write_text("1 1\n")
    config = written({"class_path": "crowdcount.data.Folder", "init_args": {"root": str(folder.parent)}})
    arguments = [checkpoint(run), "--data", config, "--submission", str(tmp_path / "s.txt")]
    assert evaluator.main(arguments) == 2
    said = capsys.readouterr()
    assert "'a b.png': a submission has one word for each image; rename it" in said.err and not said.out


class Halved(Annotation):
    """The same in an image of half the size, as a size rule makes it; a person stands in the middle of a block."""

    def predict(self, image):
        height, width = image.shape[0] // 2, image.shape[1] // 2
        density = np.zeros((height // 8, width // 8), np.float32)
        density[3, 5] = 1
        return Prediction(1.0, density, 8, height, width)


def scene(boxes, **attributes):
    """A record of a black image of 160 x 128 with heads in boxes."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.stack([boxes[:, ::2].mean(axis=1), boxes[:, 1::2].mean(axis=1)], axis=1).astype(np.float32)
    return Record("a", lambda: np.zeros((128, 160, 3), np.uint8), points, attributes=attributes, boxes=boxes)


def test_points_are_those_of_the_photograph():
    """The middle of the block is (44, 28) of the image that the network sees, and so (88, 56) of the photograph."""
    (result,) = evaluate(Halved([]), [scene([[80, 48, 96, 64]])])
    assert result.points.tolist() == [[88, 56]] and result.hits["4 px"] == (1, 0, 0)


def test_the_strict_radius_of_a_box_is_smaller():
    """A box of 40 x 12, whose centre lies 10 px beside the point: within half its diagonal, not half its short side."""
    (result,) = evaluate(Halved([]), [scene([[78, 50, 118, 62]])])
    assert result.hits["sigma_l"] == (1, 0, 0) and result.hits["sigma_s"] == (0, 1, 1)


def test_the_server_s_nae_without_people():
    results = evaluate(Halved([]), [scene([], luminance="1", level="0")])
    assert summarise(results)["nwpu"]["nae"] == -1.0


def test_the_recall_of_a_box_level_has_two_ends():
    """One point within the radius of a small and of a large head: either can have it."""
    (result,) = evaluate(Halved([]), [scene([[84, 52, 92, 60], [58, 26, 118, 86]])])
    levels = summarise([result])["box_levels"]
    assert len(levels) == 2
    assert {(each["recall_lowest"], each["recall_highest"]) for each in levels.values()} == {(0.0, 1.0)}


def test_expressions_of_one_image_are_drawn_together():
    def results(images):
        errors = [4.0] * 6 + [0.0] * 6
        return [
            ImageResult(f"{image}: {i}", 10 + error, np.zeros((0, 2), np.int64), 10, image=image, hits={"r": (i, 1, 1)})
            for i, (image, error) in enumerate(zip(images, errors, strict=True))
        ]

    apart, together = (summarise(results(images)) for images in ("abcdefghijkl", "aaaaaabbbbbb"))
    assert (apart["images"], together["images"], together["expressions"]) == (12, 2, 12)
    assert apart["mae"] == together["mae"] == 2.0
    assert together["intervals"]["mae"] == [0.0, 4.0]  # either image may be drawn twice
    assert 0.0 < apart["intervals"]["mae"][0] < 2.0 < apart["intervals"]["mae"][1] < 4.0
    assert "images 2, expressions 12" in summary_text(together)


def test_seed_threshold_and_number_of_pictures_reach_the_figures(run, tmp_path, shanghaitech_root, written):
    config = written({
        "class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"},
    })  # fmt: skip
    plain = [checkpoint(run), "--data", config, "--bootstrap", "3"]
    first, second = evaluated(plain, tmp_path / "1"), evaluated([*plain, "--seed", "5"], tmp_path / "2")
    assert first["mae"] == second["mae"] and first["intervals"] != second["intervals"]
    third = evaluated([*plain, "--peak-threshold", "1e9", "--worst", "1"], tmp_path / "3")
    assert third["localisation"]["8 px"]["true_positives"] == 0 == third["localisation"]["8 px"]["false_positives"]
    pages = [(tmp_path / number / "report.html").read_text().count("<img") for number in "13"]
    assert pages == [3, 1]
