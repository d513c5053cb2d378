"""Fixtures shared by all tests."""

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and OpenCV are imported: tests run side by side

import cv2
import numpy as np
import pytest
from hypothesis import settings
from scipy.io import savemat

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run, and no limit of their time: the tests share a machine.
settings.register_profile("crowdcount", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("search", max_examples=3000, deadline=None)  # pytest --hypothesis-profile search
settings.load_profile("crowdcount")


@pytest.fixture(scope="session")
def shared():
    """Folder of recorded reference numbers and real images that only the developers hold."""
    folder = Path(os.environ.get("CROWDCOUNT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the reference folder (CROWDCOUNT_SHARED) is not here")
    return folder


@pytest.fixture(scope="session")
def golden():
    """Folder of the reference numbers committed with the tests."""
    return Path(__file__).parent / "golden"


def _scene(rng, size):
    """Return a picture (RGB uint8) of 5 to 40 dark heads on a light ground and the points of the heads."""
    width, height = size
    points = rng.uniform([0, 0], [width, height], (rng.integers(5, 41), 2))
    ramp = np.linspace(150, 230, height)[:, None, None] + rng.normal(0, 6, (height, width, 3))
    picture = np.clip(ramp, 0, 255).astype(np.uint8)
    for x, y in points:
        centre = (round((x - 0.5) * 16), round((y - 0.5) * 16))
        cv2.circle(picture, centre, 48, (40, 30, 30), -1, cv2.LINE_AA, shift=4)
    return picture, points


def _write_image(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1])[1].tobytes())


def _write_shanghaitech(folder, part="A", layout="kaggle", train=4, test=3, size=(160, 128), seed=0):
    part_folder, truth = {
        "kaggle": (f"part_{part}", "ground-truth"),
        "final": (f"part_{part}_final", "ground_truth"),
    }[layout]
    rng = np.random.default_rng([seed, ord(part)])
    for split, images in (("train_data", train), ("test_data", test)):
        here = folder / part_folder / split
        (here / truth).mkdir(parents=True, exist_ok=True)
        for number in range(1, images + 1):
            picture, points = _scene(rng, size)
            _write_image(here / "images" / f"IMG_{number}.jpg", picture)
            info = np.empty((1, 1), object)
            info[0, 0] = {"location": points, "number": [[len(points)]]}
            savemat(here / truth / f"GT_IMG_{number}.mat", {"image_info": info}, do_compression=True)
    return folder


def _write_ucf_qnrf(folder, train=4, test=3, size=(160, 128), seed=0):
    rng = np.random.default_rng(seed)
    for split, images in (("Train", train), ("Test", test)):
        for number in range(1, images + 1):
            picture, points = _scene(rng, size)
            _write_image(folder / split / f"img_{number:04d}.jpg", picture)
            savemat(folder / split / f"img_{number:04d}_ann.mat", {"annPoints": points})
    return folder


def _boxes(rng, points):
    """Return a box x1, y1, x2, y2 of 4 to 12 pixels around each point."""
    half = rng.uniform(2, 6, (len(points), 2))
    return np.concatenate([points - half, points + half], axis=1)


def _write_nwpu(folder, annotations="mats", one_folder=False, size=(160, 128), seed=0):
    rng = np.random.default_rng(seed)
    splits = {"train": [1, 2, 1001, 2004], "val": [4005, 7], "test": [3, 5001]}
    (folder / annotations).mkdir(parents=True)
    for split, numbers in splits.items():
        lines = []
        for number in numbers:
            picture, points = _scene(rng, size)
            points = points[: 0 if number == 7 else None]
            boxes = _boxes(rng, points)
            part = "images" if one_folder else f"images_part{min(5, (number - 1) // 1000 + 1)}"
            _write_image(folder / part / f"{number:04d}.jpg", picture)
            traits = f" {number % 4} {int(len(points) > 0)}"
            lines.append(f"{number:04d}{'' if split == 'test' else traits}\n")
            if split == "test":
                continue
            path = folder / annotations / f"{number:04d}"
            if annotations == "mats":
                savemat(path.with_suffix(".mat"), {"annPoints": points, "annBoxes": boxes})
            else:
                entry = {"img_id": f"{number:04d}.jpg", "human_num": len(points), "points": points.tolist()}
                path.with_suffix(".json").write_text(json.dumps(entry | {"boxes": boxes.tolist()}))
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def _write_jhu_crowd(folder, train=4, val=2, test=3, size=(160, 128), seed=0):
    rng = np.random.default_rng(seed)
    first = 1
    for split, images in (("train", train), ("val", val), ("test", test)):
        (folder / split / "gt").mkdir(parents=True)
        rows = []
        for number in range(first, first + images):
            picture, points = _scene(rng, size)
            heads = [] if number == first + images - 1 else np.floor(points).astype(int).tolist()
            _write_image(folder / split / "images" / f"{number:04d}.jpg", picture)
            lines = (f"{x} {y} 6 7 {rng.integers(1, 4)} {rng.integers(2)}\n" for x, y in heads)
            (folder / split / "gt" / f"{number:04d}.txt").write_text("".join(lines))
            rows.append(f"{number:04d},{len(heads)},street,{number % 4},{int(not heads)}\n")
        (folder / split / "image_labels.txt").write_text("".join(rows))
        first += images
    return folder


