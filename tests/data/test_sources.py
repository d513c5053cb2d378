import json
import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from crowdcount.data import Expression, Fsc147, JhuCrowd, Mall, Nwpu, Rec8k, Record, ShanghaiTech, UcfCc50, UcfQnrf
from crowdcount.data.annotations.common_formats import load_mat
from crowdcount.data.sources import rec8k
from crowdcount.errors import InputError, about, error_path


def write_location(path, location):
    info = np.empty((1, 1), object)
    info[0, 0] = {"location": location, "number": [[len(location)]]}
    savemat(path, {"image_info": info})


# --- ShanghaiTech


@pytest.mark.parametrize("layout", ["kaggle", "final"])
@pytest.mark.parametrize("part", ["A", "B"])
def test_shanghaitech_reads_both_layouts(tmp_path, write_shanghaitech, part, layout):
    root = write_shanghaitech(tmp_path, part, layout, train=12, test=3)
    train = ShanghaiTech(root, part).records("train")
    assert [record.name for record in train] == [f"IMG_{number}" for number in range(1, 13)]
    assert [record.name for record in ShanghaiTech(str(root), part).records("test")] == ["IMG_1", "IMG_2", "IMG_3"]
    assert ShanghaiTech(root, part).records("val") == []
    for record in train:
        assert 5 <= record.count <= 40
        assert record.points.shape == (record.count, 2)
        assert record.points.dtype == np.float32
        image = record.read()
        assert image.shape == (128, 160, 3)
        x, y = np.floor(record.points).astype(int).T
        assert image[y, x].mean() < 100 < image.mean()  # heads are dark: the points belong to this image


def test_shanghaitech_finds_the_part_from_above_and_from_within(tmp_path, write_shanghaitech, monkeypatch):
    root = write_shanghaitech(tmp_path / "ShanghaiTech", "A", "final")
    for place in (tmp_path, root, root / "part_A_final"):
        assert len(ShanghaiTech(place, "A").records("train")) == 4
    monkeypatch.chdir(root / "part_A_final")
    assert len(ShanghaiTech(".", "A").records("test")) == 3


def test_any_folder_with_the_content_serves(tmp_path, write_shanghaitech):
    part = write_shanghaitech(tmp_path / "there", "B") / "part_B"
    link = tmp_path / "part_B"
    moved = part.rename(tmp_path / "there" / "streets")
    link.symlink_to(moved, target_is_directory=True)
    for root in (moved, link, tmp_path / "there"):
        assert len(ShanghaiTech(root, "B").records("train")) == 4
    with pytest.raises(InputError, match="is no ShanghaiTech part A, its name says part B"):
        ShanghaiTech(link, "A").records("train")
    assert len(ShanghaiTech(moved, "A").records("train")) == 4  # its name says nothing


@pytest.mark.parametrize("above", [1, 2])
@pytest.mark.parametrize(
    ("name", "adapter", "options"),
    [
        ("ucf_qnrf", UcfQnrf, {}),
        ("ucf_cc_50", UcfCc50, {"fold": 1}),
        ("nwpu", Nwpu, {}),
        ("jhu_crowd", JhuCrowd, {}),
        ("fsc147", Fsc147, {}),
    ],
)
def test_data_sets_are_found_below_their_root(tmp_path, request, name, adapter, options, above):
    folder = tmp_path / "data"
    request.getfixturevalue(f"write_{name}")(folder.joinpath(*["inner"] * above))
    names = [record.name for record in adapter(folder, **options).records("train")]
    assert names == [record.name for record in adapter(folder.joinpath(*["inner"] * above), **options).records("train")]
    assert names
    request.getfixturevalue(f"write_{name}")(folder / "copy" if above == 1 else folder / "inner" / "copy")
    with pytest.raises(InputError, match=r"found .*copy and .*inner; set root to the one you mean"):
        adapter(folder, **options).records("train")


def test_shanghaitech_refuses_to_choose_between_two_copies(tmp_path, write_shanghaitech):
    write_shanghaitech(tmp_path, "A", "final")
    write_shanghaitech(tmp_path, "A", "kaggle")
    with pytest.raises(InputError, match=r"part_A and .*part_A_final; set root"):
        ShanghaiTech(tmp_path, "A").records("train")
    assert len(ShanghaiTech(tmp_path / "part_A", "A").records("train")) == 4


def test_shanghaitech_keeps_points_outside_repeats_and_none(tmp_path, write_shanghaitech):
    truth = write_shanghaitech(tmp_path) / "part_A" / "train_data" / "ground-truth"
    points = [[-383.0, -85.0], [500.5, 3.25], [7.5, 7.5], [7.5, 7.5]]
    write_location(truth / "GT_IMG_1.mat", points)
    write_location(truth / "GT_IMG_2.mat", np.zeros((0, 0)))
    records = ShanghaiTech(tmp_path, "A").records("train")
    np.testing.assert_array_equal(records[0].points, points)
    assert records[1].points.shape == (0, 2)
    assert records[1].count == 0


def test_shanghaitech_errors_name_the_place_and_the_remedy(tmp_path, write_shanghaitech):
    with pytest.raises(InputError, match="parts A and B, not 'C'"):
        ShanghaiTech(tmp_path, "C")
    with pytest.raises(
        InputError, match=r"nowhere.*part_A or part_A_final.*train_data/images.*Download it from github"
    ):
        ShanghaiTech(tmp_path / "nowhere", "A").records("train")
    part = write_shanghaitech(tmp_path) / "part_A"
    with pytest.raises(InputError, match="no ShanghaiTech part B"):
        ShanghaiTech(part, "B").records("train")
    shutil.rmtree(part / "test_data")
    with pytest.raises(InputError, match=r"test_data.images: no such folder"):
        ShanghaiTech(tmp_path, "A").records("test")
    image = part / "train_data" / "images" / "IMG_2.jpg"
    image.rename(part / "away.jpg")
    with pytest.raises(InputError, match=r"GT_IMG_2.mat: its image is not in .*images; restore"):
        ShanghaiTech(tmp_path, "A").records("train")
    (part / "away.jpg").rename(image)
    (part / "train_data" / "ground-truth" / "GT_IMG_3.mat").unlink()
    with pytest.raises(InputError, match=r"IMG_3.jpg: has no annotation; restore"):
        ShanghaiTech(tmp_path, "A").records("train")
    shutil.rmtree(part / "train_data" / "ground-truth")
    with pytest.raises(InputError, match=r"no ground-truth \(or ground_truth\) folder"):
        ShanghaiTech(tmp_path, "A").records("train")
    (part / "train_data" / "ground-truth").mkdir()
    shutil.rmtree(part / "train_data" / "images")
    (part / "train_data" / "images").mkdir()
    with pytest.raises(InputError, match="holds no image of this data set"):
        ShanghaiTech(tmp_path, "A").records("train")


