import csv
from dataclasses import dataclass

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.video.annotate import ColourScale, annotate
from crowdcount.video.read import read_frames, video_info
from crowdcount.video.smoothing import Reading, Smoother, csv_text
from crowdcount.video.strip import Strip, _clock
from crowdcount.video.writer import VideoWriter
from tests.support.video import HEIGHT, WIDTH, place

# Series


@pytest.mark.parametrize("length", [1, 2, 5, 100])
def test_smoothing_against_the_plain_formula(length):
    values = np.random.default_rng(0).gamma(2, 60, 40)
    smoother = Smoother(length)
    found = [smoother(value) for value in values]
    expected = [values[max(0, n + 1 - length) : n + 1].mean() for n in range(len(values))]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if length == 1:
        assert found == values.tolist()


def test_smoothing_does_not_drift():
    smoother = Smoother(3)
    smoother(1e16)
    assert [smoother(value) for value in (1.0, 1.0, 1.0)][-1] == 1


def test_series_keep_apart():
    smoother = Smoother(2)
    smoother(10)
    assert smoother.each({"gate": 1, "hall": 5}) == {"gate": 1, "hall": 5}
    assert smoother(20) == 15
    assert smoother.each({"gate": 3, "count": 7}) == {"gate": 2, "count": 7}
    assert smoother.each({"hall": 6}) == {"hall": 5.5}
    assert smoother.reading(4, 0.16, 30, {"gate": 4}) == Reading(4, 0.16, 30, 25, {"gate": 4}, {"gate": 3.5})
    assert smoother.each({}) == {} and smoother.reading(5, 0.2, 30).zones == {}


def test_smoothing_looks_back_only():
    start = [Smoother(4) for _ in range(2)]
    first, second = ([smoother(value) for value in (1, 2, 3)] for smoother in start)
    start[0](1000)
    assert first == second


@pytest.mark.parametrize("length", [0, -1])
def test_smoothing_of_no_frames(length):
    with pytest.raises(InputError, match=f"smooth: {length} must be at least 1"):
        Smoother(length)


def test_table():
    smoother, names = Smoother(3), ('north, "gate"', "Platz in Köln", "count")
    rows = [smoother.reading(n, n / 25, n / 7, {name: n / 9 for name in names}) for n in range(0, 40, 4)]
    text = csv_text(row for row in rows)
    assert text.endswith("\n") and "\r" not in text
    table = list(csv.reader(text.splitlines()))
    zones = [f"{name} {of}" for name in names for of in ("count", "smoothed")]
    assert table[0] == ["frame", "seconds", "count", "smoothed", *zones]
    assert len(set(table[0])) == len(table[0]) and len(table) == 11
    for cells, row in zip(table[1:], rows, strict=True):
        assert cells[0] == str(row.index)
        numbers = [row.seconds, row.count, row.smoothed]
        numbers += [values[name] for name in names for values in (row.zones, row.smoothed_zones)]
        assert [float(cell) for cell in cells[1:]] == pytest.approx(numbers, abs=5e-4)


def test_table_without_zones_or_rows():
    assert csv_text([]) == "frame,seconds,count,smoothed\n"
    assert csv_text([Reading(3, 0.12, 10, 9.99951)]) == "frame,seconds,count,smoothed\n3,0.120,10.000,10.000\n"
    gap = [Reading(0, 0, 1, 1), Reading(1, 1, 1, 1, {"a": 2}, {"a": 3})]
    assert csv_text(gap).splitlines()[1:] == ["0,0.000,1.000,1.000,,", "1,1.000,1.000,1.000,2.000,3.000"]


# Annotated frames


@dataclass
class Seen:
    count: float
    density: np.ndarray
    stride: int
    height: int
    width: int
    ignored: None = None


