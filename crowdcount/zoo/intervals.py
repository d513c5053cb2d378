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
    path = intervals_file(weights) if intervals is None else Path(intervals)
    if intervals is None and not path.is_file():
        return None
    found = Intervals.read(path)
    if found.sha256 == file_sha256(weights):
        return found
    message = f"{path}: belongs to other weights than {weights.name}; make it again: crowdcount calibrate"
    if intervals is not None:
        raise InputError(message)
    logger.warning("%s; there are no intervals", message)
    return None
