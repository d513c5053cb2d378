import importlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from crowdcount.data import Folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    return importlib.import_module("crowdcount.cli.dataset")


@pytest.fixture
def run(tool, capsys):
    """Runs the tool and returns exit status, what it printed and what it complained about."""
    return lambda *words: (tool.main([str(word) for word in words]), *capsys.readouterr())


def test_doctor_prints_writes_and_fails_by_level(run, tmp_path, write_ucf_qnrf):
    root = write_ucf_qnrf(tmp_path / "UCF-QNRF", size=(320, 256))
    common = ("doctor", root, "--dataset", "ucf_qnrf", "--jobs", 1)
    status, out, _ = run(*common, "--json", tmp_path / "out" / "report.json")
    assert status == 0
    assert "4 images" in out and "the published files have 1,201" in out
    table = json.loads((tmp_path / "out" / "report.json").read_text())
    assert table["summary"]["error"] == 0 < table["summary"]["warning"]
    assert run(*common, "--fail-on", "warning")[0] == 1
    (root / "Test" / "img_0001.jpg").unlink()
    (root / "Test" / "img_0002_ann.mat").unlink()
    status, out, _ = run(*common)
    assert status == 1
    assert "img_0001_ann.mat" in out and "img_0002.jpg" in out


def test_doctor_refuses_bad_input(run, run_help, tool, tmp_path):
    status, out, err = run("doctor", tmp_path / "nowhere", "--dataset", "mall")
    assert (status, out) == (2, "")
    assert "nowhere: no such folder" in err
    status, _, err = run("doctor", tmp_path, "--dataset", "shanghaitech", "--prat", "A")
    assert status == 2
    assert "prat" in err and "--part" in err
    status, _, err = run("doctor", tmp_path, "--dataset", "nothing")
    # classes of other tests in this process may be among them
    assert status == 2 and "--dataset: 'nothing' is not one of " in err and "--import PACKAGE" in err
    assert "folder, fsc147" in err
    for words in (["doctor", str(tmp_path)], []):
        with pytest.raises(SystemExit) as stopped:
            tool.main(words)
        assert stopped.value.code == 2


@pytest.fixture
def run_help(tool, capsys):
    def show(command):
        with pytest.raises(SystemExit) as stopped:
            tool.main([command, "--help"])
        assert stopped.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    return show


def test_help_names_the_options_of_the_data_sets(run_help):
    text = run_help("doctor")
    assert "folder, fsc147" in text and "shanghaitech --part" in text and "ucf_cc_50 --fold" in text
    assert "labelme, cvat, coco, label-studio, yolo, voc, makesense, via, visdrone, mot" in run_help("import")
    assert "0 1 2-3 4+" in run_help("bins")


@pytest.fixture
def marked(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{name}.jpg"), np.full((40, 64, 3), 99, np.uint8))
        shapes = [
            {"label": "head", "shape_type": "point", "points": [[1, 2]]},
            {"label": "tree", "shape_type": "point", "points": [[70, 2]]},
        ]
        table = {"shapes": shapes, "imagePath": f"..\\pictures\\{name}.jpg"}
        (tmp_path / "export").mkdir(exist_ok=True)
        (tmp_path / "export" / f"{name}.json").write_text(json.dumps(table))
    return tmp_path


def test_import_says_what_it_took_and_left_out(run, marked):
    common = ("import", "labelme", marked / "export", "--images", marked / "pictures")
    status, out, _ = run(*common, "--label", "head")
    assert status == 0
    assert out.splitlines()[:3] == [
        "images:   2, 0 of them without people",
        "heads:    2 points",
        "left out: 2 x label 'tree'",
    ]
    assert [record.count for record in Folder(marked / "pictures").records("train")] == [1, 1]
    status, out, err = run(*common)
    assert (status, out) == (2, "")
    assert "points.json exists; take it away, or let --overwrite replace it" in err
    status, out, _ = run(*common, "--overwrite")
    assert status == 0
    assert "outside:  2 points lie outside their image (kept)" in out
    assert [record.count for record in Folder(marked / "pictures").records("train")] == [2, 2]


def test_import_leaves_text_without_an_image_out(run, marked):
    labels = marked / "labels"
    labels.mkdir()
    for name in ("a", "b"):
        (labels / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (labels / "README.txt").write_text("how we marked heads\n")
    status, out, _ = run("import", "yolo", labels, "--images", marked / "pictures")
    assert status == 0
    assert "left out: 1 x text file without an image of its name" in out
    status, _, err = run("import", "yolo", marked / "nowhere")
    assert status == 2 and "nowhere: no such file or folder" in err


def test_import_writes_a_new_folder(run, marked):
    common = ("import", "labelme", marked / "export", "--images", marked / "pictures", "--output", marked / "new")
    assert run(*common)[0] == 2
    assert run(*common, "--link")[0] == 0
    assert (marked / "new" / "images" / "a.jpg").is_symlink()
    status, _, err = run(*common, "--copy")
    assert status == 2
    assert "new exists; give --output a new folder" in err
    assert not (marked / "pictures" / "points.json").exists()


def test_import_refuses_options_that_do_nothing(run, tool, marked):
    common = ("import", "labelme", marked / "export", "--images", marked / "pictures")
    assert "say whether by --copy or by --link" in run(*common, "--link")[2]
    assert "labelme has no named keypoints" in run(*common, "--keypoint", "nose")[2]
    with pytest.raises(SystemExit) as stopped:
        tool.main([*map(str, common), "--part", "A"])
    assert stopped.value.code == 2
    assert not (marked / "pictures" / "points.json").exists()


def test_bins_prints_a_fragment_of_a_configuration(run, shanghaitech_root):
    common = ("bins", shanghaitech_root, "--dataset", "shanghaitech", "--part", "A", "--reduction", "16")
    status, out, _ = run(*common, "--truncation", "2")
    assert status == 0
    bins = yaml.safe_load(out)["model"]["init_args"]["network"]["init_args"]["bins"]
    assert bins["intervals"] == [0, 1, "2+"]
    assert bins["anchors"][:2] == [0, 1] and bins["anchors"][2] > 2
    assert f"{4 * (160 - 15) * (128 - 15):,} blocks of 16 pixels" in out.splitlines()[0]
    _, out, _ = run(*common, "--intervals", "0", "1-2", "3+", "--resize", "64", "96", "32")
    assert "[0, 1-2, 3+]" in out
    assert f"{4 * (96 - 15) * (64 - 15):,} blocks" in out
    _, out, _ = run(*common, "--truncation", "1", "--paper", "pet/nwpu", "--split", "test", "--once-per-pixel")
    assert "3 images of sha (test)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--truncation", "0"], "truncation: 0"),
        (["--truncation", "99"], r"no block holds"),
        (["--share", "2"], "share: 2.0 must be above 0 and at most 1"),
        (["--reduction", "0"], "reduction: 0"),
        (["--paper", "nobody"], "rule: 'nobody' is none of"),
        (["--resize", "448", "100", "32"], "max_side: 100 is not a positive multiple of 32"),
        (["--split", "val"], "has no split 'val'"),
    ],
)
def test_bins_refuses_bad_input(run, shanghaitech_root, words, message):
    status, out, err = run("bins", shanghaitech_root, "--dataset", "shanghaitech", "--part", "A", *words)
    assert (status, out) == (2, "")
    assert message in err


