"""Options about intervals that commands share, and the check that a model can give any."""

from pathlib import Path

from crowdcount.cli.parser import Options
from crowdcount.errors import InputError
from crowdcount.inference.model import Model


def add_intervals(parser: Options) -> None:
    """Add --intervals, a calibration for the model."""
    parser.add_argument(
        "--intervals", type=Path, metavar="FILE", help="written by `crowdcount calibrate` (default: beside the weights)"
    )


def check_calibrated(model: Model, option: str) -> None:
    """Check that a model is calibrated for the way in which it counts.

    Args:
        model: the model.
        option: the option that needs it, for the message.

    Raises:
        InputError: it is not calibrated, or with another size rule, other windows or another mask.
    """
    known = model.intervals
    if known is None:
        raise InputError(
            f"{option}: {model.label} is not calibrated; make its intervals with crowdcount calibrate, beside "
            "its weights or in a file for --intervals"
        )
    if known.protocol != model.protocol:
        raise InputError(
            f"{option}: {model.label} was calibrated with {known.protocol!r}, and counts here with "
            f"{model.protocol!r}; calibrate with the same --image-scale, --long-side and --ignore"
        )
