"""Intervals of a model: the file beside its weights, or another one that is named."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcount.errors import InputError
from crowdcount.intervals.file import Intervals, intervals_file
from crowdcount.weights.download import file_sha256

if TYPE_CHECKING:  # counting with an exported model needs no torch
    from crowdcount.inference.model import CrowdModel

logger = logging.getLogger(__name__)


def with_intervals(model: "CrowdModel", weights: Path, intervals: str | Path | None = None) -> "CrowdModel":
    """Return a model with its file of weights and its intervals; see `find_intervals`."""
    return replace(model, file=weights, intervals=find_intervals(weights, intervals))


def find_intervals(weights: Path, intervals: str | Path | None = None) -> Intervals | None:
    """Return the intervals that belong to a file of weights, None if there are none.

    Args:
        weights: the file.
        intervals: file of intervals; None takes the one beside the weights, if any. That one is left out, with a
            warning, if it belongs to other weights, such as an earlier best checkpoint.

    Raises:
        InputError: a file of intervals is damaged, or the one that is named is missing or belongs to other weights.
    """
    if intervals is not None:
        return read_intervals(Path(intervals), file_sha256(weights), weights.name)
    path = intervals_file(weights)
    if not path.is_file():
        return None
    found = Intervals.read(path)
    if found.sha256 == file_sha256(weights):
        return found
    logger.warning("%s; there are no intervals", _of_others(path, weights.name))
    return None


def read_intervals(path: Path, sha256: str, name: str) -> Intervals:
    """Return the intervals of a file.

    Args:
        path: the file.
        sha256: SHA-256 of the file of weights that they should belong to.
        name: of the model, for messages.

    Raises:
        InputError: the file is missing or damaged, or belongs to other weights.
    """
    found = Intervals.read(path)
    if found.sha256 != sha256:
        raise InputError(_of_others(path, name))
    return found


def _of_others(path: Path, name: str) -> str:
    return f"{path}: belongs to other weights than {name}; make it again: crowdcount calibrate"
