"""Whatever is in an annotation file: points come out, or an error that names the file."""

import csv
import json
import shutil
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from crowdcount.data import Folder, JhuCrowd, Nwpu, UcfQnrf, read_image
from crowdcount.data.annotations import mat_check
from crowdcount.data.annotations.point_file import read_points
from crowdcount.data.annotations.point_table import read_table
from crowdcount.errors import InputError
from crowdcount.files import read_json

POINTS = [[1.5, 2.0], [30.25, 4.0]]
WHOLE = {
    "a.txt": b"1.5 2\n30.25 4\n",
    "a.csv": b"image,x,y\na.jpg,1.5,2\na.jpg,30.25,4\n",
    "a.json": json.dumps({"points": POINTS}).encode(),
}
per_test = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
STRANGE = [b"\x00", b"\xff\xfe", b"nan", b"1e400", b"\n\n", b'"', b"[" * 9, b"-", b";", b"PK\x03\x04", b"9" * 50]


def damaged(whole):
    """Return files cut short, altered in a place, or with something strange put in."""
    places = st.integers(0, len(whole))
    cut = places.map(lambda place: whole[:place])
    other = st.tuples(places, st.binary(max_size=4)).map(lambda at: whole[: at[0]] + at[1] + whole[at[0] + 1 :])
    strange = st.tuples(places, st.sampled_from(STRANGE)).map(lambda at: whole[: at[0]] + at[1] + whole[at[0] :])
    return cut | other | strange | st.binary(max_size=60)


def names_its_file(read, path):
    """Read a file: finite points, or an error that begins with its name."""
    try:
        found = read(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
        return
    for points in found:
        assert points.dtype == np.float32 and points.shape[1:] == (2,) and np.isfinite(points).all()


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.npy", "a.mat", "GT_a.mat"])
def test_files_of_points(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, POINTS)
    elif name == "GT_a.mat":
        info = np.empty((1, 1), object)
        info[0, 0] = {"location": np.array(POINTS), "number": [[2]]}
        savemat(path, {"image_info": info})
    elif name == "a.mat":
        savemat(path, {"annPoints": POINTS})
    else:
        path.write_bytes(WHOLE[name])
    whole = path.read_bytes()

    @given(damaged(whole))
    def check(content):
        path.write_bytes(content)
        names_its_file(lambda file: [read_points(file)], path)

    check()


@pytest.mark.parametrize("value", [0, 8, 10, 20, 128, 255])
@pytest.mark.parametrize("order", [0, 1])
def test_a_mat_file_whose_numbers_are_of_no_type_does_not_end_the_process(tmp_path, value, order):
    path = tmp_path / "a.mat"
    savemat(path, {"annPoints": POINTS})
    content = bytearray(path.read_bytes())
    assert content[192] == 9  # double precision
    content[192 + order] = value or 8 * order
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mat: not readable \(a data element of type"):
        read_points(path)


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_tables_of_points(tmp_path, name):
    whole = WHOLE["a.csv"] if name == "a.csv" else json.dumps({"a.jpg": POINTS, "b.jpg": []}).encode()

    @given(damaged(whole))
    @example(b"image,x,y\n" + b"a" * 200_000 + b",1,2\n")
    @example(b"i" * 200_000 + b",x,y\na.jpg,1,2\n")
    @example(b'image,x,y\n"a.jpg,1,2\n')
    @example(b"image,x,y\na.jpg,1\x00,2\n")
    @example(b'{"a.jpg": [[1, 1' + b"0" * 400 + b"]]}")
    def check(content):
        (tmp_path / name).write_bytes(content)
        names_its_file(lambda file: [entry.points for entry in read_table(file).values()], tmp_path / name)

    check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 0.51 0.33 0.015 0.02\n", r"line 1 is '0 0\.51 .*look like YOLO labels.*crowdcount dataset import yolo"),
        ("\n12 0.5 1 0.1 0 0.9\n3 0 0.5 0.1 0.1\n", "line 2 is '12 0.5 1 .*YOLO"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3\n", "line 1 .*YOLO"),  # an outline
        ("10 20\n1,5 2,5\n", "line 2 is '1,5 2,5', whose commas may separate numbers or be part of them"),
        ("1,5;2,5\n", "line 1 is '1,5;2,5', whose commas"),
        ("1,5\t2\n", "line 1 .*whose commas"),
        ("1,5 ; 2,5\n", "line 1 .*whose commas"),
    ],
)
def test_lines_that_may_mean_something_else_are_refused(tmp_path, content, message):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match=rf"a\.txt: {message}"):
        read_points(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("content", "points"),
    [
        ("10 20 5 6 0 1\n", [[10, 20]]),  # further columns, as JHU-CROWD++ has them
        ("10,20,head\n1.5 , 2.5,9\n", [[10, 20], [1.5, 2.5]]),
        ("10,20,some words\n", [[10, 20]]),
        ("1.5;2.5;3\n", [[1.5, 2.5]]),
        ("0 0.5 0.5 0.1 0.1\n0 30 0.5 0.1 0.1\n", [[0, 0.5], [0, 30]]),
        ("0 0.5\n1 0.25\n", [[0, 0.5], [1, 0.25]]),
        ("x,y\n", []),
        ("", []),
    ],
)
def test_lines_that_mean_one_thing_are_read(tmp_path, content, points):
    (tmp_path / "a.txt").write_text(content)
    np.testing.assert_array_equal(read_points(tmp_path / "a.txt"), np.reshape(points, (-1, 2)))


