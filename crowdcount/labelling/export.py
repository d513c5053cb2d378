"""A folder to label: the chosen frames without loss, points to correct, and a table that says why."""

import csv
import io
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unicodedata import normalize

import PIL.Image

from crowdcount.csv_cells import escaped_cell
from crowdcount.errors import InputError
from crowdcount.files import atomic_folder, atomic_write, check_new_folder
from crowdcount.images.formats import WRITTEN_SUFFIXES
from crowdcount.images.read import read_image
from crowdcount.labelling import FORMATS
from crowdcount.labelling.candidates import Candidate
from crowdcount.labelling.proposal import Proposal
from crowdcount.labelling.select import Pick, Selection
from crowdcount.video.read import read_frames
from crowdcount.visualize.density import image_bytes

TABLE: Final = "frames.csv"
"""Table of all candidates, the chosen ones first."""

_SHOWN_UPRIGHT: Final = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats, in Pillow's words, that all of the annotation tools open."""
_ORIENTATION: Final = 0x0112
_COLUMNS: Final = "order output file frame seconds count uncertainty rank distance reason".split()


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        candidate: the image or frame.
        reason: why it was chosen, or why not.
        order: number among the chosen ones, from 1; None for the others.
        output: name of its file in the folder; empty for the others.
        rank: see `Pick`; None for those that were not chosen.
        distance: see `Pick`; None for the first and for near-duplicates.
    """

    candidate: Candidate
    reason: str
    order: int | None = None
    output: str = ""
    rank: float | None = None
    distance: float | None = None

    def cells(self) -> list[Any]:
        """Return the cells of the table."""
        own = self.candidate
        numbers = (self.order, own.frame, own.seconds, own.count, own.uncertainty, self.rank, self.distance)
        order, *known = ("" if number is None else number for number in numbers)
        return [order, escaped_cell(self.output), escaped_cell(str(own.source)), *known, self.reason]


def describe(candidates: Sequence[Candidate], selection: Selection) -> list[Row]:
    """Return a row for each candidate: the chosen ones in order, then near-duplicates, then the others."""
    rows = [_chosen(candidates, pick, order) for order, pick in enumerate(selection.picks, 1)]
    for index, shown in selection.duplicates.items():
        rows.append(Row(candidates[index], f"near-duplicate of {candidates[shown]}"))
    for index, (near, distance) in selection.nearest.items():
        reason = f"adds less than the chosen ones: {distance:.3f} from {candidates[near]}"
        rows.append(Row(candidates[index], reason, distance=distance))
    return rows


def _chosen(candidates: Sequence[Candidate], pick: Pick, order: int) -> Row:
    own = candidates[pick.index]
    if pick.nearest is None:
        return Row(own, "the model is least sure of it", order, rank=pick.rank)
    reason = f"differs most from those before: {pick.distance:.3f} from {candidates[pick.nearest]}"
    return Row(own, reason, order, rank=pick.rank, distance=pick.distance)


def export(folder: Path, rows: Sequence[Row], formats: Sequence[str], label: str, model: str, every: int) -> list[Row]:
    """Write the folder, completely or not at all, and return the rows with the names of their files.

    Files that tools show upright are copied byte by byte; frames of videos and all others become PNG files.

    Args:
        folder: new or empty.
        rows: see `describe`.
        formats: names of `FORMATS`.
        label: label of every point.
        model: name of the model, for Label Studio.
        every: distance of the frames with which the videos were read.

    Raises:
        InputError: the folder has files, or a frame has disappeared.
        OSError: a file cannot be written.
    """
    check_new_folder(folder)
    taken: set[str] = set()
    named = [replace(row, output=_free_name(row.candidate, taken)) if row.order else row for row in rows]
    chosen = [row for row in named if row.order]
    with atomic_folder(folder) as target:
        _write_images(target, chosen, every)
        proposals = [Proposal(row.output, row.candidate.points, *row.candidate.size, model) for row in chosen]
        for name in formats:
            FORMATS[name](target, proposals, label)
        atomic_write(target / TABLE, _table(named))
    return named


def _table(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([_COLUMNS, *(row.cells() for row in rows)])
    return file.getvalue()


def _free_name(candidate: Candidate, taken: set[str]) -> str:
    """Return a name for an image, whose stem no other has: tools keep annotations under the stem."""
    copied = candidate.frame is None and _is_copied(candidate.source)
    stem = candidate.source.stem if candidate.frame is None else f"{candidate.source.stem}_{candidate.frame:06d}"
    stem = "".join(letter if letter.isprintable() and letter not in '<>:"|?*\\%#&' else "_" for letter in stem)
    free = next(name for name in _numbered(stem[:100]) if _key(name) not in taken)
    taken.add(_key(free))
    return free + (candidate.source.suffix.lower() if copied else ".png")


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{number}" for number in itertools.count(2))


def _key(name: str) -> str:
    return normalize("NFC", name).casefold()


def _is_copied(path: Path) -> bool:
    """Return whether every tool opens a file and shows it upright, as it is counted here."""
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        return False
    with PIL.Image.open(path) as image:
        return image.format in _SHOWN_UPRIGHT and image.getexif().get(_ORIENTATION, 1) in (0, 1)


def _write_images(folder: Path, rows: Sequence[Row], every: int) -> None:
    frames: dict[Path, dict[int, str]] = {}
    for row in rows:
        own = row.candidate
        if own.frame is not None:
            frames.setdefault(own.source, {})[own.frame] = row.output
        elif _is_copied(own.source):
            shutil.copyfile(own.source, folder / row.output)
        else:
            atomic_write(folder / row.output, image_bytes(read_image(own.source)))
    for video, wanted in frames.items():
        _write_frames(folder, video, wanted, every)


def _write_frames(folder: Path, video: Path, wanted: dict[int, str], every: int) -> None:
    missing = dict(wanted)
    for frame in read_frames(video, every):
        name = missing.pop(frame.index, None)
        if name is not None:
            atomic_write(folder / name, image_bytes(frame.image))
        if not missing:
            return
    raise InputError(f"{video}: frame {min(missing)} is gone; the file has changed, choose again")