def test_other_files_are_counted_and_named(tmp_path, write_shanghaitech, caplog):
    part = write_shanghaitech(tmp_path) / "part_A" / "train_data"
    for name in (".DS_Store", "IMG_9.jpg.part", "IMG_5.JPG", "photo.png", "IMG_\u0661.jpg", "readme.txt"):
        (part / "images" / name).write_bytes(b"x")
    (part / "ground-truth" / "GT_IMG_9.mat~").write_bytes(b"x")
    assert len(ShanghaiTech(tmp_path, "A").records("train")) == 4
    images, truth = (record.getMessage() for record in caplog.records)
    assert images.startswith(f"{part / 'images'}: 4 files left out, not named as files of this data set are: IMG_5.JPG")
    assert truth.endswith("1 file left out, not named as files of this data set are: GT_IMG_9.mat~")


def test_two_files_of_one_number_are_refused(tmp_path, write_shanghaitech):
    images = write_shanghaitech(tmp_path) / "part_A" / "train_data" / "images"
    shutil.copy(images / "IMG_1.jpg", images / "IMG_01.jpg")
    with pytest.raises(InputError, match=r"IMG_1\.jpg and IMG_01\.jpg have one number; keep one"):
        ShanghaiTech(tmp_path, "A").records("train")


def test_images_on_no_list_are_counted_and_named(tmp_path, write_nwpu, write_fsc147, write_mall, caplog):
    write_nwpu(tmp_path / "nwpu")
    image = next((tmp_path / "nwpu").glob("images*/*.jpg"))
    shutil.copy(image, image.with_name("0999.jpg"))
    Nwpu(tmp_path / "nwpu").records("train")
    assert "1 file left out, images that train.txt, val.txt, test.txt do not list: " in caplog.text
    write_fsc147(tmp_path / "fsc")
    (tmp_path / "fsc" / "images_384_VarV2" / "new.jpg").touch()
    Fsc147(tmp_path / "fsc").records("train")
    assert "1 file left out, not named by Train_Test_Val_FSC_147.json: new.jpg" in caplog.text
    write_mall(tmp_path / "mall", frames=801)
    (tmp_path / "mall" / "frames" / "seq_000802.jpg").touch()
    Mall(tmp_path / "mall").records("test")
    assert "1 file left out, beyond the 801 frames of mall_gt.mat: frames/seq_000802.jpg" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable"),
        (b"<html>the link is dead</html>" * 40, "not readable"),
        (bytes(1000), "not readable"),
        ({"other": 1}, "no variable 'image_info'"),
        ({"image_info": np.zeros((3, 2))}, "holds no location"),
        ({"image_info": {"number": 3}}, "holds no location"),
        ({"image_info": np.zeros((0, 0))}, "holds no location"),
        ([[1.0, 2.0], [np.nan, 3.0]], r"point 1 is \[nan, 3.0\]"),
        ([[np.inf, 2.0]], "point 0 is"),
        ([[1e300, 2.0]], "point 0 is"),
        ([[1.0, 2.0, 3.0]], r"shape \(1, 3\)"),
        (["ab"], "not readable"),
    ],
)
def test_damaged_annotations_are_named(tmp_path, write_shanghaitech, content, message):
    path = write_shanghaitech(tmp_path) / "part_A" / "train_data" / "ground-truth" / "GT_IMG_2.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        savemat(path, content)
    else:
        write_location(path, content)
    with pytest.raises(InputError, match=rf"GT_IMG_2\.mat: .*{message}"):
        ShanghaiTech(tmp_path, "A").records("train")


def test_a_mat_file_cut_short_anywhere_or_altered_is_refused(tmp_path, write_shanghaitech):
    path = write_shanghaitech(tmp_path) / "part_A" / "train_data" / "ground-truth" / "GT_IMG_1.mat"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="GT_IMG_1"):
            load_mat(path, "image_info")
    for place in range(150, len(whole), 11):  # the body is compressed and carries a checksum
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(InputError, match="GT_IMG_1"):
            load_mat(path, "image_info")


def test_a_damaged_image_is_named_when_it_is_read(tmp_path, write_shanghaitech):
    image = write_shanghaitech(tmp_path) / "part_A" / "train_data" / "images" / "IMG_1.jpg"
    image.write_bytes(b"not a picture")
    record = ShanghaiTech(tmp_path, "A").records("train")[0]
    with pytest.raises(InputError, match=r"IMG_1\.jpg"):
        record.read()


# --- UCF-QNRF


def test_ucf_qnrf(tmp_path, write_ucf_qnrf):
    source = UcfQnrf(write_ucf_qnrf(tmp_path, train=11, test=2))
    train = source.records("train")
    assert [record.name for record in train] == [f"img_{number:04d}" for number in range(1, 12)]
    assert [record.image.name for record in source.records("test")] == ["img_0001.jpg", "img_0002.jpg"]
    assert source.records("val") == []
    assert all(5 <= record.count <= 40 and record.read().shape == (128, 160, 3) for record in train)


def test_ucf_qnrf_errors(tmp_path, write_ucf_qnrf):
    with pytest.raises(InputError, match=r"Train: no such folder; .*Download it from crcv"):
        UcfQnrf(tmp_path / "nowhere").records("train")
    train = write_ucf_qnrf(tmp_path) / "Train"
    savemat(train / "img_0002_ann.mat", {"annPoints": [[1, np.nan]]})
    with pytest.raises(InputError, match=r"img_0002_ann\.mat: point 0 is"):
        UcfQnrf(tmp_path).records("train")
    savemat(train / "img_0002_ann.mat", {"points": [[1, 2]]})
    with pytest.raises(InputError, match=r"img_0002_ann\.mat: holds no variable 'annPoints'"):
        UcfQnrf(tmp_path).records("train")
    (train / "img_0002_ann.mat").unlink()
    with pytest.raises(InputError, match=r"img_0002\.jpg: has no annotation"):
        UcfQnrf(tmp_path).records("train")
    (train / "img_0002.jpg").unlink()
    (train / "img_0003.jpg").unlink()
    with pytest.raises(InputError, match=r"img_0003_ann\.mat: its image is not in"):
        UcfQnrf(tmp_path).records("train")


