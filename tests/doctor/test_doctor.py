import json
import os
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from crowdcount.data.sample import Record
from crowdcount.doctor import CHECKS, LEVELS, DataSet, Finding, examine
from crowdcount.doctor.datasets import known, option_names
from crowdcount.doctor.duplicates import WINDOWS, compare, find_duplicates, image_hash
from crowdcount.doctor.inspect_image import inspect_image
from crowdcount.doctor.published_totals import TOTALS
from crowdcount.doctor.read_split import read_split
from crowdcount.errors import InputError


def data_set(name, root, *options):
    return DataSet.parse(name, root, list(options))


def found(report, check):
    return [(each.split, each.name) for each in report.findings if each.check == check]


def checks(report):
    return {each.check for each in report.findings} - {"size", "total"}  # small data sets are neither


@pytest.fixture
def part(tmp_path, write_shanghaitech):
    """A small part A on its own, to be damaged."""
    return write_shanghaitech(tmp_path, "A", size=(320, 256)) / "part_A"


def examined(part, jobs=1):
    return examine(data_set("shanghaitech", part, "--part", "A"), jobs)


def write_location(path, points):
    info = np.empty((1, 1), object)
    info[0, 0] = {"location": points, "number": [[len(points)]]}
    savemat(path, {"image_info": info})


# --- data sets


TOTAL_SETS = [
    *(("shanghaitech", "--part", part) for part in "AB"),
    *(("ucf_cc_50", "--fold", str(fold)) for fold in range(1, 6)),
    *((name,) for name in ("fsc147", "jhu_crowd", "mall", "nwpu", "ucf_qnrf")),
]


def test_every_adapter_with_a_folder_is_known(tmp_path):
    names = {
        "captions",
        "folder",
        "fsc147",
        "jhu_crowd",
        "mall",
        "nwpu",
        "rec8k",
        "shanghaitech",
        "ucf_cc_50",
        "ucf_qnrf",
    }
    assert {name for name, adapter in known().items() if adapter.__module__.startswith("crowdcount.")} == names
    assert option_names(known()["shanghaitech"]) == ["--part"]
    keys = {data_set(name, tmp_path, *options).key for name, *options in TOTAL_SETS}
    assert TOTALS.keys() == keys


def test_options_of_a_data_set_are_checked(tmp_path):
    assert data_set("ucf_cc_50", tmp_path, "--fold", "3").options == {"fold": 3}
    with pytest.raises(InputError, match=r"shanghaitech: .*'A', 'B'.*C \(its options: --part\)"):
        data_set("shanghaitech", tmp_path, "--part", "C")
    with pytest.raises(InputError, match=r"mall: .*its options: none"):
        data_set("mall", tmp_path, "--part", "A")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        data_set("mall", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "images"),
    [("ucf_qnrf", 7), ("nwpu", 8), ("jhu_crowd", 9), ("fsc147", 6), ("rec8k", 9), ("ucf_cc_50", 50)],
)
def test_whole_data_sets_have_no_fault(tmp_path, name, images, request):
    options = ["--fold", "1"] if name == "ucf_cc_50" else []
    report = examine(data_set(name, request.getfixturevalue(f"write_{name}")(tmp_path / name), *options))
    assert checks(report) <= {"empty"}
    assert sum(each.images for each in report.splits) == images


def test_a_folder_without_the_data_set_is_bad_input(tmp_path):
    report = examined(tmp_path)
    assert found(report, "split") == [("train", tmp_path.name), ("test", tmp_path.name)]
    assert {each.file for each in report.findings if each.check == "split"} == {str(tmp_path)}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="jobs: 0 must be at least 1"):
        examined(tmp_path, jobs=0)


# --- files


