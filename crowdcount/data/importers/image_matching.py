"""Matching of the entries of an export with image files, which are decoded and compared with the export."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from crowdcount.data.annotations.left_out import describe_unread, is_unread_image, walk
from crowdcount.data.importers.annotated import Annotated
from crowdcount.errors import InputError
from crowdcount.geometry import Points, as_points, inside
from crowdcount.images.read import IMAGE_SUFFIXES, read_image
from crowdcount.local_path import spelled_as
from crowdcount.plausibility import Annotation, FrameError, Size, check_stated_size, find_doubts

UPLOADED: Final = re.compile(r"^[0-9a-f]{8}-")
"""Prefix that Label Studio puts before the name of an uploaded file."""


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file and its heads.

    Attributes:
        path: the file.
        points: (N, 2) in pixels of the upright image.
        outside: number of points outside the image.
        size: width and height of the upright image in pixels.
    """

    path: Path
    points: Points
    outside: int
    size: Size


class ImageFolder:
    """Lookup of the images in a folder and its subfolders by their names in exports.

    Attributes:
        files: images, without hidden ones.
        unread: images and videos in formats that are not read.

    Args:
        folder: the folder.

    Raises:
        InputError: if there is no such folder, or no image in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of images")
        everything = list(walk(folder))
        self.files = [path for path in everything if path.suffix.lower() in IMAGE_SUFFIXES]
        self.unread = [path for path in everything if is_unread_image(path)]
        if not self.files:
            formats = ", ".join(IMAGE_SUFFIXES)
            raise InputError(
                f"{folder}: holds no image ({formats}){describe_unread(folder)}; name the folder that does"
            )
        self._named: dict[str, list[Path]] = {}
        for path in self.files:
            for key in {path.name, path.stem}:  # YOLO's label files know a name without its ending
                self._named.setdefault(key, []).append(path)

    def find(self, place: str, name: str, uploaded: bool = False) -> Path:
        """Return the image of a name in an export, by its path in the folder or else by its file name.

        Args:
            place: file and entry of the export, for messages.
            name: name in the export.
            uploaded: whether an image with blanks in place of `_`, or with a prefix of eight digits, also matches if
                no image has the name itself.

        Raises:
            InputError: if there is none, or there are several.
        """
        parts = PurePosixPath(name).parts
        found = self._named.get(spelled_as(parts[-1], self._named), []) if parts else []
        if uploaded and not found:
            found = [
                path for path in self.files if parts[-1] in (path.name.replace(" ", "_"), UPLOADED.sub("", path.name))
            ]
        # The more of the path agrees, the better: exports name folders that need not be here.
        for length in range(len(parts), 1, -1):
            near = [path for path in found if path.parts[-length:-1] == parts[-length:-1]]
            if near:
                found = near
                break
        if not found:
            raise InputError(
                f"{place}: image {name!r} is not in {self.folder}; give the folder of images with --images"
            )
        if len(found) > 1:
            raise InputError(f"{place}: image {name!r} may be {found[0]} or {found[1]}; rename one, or take it out")
        return found[0]


def checked(annotated: Iterable[Annotated], images: ImageFolder) -> Iterator[AnnotatedImage]:
    """Yield the image of each entry of an export, decoded once and compared with the entry.

    Raises:
        InputError: if an image is missing, damaged, named twice, or of another size than in the export.
    """
    places: dict[Path, str] = {}
    for entry in annotated:
        path = images.find(entry.place, entry.image, entry.uploaded)
        if path in places:
            raise InputError(f"{entry.place}: {path} is annotated twice, also in {places[path]}; keep one")
        places[path] = entry.place
        yield _checked(entry, path)


def _checked(entry: Annotated, path: Path) -> AnnotatedImage:
    height, width = read_image(path).shape[:2]
    check_stated_size(entry.place, entry.size, (width, height), str(path))
    points = np.array(entry.points, np.float64).reshape(-1, 2) * ((width, height) if entry.relative else 1)
    kept = as_points(points)
    return AnnotatedImage(path, kept, int(np.count_nonzero(~inside(kept, width, height))), (width, height))


def check_frames(found: Sequence[AnnotatedImage], export: Path) -> list[str]:
    """Check that the points of an export are in pixels of their images, and return what is doubtful.

    Raises:
        FrameError: if they are not; see `crowdcount.plausibility`.
    """
    doubts = find_doubts([Annotation(each.path.name, each.points, each.size) for each in found])
    for doubt in doubts:
        if doubt.refused:
            raise FrameError(f"{export}: {doubt.text}")
    return [doubt.text for doubt in doubts]
