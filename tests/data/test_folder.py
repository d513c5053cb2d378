import json

import cv2
import numpy as np
import pytest

from crowdcount.data import CrowdData, Folder
from crowdcount.errors import InputError

HEADS = {"a.jpg": [[1.5, 2.0], [30.25, 4.0]], "b.png": [], "c.JPG": [[7.0, 8.5]]}


def pictures(folder, names=HEADS):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()  # adapters read no pixels
    return folder


def as_json(folder, heads=HEADS):
    (folder / "points.json").write_text(json.dumps(heads))


def as_csv(folder, heads=HEADS, separator=","):
    rows = [["image", "x", "y", "note"]]
    for name, points in heads.items():
        rows += [[name, str(x), str(y), "n"] for x, y in points] or [[name, "", "", ""]]
    (folder / "points.csv").write_text("".join(separator.join(row) + "\n" for row in rows))


def as_texts(folder, heads=HEADS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, points in heads.items():
        (folder / f"{name[0]}.txt").write_text("".join(f"{x} {y}\n" for x, y in points))


def check(records, heads=HEADS):
    assert [record.name for record in records] == sorted(heads)
    for record in records:
        assert record.image.name == record.name and record.image.is_file()
        np.testing.assert_array_equal(record.points, np.float32(heads[record.name]).reshape(-1, 2))


@pytest.mark.parametrize("inner", ["", "images"])
@pytest.mark.parametrize("write", [as_json, as_csv, lambda folder: as_csv(folder, separator=";")])
def test_one_file_for_all_pictures(tmp_path, inner, write):
    pictures(tmp_path / inner)
    write(tmp_path)
    source = Folder(str(tmp_path))
    check(source.records("train"))
    assert source.records("val") == source.records("test") == []


@pytest.mark.parametrize(("images", "texts"), [("", ""), ("images", "images"), ("images", "points"), ("", "points")])
def test_a_file_for_each_picture(tmp_path, images, texts):
    pictures(tmp_path / images)
    as_texts(tmp_path / texts)
    check(Folder(tmp_path).records("train"))


def test_splits_in_folders_of_their_own(tmp_path):
    pictures(tmp_path / "train")
    as_json(tmp_path / "train")
    pictures(tmp_path / "test" / "images", ["a.jpg"])
    as_texts(tmp_path / "test" / "points", {"a.jpg": [[5, 6]]})
    source = Folder(tmp_path)
    check(source.records("train"))
    check(source.records("test"), {"a.jpg": [[5, 6]]})
    assert source.records("val") == []


@pytest.mark.parametrize("write", [as_json, as_csv])
def test_one_file_above_the_splits_tells_equal_names_by_their_folders(tmp_path, write):
    pictures(tmp_path / "train" / "images", ["a.jpg", "b.png"])
    pictures(tmp_path / "val", ["a.jpg"])
    heads = {"train/images/a.jpg": [[1, 2]], "b.png": [[3, 4]], "val\\a.jpg": [[5, 6], [7, 8]]}
    write(tmp_path, heads)
    source = Folder(tmp_path)
    check(source.records("train"), {"a.jpg": [[1, 2]], "b.png": [[3, 4]]})
    check(source.records("val"), {"a.jpg": [[5, 6], [7, 8]]})
    write(tmp_path, {"train/images/a.jpg": [[1, 2]], "b.png": [[3, 4]]})
    with pytest.raises(InputError, match=r"names no points of val.a\.jpg; an image"):
        source.records("val")
    write(tmp_path, heads | {"a.jpg": []})
    with pytest.raises(InputError, match=r"(line 6|key 'a\.jpg').*'a\.jpg' is .*train.*a\.jpg and .*val.a\.jpg"):
        source.records("val")


def test_points_of_another_name(tmp_path):
    pictures(tmp_path / "root")
    as_csv(tmp_path)
    (tmp_path / "points.csv").rename(tmp_path / "root" / "heads.csv")
    check(Folder(tmp_path / "root", "heads.csv").records("train"))
    as_texts(tmp_path / "elsewhere" / "train")
    check(Folder(tmp_path / "root", tmp_path / "elsewhere").records("train"))
    with pytest.raises(InputError, match=r"points: .*none does not exist"):
        Folder(tmp_path / "root", "none").records("train")


def test_entries_may_be_objects_and_points_may_lie_outside(tmp_path):
    pictures(tmp_path, ["a.jpg"])
    as_json(tmp_path, {"a.jpg": {"points": [[-3, 900.5]], "note": "x"}})
    check(Folder(tmp_path).records("train"), {"a.jpg": [[-3, 900.5]]})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("points.json", '{"a.jpg": [', r"points\.json: not readable as JSON \(.*line 1 column 12"),
        ("points.json", "[]", r"points\.json: expected .*found list"),
        ("points.json", '{"a.jpg": 3}', r"points\.json: key 'a\.jpg' holds 3"),
        ("points.json", '{"a.jpg": [[1, 2], [3]]}', r"points\.json: .*key 'a\.jpg'"),
        ("points.json", '{"a.jpg": [[1, 2], [3, NaN]]}', r"points\.json: point 1 is .*key 'a\.jpg'"),
        ("points.json", '{"a.jpg": [], "d.jpg": []}', r"points\.json: key 'd\.jpg': 'd\.jpg' is no picture"),
        ("points.json", '{"a.jpg": [], "./a.jpg": []}', r"points\.json: key './a\.jpg': a\.jpg has been named before"),
        ("points.json", "{}", r"points\.json: names no points of .*a\.jpg"),
        ("points.csv", "", r"points\.csv: line 1 is '', expected a header"),
        ("points.csv", "a.jpg,1,2\n", r"points\.csv: line 1 is 'a\.jpg,1,2', expected a header"),
        ("points.csv", "image,x,y\na.jpg,1,2\n\na.jpg,1,two\n", r"points\.csv: line 4 has '1 two'"),
        ("points.csv", "image,x,y\na.jpg,1,\n", r"points\.csv: line 2 has '1 '"),
        ("points.csv", "image,x,y\na.jpg,1\n", r"points\.csv: line 2 is 'a\.jpg,1', expected image"),
        ("points.csv", "image,x,y\n,1,2\n", r"points\.csv: line 2 is ',1,2', expected image"),
        ("points.csv", "image,x,y\na.jpg,inf,2\n", r"points\.csv: line 2 has 'inf 2'"),
        ("points.csv", "image,x,y\na.jpg,1,2\nd.jpg,1,2\n", r"points\.csv: line 3: 'd\.jpg' is no picture"),
        ("points.csv", b"image,x,y\na.jpg,1,2\n\xff,1,2\n", r"points\.csv: line 3 is not text"),
        ("a.txt", "1 2\n\n3\n", r"a\.txt: line 3 has '3', expected the numbers"),
        ("a.txt", "1 2\n3 x\n", r"a\.txt: line 2 has '3 x'"),
        ("a.txt", b"1 2\n\x00\xff", r"a\.txt: line 2 is not text"),
        ("a.npy", b"\x93NUMPY", r"a\.npy: not a readable array"),
        ("a.json", "{}", r"a\.json: has no key 'points'"),
        ("a.mat", b"no", r"a\.mat: not readable"),
        ("b.txt", "1 2\n", r"a\.jpg: no annotation in .*a\.txt.*points\.json"),
    ],
)
def test_damaged_points_are_named(tmp_path, name, content, message):
    pictures(tmp_path, ["a.jpg"])
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        Folder(tmp_path).records("train")