def test_all_missing_and_damaged_files_are_listed_and_the_rest_is_examined(part):
    images, truth = part / "train_data" / "images", part / "train_data" / "ground-truth"
    for number in range(5, 9):
        shutil.copy(part / "test_data" / "images" / "IMG_1.jpg", images / f"IMG_{number}.jpg")
        write_location(truth / f"GT_IMG_{number}.mat", [[1.0, 2.0]])
    (truth / "GT_IMG_1.mat").write_bytes(b"damaged")
    (truth / "GT_IMG_2.mat").unlink()
    (images / "IMG_3.jpg").unlink()
    (images / "IMG_4.jpg").write_bytes(b"no picture")
    write_location(truth / "GT_IMG_5.mat", [[1.0, np.nan]])
    (truth / "GT_IMG_6.mat").unlink()
    report = examined(part)
    assert Counter(found(report, "file")) == Counter(
        ("train", name) for name in ("GT_IMG_1.mat", "IMG_2.jpg", "GT_IMG_3.mat", "GT_IMG_5.mat", "IMG_6.jpg")
    )
    details = {each.name: each for each in report.findings if each.check == "file"}
    assert details["GT_IMG_1.mat"].file == str(truth / "GT_IMG_1.mat")
    assert "not readable" in details["GT_IMG_1.mat"].detail
    assert details["IMG_2.jpg"].detail.startswith("has no annotation")
    assert str(images) in details["GT_IMG_3.mat"].detail  # the folder itself, not the view of it
    assert "point 0 is [1.0, nan]" in details["GT_IMG_5.mat"].detail
    assert found(report, "decode") == [("train", "IMG_4")]
    assert [each.images for each in report.splits] == [3, 3]  # 4, 7 and 8 are left
    assert ("", "train/IMG_7 = train/IMG_8 = test/IMG_1") in found(report, "leak")
    assert sorted(path.name for path in images.iterdir())[:2] == ["IMG_1.jpg", "IMG_2.jpg"]  # nothing was changed
    text = report.text()
    assert all(name in text for name in details)
    assert "5 unreadable files are not counted" in text


def test_a_missing_split_is_said_and_the_other_is_examined(part):
    shutil.rmtree(part / "test_data")
    report = examined(part)
    assert [each.split for each in report.splits] == ["train"]
    ((split, _),) = found(report, "split")
    assert split == "test"
    assert report.fails("error")
    assert "test_data/images: no such folder" in report.text()
    (split,) = [each for each in json.loads(report.json())["findings"] if each["check"] == "split"]
    assert split["file"] == str(part / "test_data" / "images")


def test_files_of_a_list_that_are_missing_are_all_listed(tmp_path, write_nwpu):
    root = write_nwpu(tmp_path / "NWPU")
    (root / "mats" / "0002.mat").unlink()
    (root / "mats" / "2004.mat").write_bytes(b"x")
    report = examine(data_set("nwpu", root))
    assert found(report, "file") == [("train", "0002.mat"), ("train", "2004.mat")]
    assert {each.split: each.images for each in report.splits} == {"train": 2, "val": 2, "test": 2}
    (root / "images_part1" / "0001.jpg").unlink()
    (root / "images_part2" / "1001.jpg").unlink()
    (root / "images_part5" / "5001.jpg").unlink()
    report = examine(data_set("nwpu", root))
    assert [(split, name) for split, name in found(report, "file") if name.endswith(".jpg")] == [
        ("train", "0001.jpg"),
        ("train", "1001.jpg"),
        ("test", "5001.jpg"),
    ]
    assert f"train: {root / '0001.jpg'}: train.txt lists 0001, but no images folder has 0001.jpg" in report.text()
    assert not found(report, "split")
    (root / "val.txt").write_text("0007 1 2\n0007 1 2\n")
    report = examine(data_set("nwpu", root))
    assert found(report, "split") == [("val", "val.txt")]
    assert {each.split for each in report.splits} == {"test"}  # no image of train is left
    assert "0 images (4 unreadable files are not counted), the published files have 3,109" in report.text()


def test_what_stands_in_for_a_missing_file_may_be_damaged_itself(tmp_path, write_nwpu):
    root = write_nwpu(tmp_path / "NWPU", annotations="jsons")
    (root / "jsons" / "0001.json").unlink()
    for name in ("0002", "0007", "1001"):
        (root / "jsons" / f"{name}.json").write_text("{}")
    report = examine(data_set("nwpu", root))
    assert sorted(found(report, "file")) == [
        ("train", "0001.json"),
        ("train", "0002.json"),
        ("train", "1001.json"),
        ("val", "0007.json"),
    ]
    assert {each.split: each.images for each in report.splits} == {"train": 1, "val": 1, "test": 2}


