import importlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

import crowdcount
from crowdcount import visualize
from crowdcount.data.synthetic.scenes import Synthetic
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.geometry import as_points
from crowdcount.images.files import find_images
from crowdcount.images.read import read_image
from crowdcount.visualize import captions
from crowdcount.visualize.density import image_bytes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    return importlib.import_module("crowdcount.cli.visualize")


@pytest.fixture(scope="module")
def scene():
    record = next(record for record in Synthetic(width=200, height=150).records("test") if record.count > 40)
    return record.read(), record.points


def random_density(rows, columns, seed=0):
    return np.random.default_rng(seed).random((rows, columns), np.float32)


# Densities


@pytest.mark.parametrize("function", [visualize.smooth_density, visualize.heat_map])
def test_blocks_that_do_not_fit_are_refused(function):
    with pytest.raises(InputError, match="5 x 9 blocks of 8 pixels does not cover an image of 48 x 72"):
        function(random_density(5, 9), 48, 72, 8)


def test_true_density_against_a_loop():
    points = as_points(np.random.default_rng(1).uniform(-5, 70, (300, 2)))
    expected = np.zeros((4, 8), np.float32)
    for x, y in points:
        if 0 <= x < 61 and 0 <= y < 30:
            expected[int(y // 8), int(x // 8)] += 1
    np.testing.assert_array_equal(visualize.true_density(points, 30, 61, 8), expected)


def test_smoothing_keeps_blocks_where_they_are():
    density = np.zeros((6, 9), np.float32)
    density[4, 2] = 1
    for smooth in (0.0, 1.0):
        shown = visualize.smooth_density(density, 48, 72, 8, smooth)
        row, column = np.unravel_index(shown.argmax(), shown.shape)
        assert 32 <= row < 40 and 16 <= column < 24
    np.testing.assert_array_equal(
        visualize.smooth_density(density, 45, 70, 8, 0), density.repeat(8, axis=0).repeat(8, axis=1)[:45, :70]
    )


def test_smoothing_a_constant_changes_nothing():
    shown = visualize.smooth_density(np.full((5, 7), 0.25, np.float32), 37, 50, 8, 2.0)
    np.testing.assert_allclose(shown, 0.25, rtol=1e-5)


def test_scale_top():
    one, two = np.zeros((5, 5), np.float32), np.zeros((5, 5), np.float32)
    one[2, 2], two[1, 1] = 3, -7
    assert visualize.scale_top(one, two, smooth=0) == 7
    assert visualize.scale_top(one, smooth=1) == pytest.approx(3 / (2 * np.pi), rel=0.05)
    assert visualize.scale_top(np.zeros((5, 5), np.float32), np.zeros((0, 4), np.float32)) == 0.05


# Drawings


def test_overlay_is_clear_where_nobody_is(scene):
    image, _ = scene
    density = np.zeros((19, 25), np.float32)
    np.testing.assert_array_equal(visualize.overlay(image, density, 8), image)
    density[10, 12] = 2
    shown = visualize.overlay(image, density, 8)
    np.testing.assert_array_equal(shown[:20], image[:20])
    assert np.abs(shown[84, 100].astype(int) - image[84, 100]).max() > 40
    assert shown[84, 100, 0] > shown[84, 100, 2] + 30  # the end of the scale is red


def test_heat_map_has_a_scale_with_the_unit(scene):
    density = np.zeros((19, 25), np.float32)
    density[10, 12] = 2
    shown = visualize.heat_map(density, 150, 200, 8)
    assert shown.shape[1:] == (200, 3) and shown.shape[0] > 150 + 30
    hot, cold = shown[84, 100].astype(int), shown[5, 5].astype(int)
    assert hot[0] > 100 and hot[2] < 50 and cold[0] < 70 and cold[2] > cold[1]
    bar = shown[150:]
    assert (bar < 100).all(axis=2).any() and (bar[-8:] == 255).any()
    np.testing.assert_array_equal(shown, visualize.heat_map(density, 150, 200, 8, top=visualize.scale_top(density)))
    assert (visualize.heat_map(density, 150, 200, 8, top=50.0)[:150] != shown[:150]).any()


def test_scales_carry_numbers_and_the_unit(monkeypatch):
    written = []
    monkeypatch.setattr(captions, "write", lambda paper, line, *rest, **more: written.append(line))
    half, one, none = (np.full((38, 50), people, np.float32) for people in (0.5, 1, 0))
    visualize.heat_map(half, 600, 800, 16, smooth=0)
    *numbers, unit = written
    assert unit == "people per 16x16 px block"
    assert float(numbers[0]) == 0 and float(numbers[-1]) == 0.5 and len(numbers) >= 5
    written.clear()
    visualize.error_map(none, one, 600, 800, 16, smooth=0)
    *numbers, unit = written
    assert unit == "predicted - true, per 16x16 px block"
    assert [float(number) for number in numbers] == sorted(-float(number) for number in numbers)
    assert float(numbers[-1]) == 1


def test_error_map_is_red_for_too_many_and_symmetric():
    predicted, true = np.zeros((20, 30), np.float32), np.zeros((20, 30), np.float32)
    predicted[5, 5], true[15, 20] = 1, 1
    shown = visualize.error_map(predicted, true, 160, 240, 8)
    many, few, right = (shown[row, column].astype(int) for row, column in ((44, 44), (124, 164), (80, 120)))
    assert many[0] > many[2] + 60 and few[2] > few[0] + 60
    assert right.min() > 235
    swapped = visualize.error_map(true, predicted, 160, 240, 8)
    np.testing.assert_array_equal(swapped[124, 164], shown[44, 44])
    np.testing.assert_array_equal(swapped[160:], shown[160:])


def test_error_map_refuses_densities_of_different_strides():
    with pytest.raises(InputError, match=r"\(2, 2\).*\(4, 4\)"):
        visualize.error_map(random_density(2, 2), random_density(4, 4), 32, 32, 16)


def test_points_are_drawn_where_they_are(scene):
    image, points = scene
    before = image.copy()
    shown = visualize.draw_points(image, points)
    np.testing.assert_array_equal(image, before)
    far = points[np.argsort(points[:, 1])[-3:]].astype(int)
    for x, y in far:
        assert shown[y, x, 0] > 180 and shown[y, x, 1] < 140
    outside = as_points([[-4, 10], [250, 20]])
    np.testing.assert_array_equal(visualize.draw_points(image, outside), image)
    np.testing.assert_array_equal(visualize.draw_points(image, as_points([])), image)


def test_dots_shrink_where_people_are_close():
    blank = np.zeros((600, 800, 3), np.uint8)
    crowd = np.random.default_rng(0).uniform(0, 100, (600, 2))
    shown = visualize.draw_points(blank, as_points([*crowd, [600, 400]]))
    lone = np.count_nonzero(shown[380:420, 580:620, 0] > 200)
    assert lone > 40
    assert np.count_nonzero(shown[:100, :100, 0] > 200) < 600 * lone / 4


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1)])
def test_grey_images(shape):
    grey = np.full(shape, 77, np.uint8)
    density = random_density(5, 8)
    assert visualize.overlay(grey, density, 8).shape == (40, 60, 3)
    assert visualize.draw_points(grey, as_points([[3, 3]])).shape == (40, 60, 3)
    assert visualize.caption(grey, "grey").shape[2] == 3
    assert visualize.panel([("grey", grey)]).shape[2] == 3


