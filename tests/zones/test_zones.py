"""Zones that share an image out among them add up to its count, and each has what a plain rule gives it."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import shapely
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box

from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.images.read import read_image
from crowdcount.inference.prediction import Prediction
from crowdcount.visualize import labels as region_labels
from crowdcount.zones import Zone, drawing, point_counts, read_zones, zone_counts

per_test = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def predict(rng, stride, seen):
    """Return a random prediction of an image of (height, width) pixels."""
    density = rng.gamma(0.3, 1.0, [-(-side // stride) for side in seen]).astype(np.float32)
    return Prediction(float(density.sum(dtype=np.float64)), density, stride, *seen)


@st.composite
def scenes(draw):
    """Return random numbers, a prediction, and the size of an image that the network saw at its own or another."""
    side = st.integers(1, 150)
    height, width = draw(side), draw(side)
    seen = draw(st.just((height, width)) | st.tuples(side, side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng, predict(rng, draw(st.sampled_from([4, 8, 16])), seen), height, width


# Partitions


def grid(rng, height, width):
    xs, ys = (np.unique([0, side, *rng.uniform(0, side, rng.integers(5))]) for side in (width, height))
    return [box(x1, y1, x2, y2) for x1, x2 in pairwise(xs) for y1, y2 in pairwise(ys)]


def slanted(rng, height, width):
    """Cut the image, and then every part, along random lines."""
    parts = [box(0, 0, width, height)]
    for _ in range(rng.integers(1, 5)):
        x, y, angle = *rng.uniform(0, [width, height]), rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        half = Polygon(np.array([[-900, 0], [900, 0], [900, 900], [-900, 900]]) @ turn + [x, y])
        parts = [piece for part in parts for piece in (part & half, part - half)]
    return parts


def voronoi(rng, height, width):
    frame = box(0, 0, width, height)
    seeds = shapely.MultiPoint(rng.uniform(0, [width, height], (rng.integers(2, 12), 2)))
    return [cell & frame for cell in shapely.get_parts(shapely.voronoi_polygons(seeds, extend_to=frame))]


def island(rng, height, width):
    """One zone with holes, and what lies in them."""
    centres = rng.uniform(0, [width, height], (rng.integers(1, 5), 2))
    holes = shapely.union_all([shapely.Point(c).buffer(rng.uniform(0.5, 20), quad_segs=3) for c in centres])
    frame = box(0, 0, width, height)
    return [frame & holes, frame - holes]


def labels(rng, height, width):
    coarse = rng.integers(0, 4, (rng.integers(1, height + 1), rng.integers(1, width + 1))).astype(np.uint8)
    label = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    return [label == number for number in range(4)]


def make_zones(areas):
    kept = [area for area in areas if (area.any() if isinstance(area, np.ndarray) else area.area)]
    return [Zone(f"part {number}", area) for number, area in enumerate(kept)]


PARTITIONS = [grid, slanted, voronoi, island, labels]


@pytest.mark.parametrize("divide", PARTITIONS)
@given(scene=scenes())
def test_zones_that_divide_the_image_add_up(divide, scene):
    rng, prediction, height, width = scene
    zones = make_zones(divide(rng, height, width))
    counts = zone_counts(prediction, zones, height, width)
    assert sum(counts.values()) == pytest.approx(prediction.count, rel=1e-9)
    shares = [zone.coverage(prediction, height, width) for zone in zones]
    assert all(share.dtype == np.float64 and share.shape == prediction.density.shape for share in shares)
    assert all(share.min() >= 0 and share.max() <= 1 for share in shares)
    np.testing.assert_allclose(sum(shares), 1, rtol=0, atol=1e-9)


@pytest.mark.parametrize("area", [box(0, 0, 61, 45), box(-1e8, -7, 1e8, 46), np.ones((45, 61), bool)])
@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("seen", [(45, 61), (37, 203), (1, 1)])
def test_the_whole_image_has_the_whole_count(area, stride, seen):
    prediction = predict(np.random.default_rng(0), stride, seen)
    zone = Zone("all", area)
    np.testing.assert_allclose(zone.coverage(prediction, 45, 61), 1, rtol=0, atol=1e-12)
    assert zone_counts(prediction, [zone], 45, 61)["all"] == pytest.approx(prediction.count, rel=1e-12)


# Against plain formulas


def sampled(holds, prediction, height, width, fine=24):
    """Return the share of fine x fine places in the visible part of each block that are in a zone; slow and plain."""
    shares = np.empty(prediction.density.shape)
    steps = (np.arange(fine) + 0.5) / fine
    for row, column in np.ndindex(*shares.shape):
        top, left = row * prediction.stride, column * prediction.stride
        bottom, right = min(top + prediction.stride, prediction.height), min(left + prediction.stride, prediction.width)
        y = (top + steps * (bottom - top)) * height / prediction.height
        x = (left + steps * (right - left)) * width / prediction.width
        shares[row, column] = np.mean(holds(*np.meshgrid(x, y)))
    return shares


def crossings(rings, x, y):
    """Tell for each place whether a ray to the right crosses the rings an odd number of times."""
    odd = np.zeros(x.shape, bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y1 != y2:
                odd ^= ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return odd


@settings(max_examples=25)
@given(scene=scenes())
def test_polygons_against_sampling(scene):
    rng, prediction, height, width = scene
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assume(np.diff([*angles, angles[0] + 2 * np.pi]).max() < 3)
    star = rng.uniform(0.3, 0.9, (9, 1)) * rays * [width, height] + [width / 2, height / 2]  # reaches over the edge
    hole = 0.1 * rays * [width, height] + [width / 2, height / 2]
    zone = Zone("star", Polygon(star, [hole]) if Polygon(star, [hole]).is_valid else Polygon(star))
    rings = [star, hole] if zone.area.interiors else [star]
    plain = sampled(lambda x, y: crossings(rings, x, y), prediction, height, width)
    exact = zone.coverage(prediction, height, width)
    # Places at the edge: each side crosses at most about 2 x 24 of the 24 x 24 cells of a block.
    assert np.abs(exact - plain).max() < 0.1
    assert np.abs(exact - plain).mean() < 0.01
    assert (exact[plain == 0] < 0.05).all() and (exact[plain == 1] > 0.95).all()


@settings(max_examples=25)
@given(scene=scenes())
def test_masks_against_sampling(scene):
    rng, prediction, height, width = scene
    mask = labels(rng, height, width)[0] | (rng.random((height, width)) < 0.1)
    assume(mask.any())
    plain = sampled(lambda x, y: mask[y.astype(int), x.astype(int)], prediction, height, width)
    exact = Zone("mask", mask).coverage(prediction, height, width)
    # Of a block that covers many more pixels than there are places in it, sampling sees too little.
    dense = max(height / prediction.height, width / prediction.width) * prediction.stride > 12
    assert np.abs(exact - plain).mean() < (0.1 if dense else 0.05)


@given(scene=scenes())
def test_a_mask_and_the_polygons_of_its_pixels_are_one_zone(scene):
    rng, prediction, height, width = scene
    mask = rng.random((height, width)) < 0.5
    mask[rng.integers(height + 1) :], mask[:, rng.integers(width + 1) :] = False, False
    assume(mask.any() and mask.size < 4000)
    pixels = shapely.union_all([box(x, y, x + 1, y + 1) for y, x in np.argwhere(mask).tolist()])
    of_mask, of_pixels = (Zone("m", area).coverage(prediction, height, width) for area in (mask, pixels))
    np.testing.assert_allclose(of_mask, of_pixels, rtol=0, atol=1e-10)


def test_shares_by_hand():
    prediction = Prediction(6.0, np.array([[1, 2], [3, 0]], np.float32), 8, 12, 10)
    # The image is twice as high and as wide: blocks end at 16 and 20 across, at 16 and 24 down.
    half = Zone("left half", box(0, 0, 8, 24))
    np.testing.assert_array_equal(half.coverage(prediction, 24, 20), [[0.5, 0], [0.5, 0]])
    corner = Zone("corner", Polygon([[16, 16], [20, 16], [20, 24]]))
    np.testing.assert_array_equal(corner.coverage(prediction, 24, 20), [[0, 0], [0, 0.5]])
    frame = Zone("frame", Polygon([[0, 0], [20, 0], [20, 24], [0, 24]], [[[4, 4], [12, 4], [12, 12], [4, 12]]]))
    np.testing.assert_array_equal(frame.coverage(prediction, 24, 20), [[0.75, 1], [1, 1]])
    mask = np.zeros((24, 20), bool)
    mask[:4, 12:18] = True
    np.testing.assert_array_equal(Zone("m", mask).coverage(prediction, 24, 20), [[4 * 4 / 256, 4 * 2 / 64], [0, 0]])
    two = Zone("two", MultiPolygon([box(0, 0, 16, 8), box(-5, 20, 16, 90)]))
    np.testing.assert_array_equal(two.coverage(prediction, 24, 20), [[0.5, 0], [0.5, 0]])
    zones = [half, frame, two]
    assert zone_counts(prediction, zones, 24, 20) == {"left half": 2.0, "frame": 5.75, "two": 2.0}


def test_a_polygon_that_runs_along_edges_of_blocks():
    prediction = predict(np.random.default_rng(0), 8, (64, 64))
    comb = [[0, 0], [64, 0], [64, 8], [56, 8], [56, 32], [40, 32], [40, 8], [24, 8], [24, 40], [8, 44], [8, 8], [0, 8]]
    shares = Zone("comb", Polygon(comb)).coverage(prediction, 64, 64)
    expected = np.zeros((8, 8))
    expected[0], expected[1:4, 5:7], expected[1:5, 1:3] = 1, 1, 1
    expected[5, 1:3] = [3 / 8, 1 / 8]
    np.testing.assert_array_equal(shares, expected)


def test_a_large_map_with_many_corners():
    angles = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    radius = 0.45 + 0.02 * np.sin(40 * angles)
    disc = Polygon(np.stack([1200 * (0.5 + radius * np.cos(angles)), 3000 * (0.5 + radius * np.sin(angles))], axis=1))
    prediction = Prediction(0.0, np.ones((750, 300), np.float32), 8, 6000, 2400)
    counts = zone_counts(prediction, [Zone("disc", disc)], 3000, 1200)
    assert counts["disc"] == pytest.approx(disc.area / 16, rel=1e-12)


# Points


def delaunay(rng, height, width):
    """Return triangles whose corners are whole pixels, and which share their whole edges."""
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    inner = rng.integers(0, [width + 1, height + 1], (rng.integers(0, 9), 2)).tolist()
    triangles = shapely.delaunay_triangles(shapely.MultiPoint(corners + inner))
    return [triangle for triangle in shapely.get_parts(triangles) if triangle.area]


def whole_grid(rng, height, width):
    xs, ys = (np.unique([0, side, *rng.integers(0, side + 1, rng.integers(5))]) for side in (width, height))
    return [box(x1, y1, x2, y2) for x1, x2 in pairwise(xs) for y1, y2 in pairwise(ys)]


@pytest.mark.parametrize("divide", [delaunay, whole_grid, labels, voronoi])
@given(scene=scenes())
def test_zones_that_divide_the_image_count_every_point_once(divide, scene):
    rng, _, height, width = scene
    zones = make_zones(divide(rng, height, width))
    whole = rng.integers(0, [width, height], (300, 2))  # many on edges and corners
    last = np.nextafter(np.float32([width, height]), np.float32(0))
    points = np.concatenate([as_points(whole), as_points(whole / 2), as_points(rng.uniform(0, last, (50, 2))), [last]])
    held = np.sum([zone.holds(as_points(points), height, width) for zone in zones], axis=0)
    np.testing.assert_array_equal(held, 1)
    assert sum(point_counts(as_points(points), zones, height, width).values()) == len(points)


@pytest.mark.parametrize("mask", [False, True])
def test_points_on_an_edge_belong_to_the_right_and_below(mask):
    areas = [box(0, 0, 10, 20), box(10, 0, 30, 8), box(10, 8, 30, 20)]
    if mask:
        y, x = np.mgrid[:20, :30]
        areas = [x < 10, (x >= 10) & (y < 8), (x >= 10) & (y >= 8)]
    left, top, bottom = (Zone(name, area) for name, area in zip(("left", "top", "bottom"), areas, strict=True))
    points = as_points([[0, 0], [9.99, 8], [10, 3], [10, 8], [15, 8], [15, 7.99], [30, 8], [-0.01, 8], [12, 20]])
    np.testing.assert_array_equal(left.holds(points, 20, 30), [1, 1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(top.holds(points, 20, 30), [0, 0, 1, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(bottom.holds(points, 20, 30), [0, 0, 0, 1, 1, 0, 0, 0, 0])
    assert point_counts(points, [left, top, bottom], 20, 30) == {"left": 2, "top": 2, "bottom": 2}
    assert point_counts(as_points([]), [left], 20, 30) == {"left": 0}


def test_points_in_zones_that_overlap_count_in_both():
    zones = [Zone("a", box(0, 0, 10, 10)), Zone("b", box(5, 5, 90, 90))]
    assert point_counts(as_points([[7, 7], [2, 2], [12, 7]]), zones, 20, 20) == {"a": 2, "b": 2}


# Errors of zones


with np.errstate(invalid="ignore"):
    NO_NUMBER = Polygon([[0, 0], [4, np.nan], [4, 0]])


@pytest.mark.parametrize(
    ("name", "area", "message"),
    [
        ("", box(0, 0, 1, 1), "zone '': has an empty name; give it one"),
        ("  ", box(0, 0, 1, 1), "zone '  ': has an empty name"),
        ("bow", Polygon([[0, 0], [4, 4], [4, 0], [0, 4]]), r"zone 'bow'.*Self-intersection\[2 2\]\); draw it without"),
        ("nan", NO_NUMBER, r"zone 'nan': .*not valid \(Invalid Coordinate"),
        ("none", Polygon(), "zone 'none': its polygon is empty; draw it with at least 3 corners"),
        ("twice", MultiPolygon([box(0, 0, 4, 4), box(2, 2, 6, 6)]), "zone 'twice'.*not valid"),
        ("grey", np.zeros((3, 4), np.uint8), r"zone 'grey': its mask is uint8 of shape \(3, 4\).*give mask > 0"),
        ("rgb", np.zeros((3, 4, 3), bool), r"zone 'rgb': its mask is bool of shape \(3, 4, 3\)"),
    ],
)
def test_what_is_no_zone_is_refused(name, area, message):
    with pytest.raises(InputError, match=message):
        Zone(name, area)


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (
            box(50, 3, 60, 9),
            "no area inside the image of 40 x 30 .*reaches from 50, 3 to 60, 9: draw it in pixels",
        ),
        (box(-5, 0, 0, 9), "no area inside the image of 40 x 30"),
        (
            np.ones((40, 30), bool),
            "its mask is 30 x 40 pixels and the image 40 x 30 .*on this image, upright",
        ),
        (np.zeros((30, 40), bool), "no pixel of its mask is inside; paint"),
    ],
)
def test_zones_of_another_image_are_refused(area, message):
    zone, prediction = Zone("gate", area), predict(np.random.default_rng(0), 8, (15, 20))
    image = np.zeros((30, 40, 3), np.uint8)
    for count in (
        lambda: zone.check(30, 40),
        lambda: zone.coverage(prediction, 30, 40),
        lambda: zone_counts(prediction, [zone], 30, 40),
        lambda: point_counts(as_points([[1, 1]]), [zone], 30, 40),
        lambda: drawing.draw_zones(image, [zone], {}),
    ):
        with pytest.raises(InputError, match=f"zone 'gate': .*{message}|zone 'gate': {message}"):
            count()


def test_two_zones_of_one_name_are_refused():
    zones, prediction = [Zone("a", box(0, 0, 9, 9))] * 2, predict(np.random.default_rng(0), 8, (16, 16))
    for count in (lambda: zone_counts(prediction, zones, 16, 16), lambda: point_counts(as_points([]), zones, 16, 16)):
        with pytest.raises(InputError, match="zone 'a': is given twice; rename one"):
            count()


def test_a_density_that_is_not_of_its_image_is_refused():
    prediction = Prediction(0.0, np.zeros((4, 4), np.float32), 8, 33, 32)
    with pytest.raises(InputError, match=r"\(4, 4\) does not cover height and width \(33, 32\) with blocks of 8"):
        Zone("a", box(0, 0, 9, 9)).coverage(prediction, 33, 32)


# Files

SQUARE = [[1, 2], [5, 2], [5, 6], [1, 6]]
OTHER = [[10, 2], [14, 2], [14, 6.5], [10, 6]]


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def labelme(*shapes):
    return {"version": "5.2", "shapes": list(shapes), "imagePath": "a.jpg", "imageWidth": 40, "imageHeight": 30}


def feature(name, kind, coordinates):
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


def polygon(label, points, kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind}


@pytest.mark.parametrize(
    ("table", "areas"),
    [
        ({"a": SQUARE, "b": [SQUARE, OTHER]}, {"a": 16, "b": 33}),
        ({"a": [*SQUARE, SQUARE[0]], "Nordtor Süd": [OTHER]}, {"a": 16, "Nordtor Süd": 17}),
        ({"both": [SQUARE, [[3, 2], [9, 2], [9, 6], [3, 6]]]}, {"both": 32}),  # parts overlap
        ({"shapes": SQUARE}, {"shapes": 16}),
        ({"type": SQUARE, "features": OTHER}, {"type": 16, "features": 17}),
        (labelme(polygon("a", SQUARE), polygon("b", SQUARE), polygon("a", OTHER)), {"a": 33, "b": 16}),
        (labelme({"label": "old", "points": SQUARE}), {"old": 16}),
        (labelme(polygon("r", [[5, 6], [1, 2]], "rectangle"), polygon("head", [[3, 3]], "point")), {"r": 16}),
        (labelme(polygon("r", SQUARE, "rectangle"), polygon("way", [[3, 3], [4, 4]], "line")), {"r": 16}),
        ({"shapes": [polygon("a", SQUARE)]}, {"a": 16}),
        (
            collection(
                feature("a", "Polygon", [[*SQUARE, SQUARE[0]], [[2, 3], [3, 3], [3, 4], [2, 3]]]),
                feature("b", "MultiPolygon", [[SQUARE], [OTHER]]),
                feature("a", "Polygon", [OTHER]),
            ),
            {"a": 15.5 + 17, "b": 33},
        ),
    ],
)
@pytest.mark.parametrize("ending", ["json", "geojson"])
def test_json_files(tmp_path, table, areas, ending):
    zones = read_zones([write(tmp_path / f"zones.{ending}", table)])
    assert {zone.name: zone.area.area for zone in zones} == pytest.approx(areas)
    assert [zone.name for zone in zones] == list(areas)


def test_a_zone_drawn_on_another_copy_of_the_image_is_refused(tmp_path):
    table = labelme(polygon("door", SQUARE)) | {"imageWidth": 40, "imageHeight": 30}
    (zone,) = read_zones([write(tmp_path / "a.json", table)])
    assert zone.drawn_on == (40, 30)
    zone.check(30, 40)
    for height, width in ((60, 80), (40, 30)):
        with pytest.raises(
            InputError, match=rf"zone 'door': states 40 x 30 pixels.* but the image has {width} x {height}"
        ):
            zone.check(height, width)
    with pytest.raises(InputError, match=r"a\.json: 0 x 30 is no size"):
        read_zones([write(tmp_path / "a.json", table | {"imageWidth": 0})])


@pytest.mark.parametrize("ring", [[[0.1, 0.2], [0.9, 0.2], [0.5, 0.8]], [[13.37, 52.5], [13.38, 52.5], [13.38, 52.51]]])
def test_zones_in_fractions_or_degrees_are_refused(tmp_path, ring):
    for table in ({"a": ring}, labelme(polygon("a", ring)), collection(feature("a", "Polygon", [[*ring, ring[0]]]))):
        with pytest.raises(InputError, match=r"zones\.json: zone 'a'.*less than a pixel"):
            read_zones([write(tmp_path / "zones.json", table)])


def test_a_zone_that_is_mostly_outside_is_named(caplog):
    zone = Zone("far", box(50, 50, 300, 200))
    zone.check(200, 300)
    assert not caplog.records
    for _ in range(2):
        zone.check(100, 100)
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "zone 'far': more than half of it is outside the im"
    ]


def test_corners_are_where_the_file_says(tmp_path):
    files = [
        write(tmp_path / "plain.json", {"plain": SQUARE}),
        write(tmp_path / "drawn.json", labelme(polygon("drawn", SQUARE))),
        write(tmp_path / "geo.json", collection(feature("geo", "Polygon", [[*SQUARE, SQUARE[0]]]))),
    ]
    zones = read_zones(files)
    assert [zone.name for zone in zones] == ["plain", "drawn", "geo"]
    assert all(zone.area.equals(Polygon(SQUARE)) for zone in zones)
    assert read_zones([]) == []


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("colour", [1, 255, (0, 7, 0)])
def test_mask_files(tmp_path, ending, colour):
    mask = np.zeros((6, 9, 3), np.uint8)
    mask[1:3, 4:] = colour
    path = tmp_path / f"stage{ending}"
    path.write_bytes(cv2.imencode(ending, mask)[1].tobytes())
    (zone,) = read_zones(str(path))
    assert zone.name == "stage"
    np.testing.assert_array_equal(zone.area, mask.any(axis=2))


def test_mask_files_with_16_bits(tmp_path):
    mask = np.zeros((6, 9), np.uint16)
    mask[2:, :3], mask[0, 0] = 1, 65535
    (tmp_path / "labels.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    np.testing.assert_array_equal(read_zones([tmp_path / "labels.png"])[0].area, mask > 0)


def test_masks_are_turned_upright_like_images(tmp_path):
    mask = np.zeros((6, 9), np.uint8)
    mask[0, :4] = 255
    turn = PIL.Image.Exif()
    turn[0x112] = 6
    PIL.Image.fromarray(mask).save(tmp_path / "turned.png", exif=turn)
    (zone,) = read_zones(tmp_path / "turned.png")
    np.testing.assert_array_equal(zone.area, read_image(tmp_path / "turned.png").any(axis=2))
    assert zone.area.shape == (9, 6)


def test_masks_with_whole_and_with_open_alpha(tmp_path):
    pixels = np.full((6, 9, 4), 255, np.uint8)
    pixels[:, :5, :3] = 0
    (tmp_path / "m.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    assert read_zones([tmp_path / "m.png"])[0].area.sum() == 24
    pixels[0, 0, 3] = 0
    (tmp_path / "m.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    with pytest.raises(InputError, match=r"m\.png: some pixels are transparent.*save it without alpha"):
        read_zones([tmp_path / "m.png"])


BOW = [[0, 0], [4, 4], [4, 0], [0, 4]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": SQUARE[:2]}, r"zone 'a': has 2 different corners, \[\[1, 2\], \[5, 2\]\]; draw at least 3"),
        ({"a": [*SQUARE[:2], SQUARE[0]]}, "zone 'a': has 2 different corners"),
        ({"a": []}, "zone 'a': has 0 different corners"),
        ({"a": [SQUARE, [[1, 1]]]}, "zone 'a', part 1: "),
        ({"a": BOW}, r"zone 'a': its outline is not valid \(Self-intersection\[2 2\]\); draw it without crossing"),
        ({"a": [[0, 0], [1, 1], [2, 2]]}, "zone 'a': its outline is not valid"),
        ('{"a": [[0, 0], [NaN, 1], [2, 2]]}', r"zone 'a': corners\[1\]\[0\] is 'nan', expected a number"),
        ('{"a": [[0, 0], [1, 1e999], [2, 2]]}', r"zone 'a': corners\[1\]\[1\] is 'inf', expected a number"),
        ({"a": [[0, 0], [1, None], [2, 2]]}, r"zone 'a': corners\[1\]\[1\] is 'None'"),
        ({"a": [[0, 0], [1, 2, 3], [2, 2]]}, r"zone 'a': corners\[1\] is '\[1, 2, 3\]', expected 2 numbers"),
        ({"a": 7}, "zone 'a' is '7', expected a list"),
        ({"": SQUARE}, "the name of a zone is '', expected text"),
        ({" ": SQUARE}, "the name of a zone is ' ', expected text"),
        ({}, "holds no zone; draw polygons, or write"),
        ([SQUARE], r"the top is .*, expected an object"),
        ('{"a": [[0, 0], [4, 0], [4, 4]], "a": []}', "has the key 'a' twice"),
        ("{", "not readable as JSON"),
        ("", "not readable as JSON"),
        (labelme(), "holds no zone"),
        (labelme(polygon("head", [[3, 3]], "point")), "holds no zone"),
        (labelme(polygon("", SQUARE)), "shape 0: 'label' is '', expected text"),
        (labelme(polygon("a", BOW)), r"zone 'a' \(shape 0\): its outline is not valid \(Self-intersection"),
        (labelme(polygon("a", SQUARE), polygon("b", SQUARE[:2])), r"zone 'b' \(shape 1\): has 2 different corners"),
        (labelme(polygon("a", [[1, 1], [1, 5]], "rectangle")), r"zone 'a' \(shape 0\): has 2 different corners"),
        (labelme(polygon("a", [[1, 1], [3, 1]], "circle")), r"zone 'a' \(shape 0\): is a 'circle', expected a polygon"),
        (labelme({"label": "a"}), r"zone 'a' \(shape 0\): has no 'points'"),
        (labelme(5), "shape 0 is '5', expected an object"),
        (collection(), "holds no zone"),
        (collection(feature("", "Polygon", [SQUARE])), "feature 0: 'properties.name' is '', expected text"),
        (collection({"properties": {}}), "feature 0: 'properties': has no 'name'"),
        (collection({"properties": None}), "feature 0: 'properties' is 'None', expected an object"),
        (collection(feature("a", "Point", [1, 2])), r"zone 'a' \(feature 0\): is a 'Point', expected a Polygon"),
        (collection(feature("a", "Polygon", SQUARE)), r"zone 'a' \(feature 0\): corners\[0\] is '1', expected a list"),
        (collection(feature("a", "Polygon", [])), r"zone 'a' \(feature 0\): has 0 different corners"),
        (collection(feature("a", "Polygon", [SQUARE, OTHER])), r"not valid \(Hole lies outside shell"),
        (collection(feature("a", "MultiPolygon", [7])), r"zone 'a' \(feature 0\): a part is '7', expected a list"),
        ({"type": "FeatureCollection"}, "has no 'features', only 'type'"),
        ({"type": "Feature", "geometry": {}}, "zone 'type' is 'Feature', expected a list"),
    ],
)
def test_errors_in_json_are_named(tmp_path, table, message):
    path = write(tmp_path / "zones.json", table)
    with pytest.raises(InputError, match=message) as error:
        read_zones([path])
    assert str(error.value).startswith(f"{path}: ")


def test_names_in_two_files_are_refused(tmp_path):
    (tmp_path / "gate.png").write_bytes(cv2.imencode(".png", np.ones((4, 4), np.uint8))[1].tobytes())
    path = write(tmp_path / "zones.json", {"gate": SQUARE})
    with pytest.raises(InputError, match=r"zones\.json: zone 'gate' is also in .*gate\.png; rename one of them"):
        read_zones([tmp_path / "gate.png", path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "no such zone file"),
        ("zones.txt", b"1 2", r"zones are \.json and \.geojson files, and masks such as \.png"),
        ("m.png", b"", r"not a readable image \(0 bytes\); copy it again"),
        ("m.png", b"no image", r"not a readable image \(8 bytes\)"),
        ("m.png", cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes(), "m.png: is empty, all pixels are"),
        ("m.jpg", cv2.imencode(".jpg", np.ones((4, 4), np.uint8))[1].tobytes(), "JPEG blurs the edge of a mask; save"),
        ("m.png", cv2.imencode(".png", np.eye(64, dtype=np.uint8))[1].tobytes()[:-60], "is damaged"),
    ],
)
def test_errors_of_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_zones([tmp_path / name])
    assert str(error.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("kind", ["JPEG", "JPEG 2000", "WebP"])
def test_masks_of_lossy_formats_are_refused_whatever_their_name(tmp_path, kind):
    mask = np.zeros((50, 60), np.uint8)
    mask[10:30] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "m.png", kind.replace(" ", ""))
    with pytest.raises(InputError, match=f"m.png: {kind} blurs the edge of a mask; save it as PNG"):
        read_zones([tmp_path / "m.png"])
    PIL.Image.fromarray(mask).save(tmp_path / "m.png", "WebP", lossless=True)
    np.testing.assert_array_equal(read_zones([tmp_path / "m.png"])[0].area, mask > 0)


def json_like():
    numbers = st.integers(-3, 3) | st.floats() | st.none()
    corners = st.lists(st.lists(numbers, max_size=3), max_size=5)
    names = st.sampled_from(["", "a", "type", "shapes", "features", "Feature", "polygon", "Polygon", "MultiPolygon"])
    keys = names | st.sampled_from(["label", "points", "properties", "geometry", "coordinates", "name", "imagePath"])
    return st.recursive(
        numbers | corners | names | st.just("FeatureCollection"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


@per_test
@given(table=json_like() | st.dictionaries(st.text(max_size=2), json_like(), max_size=3))
def test_any_json_gives_zones_or_an_error_that_names_the_file(tmp_path, table):
    path = write(tmp_path / "zones.json", table)
    try:
        assert all(zone.area.is_valid and not zone.area.is_empty for zone in read_zones([path]))
    except InputError as error:
        assert str(error).startswith(f"{path}: ")


# Drawing


def test_zones_are_tinted_and_outlined():
    image = np.full((120, 160, 3), 100, np.uint8)
    zone = Zone("a", Polygon([[20, 20], [140, 20], [140, 100], [20, 100]], [[[50, 70], [80, 70], [80, 90], [50, 90]]]))
    shown = drawing.draw_zones(image, [zone], {})
    assert shown.shape == image.shape and shown.dtype == np.uint8 and (image == 100).all()
    np.testing.assert_array_equal(shown[:15], 100)
    np.testing.assert_array_equal(shown[75:85, 56:74], 100)  # the hole
    colour = np.array(drawing._COLOURS[0])
    np.testing.assert_allclose(shown[30, 30], 0.8 * 100 + 0.2 * colour, atol=1)
    assert np.abs(shown[19:21, 60].astype(int) - colour).max(axis=1).min() < 80
    assert (shown[16:24, 60].max(axis=1) < 60).any()  # its dark edge


def test_masks_and_polygons_are_drawn_alike(monkeypatch):
    monkeypatch.setattr(drawing, "write_labels", lambda image, labels: None)
    image = np.full((120, 160, 3), 100, np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[20:100, 30:140] = True
    of_mask = drawing.draw_zones(image, [Zone("a", mask)], {})
    of_polygon = drawing.draw_zones(image, [Zone("a", box(30, 20, 140, 100))], {})
    blurred = [cv2.blur(image, (5, 5)).astype(int) for image in (of_mask, of_polygon)]  # half a pixel is no matter
    assert np.abs(blurred[0] - blurred[1]).max() < 45


@pytest.mark.parametrize("area", [box(20, 30, 60, 90), np.pad(np.ones((60, 40), bool), ((30, 60), (20, 80)))])
def test_zones_on_a_drawing_of_another_size(area):
    drawn = drawing.draw_zones(np.zeros((75, 280, 3), np.uint8), [Zone("a", area)], {}, (150, 140))
    y, x = np.nonzero(drawn.max(axis=2) > 30)
    assert abs(x.min() - 40) < 3 and abs(x.max() - 120) < 4 and abs(y.min() - 15) < 3 and abs(y.max() - 45) < 3


def test_later_zones_have_other_colours_and_far_corners_are_no_harm():
    image = np.zeros((90, 120, 3), np.uint8)
    zones = [Zone("a", Polygon([[10, 10], [1e9, 10], [10, 1e9]])), Zone("b", box(-1e9, -1e9, 8, 40))]
    shown = drawing.draw_zones(image, zones, {})
    assert (shown[80, 30] > 5).any() and (shown[20, 2] > 5).any() and not shown[70, 2].any()
    assert (shown[80, 30] != shown[20, 2]).any()


def test_labels_carry_name_and_count(monkeypatch):
    written = []
    monkeypatch.setattr(drawing, "write_labels", lambda image, labels: written.extend(labels))
    zones = [Zone("gate", box(0, 0, 40, 40)), Zone("hall", box(50, 50, 90, 80)), Zone("yard", box(50, 0, 90, 40))]
    drawing.draw_zones(np.zeros((90, 120, 3), np.uint8), zones, {"gate": 12.34, "hall": 7})
    assert [label.words for label in written] == ["gate: 12.3", "hall: 7", "yard"]
    for label, zone in zip(written, zones, strict=True):
        assert zone.area.contains(shapely.Point(label.spot))
        np.testing.assert_allclose(label.spot, zone.area.centroid.coords[0], atol=3)
        np.testing.assert_allclose(label.box, zone.area.bounds, atol=1)


@pytest.mark.parametrize("ground", [0, 128, 255])
@pytest.mark.parametrize("size", [(480, 640), (3000, 4000)])
def test_labels_are_readable_at_every_size_on_every_ground(size, ground):
    image = np.full((*size, 3), ground, np.uint8)
    label = region_labels.Label("gate: 12.3", (size[1] / 2, size[0] / 2), (0, 0, *size[::-1]), (255, 0, 0))
    region_labels.write_labels(image, [label])
    changed = np.argwhere((image != ground).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert 0.02 * size[0] < bottom - top < 0.08 * size[0] and 0.05 * size[1] < right - left < 0.3 * size[1]
    sign = image[top : bottom + 1, left : right + 1].min(axis=2)
    assert (sign > 200).any() and np.median(sign) < 80
    ink = np.argwhere(sign > 150)
    assert ink.min() > 1 and (ink.max(axis=0) < np.array(sign.shape) - 2).all()  # not cut off


def test_labels_do_not_cover_each_other(monkeypatch):
    boxes = []
    overlap = region_labels._overlap
    monkeypatch.setattr(region_labels, "_overlap", lambda one, other: boxes.append(other) or overlap(one, other))
    zones = [Zone(f"zone {i}", box(100 + i, 100 + i, 400, 300)) for i in range(9)]
    drawing.draw_zones(np.zeros((480, 640, 3), np.uint8), zones, {})
    taken = sorted(set(boxes))
    assert len(taken) == 8 and not any(overlap(one, other) for i, one in enumerate(taken) for other in taken[:i])


def test_the_label_of_a_small_zone_stands_beside_it():
    for x, y in ((300, 200), (300, 470), (5, 5), (633, 3)):
        zone = Zone("kiosk", box(x - 4, y - 4, x + 4, y + 4))
        shown = drawing.draw_zones(np.zeros((480, 640, 3), np.uint8), [zone], {"kiosk": 1})
        tinted = shown[max(0, y - 2) : y + 2, max(0, x - 2) : x + 2]
        np.testing.assert_allclose(tinted, np.broadcast_to(tinted[1, 1], tinted.shape), atol=60)
        assert tinted[1, 1, 0] > 2 * tinted[1, 1, 2]  # its own colour


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (40, 60, 1), (50, 70, 3)])
def test_small_and_grey_drawings(shape):
    zones = [Zone("a long name that fits nowhere", box(-1, -1, 500, 500)), Zone("b", np.ones(shape[:2], bool))]
    shown = drawing.draw_zones(np.zeros(shape, np.uint8), zones, {"b": 3.14})
    assert shown.shape == (*shape[:2], 3)
    assert drawing.draw_zones(np.zeros(shape, np.uint8), [], {}).shape == (*shape[:2], 3)


def test_zones_and_their_drawings_need_no_torch():
    code = "import sys, crowdcount.zones.drawing, crowdcount.visualize.density; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