def test_own_pictures_are_listed_by_name(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("anna", "bob", "carl", "dora"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 256, (240, 240, 3), np.uint8))
        (tmp_path / f"{name}.txt").write_text("1 2\n")
    (tmp_path / "anna.txt").write_text("1 two\n")
    (tmp_path / "carl.txt").unlink()
    report = examine(data_set("folder", tmp_path))
    assert found(report, "file") == [("train", "anna.txt"), ("train", "carl.png")]
    assert [each.images for each in report.splits] == [2]


def write_own(folder, *stems, ending=".png"):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        data = cv2.imencode(".png", rng.integers(0, 256, (240, 240, 3), np.uint8))[1]
        (folder / f"{stem}{ending}").write_bytes(data.tobytes())
    return folder


def test_coordinates_in_another_frame_are_an_error(tmp_path):
    root = write_own(tmp_path / "mine", "a", "b")
    rng = np.random.default_rng(0)
    (root / "points.json").write_text(json.dumps({f"{n}.png": rng.uniform(0, 1, (20, 2)).tolist() for n in "ab"}))
    (root / "c.dng").touch()
    report = examine(data_set("folder", root))
    assert found(report, "frame") == [("train", "mine")] and not found(report, "doubt")
    assert report.fails("error") and "a.png, b.png: all coordinates lie between 0 and 1" in report.text()
    assert "1 file left out, not images in a format that is read" in report.text()
    (root / "points.json").write_text(json.dumps({f"{n}.png": rng.uniform(0, 120, (20, 2)).tolist() for n in "ab"}))
    report = examine(data_set("folder", root))
    assert found(report, "doubt") == [("train", "mine")] and not report.fails("error")
    (root / "points.json").write_text(json.dumps({f"{n}.png": rng.uniform(0, 240, (20, 2)).tolist() for n in "ab"}))
    assert checks(examine(data_set("folder", root))) == {"left out"}


def test_published_annotations_are_doubted_not_refused(part):
    for path in part.glob("train_data/ground-truth/*.mat"):
        write_location(path, np.random.default_rng(0).uniform(0, 1, (20, 2)))
    report = examined(part)
    assert found(report, "doubt") == [("train", "part_A")] and not report.fails("error")


def test_paths_with_colons_are_told_whole(tmp_path):
    root = write_own(tmp_path / "with: colon", "a: b", "c: d", "e")
    (root / "a: b.txt").write_text("1 two\n")
    (root / "e.txt").write_text("1 2\n")
    report = examine(data_set("folder", root))
    assert found(report, "file") == [("train", "a: b.txt"), ("train", "c: d.png")]
    details = {each.file: each.detail for each in report.findings if each.check == "file"}
    assert details[str(root / "a: b.txt")].startswith("line 1 has '1 two'")
    assert details[str(root / "c: d.png")].startswith("no annotation in ")
    assert [each.images for each in report.splits] == [1]
    (root / "lone: some.txt").write_text("1 2\n")
    assert ("train", "lone: some.txt") in found(examine(data_set("folder", root)), "file")


def test_colons_in_the_path_of_a_data_set(tmp_path, write_shanghaitech):
    part = write_shanghaitech(tmp_path / "with: colon", "A", size=(320, 256)) / "part_A"
    (part / "train_data" / "ground-truth" / "GT_IMG_2.mat").write_bytes(b"damaged")
    (part / "train_data" / "images" / "IMG_3.jpg").unlink()
    report = examined(part)
    assert Counter(found(report, "file")) == Counter([("train", "GT_IMG_2.mat"), ("train", "GT_IMG_3.mat")])
    assert [each.images for each in report.splits] == [2, 3]


@pytest.fixture
def qnrf(tmp_path, write_ucf_qnrf):
    """A small UCF-QNRF with the lists of train (three images) and val (two)."""
    root = write_ucf_qnrf(tmp_path / "QNRF", train=5, test=2)
    (root / "train.txt").write_text("img_0001.jpg\nimg_0002.jpg\nimg_0003.jpg\n")
    (root / "val.txt").write_text("img_0004.jpg\nimg_0005.jpg\n")
    return root


