"""Writing of imported points as a folder for `crowdcount.data.Folder`."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from crowdcount.data.annotations.error_collection import collect_remarks
from crowdcount.data.importers.image_matching import AnnotatedImage, ImageFolder
from crowdcount.data.sample import Split
from crowdcount.data.sources.folder import SPLIT_FOLDERS, Folder
from crowdcount.errors import InputError
from crowdcount.files import atomic_folder, atomic_write, check_new_folder

Transfer = Literal["copy", "link"]

TABLE: Final = "points.json"
"""Name of the point table."""

_SPLITS: tuple[Split, ...] = get_args(Split)


def write_beside(found: Sequence[AnnotatedImage], images: ImageFolder, overwrite: bool = False) -> Path:
    """Write `points.json` to the folder of the images, and return its path.

    Raises:
        InputError: if it exists, or `Folder` could not read it because the export does not name an image, or an image
            is in another subfolder than `images`, `train`, `val` or `test`.
    """
    folder = images.folder
    table = folder / TABLE
    if table.exists() and not overwrite:
        raise InputError(f"{table} exists; take it away, or let --overwrite replace it")
    unnamed = sorted(set(images.files) - {each.path for each in found})
    if unnamed:
        raise InputError(
            f"{folder}: the export says nothing of {len(unnamed)} images, {unnamed[0]} the first; take them away, or "
            "give another folder with --output, which gets the images of the export alone"
        )
    trial = folder / f".{os.getpid()}.{TABLE}"
    try:
        _write_table(trial, {each.path.relative_to(folder).as_posix(): each for each in found})
        _check_beside(folder, trial, found)
        trial.replace(table)
    finally:
        trial.unlink(missing_ok=True)
    return table


def write_folder(found: Sequence[AnnotatedImage], images: ImageFolder, output: Path, transfer: Transfer) -> Path:
    """Write a new folder with `points.json` and copies of the images or links to them; return the folder.

    Images in subfolders `train`, `val` (or `valid`) and `test` stay in these; all others go to one folder `images`.

    Raises:
        InputError: if the folder exists and is not empty, or two images would have the same name.
    """
    check_new_folder(output)
    names = _names(found, images.folder)
    with atomic_folder(output) as folder:
        for name, each in names.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _transfer(each.path, target, transfer)
        _write_table(folder / TABLE, names)
        _check(folder, folder / TABLE, found)
    return output


def _names(found: Sequence[AnnotatedImage], folder: Path) -> dict[str, AnnotatedImage]:
    """Return the images by their paths in the new folder."""
    names: dict[str, AnnotatedImage] = {}
    for each in found:
        parts = each.path.relative_to(folder).parts[:-1]
        splits = [SPLIT_FOLDERS[part.lower()] for part in parts if part.lower() in SPLIT_FOLDERS]
        name = "/".join([*splits[:1], "images", each.path.name])
        if name in names:
            raise InputError(f"{each.path} and {names[name].path} would both be {name}; rename one")
        names[name] = each
    return names


def _write_table(path: Path, images: dict[str, AnnotatedImage]) -> None:
    rows = (f"  {json.dumps(name)}: {json.dumps(_decimals(each))}" for name, each in sorted(images.items()))
    atomic_write(path, "{\n" + ",\n".join(rows) + "\n}\n")


def _decimals(image: AnnotatedImage) -> list[list[float]]:
    # The shortest decimals that read back as the same float32.
    return [[float(str(x)), float(str(y))] for x, y in image.points]


def _check_beside(folder: Path, table: Path, found: Sequence[AnnotatedImage]) -> None:
    try:
        _check(folder, table, found)
    except InputError as error:
        raise InputError(
            f"{error}. Or leave the images where they are, and give a new folder with --output, which gets them in an "
            "order that can be read"
        ) from error


def _check(folder: Path, table: Path, found: Sequence[AnnotatedImage]) -> None:
    """Check that the adapter can read the folder before it gets its final name."""
    source = Folder(folder, points=table.name)
    with collect_remarks():  # the command has said what it left out and what it doubts
        read = [record for split in _SPLITS for record in source.records(split)]
    if len(read) != len(found):
        raise InputError(
            f"{folder}: a data set in folders has its images in 'images', 'train', 'val' or 'test'; {len(read)} of "
            f"{len(found)} lie there"
        )


def _transfer(source: Path, target: Path, transfer: Transfer) -> None:
    if transfer == "copy":
        shutil.copy2(source, target)
    else:
        target.symlink_to(source.resolve())
