"""From images and expressions to points: inference, tiles, sizes of images and batches, Python API and drawings."""

import importlib
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import crowdcount
from crowdcount.data.dataset import CrowdDataset, TrainingSample, collate
from crowdcount.data.sample import Expression, Record
from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.images.resize import ShortSide
from crowdcount.inference.points import PointInference, PointPrediction
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.models.rec.outputs import PointDetections

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ("person in red", "red")


# --- a network that knows where everything is


class Known:
    """Finds known objects in what it is shown, as far as its queries reach; a ramp in the image says what that is."""

    def __init__(self, objects, queries=20, side=0.04, jitter=0.0):
        self.objects, self.queries, self.side, self.jitter = objects, queries, side, jitter
        self.detector = ReferringDetector("tiny", pretrained=False, words=("person", "in", "red"))
        self.tokenize = self.detector.tokenize
        self.calls = []  # for each call: its expressions, the window in parts of the whole image, what was found

    def normalize(self, image):
        return image

    def __call__(self, image, inside, phrases, rows):
        assert inside.all() and inside.shape == (1, *image.shape[-2:]) and not rows.any()
        window = [*ends(image[0, 0].mean(0)), *ends(image[0, 1].mean(1))]
        left, right, top, bottom = window
        count, (tokens,) = len(phrases.ids), phrases.ids.shape[1:]
        logits = torch.full((count, self.queries, tokens), -5.0)
        points, sizes = torch.zeros(count, self.queries, 2), torch.full((count, self.queries, 2), self.side)
        rng = np.random.default_rng(len(self.calls))
        found = []
        for row, length in enumerate(phrases.sizes.tolist()):
            x, y = self.objects[length - 3].T  # one list of objects for expressions of each length
            seen = (x >= left) & (x < right) & (y >= top) & (y < bottom)
            where = np.stack([x, y], axis=1)[seen][: self.queries]
            where = where + rng.uniform(-self.jitter, self.jitter, where.shape)
            score = rng.uniform(1, 3, len(where)).astype(np.float32)
            points[row, : len(where)] = torch.from_numpy((where - (left, top)) / (right - left, bottom - top))
            logits[row, : len(where)] = torch.from_numpy(score)[:, None]
            found.append((where, score))
        self.calls.append((phrases.sizes.tolist(), window, found))
        sizes = sizes / torch.tensor([right - left, bottom - top], dtype=torch.float32)
        text = torch.zeros(count, tokens, 4)
        return PointDetections(logits, points, sizes, torch.zeros(count, self.queries, 4), text, phrases, rows)


def ends(ramp):
    """Return what a linear ramp is at the two ends of a line of pixels, from its interior."""
    first, last = len(ramp) // 4, 3 * len(ramp) // 4
    slope = float(ramp[last] - ramp[first]) / (last - first)
    start = float(ramp[first]) - (first + 0.5) * slope
    return start, start + slope * len(ramp)


def ramps(width=128, height=96):
    x, y = (torch.arange(side) + 0.5 for side in (width, height))
    along, down = (x / width).expand(height, -1), (y / height)[:, None].expand(-1, width)
    return torch.stack([along, down, torch.zeros(height, width)])


def spread(number, seed=0, apart=0.05):
    """Return points in the unit square with no two of them near each other."""
    rng, points = np.random.default_rng(seed), []
    while len(points) < number:
        point = rng.uniform(0.02, 0.98, 2)
        if all(math.dist(point, other) > apart for other in points):
            points.append(point)
    return np.array(points)


def by_place(points):
    return points[np.lexsort(points.T)]


# --- inference


def test_points_are_in_pixels_of_the_image():
    network = Known({1: spread(7), 3: spread(3, seed=1)})
    one, other = PointInference()(network, ramps(), TEXTS)
    assert (one.text, one.count, one.height, one.width) == ("person in red", 3, 96, 128)
    assert (other.text, other.count) == ("red", 7)
    for prediction, length in ((one, 3), (other, 1)):
        arrays = prediction.points, prediction.sizes, prediction.scores
        assert all(each.dtype == np.float32 for each in arrays)
        np.testing.assert_allclose(prediction.points, network.objects[length] * [128, 96], atol=1e-3)
        np.testing.assert_allclose(prediction.sizes, [[0.04 * 128, 0.04 * 96]] * prediction.count, rtol=1e-4)
        found = network.calls[0][2][0 if length == 3 else 1][1]
        np.testing.assert_allclose(prediction.scores, 1 / (1 + np.exp(-found)), rtol=1e-5)
    assert len(network.calls) == 1