def test_neither_the_tool_nor_the_doctor_needs_torch(run):
    code = "import sys; sys.path.insert(0, 'tools'); import check_dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_tree_of_train_valid_and_test_is_brought_into_order(run, tmp_path):
    picture = cv2.imencode(".png", np.zeros((40, 64, 3), np.uint8))[1].tobytes()
    for split in ("train", "valid", "test"):
        for kind in ("images", "labels"):
            (tmp_path / "tree" / split / kind).mkdir(parents=True)
        (tmp_path / "tree" / split / "images" / f"{split}.png").write_bytes(picture)
        (tmp_path / "tree" / split / "labels" / f"{split}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    status, _, err = run("import", "yolo", tmp_path / "tree", "--output", tmp_path / "out", "--link")
    assert status == 0, err
    source = Folder(tmp_path / "out")
    assert [source.records(split)[0].name for split in ("train", "val", "test")] == [
        "train.png",
        "valid.png",
        "test.png",
    ]


def test_an_import_without_any_head_is_refused(run, tmp_path):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((40, 64, 3), np.uint8))[1].tobytes())
    (tmp_path / "a.txt").write_text("")
    status, out, err = run("import", "yolo", tmp_path)
    assert (status, out) == (2, "") and "has no head to import (no shapes)" in err
    assert not (tmp_path / "points.json").exists()


def test_an_import_says_which_images_it_left_out(run, tmp_path):
    for name in ("a.png", "b.png", "d.png"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", np.zeros((40, 64, 3), np.uint8))[1].tobytes())
    (tmp_path / "c.cr2").write_bytes(b"raw")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    status, out, _ = run("import", "yolo", tmp_path, "--output", tmp_path / "new", "--copy")
    assert status == 0
    assert "left out: 2 x image that the export does not name, or that has no label file (b.png, d.png)" in out
    assert "left out: 1 x file in a format that is not read (c.cr2)" in out


def test_an_import_names_points_in_a_corner(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(cv2.imencode(".png", np.zeros((400, 640, 3), np.uint8))[1].tobytes())
    points = np.random.default_rng(0).uniform(0, 190, (30, 2)).tolist()
    shapes = [{"label": "head", "shape_type": "point", "points": [point]} for point in points]
    (tmp_path / "in" / "a.json").write_text(json.dumps({"shapes": shapes, "imagePath": "a.png"}))
    status, out, _ = run("import", "labelme", tmp_path / "in", "--output", tmp_path / "new", "--copy")
    assert status == 0 and "check:    a.png: all heads lie in the upper left part" in out
    table = {"shapes": shapes, "imagePath": "a.png", "imageWidth": 320, "imageHeight": 200}
    (tmp_path / "in" / "a.json").write_text(json.dumps(table))
    status, _, err = run("import", "labelme", tmp_path / "in", "--output", tmp_path / "other", "--copy")
    assert status == 2 and "states 320 x 200 pixels, but" in err
