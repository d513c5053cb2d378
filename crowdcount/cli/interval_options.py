"""Options about intervals that commands share, and the check that a model can give any."""

from pathlib import Path
from typing import TYPE_CHECKING

from crowdcount.cli.parser import Options
from crowdcount.errors import InputError
from crowdcount.inference.base_predictor import BasePredictor

if TYPE_CHECKING:  # counting with an exported model needs no torch
    from crowdcount.inference.model import CrowdModel


def add_intervals(parser: Options) -> None:
    """Add --intervals, a calibration for the model."""
    parser.add_argument(
        "--intervals", type=Path, metavar="FILE", help="written by `crowdcount calibrate` (default: beside the weights)"
    )


def check_calibrated(predictor: BasePredictor, option: str) -> None:
    """Check that a model is calibrated for the way in which it counts.

    Args:
        predictor: counts with it.
        option: the option that needs it, for the message.

    Raises:
        InputError: it is not calibrated, or with another size rule, other windows or another mask.
    """
    known = predictor.intervals
    if known is None:
        raise InputError(
            f"{option}: {predictor.label} is not calibrated; make its intervals with crowdcount calibrate, beside "
            "its weights or in a file for --intervals"
        )
    if other := other_protocol(predictor):
        raise InputError(f"{option}: {other}")


def other_protocol(predictor: "BasePredictor | CrowdModel") -> str:
    """Return how the calibration of a model differs from the way in which it counts; empty where it does not."""
    known = predictor.intervals
    if known is None or known.protocol == predictor.protocol:
        return ""
    return (
        f"{predictor.label} was calibrated with {known.protocol!r}, and counts here with {predictor.protocol!r}; "
        "calibrate with the same --image-scale, --long-side and --ignore"
    )
