"""Files of checkpoints: written so that none is ever lost, and checked before a training relies on them."""

import io
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.files import atomic_write, write_error
from crowdcount.weights.checkpoint import read_checkpoint

_RESUMED = ("optimizer_states", "lr_schedulers", "loops", "callbacks")  # what a resumed training needs beside weights


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writing of checkpoints beside their target, which is replaced when the disk holds the new one.

    Lightning itself writes to the folder for temporary files; where that is on another disk, an interrupted move leaves
    half a file under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            InputError: it cannot be written; the previous file of this name is as it was.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            atomic_write(Path(path), buffer.getbuffer(), sync=True)
        except OSError as error:
            raise write_error(Path(path), error) from error


def check_folder(folder: Path) -> None:
    """Check that the folder of a run's checkpoints can be written to; it is made if necessary.

    Raises:
        InputError: it cannot.
    """
    trial = folder / "trial"
    try:
        atomic_write(trial, bytes(4096), sync=True)
        trial.unlink()
    except OSError as error:
        raise write_error(folder, error) from error


def check_room(folder: Path, size: int, files: int) -> None:
    """Check that so many checkpoints fit into a folder, beside those that are there.

    Args:
        folder: of the checkpoints.
        size: bytes of one.
        files: number of files.

    Raises:
        InputError: the disk is too full, or the process may not write files of this size.
    """
    limit = _file_size_limit()
    if limit is not None and size > limit:
        raise InputError(
            f"{folder}: a checkpoint takes {_mib(size)}, but files may have {_mib(limit)} (ulimit -f); raise the limit"
        )
    need = files * size - sum(path.stat().st_size for path in folder.glob("*.ckpt"))
    free = shutil.disk_usage(folder).free
    if free < need:
        raise InputError(
            f"{folder}: {_mib(free)} are free, but the checkpoints of this training need {_mib(need)} "
            f"({files} of {_mib(size)}, one of them while it is written); free space there, or choose another folder "
            "with --trainer.logger.save_dir"
        )


def checkpoint_size(trainer: Trainer) -> int:
    """Return the bytes of weights and optimizer state, without which no checkpoint is smaller."""
    states = (values for each in trainer.optimizers for values in each.state.values() if isinstance(values, Mapping))
    moments = (value for values in states for value in values.values())
    return _tensor_bytes(trainer.lightning_module.state_dict().values()) + _tensor_bytes(moments)


def check_checkpoint(path: Path, module: LightningModule) -> dict[str, Any]:
    """Return the content of a training's checkpoint, to be evaluated or resumed with a module.

    Raises:
        InputError: there is none at this path, it is damaged, of something else, or of another network.
    """
    if not path.is_file():
        raise InputError(f"--ckpt_path: {path} is no file; give one such as RUN/checkpoints/best.ckpt")
    checkpoint = read_checkpoint(path)
    if not {"state_dict", "pytorch-lightning_version"} <= checkpoint.keys():
        raise InputError(f"--ckpt_path: {path} was not written by a training; crowdcount.create_model reads weights")
    ours, theirs = (
        {key: value.shape for key, value in state.items()} for state in (module.state_dict(), checkpoint["state_dict"])
    )
    if ours != theirs:
        different = min(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        raise InputError(f"--ckpt_path: {path} is of another network; {different} differs")
    return checkpoint


def check_resumable(path: Path, checkpoint: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Check that a training can go on from a checkpoint, whose weights fit.

    Args:
        path: of the checkpoint.
        checkpoint: its content.
        optimizer: a new one, as the training is configured.

    Raises:
        InputError: it holds weights alone, or the state of another optimizer.
    """
    missing = [key for key in _RESUMED if key not in checkpoint]
    if missing or not checkpoint["optimizer_states"]:
        raise InputError(
            f"--ckpt_path: {path} holds no state of a training ({(missing or ['optimizer_states'])[0]}), so that none "
            "can go on from it; give a last.ckpt, or leave the option out to start anew"
        )
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    theirs, ours = (
        [(each.get("part"), len(each["params"])) for each in some] for some in (groups, optimizer.param_groups)
    )
    options = groups[0].keys() ^ optimizer.param_groups[0].keys()
    # versions of torch differ in options on one side, optimizers on both
    if theirs != ours or (options & groups[0].keys() and options - groups[0].keys()):
        raise InputError(
            f"--ckpt_path: {path} holds the state of another optimizer than {type(optimizer).__name__} over these "
            "parameters; go on with the config.yaml of its run"
        )


def _tensor_bytes(values: Iterable[Any]) -> int:
    return sum(value.nbytes for value in values if isinstance(value, Tensor))


def _file_size_limit() -> int | None:
    """Return the largest size in bytes of a file that this process may write, None if there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