@pytest.mark.parametrize("pattern", ["{}.txt", "qnrf_{}.txt"])
def test_ucf_qnrf_follows_the_lists_of_a_cut(tmp_path, write_ucf_qnrf, pattern, caplog):
    source = UcfQnrf(write_ucf_qnrf(tmp_path, train=6))
    train, val = (tmp_path / pattern.format(name) for name in ("train", "val"))
    val.write_text("img_0005.jpg 12\n\nTrain\\img_0002\n")
    names = {split: [record.name for record in source.records(split)] for split in ("train", "val", "test")}
    assert names["val"] == ["img_0002", "img_0005"]
    assert names["train"] == ["img_0001", "img_0003", "img_0004", "img_0006"]
    assert len(names["test"]) == 3
    train.write_text("img_0001.jpg\n/data/Train/img_0006.jpg\n")
    assert [record.name for record in source.records("train")] == ["img_0001", "img_0006"]
    assert "2 files left out, images that neither of the lists train and val names" in caplog.text
    val.unlink()
    assert len(source.records("val")) == 4


def test_ucf_qnrf_names_what_is_wrong_with_a_list(tmp_path, write_ucf_qnrf):
    source = UcfQnrf(write_ucf_qnrf(tmp_path))
    (tmp_path / "val.txt").write_text("img_0002.jpg\n\nimg_0099.jpg\n")
    with pytest.raises(InputError, match=r"val\.txt: line 3: 'img_0099\.jpg' is no image of the folder Train"):
        source.records("train")
    (tmp_path / "val.txt").write_text("img_0002.jpg\nimg_0002\n")
    with pytest.raises(InputError, match=r"val\.txt: line 2: 'img_0002' is listed again"):
        source.records("val")
    (tmp_path / "val.txt").write_text("img_0002.jpg\n")
    (tmp_path / "train.txt").write_text("img_0002.jpg\n")
    with pytest.raises(InputError, match=r"train\.txt, .*val\.txt: both list img_0002"):
        source.records("val")
    (tmp_path / "qnrf_val.txt").write_text("img_0002.jpg\n")
    with pytest.raises(InputError, match=r"val\.txt and .*qnrf_val\.txt are two lists"):
        source.records("val")


# --- UCF_CC_50


def test_ucf_cc_50_folds_are_fixed_disjoint_and_complete(tmp_path, write_ucf_cc_50):
    root = write_ucf_cc_50(tmp_path / "UCF_CC_50")
    tests = {fold: [int(record.name) for record in UcfCc50(root, fold).records("test")] for fold in range(1, 6)}
    assert tests[1] == [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]
    assert tests[5] == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert sorted(number for numbers in tests.values() for number in numbers) == list(range(1, 51))
    for fold, numbers in tests.items():
        train = [int(record.name) for record in UcfCc50(tmp_path, fold).records("train")]
        assert train == [number for number in range(1, 51) if number not in numbers]
        assert all(
            name in " ".join(UcfCc50.__doc__.split()) for name in [f"fold {fold}: {', '.join(map(str, numbers))}"]
        )
    assert UcfCc50(root, 1).records("val") == []
    record = UcfCc50(root, 3).records("test")[1]
    assert record.name == "8" and 5 <= record.count <= 40 and record.read().shape == (24, 32, 3)


def test_ucf_cc_50_errors(tmp_path, write_ucf_cc_50):
    with pytest.raises(InputError, match="folds 1 to 5, not 0"):
        UcfCc50(tmp_path, 0)
    with pytest.raises(InputError, match=r"expected 1\.jpg to 50\.jpg .*Download it from crcv"):
        UcfCc50(tmp_path, 1).records("train")
    write_ucf_cc_50(tmp_path)
    savemat(tmp_path / "7_ann.mat", {"annPoints": [[1, np.inf]]})
    with pytest.raises(InputError, match=r"7_ann\.mat: point 0 is"):
        UcfCc50(tmp_path, 2).records("test")
    (tmp_path / "7_ann.mat").unlink()
    with pytest.raises(InputError, match=r"7\.jpg: has no annotation"):
        UcfCc50(tmp_path, 2).records("train")


# --- Mall


def test_mall(tmp_path, write_mall):
    write_mall(tmp_path / "mall_dataset")
    source = Mall(tmp_path)
    train, test = source.records("train"), source.records("test")
    assert (len(train), len(test), source.records("val")) == (800, 1200, [])
    assert (train[0].name, train[-1].name) == ("seq_000001", "seq_000800")
    assert (test[0].name, test[-1].name) == ("seq_000801", "seq_002000")
    assert train[0].read().shape == (24, 32, 3)
    assert all(13 <= record.count <= 53 for record in train + test)
    frames = loadmat(tmp_path / "mall_dataset" / "mall_gt.mat")["frame"]
    np.testing.assert_array_equal(test[0].points, np.float32(frames[0, 800]["loc"][0, 0]))


def test_mall_errors(tmp_path, write_mall):
    with pytest.raises(InputError, match=r"mall_gt\.mat: no such file; expected frames"):
        Mall(tmp_path).records("train")
    write_mall(tmp_path, frames=900)
    assert len(Mall(tmp_path).records("test")) == 100
    (tmp_path / "frames" / "seq_000003.jpg").unlink()
    with pytest.raises(InputError, match=r"frames: has no seq_000003\.jpg"):
        Mall(tmp_path).records("train")
    cells = np.empty((1, 900), object)
    for frame in range(900):
        cells[0, frame] = {"loc": np.array([[1.0, 2.0]])} if frame != 5 else {"loc": np.array([[1.0, np.nan]])}
    savemat(tmp_path / "mall_gt.mat", {"frame": cells})
    (tmp_path / "frames" / "seq_000003.jpg").touch()
    with pytest.raises(InputError, match=r"mall_gt\.mat: point 0 is .*\(frame 6\)"):
        Mall(tmp_path).records("train")
    savemat(tmp_path / "mall_gt.mat", {"frame": np.zeros((1, 900))})
    with pytest.raises(InputError, match=r"mall_gt\.mat: frame 1 holds no 'loc'"):
        Mall(tmp_path).records("train")
    savemat(tmp_path / "mall_gt.mat", {"frame": np.zeros((3, 3))})
    with pytest.raises(InputError, match=r"mall_gt\.mat: 'frame' has shape \(3, 3\)"):
        Mall(tmp_path).records("train")