def test_damage_does_not_make_the_lists_of_ucf_qnrf_wrong(qnrf):
    (qnrf / "Train" / "img_0003_ann.mat").write_bytes(b"damaged")
    report = examine(data_set("ucf_qnrf", qnrf))
    assert found(report, "file") == [("train", "img_0003_ann.mat")]
    assert not found(report, "split")
    assert {each.split: each.images for each in report.splits} == {"train": 2, "val": 2, "test": 2}


def test_a_fault_that_train_and_val_share_is_listed_once(qnrf):
    (qnrf / "Train" / "img_0001_ann.mat").unlink()
    (qnrf / "Train" / "img_0002.jpg").unlink()
    (qnrf / "Train" / "img_0005_ann.mat").write_bytes(b"damaged")
    report = examine(data_set("ucf_qnrf", qnrf))
    assert found(report, "file") == [
        ("train", "img_0001.jpg"),
        ("train", "img_0002_ann.mat"),
        ("val", "img_0005_ann.mat"),
    ]
    assert {each.split: each.images for each in report.splits} == {"train": 1, "val": 1, "test": 2}
    (qnrf / "val.txt").write_text("img_0004.jpg\nimg_0009.jpg\n")
    report = examine(data_set("ucf_qnrf", qnrf))
    lists = [each for each in report.findings if each.check == "split"]
    assert {(each.split, each.file) for each in lists} == {(name, str(qnrf / "val.txt")) for name in ("train", "val")}
    assert all("'img_0009.jpg' is no image of the folder Train" in each.detail for each in lists)


def test_many_faults_cost_one_reading(part, monkeypatch):
    for number in range(1, 5):
        (part / "train_data" / "ground-truth" / f"GT_IMG_{number}.mat").write_bytes(b"damaged")
    calls = []
    monkeypatch.setattr("crowdcount.data.annotations.common_formats.check_file", lambda data: calls.append(data))
    report = examined(part)
    assert len(found(report, "file")) == 4
    assert len(calls) == 4 + 3  # train and test, each file once


@pytest.mark.parametrize("name", ["fsc147", "rec8k"])
def test_all_missing_images_are_listed(tmp_path, name, request):
    root = request.getfixturevalue(f"write_{name}")(tmp_path / name)
    whole = examine(data_set(name, root))
    pictures = sorted(path for path in root.rglob("*.jpg") if not path.is_symlink())[:3]
    for path in pictures:
        path.unlink()
    report = examine(data_set(name, root))
    images = [sum(each.images for each in one.splits) for one in (whole, report)]
    assert images[0] - images[1] == len(found(report, "file")) == 3
    assert not found(report, "split")


def test_all_missing_frames_are_listed(tmp_path, write_mall):
    root = write_mall(tmp_path / "mall")
    for number in (3, 700, 1001):
        (root / "frames" / f"seq_{number:06d}.jpg").unlink()
    records, faults = read_split(data_set("mall", root), "train")
    assert [(each.check, each.name) for each in faults] == [("file", "seq_000003.jpg"), ("file", "seq_000700.jpg")]
    assert len(records) == 798


def test_pictures_that_a_table_names_rightly_are_examined(tmp_path):
    root = write_own(tmp_path / "own", *"abcd")
    (root / "c.png").write_bytes(b"")
    (root / "points.json").write_text(json.dumps({"a.png": [[1, 2]], "c.png": [[1, 2]], "x.png": [], "y.png": []}))
    report = examine(data_set("folder", root))
    (fault,) = [each for each in report.findings if each.check == "file"]
    assert fault.file == str(root / "points.json")
    assert all(name in fault.detail for name in ("'x.png'", "'y.png'", "names no points of b.png, d.png;"))
    assert [each.images for each in report.splits] == [2]
    assert found(report, "decode") == [("train", "c.png")]


def test_points_without_their_picture_are_listed(tmp_path):
    root = write_own(tmp_path / "own", "p1", "p2")
    for name in ("p1", "p2", "p4"):
        (root / f"{name}.txt").write_text("1 2\n")
    report = examine(data_set("folder", root))
    assert found(report, "file") == [("train", "p4.txt")]
    assert [each.images for each in report.splits] == [2]


# --- images


def rewrite(path, image, **options):
    image.save(path, **options)