def test_a_repeated_key_does_not_replace_the_first(tmp_path):
    (tmp_path / "points.json").write_text('{"a.jpg": [[1, 2]], "b.jpg": [], "a.jpg": []}')
    with pytest.raises(InputError, match=r"points\.json: has the key 'a\.jpg' twice; keep the one"):
        read_table(tmp_path / "points.json")
    (tmp_path / "a.json").write_text('{"points": [[1, 2]], "points": []}')
    with pytest.raises(InputError, match=r"a\.json: has the key 'points' twice"):
        read_points(tmp_path / "a.json")


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000, "{", "\ufeff{"])
def test_json_that_breaks_the_reader_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("writer", "source", "split", "file"),
    [
        ("write_nwpu", Nwpu, "val", "val.txt"),
        ("write_nwpu", Nwpu, "val", "mats/4005.mat"),
        ("write_jhu_crowd", JhuCrowd, "val", "val/gt/0005.txt"),
        ("write_jhu_crowd", JhuCrowd, "val", "val/image_labels.txt"),
        ("write_ucf_qnrf", UcfQnrf, "val", "val.txt"),
    ],
)
def test_files_of_data_sets(tmp_path, request, writer, source, split, file):
    root = request.getfixturevalue(writer)(tmp_path)
    path = tmp_path / file
    if not path.exists():
        path.write_text("img_0001.jpg\nimg_0003.jpg\n")

    @settings(max_examples=40)
    @given(damaged(path.read_bytes()))
    def check(content):
        path.write_bytes(content)
        try:
            records = source(root).records(split)
        except InputError as error:
            assert path.name in str(error)
            return
        assert all(np.isfinite(record.points).all() for record in records)

    check()