def _write_ucf_cc_50(folder, size=(32, 24), seed=0):
    rng = np.random.default_rng(seed)
    for number in range(1, 51):
        picture, points = _scene(rng, size)
        _write_image(folder / f"{number}.jpg", picture)
        savemat(folder / f"{number}_ann.mat", {"annPoints": points})
    return folder


def _write_mall(folder, frames=2000, size=(32, 24), seed=0):
    rng = np.random.default_rng(seed)
    cells, counts = np.empty((1, frames), object), np.zeros((frames, 1), np.uint8)
    picture, _ = _scene(rng, size)
    _write_image(folder / "frames" / "seq_000001.jpg", picture)
    data = (folder / "frames" / "seq_000001.jpg").read_bytes()
    for frame in range(frames):
        points = rng.uniform([0, 0], size, (rng.integers(13, 54), 2))
        cells[0, frame], counts[frame] = {"loc": points}, len(points)
        (folder / "frames" / f"seq_{frame + 1:06d}.jpg").write_bytes(data)
    savemat(folder / "mall_gt.mat", {"frame": cells, "count": counts})
    return folder


_REC8K = {
    "0000-cs-img_000001.jpg": "Crowd_Surveillance/images_train/images/train/img_000001.jpg",
    "0001-mall-seq_000007.jpg": "mall_dataset/frames/seq_000007.jpg",
    "0002-detrac-MVI_20011-img01.jpg": "DETRAC/DETRAC-train-data/Insight-MVT_Annotation_Train/MVI_20011/img01.jpg",
    "0003-fsc147-2689.jpg": "FSC147_384_V2/images_384_VarV2/2689.jpg",
    "0004-carpk-20160331_NTU_00001.png": "CARPK_devkit/data/Images/20160331_NTU_00001.png",
    "0005-nwpu-0003.jpg": "NWPU/images/0003.jpg",
    "0006-visdrone-00001-00002.jpg": "VisDrone2020-CC/sequences/00001/00002.jpg",
    "0007-jhuv2-0008.jpg": "jhu_crowd_v2.0/test/images/0008.jpg",
    "0008-internet-9.jpg": "internet/9.jpg",
}


def _write_rec8k(folder, annotations="", flat=False, size=(160, 128), seed=0):
    rng = np.random.default_rng(seed)
    table, splits = {}, {"train": [], "val": [], "test": []}
    (folder / annotations).mkdir(parents=True, exist_ok=True)
    for number, (name, place) in enumerate(_REC8K.items()):
        picture, points = _scene(rng, size)
        _write_image(folder / "rec-8k" / name if flat else folder / place, picture)
        left = points[:, 0] < size[0] / 2
        entry = {"class": "person", "type": "location"}
        table[name] = {
            "Person on the left side": entry | {"attribute": "left side", "points": points[left].tolist()},
            "person on the right": entry | {"attribute": "right", "points": points[~left].tolist()},
        }
        splits[("train", "train", "train", "val", "test")[number % 5]].append(name)
    for split, names in splits.items():  # the pairs of an image need not be neighbours
        pairs = [[name, text] for turn in (0, 1) for name in names for text in list(table[name])[turn : turn + 1]]
        splits[split] = pairs
    (folder / annotations / "annotations.json").write_text(json.dumps(table))
    (folder / annotations / "splits.json").write_text(json.dumps(splits))
    return folder