@pytest.mark.parametrize(
    ("check", "mode", "suffix"),
    [
        ("grey", "L", ".jpg"),
        ("cmyk", "CMYK", ".jpg"),
        ("palette", "P", ".png"),
        ("alpha", "RGBA", ".png"),
        ("grey", "1", ".png"),
        ("alpha", "LA", ".png"),
    ],
)
def test_modes_are_told(tmp_path, check, mode, suffix):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).convert(mode).save(path)
    inspection = inspect_image(path)
    assert check in inspection.traits
    assert inspection.size == (60, 40)
    assert inspection.problem == ""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_images_are_told(tmp_path, suffix, channels):
    for depth in (np.uint8, np.uint16):
        path = tmp_path / f"{np.dtype(depth).name}{suffix}"
        cv2.imwrite(str(path), np.full((40, 60, channels), np.iinfo(depth).max - 55, depth))
        traits = inspect_image(path).traits
        assert ("depth" in traits) == (depth is np.uint16)
        assert ("grey" in traits) == (channels == 1)


def test_ordinary_images_have_no_traits(part):
    assert all(not inspect_image(path).traits for path in part.rglob("*.jpg"))


def test_findings_of_images_and_points(part):
    images, truth = part / "train_data" / "images", part / "train_data" / "ground-truth"
    PIL.Image.open(images / "IMG_1.jpg").convert("L").save(images / "IMG_1.jpg")
    picture = PIL.Image.open(images / "IMG_2.jpg")
    picture.load()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture.resize((400, 300)).save(images / "IMG_2.jpg", exif=exif)
    write_location(truth / "GT_IMG_2.mat", [[350.0, 20.0], [20.0, 350.0], [20.0, 350.0]])
    write_location(truth / "GT_IMG_3.mat", np.zeros((0, 2)))
    PIL.Image.open(images / "IMG_4.jpg").resize((1000, 230)).save(images / "IMG_4.jpg")
    write_location(truth / "GT_IMG_4.mat", [[-383.0, -85.0], [1000.0, 3.0], [5.0, 5.0], [5.0, 5.0], [5.0, 5.0]])
    report = examined(part)
    by_check = {
        check: [(each.name, each.detail, each.count) for each in report.findings if each.check == check]
        for check in CHECKS
    }
    assert by_check["grey"] == [("IMG_1", "", 1)]
    assert by_check["rotation"] == [
        ("IMG_2", "orientation 6, 300 x 400 upright; outside it 1 points, outside the image as stored 2", 1)
    ]
    assert by_check["outside"] == [("IMG_2", "1", 1), ("IMG_4", "2", 2)]
    assert by_check["double"] == [("IMG_2", "1", 1), ("IMG_4", "2", 2)]
    assert by_check["empty"] == [("IMG_3", "", 1)]
    assert by_check["size"] == [("IMG_4", "1000 x 230", 1)]
    train = report.splits[0]
    assert (train.heads - train.inside, train.fewest, train.largest) == (3, 0, (1000, 230))
    assert "3 in 2 images" in report.text()


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_cut_short_do_not_decode_completely(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    assert not inspect_image(path).problem
    cut(path, share)
    inspection = inspect_image(path)
    assert inspection.problem
    assert inspection.shown is None
    assert inspection.digest


@pytest.mark.parametrize(
    ("content", "start"),
    [(b"", "is empty; copy it again"), (b"no picture", "not a readable image (10 bytes); copy it again")],
)
def test_problems_say_what_to_do_and_not_the_path(tmp_path, content, start):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    problem = inspect_image(path).problem
    assert problem.startswith(start)
    assert str(tmp_path) not in problem
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    cut(path, 0.5)
    assert "copy it again" in inspect_image(path).problem


def test_points_of_images_that_do_not_decode_are_not_inside(part, monkeypatch):
    truth = part / "train_data" / "ground-truth"
    for number, heads in enumerate((5, 7, 2, 1), 1):
        write_location(truth / f"GT_IMG_{number}.mat", [[10.0 + n, 20.0] for n in range(heads)])
    totals = tuple(total._replace(heads=15) for total in TOTALS["sha"][:1])
    monkeypatch.setitem(TOTALS, "sha", totals)
    (part / "train_data" / "images" / "IMG_2.jpg").write_bytes(b"")
    report = examined(part)
    train = report.splits[0]
    assert (train.heads, train.inside, train.undecoded, train.images) == (15, 8, 1, 4)
    assert "15 heads (1 to 7 each), 8 inside their images (of 3 images: 1 cannot be decoded)" in report.text()
    assert (
        "8 heads inside their images (without the 1 that cannot be decoded), the published files have 15"
        in report.text()
    )
    assert "undecoded" not in report.splits[1].line() and "cannot be decoded" not in report.splits[1].line()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_no_damage_stops_the_examination(tmp_path, suffix, changes):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)).save(path)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[min(place, len(data) - 1)] = value
    path.write_bytes(data)
    inspection = inspect_image(path)
    assert bool(inspection.problem) == (inspection.shown is None)


