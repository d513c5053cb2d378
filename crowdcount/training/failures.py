"""The end of a training that did not succeed: what is the user's to mend, in one line, and how to go on."""

import errno
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from crowdcount.errors import input_error
from crowdcount.files import write_error
from crowdcount.training.checkpoints import LastCheckpoint

_SYSTEM: Final = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR, errno.ENAMETOOLONG,
    errno.EIO, errno.ESTALE, errno.ENOTCONN,
}  # fmt: skip
"""Errors of the system that are about a folder or disk, not about the program."""


def failure_message(error: BaseException) -> str | None:
    """Return what the user can mend, in a line; None for what is a bug.

    Args:
        error: that ended the training, or its preparation.
    """
    mistake = input_error(error)
    if mistake is not None:
        # a worker process hands its error over with the whole traceback; the last part is the message
        return str(mistake).rsplit("InputError: ", 1)[-1].strip()
    if isinstance(error, OSError) and (error.errno in _SYSTEM or _made_no_folder(error)):
        return str(write_error(Path(error.filename or "."), error))
    refusal = next(filter(_lightnings_own, _causes(error)), None)
    return None if refusal is None else f"trainer: {' '.join(str(refusal).split())}"


def _made_no_folder(error: OSError) -> bool:
    """Return whether a folder could not be made, as below /proc; a file that is missing may be a bug."""
    frames = traceback.extract_tb(error.__traceback__)
    return error.errno == errno.ENOENT and bool(frames) and frames[-1].name in ("makedirs", "mkdir")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it: jsonargparse wraps what constructors raise."""
    while error is not None:
        yield error
        error = error.__cause__


def _lightnings_own(error: BaseException) -> bool:
    """Return whether Lightning itself raised an error, of a kind that it refuses settings with."""
    if isinstance(error, MisconfigurationException):
        return True
    if not isinstance(error, ValueError | RuntimeError | ImportError | TypeError):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("lightning.")


def last_checkpoint(trainer: Trainer) -> LastCheckpoint:
    """Return the trainer's callback that writes `last.ckpt`."""
    return next(each for each in trainer.checkpoint_callbacks if isinstance(each, LastCheckpoint))


def resume_advice(trainer: Trainer, resumed: str | None) -> str | None:
    """Return how to go on with a training that was ended, None if it had not come to a checkpoint.

    Args:
        trainer: of the training.
        resumed: checkpoint that it was resumed from, None if it started anew.
    """
    last = last_checkpoint(trainer)
    if last.started and last.file.is_file():
        return f"go on with --ckpt_path {last.file}"
    return f"go on with --ckpt_path {resumed}" if last.started and resumed is not None else None
