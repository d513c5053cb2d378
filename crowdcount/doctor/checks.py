"""Checks of records and inspected images."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from crowdcount.data.sample import Record, Split
from crowdcount.doctor.duplicates import Pair, find_duplicates
from crowdcount.doctor.finding import Finding
from crowdcount.doctor.inspect_image import Inspection
from crowdcount.doctor.published_totals import TOTALS, Total
from crowdcount.geometry import Points, inside
from crowdcount.plausibility import Annotation, find_doubts

SAME = " = "
"""Separator between the names of duplicate images."""

_TRAITS = ("grey", "palette", "cmyk", "alpha", "depth")
_CAMERA: Final = 4
"""Number of similar images from which on they are looked at as frames of a fixed camera."""
_SHORT, _LONG_SHAPE, _PIXELS = 224, 4, 50_000_000


class Item(NamedTuple):
    """An image of a split: its annotation and the facts about its file."""

    split: Split
    record: Record
    image: Inspection

    def finding(self, check: str, detail: str = "", count: int = 1) -> Finding:
        """Return a finding about this image."""
        return Finding(check, self.split, self.record.name, detail, str(self.image.path), count)

    @property
    def label(self) -> str:
        """Split and name of the image."""
        return f"{self.split}/{self.record.name}"

    @property
    def decodes(self) -> bool:
        """Whether the image could be read."""
        return not self.image.problem

    @property
    def outside(self) -> int:
        """Number of points outside the upright image; 0 if its size is unknown, see `decodes`."""
        return _outside(self.record.points, self.image.size)


def _outside(points: Points | None, size: tuple[int, int]) -> int:
    return 0 if points is None or size == (0, 0) else int(np.count_nonzero(~inside(points, *size)))


def check_image(item: Item) -> Iterator[Finding]:
    """Yield the findings about one image and its points."""
    record, image = item.record, item.image
    if image.problem:
        yield item.finding("decode", image.problem)
    else:
        yield from _of_pixels(item)
    if record.points is not None:
        if not len(record.points):
            yield item.finding("empty")
        if item.outside:
            yield item.finding("outside", str(item.outside), item.outside)
        double = _repeated(record)
        if double:
            yield item.finding("double", str(double), double)


def _of_pixels(item: Item) -> Iterator[Finding]:
    image = item.image
    yield from (item.finding(trait) for trait in _TRAITS if trait in image.traits)
    width, height = image.size
    if image.orientation != 1:
        stored = (height, width) if image.orientation >= 5 else (width, height)
        detail = f"orientation {image.orientation}, {width} x {height} upright"
        if item.record.points is not None:
            unturned = _outside(item.record.points, stored)
            detail += f"; outside it {item.outside} points, outside the image as stored {unturned}"
        yield item.finding("rotation", detail)
    short, long = sorted((width, height))
    if short < _SHORT or long > _LONG_SHAPE * short or width * height > _PIXELS:
        yield item.finding("size", f"{width} x {height}")


def _repeated(record: Record) -> int:
    """Return the number of repeated points; expressions are counted separately, as they may share objects."""
    groups = [each.points for each in record.expressions] or [record.require_points()]
    return sum(len(points) - len(np.unique(points, axis=0)) for points in groups)


def check_frames(split: Split, items: Sequence[Item], root: Path, published: bool) -> list[Finding]:
    """Return the doubts that points are in pixels of their images.

    Args:
        split: the split.
        items: its images.
        root: folder of the data set, for the findings.
        published: whether the annotations are those that everybody has, of which errors are warnings.
    """
    images = [
        Annotation(item.record.name, item.record.points, item.image.size if item.decodes else None)
        for item in items
        if item.record.points is not None
    ]
    doubts = find_doubts(images)
    checks = ["frame" if doubt.refused and not published else "doubt" for doubt in doubts]
    pairs = zip(checks, doubts, strict=True)
    return [Finding(check, split, root.name, doubt.text, str(root)) for check, doubt in pairs]


def check_duplicates(items: Sequence[Item]) -> list[Finding]:
    """Return a finding for each group of duplicate images, and for each fixed camera.

    In a group of four images and more, those that disagree somewhere are frames of a fixed camera, not copies.
    """
    readable = [item for item in items if item.image.shown is not None]
    by_bytes: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(readable):
        by_bytes[item.image.digest].append(i)
    # One of each group of equal files stands for all of them in the search for similar ones.
    first = [group[0] for group in by_bytes.values()]
    shown = [item.image.shown for item in (readable[i] for i in first) if item.image.shown is not None]
    alike = [pair._replace(one=first[pair.one], other=first[pair.other]) for pair in find_duplicates(shown)]
    cameras = [group for group in _joined(alike) if len(group) >= _CAMERA]
    frames = [pair for pair in alike if not pair.is_copy and any(pair.one in group for group in cameras)]
    equal = [Pair(group[0], other, 1.0, 1.0) for group in by_bytes.values() for other in group[1:]]
    links = [*equal, *(pair for pair in alike if pair not in frames)]
    return [
        *(_of_group(readable, group, links) for group in _joined(links)),
        *(_of_camera(readable, group) for group in _joined(frames)),
    ]


def _of_camera(items: Sequence[Item], group: set[int]) -> Finding:
    members = [items[i] for i in sorted(group)]
    splits = sorted({member.split for member in members}, key=("train", "val", "test").index)
    detail = f"{len(members):,} images of {' and '.join(splits)} share a background and differ in what moves"
    return Finding("camera", "", SAME.join(member.label for member in members), detail, str(members[0].image.path))


def _of_group(items: Sequence[Item], group: set[int], links: Sequence[Pair]) -> Finding:
    members = [items[i] for i in sorted(group)]
    splits = sorted({member.split for member in members}, key=("train", "val", "test").index)
    equal = len({member.image.digest for member in members}) == 1
    least = min(link.likeness for link in links if link.one in group)
    bound = "at least " if len(members) > 2 else ""
    detail = "equal byte for byte" if equal else f"nearly equal (correlation of details {bound}{least:.3f})"
    name = SAME.join(member.label for member in members)
    if len(splits) > 1:
        return Finding("leak", "", name, detail, str(members[0].image.path))
    return Finding("repeat", splits[0], name, detail, str(members[0].image.path))


def _joined(links: Sequence[Pair]) -> list[set[int]]:
    """Return the connected components of the links."""
    groups: dict[int, set[int]] = {}
    for one, other, *_ in links:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        groups |= dict.fromkeys(joined, joined)
    distinct = {min(group): group for group in groups.values()}
    return [distinct[key] for key in sorted(distinct)]


def check_totals(key: str, items: Mapping[Split, Sequence[Item]], faulty: Mapping[Split, int]) -> Iterator[Finding]:
    """Yield the differences from the published totals.

    Args:
        key: `CrowdSource.key`.
        items: images by split, for the splits that could be read.
        faulty: number of invalid files by split, which were left out.
    """
    for total in TOTALS.get(key, ()):
        if all(split in items for split in total.splits):
            here = [item for split in total.splits for item in items[split]]
            yield from _of_total(total, here, sum(faulty.get(split, 0) for split in total.splits))


def _of_total(total: Total, items: Sequence[Item], faulty: int) -> Iterator[Finding]:
    name = " + ".join(total.splits)
    split = total.splits[0] if len(total.splits) == 1 else ""
    if len(items) != total.images:
        left_out = f" ({faulty} unreadable file{'s are' if faulty != 1 else ' is'} not counted)" if faulty else ""
        yield Finding(
            "total",
            split,
            name,
            f"{len(items):,} image{'s' * (len(items) != 1)}{left_out}, the published files have {total.images:,}",
        )
    if total.heads is None or any(item.record.points is None for item in items):
        return
    counted = [item for item in items if item.decodes or not total.inside]
    heads = sum(item.record.count - (item.outside if total.inside else 0) for item in counted)
    if heads != total.heads:
        where = " inside their images" if total.inside else ""
        if len(counted) < len(items):
            where += f" (without the {len(items) - len(counted):,} that cannot be decoded)"
        yield Finding("total", split, name, f"{heads:,} heads{where}, the published files have {total.heads:,}")


def image_files(records: Mapping[Split, Sequence[Record]]) -> list[Path]:
    """Return the image files of all splits, each once."""
    paths = (record.image for each in records.values() for record in each)
    return list(dict.fromkeys(path for path in paths if isinstance(path, Path)))