# --- NWPU-Crowd


@pytest.mark.parametrize("annotations", ["mats", "jsons"])
@pytest.mark.parametrize("one_folder", [False, True])
def test_nwpu_reads_every_layout(tmp_path, write_nwpu, annotations, one_folder):
    source = Nwpu(write_nwpu(tmp_path, annotations, one_folder))
    train, val, test = (source.records(split) for split in ("train", "val", "test"))
    assert [record.name for record in train] == ["0001", "0002", "1001", "2004"]
    assert [record.name for record in val] == ["4005", "0007"]  # the order of the list, not of the numbers
    assert [record.name for record in test] == ["0003", "5001"]
    assert all(5 <= record.count <= 40 and record.read().shape == (128, 160, 3) for record in train)
    assert val[1].points.shape == (0, 2)
    assert [record.points for record in test] == [None, None]
    with pytest.raises(InputError, match="0003"):
        _ = test[0].count


def test_nwpu_mats_and_jsons_agree(tmp_path, write_nwpu):
    mats, jsons = (Nwpu(write_nwpu(tmp_path / kind, kind)).records("train") for kind in ("mats", "jsons"))
    for mat, text in zip(mats, jsons, strict=True):
        np.testing.assert_array_equal(mat.points, text.points)


@pytest.mark.parametrize("annotations", ["mats", "jsons"])
def test_nwpu_reads_boxes_and_the_columns_of_the_lists(tmp_path, write_nwpu, annotations):
    source = Nwpu(write_nwpu(tmp_path, annotations))
    train, val, test = (source.records(split) for split in ("train", "val", "test"))
    for record in train + val:
        number = int(record.name)
        assert record.attributes == {"luminance": str(number % 4), "level": "0" if number == 7 else "1"}
        assert record.boxes.shape == (record.count, 4) and record.boxes.dtype == np.float32
        assert ((record.boxes[:, :2] < record.points) & (record.points < record.boxes[:, 2:])).all()
    assert [record.boxes for record in test] == [None, None]
    assert [record.attributes for record in test] == [{}, {}]


def test_nwpu_takes_the_jsons_where_both_are_there(tmp_path, write_nwpu):
    write_nwpu(tmp_path, "mats", seed=1)
    expected = Nwpu(write_nwpu(tmp_path / "other", "jsons")).records("val")
    shutil.copytree(tmp_path / "other" / "jsons", tmp_path / "jsons")
    for record, right in zip(Nwpu(tmp_path).records("val"), expected, strict=True):
        np.testing.assert_array_equal(record.points, right.points)
        np.testing.assert_array_equal(record.boxes, right.boxes)


def test_nwpu_does_without_boxes_and_columns(tmp_path, write_nwpu):
    source = Nwpu(write_nwpu(tmp_path, "jsons"))
    (tmp_path / "val.txt").write_text("0007\n")
    (tmp_path / "jsons" / "0007.json").write_text('{"points": [[1, 2]]}')
    (record,) = source.records("val")
    assert record.attributes == {} and record.boxes is None and record.count == 1


@pytest.mark.parametrize("line", ["0007 1", "0007 4 1", "0007 1 5", "0007 1 x", "0007 1 2 3", "0007 -1 2"])
def test_nwpu_names_the_malformed_line_of_a_list(tmp_path, write_nwpu, line):
    source = Nwpu(write_nwpu(tmp_path))
    (tmp_path / "val.txt").write_text(f"4005 1 2\n\n{line}\n")
    with pytest.raises(InputError, match=r"val\.txt: line 3 goes on with .*expected the luminance"):
        source.records("val")


def test_nwpu_refuses_an_image_in_two_folders(tmp_path, write_nwpu):
    source = Nwpu(write_nwpu(tmp_path))
    (tmp_path / "images_part3" / "0001.jpg").write_bytes(b"another")
    with pytest.raises(InputError, match=r"images_part3.0001\.jpg and .*images_part1.0001\.jpg are the same image"):
        source.records("train")


def test_nwpu_errors(tmp_path, write_nwpu):
    with pytest.raises(InputError, match=r"val\.txt: no such list; expected images_part1.*Download it from gjy3035"):
        Nwpu(tmp_path / "nowhere").records("val")
    source = Nwpu(write_nwpu(tmp_path))
    (tmp_path / "mats" / "1001.mat").unlink()
    with pytest.raises(InputError, match=r"1001\.mat: no such annotation"):
        source.records("train")
    (tmp_path / "images_part2" / "1001.jpg").unlink()
    with pytest.raises(InputError, match=r"train\.txt lists 1001, but no images folder"):
        source.records("train")
    (tmp_path / "val.txt").write_text("0007 1 2\nseven 1 2\n")
    with pytest.raises(InputError, match=r"val\.txt: line 2: expected the number .*'seven'"):
        source.records("val")
    (tmp_path / "val.txt").write_text("0007 1 2\n7 1 2\n")
    with pytest.raises(InputError, match=r"val\.txt: line 2 lists image 0007 again"):
        source.records("val")
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(InputError, match=r"val\.txt: expected the number .*nothing"):
        source.records("val")
    shutil.rmtree(tmp_path / "mats")
    (tmp_path / "train.txt").write_text("1\n")
    with pytest.raises(InputError, match="neither a mats nor a jsons folder"):
        source.records("train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"not readable as JSON \(.*line 1"),
        ("[]", "not an NWPU annotation"),
        ('{"human_num": 3}', "not an NWPU annotation"),
        ('{"points": [[1, 2], [3]]}', "not readable"),
        ('{"points": [[1, NaN]]}', "point 0 is"),
        ('{"points": [[1, 2, 3]]}', "shape"),
        ('{"points": [[1, 2]], "boxes": [[1, 2, 3]]}', "expected rows of x1, y1, x2, y2"),
        ('{"points": [[1, 2]], "boxes": []}', "0 boxes for 1 points"),
        ('{"points": [[1, 2]], "boxes": [[1, 2, 3, NaN]]}', "box 0 is"),
    ],
)
def test_nwpu_damaged_json_is_named(tmp_path, write_nwpu, text, message):
    source = Nwpu(write_nwpu(tmp_path, "jsons"))
    (tmp_path / "jsons" / "0001.json").write_text(text)
    with pytest.raises(InputError, match=rf"0001\.json: .*{message}"):
        source.records("train")
    (tmp_path / "jsons" / "0001.json").write_text(json.dumps({"points": [[1, 2.5]]}))
    np.testing.assert_array_equal(source.records("train")[0].points, [[1, 2.5]])