def test_a_missing_image_is_told(tmp_path):
    assert inspect_image(tmp_path / "a.jpg").problem.startswith("cannot be opened (No such file or directory); restore")


def test_several_processes_give_the_same_report(part):
    cut(part / "train_data" / "images" / "IMG_2.jpg", 0.5)
    one, two = (examined(part, jobs) for jobs in (1, 2))
    assert one.json() == two.json()
    assert found(two, "decode") == [("train", "IMG_2")]


# --- repeated photographs


def photograph(seed, height=300, width=420):
    """Return grey noise of many scales: like a photograph of a crowd, and unlike that of another seed."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for scale in (2, 4, 8, 16, 32, 64):
        coarse = rng.normal(size=(height // scale + 2, width // scale + 2))
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * scale**0.5
    return cv2.normalize(total, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def trimmed(picture, share, seed):
    rng = np.random.default_rng(seed)
    height, width = picture.shape
    top, left = (rng.uniform(0, share, 2) * (height, width)).astype(int)
    return picture[top : top + int(height * (1 - share)), left : left + int(width * (1 - share))]


ALTERED = {
    "compressed": lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 0),
    "smaller": lambda p: cv2.resize(p, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    "stretched": lambda p: cv2.resize(p, None, fx=1.1, fy=0.9),
    "darker": lambda p: cv2.convertScaleAbs(p, alpha=0.7, beta=10),
    "trimmed": lambda p: trimmed(p, 0.1, 3),
    "marked": lambda p: cv2.putText(p.copy(), "agency", (60, 150), cv2.FONT_HERSHEY_SIMPLEX, 2, 200, 1),
    "trimmed, smaller, compressed": lambda p: ALTERED["compressed"](ALTERED["smaller"](trimmed(p, 0.12, 4))),
}


@pytest.mark.parametrize("alteration", ALTERED)
def test_altered_copies_are_found_among_others(alteration):
    prints = [image_hash(photograph(seed)) for seed in range(12)]
    prints.append(image_hash(ALTERED[alteration](photograph(5))))
    assert [pair[:2] for pair in find_duplicates(prints)] == [(5, 12)]


def test_other_photographs_are_not_alike():
    prints = [image_hash(photograph(seed)) for seed in range(120)]
    assert find_duplicates(prints) == []
    values = [compare(one.small, other.small, 0)[0] for one, other in pairwise(prints)]
    assert max(values) < 0.4
    assert find_duplicates([]) == []


def test_even_pictures_are_no_photographs_of_the_same():
    prints = [image_hash(np.full((200, 300), value, np.uint8)) for value in (0, 90, 255)]
    assert find_duplicates(prints) == []


def test_windows_lie_inside_the_image():
    assert len(set(WINDOWS)) == len(WINDOWS) == 46
    assert all(x >= 0 and y >= 0 and x + w <= 1.0001 and y + h <= 1.0001 for x, y, w, h in WINDOWS)


def test_repeated_photographs_are_told_within_and_across_splits(part):
    train, test = part / "train_data" / "images", part / "test_data" / "images"
    for seed, path in enumerate(sorted(part.rglob("*.jpg"))):
        cv2.imwrite(str(path), photograph(seed))
    shutil.copy(train / "IMG_1.jpg", test / "IMG_3.jpg")
    picture = cv2.imread(str(train / "IMG_2.jpg"))
    cv2.imwrite(str(train / "IMG_4.jpg"), picture[10:-5, 8:-12], [cv2.IMWRITE_JPEG_QUALITY, 60])
    report = examined(part)
    assert found(report, "leak") == [("", "train/IMG_1 = test/IMG_3")]
    assert found(report, "repeat") == [("train", "train/IMG_2 = train/IMG_4")]
    assert "train/IMG_1 = test/IMG_3: equal byte for byte" in report.text()
    assert "train/IMG_2 = train/IMG_4: nearly equal (correlation of details" in report.text()


def write_frames(part, people=1):
    """Replace all images by frames of one camera, in which people stand at other places each time."""
    rng = np.random.default_rng(0)
    background = cv2.cvtColor(photograph(0, 256, 320), cv2.COLOR_GRAY2BGR)
    for path in sorted(part.rglob("*.jpg")):
        frame = background.copy()
        for centre in rng.integers(20, 230, (people, 2)).tolist():
            cv2.circle(frame, centre, 12, (20, 20, 20), -1)
        cv2.imwrite(str(path), frame)


def test_frames_of_a_busier_camera_are_no_leak(part):
    write_frames(part, people=3)
    report = examined(part)
    assert found(report, "leak") == found(report, "repeat") == []
    assert len(found(report, "camera")) == 1


def test_frames_of_one_camera_are_no_leak(part):
    write_frames(part)
    report = examined(part)
    assert found(report, "leak") == found(report, "repeat") == []
    ((_, name),) = found(report, "camera")
    assert name.split(" = ") == [*(f"train/IMG_{n}" for n in range(1, 5)), *(f"test/IMG_{n}" for n in range(1, 4))]
    assert "7 images of train and test share a background and differ in what moves" in report.text()
    many = [Finding("camera", "", " = ".join(f"train/IMG_{n}" for n in range(2000)))]
    text = type(report)(report.data, report.splits, many).text()
    assert "train/IMG_7 = and 1,992 more, which --json lists" in text


def test_a_copied_frame_of_a_camera_is_a_leak(part):
    write_frames(part)
    shutil.copy(part / "train_data" / "images" / "IMG_1.jpg", part / "test_data" / "images" / "IMG_3.jpg")
    frame = cv2.imread(str(part / "train_data" / "images" / "IMG_2.jpg"))
    cv2.imwrite(str(part / "test_data" / "images" / "IMG_2.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 60])
    pairs = ["train/IMG_1 = test/IMG_3", "train/IMG_2 = test/IMG_2"]
    assert sorted(name for _, name in found(examined(part), "leak")) == pairs


def test_altered_copies_in_several_splits_are_no_camera(part):
    for i, path in enumerate(sorted(part.rglob("*.jpg"))):
        cv2.imwrite(str(path), cv2.convertScaleAbs(photograph(1), alpha=0.7 + 0.04 * i))
    ((_, name),) = found(examined(part), "leak")
    assert name.count(" = ") == 6 and not found(examined(part), "camera")


# --- totals


def test_totals_are_compared(part, monkeypatch):
    report = examined(part)
    assert {each.detail.split(", the published")[0] for each in report.findings if each.check == "total"} >= {
        "4 images",
        "3 images",
    }
    heads = [each.heads for each in report.splits]
    totals = tuple(
        total._replace(images=images, heads=count)
        for total, images, count in zip(TOTALS["sha"], (4, 3), heads, strict=True)
    )
    monkeypatch.setitem(TOTALS, "sha", totals)
    assert not found(examined(part), "total")
    write_location(part / "train_data" / "ground-truth" / "GT_IMG_1.mat", [[1.0, 2.0]])
    ((split, name),) = found(examined(part), "total")
    assert (split, name) == ("train", "train")


def test_totals_are_consistent():
    for key, totals in TOTALS.items():
        by_split = {total.splits: total.images for total in totals}
        whole = by_split.get(("train", "val", "test")) or by_split.get(("train", "test"))
        parts = [
            images for splits, images in by_split.items() if splits not in (("train", "val", "test"), ("train", "test"))
        ]
        assert whole is None or not parts or sum(parts) == whole, key


# --- report


def test_the_report_as_json_and_its_levels(part):
    cut(part / "train_data" / "images" / "IMG_2.jpg", 0.5)
    report = examined(part)
    table = json.loads(report.json())
    assert table["dataset"] == "shanghaitech"
    assert table["options"] == {"part": "A"}
    assert [each["split"] for each in table["splits"]] == ["train", "test"]
    assert sum(table["summary"].values()) == len(table["findings"])
    (broken,) = [each for each in table["findings"] if each["check"] == "decode"]
    assert (broken["level"], broken["split"], broken["name"]) == ("error", "train", "IMG_2")
    assert Path(broken["file"]) == part / "train_data" / "images" / "IMG_2.jpg"
    assert [report.fails(level) for level in LEVELS] == [True, True, True]
    order = [LEVELS.index(each.level) for each in report.findings]
    assert order == sorted(order)


def test_levels_of_failure(part):
    report = examined(part)
    only_notes = type(report)(report.data, report.splits, [Finding("empty", "train", "a")])
    assert [only_notes.fails(level) for level in LEVELS] == [False, False, True]
    nothing = type(report)(report.data, report.splits, [])
    assert not nothing.fails("note")
    assert "0 errors, 0 warnings, 0 notes" in nothing.text()


def test_long_lists_are_cut_but_not_those_of_errors(part):
    report = examined(part)
    many = [
        Finding(check, "train", f"IMG_{i}", file=f"IMG_{i}.jpg") for check in ("decode", "grey") for i in range(100)
    ]
    text = type(report)(report.data, report.splits, many).text()
    assert text.count(".jpg") == 100
    assert "and 60 more, which --json lists" in text


def test_records_with_expressions_may_share_points():
    from crowdcount.data import Expression
    from crowdcount.doctor.checks import _repeated

    point = np.array([[1, 2]], np.float32)
    twice = np.concatenate([point, point])
    record = Record.referring("a", Path("a.jpg"), [Expression("one", point), Expression("other", point)])
    assert _repeated(record) == 0
    assert _repeated(Record.referring("a", Path("a.jpg"), [Expression("one", twice), Expression("other", point)])) == 1


# --- the real ShanghaiTech


def test_the_traps_of_the_real_shanghaitech_a(shared):
    report = examined(shared / "data" / "ShanghaiTech", jobs=2)
    assert [(each.split, each.images, each.heads) for each in report.splits] == [
        ("train", 300, 162_413),
        ("test", 182, 78_862),
    ]
    grey = {
        "train": (4, 13, 17, 35, 40, 106, 130, 153, 205, 213, 298),
        "test": (45, 53, 58, 61, 71, 75, 113, 134, 151),
    }
    assert found(report, "grey") == [(split, f"IMG_{number}") for split, numbers in grey.items() for number in numbers]
    pairs = {"2": "173", "60": "40", "97": "142", "121": "98", "139": "82", "154": "181", "224": "31"}
    assert found(report, "leak") == [("", f"train/IMG_{one} = test/IMG_{other}") for one, other in pairs.items()]
    assert [name for _, name in found(report, "repeat")] == [
        "train/IMG_118 = train/IMG_283",
        "train/IMG_167 = train/IMG_169",
    ]
    (equal,) = [each.name for each in report.findings if each.detail == "equal byte for byte"]
    assert equal == "train/IMG_121 = test/IMG_98"
    doubles = Counter()
    for each in report.findings:
        doubles[each.split] += each.count * (each.check == "double")
    assert (doubles["train"], doubles["test"]) == (63, 61)
    assert {each.check for each in report.findings} == {"grey", "leak", "repeat", "double", "size"}
    assert not report.fails("error")


def test_the_traps_of_the_real_shanghaitech_b(shared):
    report = examine(data_set("shanghaitech", shared / "data" / "ShanghaiTech", "--part", "B"), jobs=2)
    assert [(each.split, each.images, each.heads) for each in report.splits] == [("train", 400, 49_151)]
    assert [split for split, _ in found(report, "split")] == ["test"]
    assert sum(each.count for each in report.findings if each.check == "double") == 38
    assert {each.check for each in report.findings} == {"split", "double"}


def test_a_folder_in_place_of_an_annotation_and_a_name_that_is_no_text(tmp_path):
    picture = cv2.imencode(".png", np.zeros((40, 64, 3), np.uint8))[1].tobytes()
    for name in (b"a.png", b"caf\xe9.png"):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(picture)
    (tmp_path / "a.txt").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("1 1\n")
    report = examine(DataSet.parse("folder", tmp_path, []), 1)
    assert any("a.txt" in each.detail + each.file for each in report.findings)
    report.json().encode()  # can be written