def test_one_pixel_and_nobody():
    one, zero = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    pixel = np.full((1, 1, 3), 90, np.uint8)
    images = [visualize.heat_map(one, 1, 1, 8), visualize.overlay(pixel, one, 8), visualize.overlay(pixel, zero, 8)]
    images += [visualize.error_map(one, zero, 8, 3, 8), visualize.error_map(zero, zero, 8, 8, 8)]
    images += [visualize.heat_map(zero, 8, 8, 8), visualize.heat_map(np.zeros((0, 2), np.float32), 5, 16, 8)]
    images += [visualize.draw_points(pixel, as_points([[0.5, 0.5]]))]
    shown = visualize.panel([(f"image {number}", image) for number, image in enumerate(images)])
    assert all(image.dtype == np.uint8 and image.ndim == 3 for image in [*images, shown])
    np.testing.assert_array_equal(images[2], pixel)


# Text


def test_count_text():
    assert visualize.count_text(123.44, 130) == "count 123.4, truth 130, error -6.6"
    assert visualize.count_text(123.44) == "count 123.4"
    assert visualize.count_text(truth=0) == "truth 0"


@pytest.mark.parametrize("width", [200, 900, 4000])
def test_captions_are_readable_at_every_size(width):
    image = np.full((width * 3 // 4, width, 3), 128, np.uint8)
    shown = visualize.caption(image, "count 123.4, truth 130, error -6.6")
    strip = shown[: shown.shape[0] - image.shape[0]]
    np.testing.assert_array_equal(shown[strip.shape[0] :, :width], image)
    ink = (strip < 128).all(axis=2)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert columns[-1] < width - 2 and columns[-1] > 0.25 * width  # neither cut off nor tiny
    assert rows[0] > 0 and rows[-1] < strip.shape[0] - 1
    assert max(8, 0.015 * width) < rows[-1] - rows[0] < 0.08 * width


def test_long_captions_wrap():
    image = np.full((150, 200, 3), 128, np.uint8)
    short, long = (visualize.caption(image, "people " * n) for n in (2, 12))
    assert long.shape[1] == short.shape[1] == 200
    assert long.shape[0] > short.shape[0] + 20


def test_panel_sets_images_side_by_side():
    left, right = np.full((150, 200, 3), 10, np.uint8), np.full((180, 220, 3), 60, np.uint8)
    shown = visualize.panel([("left", left), ("right", right)])
    assert shown.shape[1] > 420
    head = shown.shape[0] - 180
    np.testing.assert_array_equal(shown[head : head + 150, :200], left)
    np.testing.assert_array_equal(shown[head:, -220:], right)
    assert (shown[head + 150 :, :200] == 255).all()
    with pytest.raises(InputError, match="at least one"):
        visualize.panel([])


@pytest.mark.parametrize(("low", "high"), [(0, 0.05), (0, 0.873), (-0.23, 0.23), (0, 1), (-12, 12), (0, 3000)])
@pytest.mark.parametrize("most", [2, 5, 12])
def test_ticks_are_few_and_round(low, high, most):
    ticks = captions._ticks(low, high, most)
    assert 2 <= len(ticks) <= most + 1 and 0 in ticks
    assert low <= ticks[0] and ticks[-1] <= high
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6)


# The tool


@dataclass
class Seen:
    count: float
    density: np.ndarray
    stride: int
    height: int
    width: int


class Half:
    """Stands in for a model that sees the image at half its size and finds two people in its middle."""

    reads_text = False

    def density_model(self):
        return self

    def predict(self, image):
        height, width = image.shape[0] // 2, image.shape[1] // 2
        density = np.zeros((-(-height // 8), -(-width // 8)), np.float32)
        density[density.shape[0] // 2, density.shape[1] // 2] = 2
        return Seen(2.0, density, 8, height, width)


@pytest.fixture
def half(monkeypatch):
    calls = []

    def load(source, weights=None):
        calls.append((source, weights))
        return Half()

    monkeypatch.setattr(crowdcount, "load_model", load, raising=False)
    return calls


@pytest.fixture
def photos(tmp_path, scene, tool):
    """A folder with two images, and one with an annotation for each."""
    image, points = scene
    (tmp_path / "images").mkdir()
    (tmp_path / "truth").mkdir()
    for stem in ("a", "b"):
        atomic_write(tmp_path / "images" / f"{stem}.png", image_bytes(image))
        np.save(tmp_path / "truth" / f"{stem}.npy", points)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_tool_draws_an_annotation_alone(tool, photos, scene, capsys):
    out = photos / "out"
    arguments = [photos / "images" / "a.png", "--annotation", photos / "truth" / "a.npy", "--output", out]
    assert tool.main([str(argument) for argument in arguments]) == 0
    assert names(out) == ["a_heat.png", "a_overlay.png", "a_panel.png", "a_points.png"]
    assert capsys.readouterr().out == f"a.png: truth {len(scene[1])}\n"
    assert read_image(out / "a_overlay.png").shape[1] == 200


def test_tool_draws_a_model_with_and_without_truth(tool, photos, half, scene, capsys):
    out, images = photos / "out", str(photos / "images")
    assert tool.main([images, "--model", "ebc/x", "--weights", "w.ckpt", "--output", str(out)]) == 0
    assert half == [("ebc/x", "w.ckpt")]
    assert names(out) == [f"{stem}_{kind}.png" for stem in "ab" for kind in ("heat", "overlay", "panel")]
    assert capsys.readouterr().out == "a.png: count 2.0\nb.png: count 2.0\n"
    arguments = ["--annotation", str(photos / "truth"), "--output", str(out), "--draw", "error", "points"]
    assert tool.main([images, "--model", "ebc/x", *arguments]) == 0
    assert {"a_error.png", "b_error.png", "a_points.png", "b_points.png"} <= set(names(out))
    truth = len(scene[1])
    assert f"a.png: count 2.0, truth {truth}, error {2 - truth:+.1f}\n" in capsys.readouterr().out


def test_tool_works_in_the_frame_the_network_saw(tool, scene):
    image, points = scene
    view = tool.look(image, points, Half(), 8)
    assert view.image.shape == (75, 100, 3)
    np.testing.assert_allclose(view.points, points / 2)
    kinds = dict(tool.draw(view, ("overlay", "error", "panel"), 1.0))
    assert list(kinds) == ["overlay", "error", "panel"]


def test_tool_counts_points_outside_the_image(tool, photos, capsys):
    np.save(photos / "truth" / "a.npy", np.array([[5.0, 5.0], [-3.0, 7.0], [200.0, 3.0]]))
    arguments = ["--annotation", str(photos / "truth" / "a.npy"), "--output", str(photos / "out")]
    assert tool.main([str(photos / "images" / "a.png"), *arguments]) == 0
    assert capsys.readouterr().out == "a.png: truth 3 (2 points outside the image)\n"


def test_tool_goes_on_after_a_damaged_file(tool, photos, capsys):
    (photos / "images" / "a.png").write_bytes(b"no image")
    (photos / "images" / "c.jpg").write_bytes((photos / "images" / "b.png").read_bytes())
    arguments = ["--annotation", str(photos / "truth"), "--output", str(photos / "out"), "--draw", "heat"]
    assert tool.main([str(photos / "images"), str(photos / "none.jpg"), *arguments]) == 2
    out, err = capsys.readouterr()
    assert names(photos / "out") == ["b_heat.png"] and out.startswith("b.png: truth")
    assert "a.png: not a readable image" in err
    assert "c.jpg: no annotation in" in err and "GT_c.mat" in err
    assert "none.jpg: no annotation" in err or "none.jpg: no such image" in err


def test_tool_never_overwrites_an_input_or_another_result(tool, photos, capsys):
    images = photos / "images"
    (images / "a_heat.png").write_bytes((images / "a.png").read_bytes())
    before = (images / "a_heat.png").read_bytes()
    arguments = ["--annotation", str(photos / "truth"), "--draw", "heat"]
    assert tool.main([str(images / "a.png"), str(images / "a_heat.png"), *arguments, "--output", str(images)]) == 2
    assert (images / "a_heat.png").read_bytes() == before
    assert "a_heat.png is an input" in capsys.readouterr().err
    (photos / "more").mkdir()
    (photos / "more" / "b.png").write_bytes((images / "b.png").read_bytes())
    both = [str(images / "b.png"), str(photos / "more" / "b.png")]
    assert tool.main([*both, *arguments, "--output", str(photos / "out")]) == 2
    assert "picture of another input" in capsys.readouterr().err


def test_tool_leaves_no_half_written_file(tool, photos, monkeypatch):
    def fail(self, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    arguments = ["--annotation", str(photos / "truth"), "--output", str(photos / "out")]
    assert tool.main([str(photos / "images"), *arguments]) == 2
    assert names(photos / "out") == []


def test_tool_searches_folders_but_not_their_folders(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "c.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "inner.png").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.png").touch()
    found = find_images([tmp_path, tmp_path / "a.png"])
    assert [path.name for path in found] == ["a.png", "b.JPG", "c.tiff"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no \.jpg"):
        find_images([tmp_path / "empty"])


def test_a_model_that_cannot_be_loaded_is_reported(tool, photos, monkeypatch, capsys):
    def refuse(source, weights=None):
        raise InputError(f"{source}: no weights")

    monkeypatch.setattr(crowdcount, "load_model", refuse, raising=False)
    assert tool.main([str(photos / "images"), "--model", "ebc/x", "--output", str(photos / "out")]) == 2
    assert "ebc/x: no weights" in capsys.readouterr().err
    assert not (photos / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--model, --annotation or both"),
        (["--annotation", "x", "--weights", "w"], "--weights needs --model"),
        (["--annotation", "x", "--stride", "0"], "--stride: 0"),
        (["--annotation", "x", "--smooth", "-1"], "--smooth: -1.0"),
        (["--model", "x", "--draw", "points"], "need --annotation"),
        (["--annotation", "x", "--draw", "error"], "needs --model"),
        (["--annotation", "x", "--draw", "heatmap"], "invalid choice"),
    ],
)
def test_tool_refuses_what_cannot_be(tool, arguments, words, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(["photo.jpg", *arguments])
    assert error.value.code == 2 and words in capsys.readouterr().err


def test_one_annotation_for_many_images_is_refused(tool, photos, capsys):
    assert tool.main([str(photos / "images"), "--annotation", str(photos / "truth" / "a.npy")]) == 2
    assert "one annotation for 2 images" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_tool_reads_the_points_of_many_images_from_a_table(tool, photos, kind, capsys, monkeypatch):
    table = photos / "images" / f"points.{kind}"
    paths = sorted(path for path in (photos / "images").iterdir())
    heads = {paths[0].name: [[3, 4], [5, 6]], paths[1].name: [], "elsewhere.jpg": [[1, 2]]}
    if kind == "json":
        table.write_text(json.dumps(heads))
    else:
        rows = [f"{name},{x},{y}" for name, points in heads.items() for x, y in points or [("", "")]]
        table.write_text("\n".join(["image,x,y", *rows]))
    monkeypatch.chdir(photos)
    common = ["--annotation", str(table), "--output", str(photos / "out"), "--draw", "points"]
    assert tool.main(["images", *common]) == 0
    out = capsys.readouterr().out
    assert f"{paths[0].name}: truth 2" in out and f"{paths[1].name}: truth 0" in out
    table.write_text(table.read_text().replace(paths[1].name, "other.png"))
    assert tool.main(["images", *common]) == 2
    assert f"names no points of images/{paths[1].name}" in capsys.readouterr().err
    table.write_text(table.read_text().replace("other.png", f"./{paths[0].name}"))
    assert tool.main([str(paths[0]), *common]) == 2
    assert "may both be" in capsys.readouterr().err


def test_help_shows_every_option_and_an_example(tool, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(["--help"])
    shown = capsys.readouterr().out
    assert error.value.code == 0 and "crowdcount visualize photo.jpg" in shown
    assert all(option in shown for option in ("--model", "--weights", "--annotation", "--output", "--draw", "--stride"))


# Annotations

POINTS = np.array([[1.5, 2.0], [30.25, 4.0], [7.0, 8.5]])


def write_shanghaitech(path, points):
    info = np.empty((1, 1), object)
    info[0, 0] = {"location": points, "number": [[len(points)]]}
    savemat(path, {"image_info": info})


@pytest.mark.parametrize("points", [POINTS, np.empty((0, 2))])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("GT_a.mat", write_shanghaitech),
        ("a_ann.mat", lambda path, points: savemat(path, {"annPoints": points})),
        ("a.npy", np.save),
        ("a.json", lambda path, points: path.write_text(json.dumps({"points": points.tolist(), "human_num": 3}))),
        ("a.txt", lambda path, points: path.write_text("".join(f"{x} {y}\n" for x, y in points))),
        ("a.csv", lambda path, points: path.write_text("x,y,size\n" + "".join(f"{x}, {y},9\n" for x, y in points))),
    ],
)
def test_annotation_formats(tool, tmp_path, name, write, points):
    write(tmp_path / name, points)
    (tmp_path / "unrelated.txt").touch()
    found = tool.find_annotation(Path("elsewhere/a.jpg"), tmp_path)
    assert found.name == name
    read = tool.read_points(found)
    assert read.dtype == np.float32 and read.shape == points.shape
    np.testing.assert_array_equal(read, points.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mat", b"not matlab"),
        ("a.npy", b"\x93NUMPY broken"),
        ("a.json", b'{"people": []}'),
        ("a.json", b"[[1, 2]]"),
        ("a.json", b'{"points": [[1, 2, 3]]}'),
        ("a.json", b'{"points": [[1, NaN]]}'),
        ("a.txt", b"1 2\n3\n"),
        ("a.txt", b"1 2\nx y\n"),
        ("a.txt", b"\xff\xfe\x00"),
        ("a.xml", b"<points/>"),
    ],
)
def test_unreadable_annotations_are_named(tool, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        tool.read_points(tmp_path / name)


def test_mat_without_a_known_variable(tool, tmp_path):
    savemat(tmp_path / "a.mat", {"density": POINTS})
    with pytest.raises(InputError, match=r"a\.mat"):
        tool.read_points(tmp_path / "a.mat")
    with pytest.raises(InputError, match="no such annotation"):
        tool.read_points(tmp_path / "b.mat")


def test_written_images_are_rgb(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 200
    atomic_write(tmp_path / "x.png", image_bytes(image))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)
    assert names(tmp_path) == ["x.png"]
    assert cv2.imread(str(tmp_path / "x.png")).shape == (4, 6, 3)


def test_frames_of_mall_are_drawn_with_their_annotation(tool, tmp_path, write_mall, capsys):
    root = write_mall(tmp_path / "mall", frames=3)
    truth = loadmat(root / "mall_gt.mat")["frame"]
    heads = [len(truth[0, n]["loc"][0, 0]) for n in (0, 2)]
    frames = [root / "frames" / f"seq_00000{n}.jpg" for n in (1, 3)]
    words = [*frames, "--annotation", root / "mall_gt.mat", "--output", tmp_path / "out", "--draw", "points"]
    assert tool.main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out
    assert all(f"{frame.name}: truth {count}" in printed for frame, count in zip(frames, heads, strict=True))
    assert len(list((tmp_path / "out").glob("*_points.png"))) == 2


def test_points_in_another_frame_are_not_drawn(tool, tmp_path, capsys):
    atomic_write(tmp_path / "a.png", image_bytes(np.full((300, 400, 3), 99, np.uint8)))
    rng = np.random.default_rng(0)
    words = [str(tmp_path / "a.png"), "--annotation", str(tmp_path / "a.npy"), "--output", str(tmp_path / "out")]
    np.save(tmp_path / "a.npy", rng.uniform(0, 1, (30, 2)))
    assert tool.main(words) == 2
    assert "a.png: all coordinates lie between 0 and 1" in capsys.readouterr().err
    np.save(tmp_path / "a.npy", rng.uniform(0, 150, (30, 2)))
    assert tool.main(words) == 0
    assert "a.png: all heads lie in the upper left part" in capsys.readouterr().err
