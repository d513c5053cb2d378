"""Adapting a trained counter to a site from a few labelled frames."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.training.adapting.compare import Adaptation, Plan, Trial, adapt
    from crowdcount.training.adapting.frames import Frame, frames_of_files, frames_of_records
    from crowdcount.training.adapting.levels import LEVELS, Level

__all__ = ["LEVELS", "Adaptation", "Frame", "Level", "Plan", "Trial", "adapt", "frames_of_files", "frames_of_records"]

__getattr__ = lazy_names(
    __name__,
    {
        "compare": ("Adaptation", "Plan", "Trial", "adapt"),
        "frames": ("Frame", "frames_of_files", "frames_of_records"),
        "levels": ("LEVELS", "Level"),
    },
)
