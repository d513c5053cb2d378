"""Matching of the names in a table of points with image files."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from crowdcount.data.annotations.error_collection import report_error
from crowdcount.data.annotations.point_table import Entry, image_keys
from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.local_path import spelled_as

_SHOWN = 5


def match_points_to_images(
    path: Path, table: Mapping[str, Entry], pictures: Sequence[Path], owners: Sequence[Path]
) -> dict[Path, Points]:
    """Return the points by image.

    Args:
        path: file of the table.
        table: points by name.
        pictures: images that the table must name.
        owners: images that the table may name.

    Raises:
        InputError: if a name matches no image or two, or an image has two names or none; the message lists them.
    """
    base = path.parent
    points, wrong, again = _matched(table, _candidate_names(owners, base))
    unnamed = [picture for picture in pictures if picture not in points]
    missing = [str(each.relative_to(base) if each.is_relative_to(base) else each) for each in unnamed]
    problems = [
        _listed(wrong, f"correct it, or write its path from {base}"),
        _listed(again, "keep one"),
        _listed(missing, "an image without people is named, too", "names no points of "),
    ]
    if any(problems):
        report_error(InputError(f"{path}: {'. '.join(filter(None, problems))}", path))
    return points


def _matched(
    table: Mapping[str, Entry], known: Mapping[str, Sequence[Path]]
) -> tuple[dict[Path, Points], list[str], list[str]]:
    """Return the points by image, the problems of names with no image or two, and those of repeated names."""
    points: dict[Path, Points] = {}
    wrong, again = [], []
    for name, entry in table.items():
        found = known.get(spelled_as(PurePosixPath(name.replace("\\", "/")).as_posix(), known), [])
        if len(found) != 1:
            wrong.append(f"{entry.place}: {name!r} is {f'{found[0]} and {found[-1]}' if found else 'no picture here'}")
        elif found[0] in points:
            again.append(f"{entry.place}: {found[0].name} has been named before")
        else:
            points[found[0]] = entry.points
    return points, wrong, again


def _listed(problems: Sequence[str], remedy: str, start: str = "") -> str:
    """Return the first few problems, the number of others and the remedy; empty without problems."""
    more = f" and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    return f"{start}{', '.join(problems[:_SHOWN])}{more}; {remedy}" if problems else ""


def _candidate_names(pictures: Sequence[Path], base: Path) -> dict[str, list[Path]]:
    """Return the images by the names that they may have in a table in `base`."""
    known: dict[str, list[Path]] = {}
    for picture in pictures:
        for name in image_keys(picture, base):
            known.setdefault(name, []).append(picture)
    return known