# --- JHU-CROWD++


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["0001", "0002", "0003", "0004"]),
        ("val", ["0005", "0006"]),
        ("test", ["0007", "0008", "0009"]),
    ],
)
def test_jhu_crowd_reads_every_split(tmp_path, write_jhu_crowd, split, names):
    records = JhuCrowd(str(write_jhu_crowd(tmp_path))).records(split)
    assert [record.name for record in records] == names
    *crowded, empty = records
    assert empty.points.shape == (0, 2)
    assert empty.count == 0
    for record in crowded:
        assert 5 <= record.count <= 40
        assert record.points.dtype == np.float32
        image = record.read()
        assert image.shape == (128, 160, 3)
        x, y = record.points.astype(int).T
        assert image[y, x].mean() < 100 < image.mean()  # heads are dark: the points belong to this image


def test_jhu_crowd_orders_by_number_and_passes_over_other_files(tmp_path, write_jhu_crowd):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    for folder, end in (("images", "jpg"), ("gt", "txt")):
        here = tmp_path / "train" / folder
        (here / f"0002.{end}").rename(here / f"10000.{end}")
        (here / ".DS_Store").write_bytes(b"x")
    with (tmp_path / "train" / "image_labels.txt").open("a") as labels:
        labels.write("10000,3,street,0,0\n")
    assert [record.name for record in source.records("train")] == ["0001", "0003", "0004", "10000"]


def test_jhu_crowd_keeps_points_outside_repeats_and_blank_lines(tmp_path, write_jhu_crowd):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    (tmp_path / "train" / "gt" / "0001.txt").write_bytes(b"-3 900 1 2 1 0\r\n\r\n7 8 1 2 3 1\r\n7 8 1 2 3 1")
    (tmp_path / "train" / "gt" / "0002.txt").write_text("\n")
    first, second, *_ = source.records("train")
    np.testing.assert_array_equal(first.points, [[-3, 900], [7, 8], [7, 8]])
    assert second.points.shape == (0, 2)


@pytest.mark.parametrize(
    "line", ["5", "5 6", "5 6 7 8 1", "5 6 7 8 1 0 2", "x y w h o b", "5 six 7 8 1 0", "nan 6 7 8 1 0", "5 inf 7 8 1 0"]
)
def test_jhu_crowd_names_the_malformed_line(tmp_path, write_jhu_crowd, line):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    (tmp_path / "val" / "gt" / "0005.txt").write_text(f"1 2 3 4 1 0\n\n{line}\n")
    with pytest.raises(InputError, match=rf"0005\.txt: line 3 is '{line}', expected the numbers 'x y w h o b'"):
        source.records("val")


def test_jhu_crowd_refuses_a_file_that_is_not_text(tmp_path, write_jhu_crowd):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    (tmp_path / "val" / "gt" / "0005.txt").write_bytes(b"1 2 3 4 1 0\n\xff\xd8\xff\x00")
    with pytest.raises(InputError, match=r"0005\.txt: line 2 is not text"):
        source.records("val")


def test_jhu_crowd_errors_name_the_place_and_the_remedy(tmp_path, write_jhu_crowd):
    remedy = r"\. Expected in .*train, val and test of JHU-CROWD\+\+.*Download it from crowd-counting\.com"
    with pytest.raises(InputError, match=rf"nowhere.val.images: no such folder.*{remedy}"):
        JhuCrowd(tmp_path / "nowhere").records("val")
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    (tmp_path / "train" / "gt" / "0002.txt").unlink()
    with pytest.raises(InputError, match=rf"0002\.jpg: has no annotation.*{remedy}"):
        source.records("train")
    (tmp_path / "train" / "images" / "0002.jpg").unlink()
    (tmp_path / "train" / "images" / "0003.jpg").unlink()
    with pytest.raises(InputError, match=rf"0003\.txt: its image is not in .*images; .*{remedy}"):
        source.records("train")
    shutil.rmtree(tmp_path / "train" / "gt")
    with pytest.raises(InputError, match=rf"train.gt: no such folder.*{remedy}"):
        source.records("train")
    for path in (tmp_path / "test" / "images").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=rf"test.images: holds no image.*{remedy}"):
        source.records("test")


def test_jhu_crowd_reads_labels_and_boxes(tmp_path, write_jhu_crowd):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    first, second, third, empty = source.records("train")
    weather = [record.attributes["weather"] for record in (first, second, third, empty)]
    assert weather == ["fog", "rain", "snow", "none"]
    assert first.attributes == {"scene": "street", "weather": "fog", "distractor": "0"}
    assert empty.attributes["distractor"] == "1"
    assert empty.boxes.shape == (0, 4)
    np.testing.assert_array_equal(first.boxes[:, 2:] - first.boxes[:, :2], np.tile([6, 7], (first.count, 1)))
    np.testing.assert_array_equal((first.boxes[:, :2] + first.boxes[:, 2:]) / 2, first.points)


def test_jhu_crowd_scenes_may_have_commas_and_labels_may_be_absent(tmp_path, write_jhu_crowd, caplog):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    labels = tmp_path / "val" / "image_labels.txt"
    labels.write_text("0005, 12, street, wet, 2, 0\r\n6,0,,0,1\n")
    first, second = source.records("val")
    assert first.attributes == {"scene": "street,wet", "weather": "rain", "distractor": "0"}
    assert second.attributes == {"scene": "", "weather": "none", "distractor": "1"}
    labels.unlink()
    with caplog.at_level(logging.WARNING):
        assert [record.attributes for record in source.records("val")] == [{}, {}]
    assert "image_labels.txt: no such file" in caplog.text


@pytest.mark.parametrize(
    "line", ["0006", "0006,0,street,0", "0006,0,street,4,0", "0006,0,street,0,2", "six,0,street,0,0", "0006 0 a 0 0"]
)
def test_jhu_crowd_names_the_malformed_label(tmp_path, write_jhu_crowd, line):
    source = JhuCrowd(write_jhu_crowd(tmp_path))
    (tmp_path / "val" / "image_labels.txt").write_text(f"0005,1,street,0,0\n{line}\n")
    with pytest.raises(InputError, match=rf"image_labels\.txt: line 2 is '{line}', expected id,count,scene"):
        source.records("val")
    (tmp_path / "val" / "image_labels.txt").write_text("0005,1,street,0,0\n")
    with pytest.raises(InputError, match=r"image_labels\.txt: has no line for image 0006"):
        source.records("val")