def test_what_cannot_be_told_apart_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        Folder(tmp_path / "nowhere").records("train")
    with pytest.raises(InputError, match=r"holds no image \(\.jpg"):
        Folder(tmp_path).records("train")
    pictures(tmp_path, ["a.jpg", "a.png"])
    with pytest.raises(InputError, match=r"a\.png and a\.jpg would share"):
        Folder(tmp_path).records("train")
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match=r"a\.jpg: a\.txt and a\.csv in .*keep"):
        Folder(tmp_path).records("train")
    as_json(tmp_path)
    as_csv(tmp_path)
    with pytest.raises(InputError, match=r"both points\.json and points\.csv"):
        Folder(tmp_path).records("train")
    (tmp_path / "val").mkdir()
    with pytest.raises(InputError, match=r"holds images and the folders val"):
        Folder(tmp_path).records("train")


@pytest.mark.parametrize("write", [as_json, as_csv])
def test_all_mismatches_of_a_table_are_in_one_message(tmp_path, write):
    pictures(tmp_path, [f"p{n}.jpg" for n in range(9)])
    write(tmp_path, {"p0.jpg": [[1, 2]], "x.jpg": [], "y.jpg": [[1, 2]]})
    with pytest.raises(InputError) as caught:
        Folder(tmp_path).records("train")
    message = str(caught.value)
    assert message.count("is no picture here") == 2 and "'x.jpg'" in message and "'y.jpg'" in message
    assert "names no points of p1.jpg, p2.jpg, p3.jpg, p4.jpg, p5.jpg and 3 more; " in message
    assert caught.value.path.stem == "points"


