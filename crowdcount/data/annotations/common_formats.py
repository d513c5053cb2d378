"""Shared functions of adapters: numbered files, pairs of image and annotation, MATLAB arrays, checked points."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from crowdcount.data.annotations.error_collection import report_error, report_left_out
from crowdcount.data.annotations.mat_check import check_file, is_hdf5
from crowdcount.errors import InputError
from crowdcount.geometry import Points

_PAPERS = ("readme", "license", "licence")
_DAMAGED = "not readable ({}); the file is damaged or not an annotation: copy it again from the original archive"


def numbered(folder: Path, pattern: str, *companions: str) -> dict[int, Path]:
    """Return the files of a folder by the number in their name, lowest first.

    Args:
        folder: folder to search; subfolders are ignored, and files with other names are reported as left out.
        pattern: regular expression for the whole file name; its first group is the number, in ASCII digits.
        companions: expressions for the names of other files that belong there.

    Raises:
        InputError: if there is no such folder, or two files have one number.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; the data set is incomplete, or unpacked elsewhere", folder)
    files: dict[int, Path] = {}
    others: list[Path] = []
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(pattern, path.name, re.ASCII)
        if match is None:
            others.append(path)
        elif files.setdefault(int(match[1]), path) != path:
            raise InputError(f"{path} and {files[int(match[1])].name} have one number; keep one of them", path)
    foreign = [path for path in others if not any(re.fullmatch(each, path.name, re.ASCII) for each in companions)]
    foreign = [path for path in foreign if not is_paper(path) and path.is_file()]
    report_left_out(folder, foreign, "not named as files of this data set are")
    return dict(sorted(files.items()))


def is_paper(path: Path) -> bool:
    """Return whether a file is hidden, or a readme or a license, which may lie anywhere."""
    return path.name[0] == "." or path.stem.lower() in _PAPERS


def paired(images: dict[int, Path], annotations: dict[int, Path], folder: Path) -> list[tuple[Path, Path]]:
    """Return pairs (image, annotation) by number, lowest first.

    Args:
        images: image files by number.
        annotations: annotation files by number.
        folder: folder of the images, for the messages.

    Raises:
        InputError: if there are no images, or a file has no counterpart.
    """
    if not images:
        raise InputError(f"{folder}: holds no image of this data set; unpack the original archive here", folder)
    for number in sorted(images.keys() ^ annotations.keys()):
        path = images.get(number) or annotations[number]
        problem = "has no annotation; restore its file, or take the image out"
        if number in annotations:
            problem = f"its image is not in {folder}; restore it, or take this file out"
        report_error(InputError(f"{path}: {problem}", path))
    return [(image, annotations[number]) for number, image in images.items() if number in annotations]


def load_mat(path: Path, *keys: str) -> NDArray[np.generic]:
    """Return the first of the variables `keys` that exists in a MATLAB file.

    Raises:
        InputError: if the file is missing or damaged, or has none of them.
    """
    variables = load_mats(path, *keys)
    for key in keys:
        if key in variables:
            return variables[key]
    raise InputError(
        f"{path}: holds no variable {' or '.join(map(repr, keys))}; this is not an annotation of this data set",
        path,
    )


def load_mats(path: Path, *keys: str) -> dict[str, NDArray[np.generic]]:
    """Return those of the variables `keys` that exist in a MATLAB file.

    Raises:
        InputError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such annotation; restore it from the original archive", path)
    if is_hdf5(path):
        raise InputError(
            f"{path}: is a MATLAB file of version 7.3 (HDF5), which is not read here; load it in MATLAB and save it "
            "again with save(..., '-v7'), or write its points to a .txt or .npy file",
            path,
        )
    try:
        check_file(path)
        variables = loadmat(path, variable_names=keys)
    except Exception as error:  # a damaged file raises nearly anything: OSError, zlib.error, UnboundLocalError, ...
        raise InputError(f"{path}: {_DAMAGED.format(error)}", path) from error
    return {key: variables[key] for key in keys if key in variables}


def mat_location(path: Path, info: NDArray[np.generic]) -> object:
    """Return the points in the variable `image_info` of a ShanghaiTech annotation.

    Raises:
        InputError: if it has none.
    """
    try:
        return info[0, 0]["location"][0, 0]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: image_info holds no location; this is not a ShanghaiTech annotation", path
        ) from error


def checked_points(path: Path, values: object) -> Points:
    """Return the points of an annotation file as (N, 2) float32.

    Args:
        path: the file, for the messages.
        values: (N, 2) numbers, or anything empty for an image without people.

    Raises:
        InputError: if `values` are not finite x, y pairs.
    """
    return _checked_rows(path, values, "point", "x, y")


def checked_boxes(path: Path, values: object, count: int) -> NDArray[np.float32]:
    """Return the head boxes of an annotation file as (N, 4) float32.

    Args:
        path: the file, for the messages.
        values: (N, 4) numbers x1, y1, x2, y2, or anything empty for an image without people.
        count: number of points in the same file.

    Raises:
        InputError: if `values` are not finite, or not one for each point.
    """
    boxes = _checked_rows(path, values, "box", "x1, y1, x2, y2")
    if len(boxes) != count:
        raise InputError(
            f"{path}: {len(boxes)} boxes for {count} points; copy it again from the original archive", path
        )
    return boxes


def are_finite(numbers: Sequence[float]) -> bool:
    """Return whether numbers are finite in single precision, which points and boxes have."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.array(numbers, np.float32)).all())


def _as_numbers(values: object) -> NDArray[np.float64]:
    """Return an array of integers or real numbers in double precision; texts, truth values and others are none."""
    rows = values if isinstance(values, list) else []
    if any(isinstance(value, bool) for row in rows if isinstance(row, list) for value in row):
        raise ValueError("true or false in place of a number")
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iufO":
        raise ValueError(f"{array.dtype} in place of real numbers")
    if array.dtype == object and any(isinstance(value, str | bool) for value in array.flat):
        raise ValueError("texts in place of real numbers")
    return array.astype(np.float64) if array.size else np.zeros(array.shape)


def _checked_rows(path: Path, values: object, what: str, columns: str) -> NDArray[np.float32]:
    try:
        array = _as_numbers(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: {_DAMAGED.format(error)}", path) from error
    width = len(columns.split())
    if array.size and (array.ndim != 2 or array.shape[1] != width):
        raise InputError(f"{path}: expected rows of {columns} but found an array of shape {array.shape}", path)
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32).reshape(-1, width)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{path}: {what} {row} is {array[row].tolist()}; correct or remove it", path)
    return rows