def test_thresholds():
    network = Known({1: spread(10)}, queries=30)
    (found,) = PointInference()(network, ramps(), ["red"])
    between = float(np.sort(found.scores)[3:5].mean())
    for options in ({"cls_threshold": between}, {"word_threshold": between}):
        network.calls.clear()
        (found,) = PointInference(**options)(network, ramps(), ["red"])
        assert found.count == 6 and found.scores.min() > between


def test_nothing_to_look_for():
    network = Known({})
    assert PointInference()(network, ramps(), []) == []
    assert not network.calls
    nothing = PointInference()(Known({1: np.empty((0, 2))}), ramps(), ["red"])
    assert [each.count for each in nothing] == [0] and nothing[0].points.shape == (0, 2)


@pytest.mark.parametrize(("width", "height"), [(128, 96), (97, 131), (65, 200)])
def test_tiles_find_what_one_pass_has_too_few_queries_for(width, height):
    network = Known({1: spread(35), 3: spread(6, seed=2)}, queries=20)
    other, crowded = PointInference()(network, ramps(width, height), TEXTS)
    expected = network.objects[1] * [width, height]
    assert crowded.count == 35 and other.count == 6  # no object twice, though tiles overlap
    np.testing.assert_allclose(by_place(crowded.points), by_place(expected), atol=0.02)
    np.testing.assert_allclose(crowded.sizes, [[0.04 * width, 0.04 * height]] * 35, rtol=1e-2)
    assert network.calls[0][0] == [6, 4] and all(call[0] == [4] for call in network.calls[1:])
    wide, high = math.ceil(0.55 * width) / width, math.ceil(0.55 * height) / height
    quarters = [(0, wide, 0, high), (0, wide, 1 - high, 1), (1 - wide, 1, 0, high), (1 - wide, 1, 1 - high, 1)]
    windows = [call[1] for call in network.calls]
    for quarter in quarters:
        assert min(np.abs(np.subtract(window, quarter)).max() for window in windows) < 1e-4


def test_merging_against_plain_loops():
    network = Known({1: spread(60, apart=0.03)}, queries=60, side=0.1, jitter=0.02)
    (found,) = PointInference(max_tiling_depth=1, overlap=0.4)(network, ramps(150, 90), ["red"])
    points = np.concatenate([call[2][0][0] for call in network.calls[1:]]) * [150, 90]
    scores = np.concatenate([call[2][0][1] for call in network.calls[1:]])
    tile = np.repeat(range(4), [len(call[2][0][0]) for call in network.calls[1:]])
    radius = 0.5 * math.hypot(0.1 * 150, 0.1 * 90) / 2
    kept = []
    for i in sorted(range(len(points)), key=lambda i: -scores[i]):
        if all(tile[i] == tile[k] or math.dist(points[i], points[k]) > radius for k in kept):
            kept.append(i)
    assert len(kept) < len(points) - 20
    np.testing.assert_allclose(by_place(found.points), by_place(points[kept]), atol=0.02)


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"max_tiling_depth": 0}, 1),
        ({"max_tiling_depth": 1}, 5),
        ({}, 21),
        ({"crowded_fraction": 1.0}, 1),
        ({"max_tiling_depth": 3}, 85),
    ],
)
def test_tiles_are_cut_again_as_often_as_asked(options, calls):
    network = Known({1: np.random.default_rng(0).random((3000, 2))}, queries=10, side=0.001)
    PointInference(**options)(network, ramps(), ["red"])
    assert len(network.calls) == calls