@pytest.mark.parametrize("place", ["", "points"])
def test_points_without_a_picture_are_refused(tmp_path, place):
    pictures(tmp_path)
    as_texts(tmp_path / place, HEADS)
    for name in ("README.txt", "license.txt", ".hidden.txt", "notes.md"):
        (tmp_path / place / name).touch()
    check(Folder(tmp_path).records("train"))
    for name in ("d.txt", "GT_E.MAT"):
        (tmp_path / place / name).touch()
        with pytest.raises(InputError, match=rf"{name}: a file of points without its image; restore") as caught:
            Folder(tmp_path).records("train")
        assert caught.value.path == tmp_path / place / name


def test_splits_may_share_a_folder_of_points(tmp_path):
    pictures(tmp_path / "train", ["a.jpg"])
    pictures(tmp_path / "test", ["b.jpg"])
    as_texts(tmp_path / "points", {"a.jpg": [[1, 2]], "b.jpg": [[3, 4]]})
    source = Folder(tmp_path)
    check(source.records("train"), {"a.jpg": [[1, 2]]})
    check(source.records("test"), {"b.jpg": [[3, 4]]})
    (tmp_path / "points" / "c.txt").touch()
    with pytest.raises(InputError, match=r"c\.txt: a file of points without its image"):
        source.records("test")


def test_a_training_holds_out_a_part_and_says_that_nothing_is_for_testing(tmp_path):
    pictures(tmp_path)
    as_json(tmp_path)
    data = CrowdData(Folder(tmp_path), None, val_fraction=0.4)
    train, val = data.splits
    assert len(train) == 2 and len(val) == 1
    assert sorted(record.name for record in train + val) == sorted(HEADS)
    with pytest.raises(InputError, match=r"data\.source: Folder has no test images here; set test_after_fit"):
        data.test_dataloader()


@pytest.mark.parametrize("inner", ["", "train", "train/images"])
def test_a_folder_without_people_needs_no_annotation(tmp_path, inner):
    folder = tmp_path / inner
    folder.mkdir(parents=True, exist_ok=True)
    pictures(folder)
    records = Folder(tmp_path, empty=True).records("train")
    assert [record.name for record in records] == sorted(HEADS) and all(record.count == 0 for record in records)
    assert all(record.points.shape == (0, 2) for record in records)


@pytest.mark.parametrize("write", [as_json, as_csv, as_texts])
def test_an_annotation_of_a_folder_without_people_is_refused(tmp_path, write):
    pictures(tmp_path)
    write(tmp_path)
    with pytest.raises(InputError, match="an annotation in a folder with empty: true"):
        Folder(tmp_path, empty=True).records("train")
    with pytest.raises(InputError, match=r"points: heads\.json contradicts empty: true"):
        Folder(tmp_path, points="heads.json", empty=True)


def test_one_of_several_annotations_is_enough_to_be_refused(tmp_path):
    pictures(tmp_path)
    (tmp_path / "points").mkdir()
    with pytest.raises(InputError, match="points: an annotation in a folder with empty: true"):
        Folder(tmp_path, empty=True).records("train")


