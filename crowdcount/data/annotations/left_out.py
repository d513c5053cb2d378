"""Files of a folder that become no record: images elsewhere or in other formats, and annotations that are not read."""

import mimetypes
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from crowdcount.data.annotations.common_formats import is_paper
from crowdcount.data.annotations.error_collection import report_left_out
from crowdcount.data.annotations.point_file import ANNOTATIONS
from crowdcount.images.formats import IMAGE_SUFFIXES, UNREAD_SUFFIXES

_ENDINGS: Final = frozenset(Path(name).suffix for name in ANNOTATIONS)


def is_unread_image(path: Path) -> bool:
    """Return whether the suffix of a file is of an image or a video, but of no format that is read."""
    suffix = path.suffix.lower()
    kind = mimetypes.guess_type(path.name)[0] or ""
    return suffix not in IMAGE_SUFFIXES and (suffix in UNREAD_SUFFIXES or kind.startswith(("image/", "video/")))


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, without hidden ones, in order."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(place, name) for name in sorted(files) if name[0] != ".")


def describe_unread(folder: Path) -> str:
    """Return a clause on the images in a folder whose formats are not read, for the message that there is none."""
    unread = [path for path in walk(folder) if is_unread_image(path)]
    return f", but {len(unread):,} in formats that are not read, {unread[0].name} the first" if unread else ""


def report_unused(root: Path, used: Collection[Path], annotations: Collection[Path] | None, rule: str) -> None:
    """Report the images and annotations of a folder that no record uses.

    Args:
        root: the folder.
        used: images of its records, with paths below `root`.
        annotations: files of the annotations that are read, or their folders; None for a data set without any.
        rule: places of images that are read, for the message.
    """
    others = [path for path in walk(root) if path not in used and not is_paper(path)]
    report_left_out(root, [path for path in others if path.suffix.lower() in IMAGE_SUFFIXES], rule)
    formats = f"not images in a format that is read ({', '.join(IMAGE_SUFFIXES)})"
    report_left_out(root, [path for path in others if is_unread_image(path)], formats)
    if annotations is not None:
        unread = [path for path in others if path.suffix.lower() in _ENDINGS]
        unread = [path for path in unread if path not in annotations and path.parent not in annotations]
        report_left_out(root, unread, "not annotations that are read here")
