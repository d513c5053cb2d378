"""Reading of a whole export: its entries with their images, and what was left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from crowdcount.data.importers import FORMATS
from crowdcount.data.importers.annotated import Choice
from crowdcount.data.importers.image_matching import AnnotatedImage, ImageFolder, check_frames, checked
from crowdcount.data.sample import Record
from crowdcount.errors import InputError


@dataclass(frozen=True)
class Export:
    """The annotated images of an export.

    Attributes:
        found: images with their heads.
        images: the folder of the images.
        choice: the imported shapes and those left out.
        doubts: what is doubtful about the points.
    """

    found: Sequence[AnnotatedImage]
    images: ImageFolder
    choice: Choice
    doubts: Sequence[str]

    def records(self) -> list[Record]:
        """Return the images as records, with their paths below the folder as names."""
        folder = self.images.folder
        return [Record(each.path.relative_to(folder).as_posix(), each.path, each.points) for each in self.found]


def read_export(
    form: str, path: Path, images: Path | None = None, labels: Sequence[str] = (), keypoint: str | None = None
) -> Export:
    """Read an export and decode its images, with a progress bar on stderr.

    Args:
        form: one of `FORMATS`.
        path: the exported file, or the folder of files.
        images: folder of the images; None for where the export is.
        labels: labels of the shapes to take; all if empty.
        keypoint: see `Choice`.

    Raises:
        InputError: the export or an image is missing or damaged, or it has no head.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give what the annotation tool exported")
    folder = ImageFolder(images or (path if path.is_dir() else path.parent))
    choice = Choice(frozenset(labels), keypoint, frozenset(each.stem for each in folder.files))
    annotated = FORMATS[form](path, choice)
    choice.check(str(path))
    found = list(checked(tqdm(annotated, unit="image", disable=None), folder))
    doubts = check_frames(found, path)
    if not choice.taken.total():
        reasons = "; ".join(f"{number} x {reason}" for reason, number in choice.left_out.most_common()) or "no shapes"
        raise InputError(f"{path}: has no head to import ({reasons})")
    return Export(found, folder, choice, doubts)