# --- REC-8K


def edit(path, change):
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def heads_are_dark(record):
    image = record.read()
    x, y = np.floor(record.points).astype(int).T
    return image[y, x].mean() < 100 < image.mean()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("annotations", ["", "anno"])
def test_rec8k_reads_every_layout(tmp_path, write_rec8k, annotations, flat):
    source = Rec8k(str(write_rec8k(tmp_path, annotations, flat)))
    names = {split: [record.name for record in source.records(split)] for split in ("train", "val", "test")}
    assert [name.split("-")[1] for name in names["train"]] == ["cs", "mall", "detrac", "nwpu", "visdrone", "jhuv2"]
    assert names["val"] == ["0003-fsc147-2689.jpg", "0008-internet-9.jpg"]
    assert names["test"] == ["0004-carpk-20160331_NTU_00001.png"]
    for split in names:
        for record in source.records(split):
            assert record.image.parent.name == "rec-8k" if flat else record.image.name != record.name
            assert heads_are_dark(record)
            left, right = record.expressions
            assert (left.text, left.attribute) == ("Person on the left side", "left side")
            assert (right.text, right.category, right.kind) == ("person on the right", "person", "location")
            assert left.points[:, 0].max() < 80 <= right.points[:, 0].min()
            assert left.points.dtype == np.float32
            np.testing.assert_array_equal(record.points, np.concatenate([left.points, right.points]))
            assert record.count == len(left.points) + len(right.points) >= 5


def test_rec8k_takes_only_the_expressions_and_the_order_of_the_split(tmp_path, write_rec8k):
    root = write_rec8k(tmp_path)
    carpk, left = "0004-carpk-20160331_NTU_00001.png", "Person on the left side"
    pairs = [[carpk, "person on the right"], ["0000-cs-img_000001.jpg", left], [carpk, left]]
    edit(root / "splits.json", lambda table: table.update(train=pairs, val=pairs[:1]))
    first, second = Rec8k(root).records("train")
    assert [first.name, second.name] == [carpk, "0000-cs-img_000001.jpg"]
    assert [expression.text for expression in first.expressions] == ["person on the right", left]
    assert [expression.text for expression in second.expressions] == [left]
    (only,) = Rec8k(root).records("val")
    np.testing.assert_array_equal(only.points, first.expressions[0].points)


def test_rec8k_keeps_points_as_published_and_expressions_of_nothing(tmp_path, write_rec8k):
    root = write_rec8k(tmp_path)
    points = [[-3.5, 900.25], [7, 8], [7, 8]]
    entries = {"person": {"points": points, "class": "person", "attribute": None}, "car": {"points": []}}
    edit(root / "annotations.json", lambda table: table.update({"0008-internet-9.jpg": entries}))
    pairs = [["0008-internet-9.jpg", text] for text in entries]
    edit(root / "splits.json", lambda table: table.update(test=pairs, val=pairs[1:]))
    (record,) = Rec8k(root).records("test")
    person, car = record.expressions
    np.testing.assert_array_equal(person.points, points)
    assert (person.attribute, person.category, person.kind) == ("", "person", "")
    assert (car.points.shape, car.category, record.count) == ((0, 2), "", 3)
    (nothing,) = Rec8k(root).records("val")
    assert (nothing.points.shape, nothing.count) == ((0, 2), 0)


def test_rec8k_finds_images_in_another_folder(tmp_path, write_rec8k):
    root = write_rec8k(tmp_path / "images", flat=True)
    (tmp_path / "texts").mkdir()
    for name in ("annotations.json", "splits.json"):
        (root / name).rename(tmp_path / "texts" / name)
    for images in (root, root / "rec-8k"):
        assert len(Rec8k(tmp_path / "texts", images).records("train")) == 6
    with pytest.raises(InputError, match="no such image"):
        Rec8k(tmp_path / "texts").records("train")


def test_rec8k_accepts_both_spellings_of_crowd_surveillance(tmp_path, write_rec8k):
    root = write_rec8k(tmp_path)
    (root / "Crowd_Surveillance").rename(root / "Crowd Surveillance")
    record = Rec8k(root).records("train")[0]
    assert "Crowd Surveillance" in record.image.parts
    assert heads_are_dark(record)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0000-cs", r"Crowd_Surveillance.*fetch Crowd Surveillance \(Google Drive, file 1QOv1"),
        ("0002-detrac", r"MVI_20011.img01\.jpg: no such image, nor .*rec-8k.0002-detrac.*fetch .*UA-DETRAC"),
        ("0003-fsc147", r"images_384_VarV2.2689\.jpg.*fetch FSC-147"),
        ("0004-carpk", r"20160331_NTU_00001\.png.*fetch CARPK"),
        ("0005-nwpu", r"NWPU.images.0003\.jpg.*fetch NWPU-Crowd.*gjy3035"),
        ("0008-internet", r"internet.9\.jpg.*own images from the web \(Google Drive, file 1eQ0T6"),
    ],
)
def test_rec8k_says_what_to_fetch_for_a_missing_image(tmp_path, write_rec8k, name, message):
    source = Rec8k(write_rec8k(tmp_path))
    paths = {
        record.name: (record.image, split) for split in ("train", "val", "test") for record in source.records(split)
    }
    (path, split), *others = [found for image, found in paths.items() if image.startswith(name)]
    assert not others
    path.unlink()
    with pytest.raises(InputError, match=message):
        source.records(split)


def test_rec8k_takes_no_folder_for_an_image(tmp_path, write_rec8k):
    root = write_rec8k(tmp_path)
    edit(root / "annotations.json", lambda table: table.update({"0001-mall-": {"person": {"points": []}}}))
    edit(root / "splits.json", lambda table: table.update(val=[["0001-mall-", "person"]]))
    with pytest.raises(InputError, match=r"frames: no such image.*fetch the Mall data set"):
        Rec8k(root).records("val")


