"""Zones from files: corners in JSON, drawings of LabelMe, GeoJSON in pixels, and mask images."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import shapely
from shapely import MultiPolygon, Polygon

from crowdcount.errors import InputError
from crowdcount.files import parse_json, read_text
from crowdcount.images.formats import IMAGE_SUFFIXES
from crowdcount.images.mask import read_mask
from crowdcount.json_fields import as_list, as_numbers, as_object, as_text, get, image_size
from crowdcount.local_path import local_path
from crowdcount.plausibility import Size, check_polygon
from crowdcount.zones.coverage import check_polygons
from crowdcount.zones.zone import Zone

_Part = tuple[str, Polygon]
"""Name of a zone, and one of its parts."""

_NO_AREA: Final = ("point", "points", "line", "linestrip")
"""LabelMe shapes without an area; heads may be marked in the same file."""


def read_zones(paths: Path | str | Sequence[Path | str]) -> list[Zone]:
    """Read the zones of a file, or of several in order.

    A `.json` or `.geojson` file has one of these forms:

    - `{"name": [[x, y], ...], ...}`: the corners of a polygon, or a list of such polygons for a zone of several parts;
    - LabelMe: polygons and rectangles, named by their labels; points and lines are ignored;
    - GeoJSON: a FeatureCollection of Polygon and MultiPolygon in pixels, y down, named by `properties.name`.

    Parts with the same name in one file are merged into one zone. An image is read as a mask: the zone consists of the
    pixels that are not black, and is named by the file's stem. Coordinates are pixels of the upright image; pixel i
    covers [i, i + 1). The size of the image that LabelMe states is kept in `Zone.drawn_on`: the zone is refused for
    images of another size.

    Raises:
        InputError: a file is missing, damaged or without zones; a ring has fewer than 3 corners, crosses itself, has
            a coordinate that is not finite, or is smaller than a pixel, as in fractions of the image or in degrees; a
            name is empty or occurs in two files. The message names file, zone and value.
    """
    zones: dict[str, Zone] = {}
    files: dict[str, Path] = {}
    for path in map(local_path, [paths] if isinstance(paths, str | Path) else paths):
        for zone in _read(path):
            if zone.name in zones:
                raise InputError(f"{path}: zone {zone.name!r} is also in {files[zone.name]}; rename one of them")
            zones[zone.name], files[zone.name] = zone, path
    return list(zones.values())


def _read(path: Path) -> list[Zone]:
    if not path.is_file():
        raise InputError(f"{path}: no such zone file")
    ending = path.suffix.lower()
    if ending in (".json", ".geojson"):
        return parse_zones(read_text(path), str(path))
    if ending not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: zones are .json and .geojson files, and masks such as .png")
    return [Zone(path.stem, read_mask(path))]


def parse_zones(text: str, name: str) -> list[Zone]:
    """Return the zones of a JSON text in one of the forms of `read_zones`.

    Args:
        text: the text.
        name: of its source, for messages.

    Raises:
        InputError: see `read_zones`.
    """
    table = as_object(f"{name}: the top", parse_json(text, name, unique=True))
    parts: dict[str, list[Polygon]] = {}
    for zone, part in _reader(table)(name, table):
        parts.setdefault(zone, []).append(part)
    if not parts:
        raise InputError(f'{name}: holds no zone; draw polygons, or write {{"name": [[x, y], ...]}}')
    return [Zone(zone, _union(pieces), _stated_size(name, table)) for zone, pieces in parts.items()]


def _stated_size(file: str, table: dict[str, Any]) -> Size | None:
    """Return the size of the image that a LabelMe file states."""
    width, height = table.get("imageWidth"), table.get("imageHeight")
    if _reader(table) is not _labelme or width is None or height is None:
        return None
    return image_size(file, width, height)


def _union(parts: list[Polygon]) -> Polygon | MultiPolygon:
    union = shapely.union_all(parts)
    assert isinstance(union, Polygon | MultiPolygon), "polygons make polygons"
    return union


def _reader(table: dict[str, Any]) -> Callable[[str, dict[str, Any]], Iterator[_Part]]:
    """Choose the reader by keys that only its format has; a plain zone may be called `shapes`."""
    if table.get("type") == "FeatureCollection":
        return _geojson
    shapes = table.get("shapes")
    drawn = isinstance(shapes, list) and all(isinstance(shape, dict) for shape in shapes)
    return _labelme if drawn or {"shapes", "imagePath"} <= set(table) else _plain


def _plain(file: str, table: dict[str, Any]) -> Iterator[_Part]:
    for name, value in table.items():
        as_text(f"{file}: the name of a zone", name)
        place = f"{file}: zone {name!r}"
        if not _has_parts(as_list(place, value)):
            yield name, _polygon(place, [value])
            continue
        for i, part in enumerate(value):
            yield name, _polygon(f"{place}, part {i}", [part])


def _has_parts(value: list[Any]) -> bool:
    """Return whether a value is a list of rings rather than a ring."""
    return bool(value) and isinstance(value[0], list) and bool(value[0]) and isinstance(value[0][0], list)


def _labelme(file: str, table: dict[str, Any]) -> Iterator[_Part]:
    for i, value in enumerate(as_list(f"{file}: 'shapes'", table["shapes"])):
        shape = as_object(f"{file}: shape {i}", value)
        kind = shape.get("shape_type") or "polygon"  # early versions had only polygons and did not write the type
        if kind in _NO_AREA:
            continue
        name = as_text(f"{file}: shape {i}: 'label'", get(f"{file}: shape {i}", shape, "label"))
        place = f"{file}: zone {name!r} (shape {i})"
        if kind not in ("polygon", "rectangle"):
            raise InputError(f"{place}: is a {str(kind)[:80]!r}, expected a polygon or a rectangle; draw it as one")
        corners = as_list(f"{place}: 'points'", get(place, shape, "points"))
        if kind == "rectangle" and len(corners) == 2:
            (x1, y1), (x2, y2) = (as_numbers(f"{place}: points[{n}]", corner, 2) for n, corner in enumerate(corners))
            corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        yield name, _polygon(place, [corners])


def _geojson(file: str, table: dict[str, Any]) -> Iterator[_Part]:
    for i, value in enumerate(as_list(f"{file}: 'features'", get(file, table, "features"))):
        place = f"{file}: feature {i}"
        feature = as_object(place, value)
        properties = as_object(f"{place}: 'properties'", get(place, feature, "properties"))
        name = as_text(f"{place}: 'properties.name'", get(f"{place}: 'properties'", properties, "name"))
        place = f"{file}: zone {name!r} (feature {i})"
        geometry = as_object(f"{place}: 'geometry'", get(place, feature, "geometry"))
        kind = get(f"{place}: 'geometry'", geometry, "type")
        if kind not in ("Polygon", "MultiPolygon"):
            raise InputError(f"{place}: is a {str(kind)[:80]!r}, expected a Polygon or MultiPolygon; remove it")
        rings = as_list(f"{place}: 'coordinates'", get(f"{place}: 'geometry'", geometry, "coordinates"))
        for part in [rings] if kind == "Polygon" else rings:
            yield name, _polygon(place, as_list(f"{place}: a part", part))


def _polygon(place: str, rings: list[Any]) -> Polygon:
    """Build a polygon from its outline and the outlines of its holes."""
    shell, *holes = [_ring(place, ring) for ring in rings] or [_ring(place, rings)]
    check_polygon(place, shell)
    polygon = Polygon(shell, holes)
    check_polygons(place, polygon)
    return polygon


def _ring(place: str, value: object) -> list[tuple[float, float]]:
    rows = [as_numbers(f"{place}: corners[{i}]", row, 2) for i, row in enumerate(as_list(f"{place}: corners", value))]
    corners = [(x, y) for x, y in rows]
    different = len(set(corners))
    if different < 3:
        raise InputError(f"{place}: has {different} different corners, {str(value)[:80]}; draw at least 3")
    return corners