def test_no_tiles_up_to_the_share_of_queries():
    for objects, calls in ((14, 1), (15, 5)):  # 0.72 of 20 queries
        network = Known({1: spread(objects)})
        assert PointInference()(network, ramps(), ["red"])[0].count == objects
        assert len(network.calls) == calls


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, value)
            for key in ("cls_threshold", "word_threshold", "crowded_fraction", "overlap")
            for value in (-0.1, 1.1)
        ),
        ("crowded_fraction", math.nan),
        ("merge_radius", -1),
        ("merge_radius", math.nan),
        ("merge_radius", math.inf),
        ("max_tiling_depth", -1),
    ],
)
def test_impossible_numbers_are_refused(key, value):
    with pytest.raises(InputError, match=f"inference.{key}: {value}"):
        PointInference(**{key: value})


# --- sizes and batches


def plain_size(width, height, side, longest):
    """The rule of DETR in its own words."""
    short, long = min(width, height), max(width, height)
    if long / short * side > longest:
        side = max(1, round(longest * short / long))
    return (side, max(1, int(side * height / width))) if width < height else (int(side * width / height), side)


def test_short_side_against_the_plain_rule():
    rule = ShortSide(800, 1333)
    assert rule.target(640, 480) == (1066, 800) and rule.target(480, 640) == (800, 1066)
    assert rule.target(1920, 1080) == (1333, 750) and rule.target(800, 800) == (800, 800)
    rng = np.random.default_rng(0)
    sides = np.concatenate([rng.integers(1, 5000, (3000, 2)), rng.integers(1, 20, (300, 2)), [[1, 5000], [5000, 1]]])
    for width, height in sides.tolist():
        for side, longest in ((800, 1333), (96, 96), (64, 100)):
            assert ShortSide(side, longest).target(width, height) == plain_size(width, height, side, longest)


def test_short_side_moves_points_with_the_image():
    image = np.zeros((60, 100, 3), np.uint8)
    image[20:40, 70:80] = 255
    resized, points = ShortSide(90, 1000)(image, as_points([[75, 30], [-10, 60]]))
    assert resized.shape == (90, 150, 3) and resized.flags.writeable
    np.testing.assert_allclose(points, [[112.5, 45], [-15, 90]])
    rows, columns = np.nonzero(resized[..., 0] > 127)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((45, 112.5))
    same, kept = ShortSide(60, 100)(image, points)
    assert same is image and kept is points


@pytest.mark.parametrize(("side", "longest"), [(0, 10), (20, 10), (-1, 5)])
def test_an_impossible_short_side_is_refused(side, longest):
    with pytest.raises(InputError, match=f"short_side.length, longest: {side}, {longest}"):
        ShortSide(side, longest)


def records():
    rng = np.random.default_rng(0)
    made = []
    for name, (height, width), counts in (("a", (40, 60), (3, 0, 2)), ("b", (50, 30), (1,))):
        image = rng.integers(1, 256, (height, width, 3), dtype=np.uint8)
        expressions = [Expression(f"{n} {name}", as_points(rng.uniform(0, 30, (n, 2))), "red") for n in counts]
        made.append(Record.referring(name, lambda image=image: image, expressions))
    return made


def test_batches_pad_images_and_keep_expressions():
    given = records()
    data = CrowdDataset(given, resize=ShortSide(60, 90))
    batch = collate([data[0], data[1]])
    assert batch.images.shape == (2, 3, 90, 90) and batch.images.dtype == torch.uint8
    assert batch.sizes == [(60, 90), (90, 54)] and batch.counts == [5, 1] and batch.names == ["a", "b"]
    for image, (height, width) in zip(batch.images, batch.sizes, strict=True):
        assert image[:, :height, :width].min() > 0
        assert not image[:, height:].any() and not image[:, :, width:].any()
    for (height, width), record, expressions in zip(batch.sizes, given, batch.expressions, strict=True):
        old_height, old_width = record.read().shape[:2]
        assert [each.text for each in expressions] == [each.text for each in record.expressions]
        for ours, before in zip(expressions, record.expressions, strict=True):
            assert ours.points.shape == before.points.shape and ours.attribute == "red"
            np.testing.assert_allclose(ours.points, before.points * [width / old_width, height / old_height], rtol=1e-5)
    for points, expressions in zip(batch.points, batch.expressions, strict=True):
        np.testing.assert_array_equal(points, np.concatenate([each.points for each in expressions]))