def seen(height, width, cell=None, value=2.0, stride=8):
    density = np.zeros((-(-height // stride), -(-width // stride)), np.float32)
    if cell is not None:
        density[cell] = value
    return Seen(float(density.sum()), density, stride, height, width)


SIZES = [(96, 128), (240, 320), (241, 321), (720, 1280), (1280, 720), (1080, 1920)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("names", [(), ("gate", "hall"), ("a zone with a long name", "Straße", "c", "d", "e")])
def test_all_frames_are_equally_large(height, width, names):
    image = np.full((height, width, 3), 120, np.uint8)
    numbers = (0, 9.96, 123456.7)
    readings = [
        Reading(n, 3000 * n, x, x, dict.fromkeys(names, x), dict.fromkeys(names, x / 2)) for n, x in enumerate(numbers)
    ]
    shown = [annotate(image, reading, series=numbers[: n + 1]) for n, reading in enumerate(readings)]
    assert len({image.shape for image in shown}) == 1
    assert shown[0].dtype == np.uint8 and shown[0].shape[1] == width
    for drawn in shown:
        np.testing.assert_array_equal(drawn[:height], image)
        ink = (drawn[height:] < 140).any(axis=2)
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert rows[0] > 0 and rows[-1] < ink.shape[0] - 1
        assert columns[0] > 0 and columns[-1] < width - 1
    assert len(names) == 5 or shown[0].shape[0] - height < max(0.25 * height, 100)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_strips_are_legible(height, width):
    strip = Strip(height, width)
    strip.write_counts(Reading(0, 3.2, 123.4, 120.0))
    dark = (strip.paper < 110).all(axis=2)
    rows = np.flatnonzero(dark[: strip.paper.shape[0] // 2].any(axis=1))
    assert max(8, 0.014 * (height * width) ** 0.5) <= len(rows) < max(12, 0.03 * max(height, width))
    middle = dark[: strip.paper.shape[0] // 2]
    assert np.flatnonzero(middle.any(axis=0))[0] < max(10, 0.05 * width)


def test_annotated_density_lies_where_it_is():
    image = np.full((120, 160, 3), 120, np.uint8)
    shown = annotate(image, Reading(0, 0, 2, 2), seen(120, 160, (10, 5)))[:120]
    hot = shown[84, 44].astype(int)
    assert hot[0] > hot[2] + 60  # the end of the scale is red
    np.testing.assert_array_equal(shown[:40], image[:40])
    np.testing.assert_array_equal(image, 120)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (240, 320), (77, 101)])
def test_annotated_density_of_another_size(height, width):
    """The network saw the image smaller or larger than it is; the annotated frame keeps the size of the video."""
    image = np.full((120, 160, 3), 120, np.uint8)
    cell = (round(0.7 * height / 8), round(0.25 * width / 8))
    shown = annotate(image, Reading(0, 0, 2, 2), seen(height, width, cell))[:120]
    changed = np.argwhere(np.abs(shown.astype(int) - image).max(axis=2) > 60)
    y, x = changed.mean(axis=0)
    assert y == pytest.approx((cell[0] + 0.5) * 8 * 120 / height, abs=2.5)
    assert x == pytest.approx((cell[1] + 0.5) * 8 * 160 / width, abs=2.5)


def test_density_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="does not cover an image of 240 x 320"):
        annotate(
            np.zeros((120, 160, 3), np.uint8), Reading(0, 0, 2, 2), Seen(0, np.zeros((9, 9), np.float32), 8, 240, 320)
        )


def test_colour_scale_never_falls():
    scale = ColourScale()
    tops = [scale(seen(120, 160, (4, 4), value)) for value in (0, 2, 9, 1, 12, 0)]
    assert tops == sorted(tops) and tops[0] == 0.05 and tops[2] == tops[3] < tops[4] == tops[5] == scale.top
    image, reading = np.full((120, 160, 3), 120, np.uint8), Reading(0, 0, 2, 2)
    same = [annotate(image, reading, seen(120, 160, (4, 4), 2), top=top)[:120] for top in (tops[2], tops[3], tops[4])]
    np.testing.assert_array_equal(same[0], same[1])
    assert (same[0] != same[2]).any()


def chart_line(paper):
    """Return the height of the chart's line above its ground in every column, -1 where there is none."""
    right = paper[:, paper.shape[1] // 2 + 40 :].astype(int)
    blue = (right[..., 2] > right[..., 0] + 100).any(axis=0)
    area = (right[..., 2] - right[..., 0] > 15).sum(axis=0)
    return np.where(blue, area, -1)


def test_chart_follows_the_series():
    strip, series = Strip(720, 1280), [*range(100), *range(100, 0, -1)]
    strip.draw_chart(series)
    drawn = chart_line(strip.paper)
    drawn = drawn[drawn >= 0]
    assert len(drawn) > 400
    peak = drawn[20:-20].argmax() + 20
    assert peak == pytest.approx(len(drawn) / 2, abs=0.04 * len(drawn))
    assert drawn[len(drawn) // 4] == pytest.approx(drawn[peak] / 2, abs=4)


@pytest.mark.parametrize("expected", [None, 100])
def test_chart_keeps_its_scale_in_time(expected):
    ends = []
    for shown in (10, 50, 100):
        strip = Strip(720, 1280)
        strip.draw_chart([5.0] * shown, expected)
        ends.append(np.flatnonzero(chart_line(strip.paper) >= 0)[-1])
    if expected:
        assert ends[1] - ends[0] == pytest.approx((ends[2] - ends[0]) * 40 / 90, abs=3)
    else:
        assert max(ends) - min(ends) <= 1


@pytest.mark.parametrize("series", [[0.0], [0.0, 0.0], [7.0], [-3.0, 2.0], np.linspace(0, 9, 100_000)])
def test_chart_of_any_series(series):
    strip = Strip(240, 320)
    strip.draw_chart(series)
    assert (strip.paper < 200).any()


def test_no_chart_without_series_or_room():
    for strip, series in ((Strip(240, 320), []), (Strip(96, 128), [1.0, 2.0])):
        strip.draw_chart(series)
        assert (strip.paper == 255).all()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (4.84, "0:04.8"), (59.96, "1:00.0"), (3599.9, "59:59.9"), (3600, "1:00:00"), (3723.4, "1:02:03")],
)
def test_clock(seconds, text):
    assert _clock(seconds) == text


def test_zones_and_their_numbers_are_written(monkeypatch):
    written = []
    monkeypatch.setattr(Strip, "_write", lambda self, box, words, colour, **more: written.append((words, colour)))
    annotate(
        np.zeros((240, 320, 3), np.uint8),
        Reading(0, 1.5, 12.34, 11, {"gate": 3, "a zone with a very long name": 4}, {"gate": 2.5}),
        series=[11.0],
    )
    words = [text for text, _ in written]
    assert words[:5] == ["0:01.5", "count 12.3", "smoothed 11.0", "gate", "3.0"]
    assert words[5] == "2.5" and words[6].startswith("a zone with") and words[6].endswith("..")
    assert words[7:] == ["4.0", "11", "0"]
    colours = dict(written)
    assert colours["smoothed 11.0"] == colours["2.5"] != colours["count 12.3"] == colours["3.0"]


def test_annotated_video(films, tmp_path):
    """All of it together: count every third frame, smooth, draw, write, read again."""
    smoother, scale, readings, series = Smoother(3), ColourScale(), [], []
    info = video_info(films(".mp4"))
    with VideoWriter(tmp_path / "out.mp4", info.fps / 3) as writer:
        for frame in read_frames(films(".mp4"), 3):
            found = seen(HEIGHT, WIDTH, (9, min(19, place(frame.image) * 3 // 8)), 1 + frame.index / 10)
            readings.append(smoother.reading(frame.index, frame.seconds, found.count, {"left": found.count / 2}))
            series.append(readings[-1].smoothed)
            shown = annotate(frame.image, readings[-1], found, top=scale(found), series=series, expected=17)
            writer.write(shown)
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert len(frames) == 17 == len(csv_text(readings).splitlines()) - 1
    assert frames[0].image.shape == (shown.shape[0] + shown.shape[0] % 2, WIDTH, 3)