# --- what is left out, and coordinates in another frame


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_a_validation_split_may_have_the_names_that_tools_give(tmp_path, name):
    pictures(tmp_path / "train", ["a.jpg"])
    pictures(tmp_path / name, ["b.jpg"])
    as_json(tmp_path / "train", {"a.jpg": [[1, 2]]})
    as_texts(tmp_path / "points" / name, {"b.jpg": [[3, 4]]})
    check(Folder(tmp_path).records("val"), {"b.jpg": [[3, 4]]})
    check(Folder(tmp_path).records("train"), {"a.jpg": [[1, 2]]})
    (tmp_path / "val").mkdir()
    if name != "Val":
        with pytest.raises(InputError, match=f"{name} are one split; move all into one"):
            Folder(tmp_path).records("train")


def test_what_becomes_no_record_is_counted_and_named(tmp_path, caplog):
    pictures(tmp_path / "images")
    as_json(tmp_path)
    for name in ("beside.jpg", "more/inner.png", "images/phone.dng", "images/b.jxl", "images/a.txt", ".hid.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("notes.md", "README.txt"):
        (tmp_path / name).touch()
    check(Folder(tmp_path).records("train"))
    Folder(tmp_path).records("train")
    text = [record.getMessage() for record in caplog.records]
    assert len(text) == 3 and all(line.startswith(f"{tmp_path}: ") for line in text)
    assert "2 files left out, images that lie neither" in text[0] and ": beside.jpg, more/inner.png" in text[0]
    assert "2 files left out, not images in a format that is read" in text[1]
    assert ": images/b.jxl, images/phone.dng" in text[1]
    assert "1 file left out, not annotations that are read here: images/a.txt" in text[2]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3


def test_a_folder_of_other_formats_alone_is_named(tmp_path):
    pictures(tmp_path, ["a.dng", "b.jxl"])
    with pytest.raises(
        InputError, match=r"holds no image \(.*\), but 2 in formats that are not read, a\.dng the first"
    ):
        Folder(tmp_path).records("train")


def test_a_folder_that_is_read_whole_says_nothing(tmp_path, caplog):
    pictures(tmp_path / "train" / "images")
    as_texts(tmp_path / "train" / "points")
    pictures(tmp_path / "test", ["a.jpg"])
    as_texts(tmp_path / "points" / "test", {"a.jpg": [[5, 6]]})
    pictures(tmp_path / "valid", ["b.jpg"])
    as_json(tmp_path / "valid", {"b.jpg": []})
    for split in ("train", "val", "test"):
        Folder(tmp_path).records(split)
    assert not caplog.records


def real_pictures(folder, sizes):
    for name, (width, height) in sizes.items():
        cv2.imwrite(str(folder / name), np.full((height, width, 3), 99, np.uint8))


@pytest.mark.parametrize("write", [as_json, as_csv, as_texts])
def test_fractions_and_pixels_of_another_copy_are_refused(tmp_path, write):
    rng = np.random.default_rng(0)
    real_pictures(tmp_path, {"a.jpg": (80, 60), "b.png": (60, 90)})
    share = {"a.jpg": rng.uniform(0, 1, (9, 2)), "b.png": rng.uniform(0, 1, (3, 2))}
    write(tmp_path, {name: each.tolist() for name, each in share.items()})
    with pytest.raises(InputError, match=r"a\.jpg, b\.png: all coordinates lie between 0 and 1"):
        Folder(tmp_path).records("train")
    larger = {name: (each * 160).tolist() for name, each in share.items()}
    write(tmp_path, larger)
    with pytest.raises(InputError, match=r"a\.jpg.*points lie outside the image of 80 x 60 pixels; they seem"):
        Folder(tmp_path).records("train")
    write(tmp_path, {name: (each * 60).tolist() for name, each in share.items()})
    assert len(Folder(tmp_path).records("train")) == 2


def test_points_in_a_corner_are_named(tmp_path, caplog):
    real_pictures(tmp_path, {"a.jpg": (800, 600)})
    as_json(tmp_path, {"a.jpg": np.random.default_rng(0).uniform(0, 300, (30, 2)).tolist()})
    assert len(Folder(tmp_path).records("train")) == 1
    assert "a.jpg: all heads lie in the upper left part" in caplog.text
