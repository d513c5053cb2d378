"""Annotation of Mall: one MATLAB file with the points of all frames of a camera."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crowdcount.data.annotations.common_formats import checked_points, load_mat
from crowdcount.errors import InputError
from crowdcount.geometry import Points

FRAME: Final = "seq_{:06d}.jpg"
"""Name of the image of a frame, counted from 1."""


def load_frames(path: Path) -> NDArray[np.generic]:
    """Return the variable `frame` of `mall_gt.mat`, (1, N).

    Raises:
        InputError: if the file is missing or damaged, or has another content.
    """
    frames = load_mat(path, "frame")
    if frames.ndim != 2 or frames.shape[0] != 1:
        raise InputError(f"{path}: 'frame' has shape {frames.shape}, expected (1, 2000); copy the file again", path)
    return frames


def frame_points(path: Path, frames: NDArray[np.generic], number: int) -> Points:
    """Return the points (N, 2) of a frame.

    Args:
        path: the file, for messages.
        frames: result of `load_frames`.
        number: number of the frame, from 1.

    Raises:
        InputError: if it has none.
    """
    try:
        location = frames[0, number - 1]["loc"][0, 0]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: frame {number} holds no 'loc'; this is not an annotation of Mall", path) from error
    try:
        return checked_points(path, location)
    except InputError as error:
        raise InputError(f"{error} (frame {number})") from error