@per_test
@given(
    heads=st.dictionaries(
        st.text("abcäß ,;\"'.", max_size=8).map(lambda name: f"a{name}x.jpg"),
        st.lists(st.tuples(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32)), max_size=4),
        min_size=1,
        max_size=4,
    ),
    kind=st.sampled_from(["json", "csv"]),
)
def test_points_come_back_as_they_were_written(tmp_path, heads, kind):
    root = tmp_path / "data"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name in heads:
        (root / name).touch()
    if kind == "json":
        (root / "points.json").write_text(json.dumps(heads), encoding="utf-8")
    else:
        with (root / "points.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "x", "y"])
            for name, points in heads.items():
                rows.writerows([[name, *point] for point in points] or [[name, "", ""]])
    records = {record.name: record.points for record in Folder(root).records("train")}
    assert set(records) == set(heads)
    for name in heads:
        np.testing.assert_array_equal(records[name], np.float32(heads[name]).reshape(-1, 2))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_an_image_cut_short_is_refused(tmp_path, suffix):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    data = cv2.imencode(suffix, picture)[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    assert read_image(path).shape == (60, 80, 3)
    for share in (0.0, 0.2, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=rf"a\{suffix}: .*(not a readable image|is damaged)"):
            read_image(path)


# --- files that promise more than they hold


def bomb(megabytes, stated=None, order="little"):
    """Return a level 5 file of one compressed array of zeros that states so many bytes."""
    size = megabytes << 20
    stated = size if stated is None else stated
    packer = zlib.compressobj(9)
    content = packer.compress((14).to_bytes(4, order) + stated.to_bytes(4, order))
    for _ in range(megabytes):
        content += packer.compress(bytes(1 << 20))
    content += packer.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + (b"\x00\x01IM" if order == "little" else b"\x01\x00MI")
    return header + (15).to_bytes(4, order) + len(content).to_bytes(4, order) + content


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("stated", [None, 64])
def test_a_mat_file_that_inflates_to_much_is_refused(tmp_path, monkeypatch, order, stated):
    monkeypatch.setattr(mat_check, "_MOST", 4 << 20)
    path = tmp_path / "a.mat"
    path.write_bytes(bomb(5, stated, order))
    with pytest.raises(InputError, match=r"a\.mat: not readable \(its arrays take more than 4 MiB\)"):
        read_points(path)
    monkeypatch.setattr(mat_check, "_MOST", 4 << 10)
    path.write_bytes(bytes(5 << 10))
    with pytest.raises(InputError, match=r"a\.mat: not readable \(a file of more than"):
        read_points(path)


def test_the_stated_size_is_refused_before_anything_is_inflated(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(bomb(1, 2**32 - 1))
    tracemalloc.start()
    with pytest.raises(InputError, match="its arrays take more than 256 MiB"):
        read_points(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_compressed_variables_share_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    savemat(path, {"annPoints": np.ones((100, 2)), "other": np.ones((1000, 50))}, do_compression=True)
    assert len(read_points(path)) == 100
    monkeypatch.setattr(mat_check, "_MOST", 300_000)
    with pytest.raises(InputError, match="its arrays take more than"):
        read_points(path)


@pytest.mark.parametrize("start", [b"", b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512)])
def test_a_file_of_matlab_7_3_is_called_what_it_is(tmp_path, start):
    path = tmp_path / "a.mat"
    path.write_bytes(start + b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(InputError, match=r"a\.mat: is a MATLAB file of version 7\.3 \(HDF5\).*'-v7'"):
        read_points(path)


def test_an_array_that_promises_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((1, 2)))
    path.write_bytes(path.read_bytes().replace(b"(1, 2), }" + b" " * 10, b"(1000000000, 2), } "))
    with pytest.raises(InputError, match=r"a\.npy: not a readable array \(an array of shape \(1000000000, 2\) in"):
        read_points(path)


# --- what is no point


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 2), bool), np.ones((2, 2), complex), np.array([["1", "2"]]), np.zeros((2, 2), "M8[s]")],
    ids=["bool", "complex", "text", "time"],
)
def test_arrays_of_other_things_are_no_points(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=rf"a\.npy: not readable \({array.dtype}".replace("[", r"\[")):
        read_points(tmp_path / "a.npy")
    for kind in (np.uint8, np.float16, ">i4"):
        np.save(tmp_path / "a.npy", np.ones((2, 2), kind))
        assert read_points(tmp_path / "a.npy").tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("word", ["1_000", "\u0661\u0662", "0x10", "1e", "nan", "--1"])
def test_words_that_are_no_decimal_numbers(tmp_path, word):
    (tmp_path / "a.txt").write_text(f"3 4\n{word} 5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.txt: line 2"):
        read_points(tmp_path / "a.txt")
    (tmp_path / "points.csv").write_text(f"image,x,y\na.jpg,{word},5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"points\.csv: line 2"):
        read_table(tmp_path / "points.csv")


@pytest.mark.parametrize("points", ["[[true, 2]]", '[["1", "2"]]', "[[null, 2]]", "[[1, 2], 3]"])
def test_json_that_holds_no_numbers(tmp_path, points):
    (tmp_path / "a.json").write_text(f'{{"points": {points}}}')
    with pytest.raises(InputError, match=r"a\.json: "):
        read_points(tmp_path / "a.json")


def test_lines_that_begin_with_a_class_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("0 512 300\n0 40 20\n0 33 44\n")
    with pytest.raises(InputError, match=r"a\.txt: line 1 is '0 512 300'.*a class\?"):
        read_points(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("x y size\n0 512 300\n0 40 20\n0 33 44\n")
    assert len(read_points(tmp_path / "a.txt")) == 3  # the header says what they are