def _write_fsc147(folder, size=(160, 128), seed=0):
    rng = np.random.default_rng(seed)
    splits = {"train": ["7.jpg", "2.jpg", "1050.jpg"], "val": ["190.jpg"], "test": ["3.jpg", "4.jpg"]}
    splits |= {"val_coco": ["190.jpg"], "test_coco": ["4.jpg"]}
    classes = {"7.jpg": "sea shells", "2.jpg": "sea shells", "1050.jpg": "peas"}
    classes |= {"190.jpg": "deers", "3.jpg": "apples", "4.jpg": "marbles"}
    table = {}
    for name in classes:
        picture, points = _scene(rng, size)
        _write_image(folder / "images_384_VarV2" / name, picture)
        boxes = [[[x - 3, y - 3], [x - 3, y + 3], [x + 3, y + 3], [x + 3, y - 3]] for x, y in points[:3].tolist()]
        sizes = {"H": size[1], "W": size[0], "ratio_h": 1.0, "ratio_w": 1.0}
        table[name] = {"points": points.tolist(), "box_examples_coordinates": boxes, **sizes}
    split_of = {name: split for split in ("train", "val", "test") for name in splits[split]}
    described = {
        name: {"data_split": split_of[name], "text_description": f"the {category}"}
        for name, category in classes.items()
    }
    (folder / "annotation_FSC147_384.json").write_text(json.dumps(table))
    (folder / "Train_Test_Val_FSC_147.json").write_text(json.dumps(splits))
    (folder / "FSC-147-D.json").write_text(json.dumps(described))
    lines = (f"{name}\t{category}\n" for name, category in classes.items())
    (folder / "ImageClasses_FSC147.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def write_shanghaitech():
    """Writer of a small ShanghaiTech part in its real format.

    `write_shanghaitech(folder, part="A", layout="kaggle" | "final", train=4, test=3, size=(width, height), seed=0)`
    makes `part_A/{train,test}_data/{images,ground-truth}` (or `part_A_final`, `ground_truth`) in `folder`, which it
    returns; train and test are numbers of images.
    """
    return _write_shanghaitech


@pytest.fixture(scope="session")
def write_ucf_qnrf():
    """Writer of a small UCF-QNRF: `write_ucf_qnrf(folder, train=4, test=3, size=(width, height), seed=0)`."""
    return _write_ucf_qnrf


@pytest.fixture(scope="session")
def write_ucf_cc_50():
    """Writer of a UCF_CC_50 of 50 small images: `write_ucf_cc_50(folder, size=(width, height), seed=0)`."""
    return _write_ucf_cc_50


@pytest.fixture(scope="session")
def write_mall():
    """Writer of a Mall whose frames all show one small picture: `write_mall(folder, frames=2000, size, seed=0)`."""
    return _write_mall


@pytest.fixture(scope="session")
def write_nwpu():
    """Writer of a small NWPU-Crowd of 4 train, 2 val and 2 test images; val image 0007 has no people.

    The luminance of an image is its number modulo 4, its level 0 or 1.

    `write_nwpu(folder, annotations="mats" | "jsons", one_folder=False, size=(width, height), seed=0)`
    """
    return _write_nwpu


@pytest.fixture(scope="session")
def write_jhu_crowd():
    """Writer of a small JHU-CROWD++; images are numbered across the splits and the last of each has no people.

    The weather of an image is its number modulo 4; an empty one is a distractor. Heads are 6 x 7 pixels.

    `write_jhu_crowd(folder, train=4, val=2, test=3, size=(width, height), seed=0)`
    """
    return _write_jhu_crowd


@pytest.fixture(scope="session")
def write_rec8k():
    """Writer of a small REC-8K: one image of each of its nine sources, with two expressions each, by side.

    `write_rec8k(folder, annotations="", flat=False, size=(width, height), seed=0)`; `annotations` is the folder of the
    two JSON files in `folder`, `flat` puts the images into `rec-8k` under their ids.
    """
    return _write_rec8k


@pytest.fixture(scope="session")
def write_fsc147():
    """Writer of a small FSC-147 of 3 train, 1 val and 2 test images, with descriptions.

    `write_fsc147(folder, size=(width, height), seed=0)`
    """
    return _write_fsc147


@pytest.fixture(scope="session")
def shanghaitech_root(tmp_path_factory):
    """Small ShanghaiTech, parts A and B, each of 4 train and 3 test images of 160 x 128 pixels with 5 to 40 people.

    Read only: all tests share it. Write your own with `write_shanghaitech` to change or damage one.
    """
    folder = tmp_path_factory.mktemp("ShanghaiTech")
    for part in "AB":
        _write_shanghaitech(folder, part)
    return folder


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """A function that writes an index of its own, with a cache of its own, and has the package use both.

    Its argument says what is different from the shipped entry of that name, for each entry it should have.
    """
    from crowdcount.weights import index as weights

    shipped = json.loads(weights.index_file().read_text())["weights"]
    path = tmp_path / "index.json"
    for name in ("CROWDCOUNT_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CROWDCOUNT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(weights, "index_file", lambda: path)

    def write(entries):
        start = shipped["clip_ebc/rn50.openai"]  # for names that are not shipped
        content = {name: {**shipped.get(name, start), **changes} for name, changes in entries.items()}
        path.write_text(json.dumps({"schema": 1, "weights": content}))
        weights.read_index.cache_clear()
        return path

    write({})
    yield write
    weights.read_index.cache_clear()