def test_a_batch_without_expressions():
    image = np.ones((4, 5, 3), np.uint8)
    batch = collate(
        [TrainingSample([image] * 2, [as_points([])] * 2, Record("a", lambda: image, as_points([])), False)]
    )
    assert batch.expressions == [(), ()] and batch.sizes == [(4, 5)] * 2


# --- Python API and drawings


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return crowdcount.create_model("rec/tiny_scenes")


def everything(network, **options):
    """Return a model that finds something whatever its weights are."""
    return crowdcount.ReferringModel(network, PointInference(0.0, 0.0, crowded_fraction=1), **options)


def test_predict(network):
    assert isinstance(network, ReferringDetector) and not network.training
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    found = everything(network, resize=ShortSide(100, 200)).predict(image, ["person in red", "blue"])
    assert all(isinstance(each, PointPrediction) for each in found)
    assert [(each.text, each.height, each.width, each.count) for each in found] == [
        ("person in red", 50, 70, network.queries),
        ("blue", 50, 70, network.queries),
    ]
    pixels = torch.from_numpy(ShortSide(100, 200)(image, np.empty((0, 2), np.float32))[0].transpose(2, 0, 1).copy())
    seen = PointInference(0.0, 0.0, crowded_fraction=1)(network, pixels, ["person in red"])[0]
    np.testing.assert_allclose(found[0].points * 2, seen.points, atol=1e-2)  # in pixels of the image
    np.testing.assert_allclose(found[0].sizes * 2, seen.sizes, rtol=1e-3)
    (alone,) = everything(network, resize=ShortSide(100, 200)).predict(image, ["blue"])
    np.testing.assert_allclose(alone.points, found[1].points, atol=1e-3)
    for text, message in (("", "holds no word"), ("red " * 20, "at most 16")):
        with pytest.raises(InputError, match=message):
            everything(network).predict(image, ["red", text])
    with pytest.raises(InputError, match="an image is"):
        everything(network).predict(image[..., 0], ["red"])


@pytest.fixture(scope="module")
def tool():
    return importlib.import_module("crowdcount.cli.visualize")


@pytest.fixture
def photo(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((150, 200, 3), 90, np.uint8))
    return tmp_path / "photo.png"


def test_drawings_of_expressions(tool, photo, network, tmp_path, monkeypatch, capsys):
    model = everything(network, resize=ShortSide(90, 200))
    monkeypatch.setattr(crowdcount, "load_model", lambda source, weights=None: model)
    common = [str(photo), "--model", "best.ckpt", "--output", str(tmp_path / "out")]
    assert tool.main([*common, "--expression", "person in red", "--expression", "blue"]) == 0
    assert capsys.readouterr().out.strip() == f"photo.png: person in red: {network.queries}; blue: {network.queries}"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo_expressions.png"]
    drawn = cv2.imread(str(tmp_path / "out" / "photo_expressions.png"))
    assert drawn.shape[0] >= 90 and drawn.shape[1] >= 2 * 120
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    empty = ["--expression", "red", "--expression", "."]
    for wrong, message in (([], "give --expression TEXT"), (empty, "holds no word")):
        assert tool.main([*common, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_wrong_combinations(tool, photo, network, tmp_path, monkeypatch, capsys):
    (tmp_path / "points.csv").write_text("1,2\n")
    annotation = ["--annotation", str(tmp_path / "points.csv")]
    monkeypatch.setattr(crowdcount, "load_model", lambda source, weights=None: everything(network))
    common = [str(photo), "--output", str(tmp_path / "out"), "--expression", "red"]
    for arguments in (annotation, ["--model", "best.ckpt", *annotation]):
        assert tool.main([*common, *arguments]) == 2
        assert "--expression" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        tool.main([*common, "--model", "best.ckpt", "--draw", "heat"])
    assert stopped.value.code == 2
    assert not (tmp_path / "out").exists()
    density = crowdcount.Model(network=None)
    monkeypatch.setattr(crowdcount, "load_model", lambda source, weights=None: density)
    assert tool.main([*common, "--model", "best.ckpt"]) == 2
    assert "reads no text; leave the expressions out, or take a model of the family rec" in capsys.readouterr().err