def test_rec8k_lists_folders_in_place_of_asking_for_files(tmp_path, write_rec8k, monkeypatch):
    root = write_rec8k(tmp_path, flat=True)
    asked = []
    is_file, exists = Path.is_file, Path.exists
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(path) or is_file(path))
    monkeypatch.setattr(Path, "exists", lambda path, **options: asked.append(path) or exists(path, **options))
    assert len(Rec8k(root).records("train")) == 6
    assert all(path.suffix == ".json" for path in asked)


def test_rec8k_warns_of_other_point_totals_in_a_complete_data_set(tmp_path, write_rec8k, monkeypatch, caplog):
    assert sum(rec8k.POINT_TOTALS.values()) == 286_621
    source = Rec8k(write_rec8k(tmp_path))
    total = sum(record.count for record in source.records("val"))
    assert not caplog.records  # nine images are not complete
    monkeypatch.setattr(rec8k, "_IMAGES", 9)
    monkeypatch.setattr(rec8k, "POINT_TOTALS", {"train": 5, "val": total, "test": 7})
    with caplog.at_level(logging.WARNING):
        source.records("val")
        assert not caplog.records
        source.records("train")
    assert "split 'train' has" in caplog.text and "have 5:" in caplog.text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"points": [[1, 2], [3]]}, "not readable"),
        ({"points": [[1, 2, 3]]}, r"shape \(1, 3\)"),
        ({"points": [[1, float("nan")]]}, "point 0 is"),
        ({"points": None}, "shape"),
        ({"class": "person"}, "no 'points'"),
        ([[1, 2]], "expected an object"),
        ({"points": [], "class": 3}, "'class' of .* is '3', expected text"),
        ({"points": [], "attribute": ["left"]}, "'attribute' of"),
    ],
)
def test_rec8k_names_the_malformed_expression(tmp_path, write_rec8k, entry, message):
    root = write_rec8k(tmp_path)
    name = "0003-fsc147-2689.jpg"
    edit(root / "annotations.json", lambda table: table[name].update({"person on the right": entry}))
    with pytest.raises(InputError, match=message) as caught:
        Rec8k(root).records("val")
    assert str(caught.value).startswith(str(root / "annotations.json"))
    assert f"expression 'person on the right' of image '{name}'" in str(caught.value)
    assert len(Rec8k(root).records("test")) == 1


def test_rec8k_errors_name_the_place_and_the_remedy(tmp_path, write_rec8k):
    remedy = r"expected annotations\.json and splits\.json of REC-8K in .*download them from Google Drive, file 1K3E7"
    with pytest.raises(InputError, match=rf"nowhere.splits\.json: no such file; {remedy}"):
        Rec8k(tmp_path / "nowhere").records("val")
    root = write_rec8k(tmp_path)
    with pytest.raises(InputError, match=r"splits\.json: has no split 'minival', only train, val, test"):
        Rec8k(root).records("minival")
    edit(root / "splits.json", lambda table: table["test"].append(["0003-fsc147-2689.jpg", "person asleep"]))
    with pytest.raises(InputError, match=r"annotations\.json: .*expression 'person asleep' of image '0003-fsc147"):
        Rec8k(root).records("test")
    edit(root / "splits.json", lambda table: table.update(test=[["0099-cs-a.jpg", "person asleep"]]))
    with pytest.raises(InputError, match=r"annotations\.json: holds no annotation of image '0099-cs-a\.jpg'"):
        Rec8k(root).records("test")
    (root / "annotations.json").unlink()
    with pytest.raises(InputError, match=rf"annotations\.json: no such file; {remedy}"):
        Rec8k(root).records("train")


@pytest.mark.parametrize("name", ["0001-moon-1.jpg", "0001.jpg", "0001-cs", "0001-moon-", ""])
def test_rec8k_refuses_an_id_of_no_known_source(tmp_path, write_rec8k, name):
    root = write_rec8k(tmp_path)
    edit(root / "annotations.json", lambda table: table.update({name: {"moon": {"points": []}}}))
    edit(root / "splits.json", lambda table: table.update(val=[[name, "moon"]]))
    with pytest.raises(InputError, match=rf"image '{name}' of REC-8K is not in .*rec-8k, .*cs, mall, detrac"):
        Rec8k(root).records("val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "expected an object at the top, found list"),
        ('{"val": 3}', "split 'val' is not a list"),
        ('{"val": [["a.jpg", "b"], ["a.jpg"]]}', r"entry 1 of split 'val' is \['a\.jpg'\], expected"),
        ('{"val": ["ab"]}', "entry 0 of split 'val' is ab"),
        ('{"val": [["a.jpg", 3]]}', "entry 0"),
        ("{}", "no split 'val', only nothing"),
    ],
)
def test_rec8k_damaged_splits_are_named(tmp_path, write_rec8k, text, message):
    root = write_rec8k(tmp_path)
    (root / "splits.json").write_text(text)
    with pytest.raises(InputError, match=rf"splits\.json: .*{message}"):
        Rec8k(root).records("val")


# --- FSC-147


@pytest.mark.parametrize("descriptions", [False, True])
def test_fsc147_reads_every_split(tmp_path, write_fsc147, descriptions):
    source = Fsc147(str(write_fsc147(tmp_path)), descriptions)
    texts = {"train": ["sea shells", "sea shells", "peas"], "val": ["deers"], "test": ["apples", "marbles"]}
    for split, categories in texts.items():
        records = source.records(split)
        expressions = [expression for record in records for expression in record.expressions]
        assert [expression.category for expression in expressions] == categories
        assert [expression.text for expression in expressions] == ["the " * descriptions + name for name in categories]
        assert all((expression.attribute, expression.kind) == ("", "") for expression in expressions)
        for record, expression in zip(records, expressions, strict=True):
            np.testing.assert_array_equal(record.points, expression.points)
            assert heads_are_dark(record)
    assert [record.name for record in source.records("train")] == ["7.jpg", "2.jpg", "1050.jpg"]


def test_fsc147_needs_descriptions_only_where_they_are_asked_for(tmp_path, write_fsc147):
    root = write_fsc147(tmp_path)
    edit(root / "FSC-147-D.json", lambda table: table["3.jpg"].update(text_description=" "))
    with pytest.raises(InputError, match=r"FSC-147-D\.json: has no text_description for image '3\.jpg'"):
        Fsc147(root, descriptions=True).records("test")
    edit(root / "FSC-147-D.json", lambda table: table.pop("3.jpg"))
    with pytest.raises(InputError, match=r"FSC-147-D\.json: holds no annotation of image '3\.jpg'"):
        Fsc147(root, descriptions=True).records("test")
    (root / "FSC-147-D.json").unlink()
    with pytest.raises(InputError, match=r"FSC-147-D\.json: no such file; .*CounTX"):
        Fsc147(root, descriptions=True).records("test")
    assert len(Fsc147(root).records("test")) == 2


def test_fsc147_errors_name_the_place_and_the_remedy(tmp_path, write_fsc147):
    with pytest.raises(InputError, match=r"Train_Test_Val_FSC_147\.json: no such file; .*LearningToCountEverything"):
        Fsc147(tmp_path / "nowhere").records("val")
    root = write_fsc147(tmp_path)
    with pytest.raises(InputError, match=r"has no split 'minival', only train, val, test"):
        Fsc147(root).records("minival")
    edit(root / "annotation_FSC147_384.json", lambda table: table["190.jpg"].update(points=[[1, 2], [3]]))
    with pytest.raises(InputError, match=r"annotation_FSC147_384\.json: .*image '190\.jpg'"):
        Fsc147(root).records("val")
    (root / "images_384_VarV2" / "3.jpg").unlink()
    with pytest.raises(InputError, match=r"3\.jpg: no such image, nor 0 others of 2; .*Google Drive, file 1ymDY"):
        Fsc147(root).records("test")
    shutil.rmtree(root / "images_384_VarV2")
    with pytest.raises(InputError, match=r"7\.jpg: no such image, nor 2 others of 3"):
        Fsc147(root).records("train")
    write_fsc147(tmp_path)
    (root / "ImageClasses_FSC147.txt").write_text("7.jpg\tsea shells\n\n2.jpg\n")
    with pytest.raises(InputError, match=r"ImageClasses_FSC147\.txt: gives no class for image '2\.jpg'"):
        Fsc147(root).records("train")
    (root / "ImageClasses_FSC147.txt").unlink()
    with pytest.raises(InputError, match=r"ImageClasses_FSC147\.txt: no such file"):
        Fsc147(root).records("train")
    edit(root / "Train_Test_Val_FSC_147.json", lambda table: table.update(train=[3]))
    with pytest.raises(InputError, match=r"split 'train' is not a list of file names"):
        Fsc147(root).records("train")


# --- all


def test_a_record_has_no_expressions_unless_given_and_joins_the_points_of_those_it_has(shanghaitech_root):
    assert all(record.expressions == () for record in ShanghaiTech(shanghaitech_root, "A").records("train"))
    red, none = Expression("red", np.float32([[1, 2]])), Expression("blue", np.zeros((0, 2), np.float32))
    record = Record.referring("a", Path("a.jpg"), [none, red, red])
    assert record.expressions == (none, red, red)
    np.testing.assert_array_equal(record.points, [[1, 2], [1, 2]])
    assert record.points.dtype == np.float32
    assert Record.referring("a", Path("a.jpg"), []).count == 0


def test_records_travel_to_workers(shanghaitech_root):
    record = ShanghaiTech(shanghaitech_root, "B").records("test")[2]
    again = pickle.loads(pickle.dumps(record))
    assert again.name == "IMG_3"
    np.testing.assert_array_equal(again.points, record.points)
    np.testing.assert_array_equal(again.read(), record.read())


def test_adapters_import_nothing_heavy():
    code = "import crowdcount.data, sys; print(*{'torch', 'lightning', 'albumentations'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# People, images; facts of the files at hand, which leave out the points outside the images.
REAL = {("A", "train"): (162_413, 300), ("A", "test"): (78_862, 182), ("B", "train"): (49_151, 400)}


@pytest.mark.parametrize(("part", "split"), REAL)
def test_real_shanghaitech(shared, part, split):
    records = ShanghaiTech(shared / "data" / "ShanghaiTech", part).records(split)
    assert (sum(record.count for record in records), len(records)) == REAL[part, split]
    assert [record.name for record in records] == [f"IMG_{number}" for number in range(1, len(records) + 1)]


def test_real_greyscale_images_have_three_channels(shared):
    grey = [4, 13, 17, 35, 40, 106, 130, 153, 205, 213, 298]
    records = ShanghaiTech(shared / "data" / "ShanghaiTech", "A").records("train")
    for number in grey:
        image = records[number - 1].read()
        assert image.shape[2] == 3
        assert (image == image[..., :1]).all()


# --- errors about one file


def test_an_error_keeps_the_path_of_its_cause(tmp_path):
    path = tmp_path / "a: b.txt"

    def raised(outer=None):
        try:
            try:
                raise InputError("inner", path)
            except InputError as error:
                raise InputError(f"{error}, wrapped", outer) from error
        except InputError as error:
            return error

    assert error_path(raised()) == path
    assert error_path(raised(tmp_path)) == tmp_path
    assert error_path(pickle.loads(pickle.dumps(InputError("text", path)))) == path
    assert (
        InputError("text").path
        is error_path(InputError("text"))
        is error_path(KeyError("text"))
        is error_path(None)
        is None
    )
    with pytest.raises(InputError) as caught, about(tmp_path):
        raise raised()
    assert caught.value.path == path
    with pytest.raises(InputError) as caught, about(tmp_path):
        raise InputError("text")
    assert caught.value.path == tmp_path


@pytest.mark.parametrize(
    ("adapter", "name", "options"),
    [
        (ShanghaiTech, "train_data/ground-truth/GT_IMG_2.mat", {"part": "A"}),
        (UcfQnrf, "Train/img_0002_ann.mat", {}),
        (UcfCc50, "2_ann.mat", {"fold": 1}),
        (Nwpu, "mats/0002.mat", {}),
        (Nwpu, "train.txt", {}),
        (JhuCrowd, "train/gt/0002.txt", {}),
        (JhuCrowd, "train/image_labels.txt", {}),
    ],
)
@pytest.mark.parametrize("content", [b"a b c\n", b"\xff\n"])
def test_errors_carry_the_file_at_fault(tmp_path, request, adapter, name, options, content):
    writer = adapter.__module__.rpartition(".")[2]
    arguments = ["A"] if adapter is ShanghaiTech else []
    root = request.getfixturevalue(f"write_{writer}")(tmp_path / "with: colon", *arguments)
    root = root / "part_A" if adapter is ShanghaiTech else root
    (root / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        adapter(root, **options).records("train")
    assert error_path(caught.value) == root / name
    assert str(caught.value).startswith(f"{root / name}: ")
