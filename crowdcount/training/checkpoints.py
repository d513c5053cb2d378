"""The two checkpoints of a run: the best epoch, and the last state, from which it can be resumed."""

import logging
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.training.checkpoint_file import (
    AtomicCheckpointIO,
    check_checkpoint,
    check_folder,
    check_room,
    checkpoint_size,
)
from crowdcount.training.termination import Termination

logger = logging.getLogger(__name__)


class RunCheckpoint(ModelCheckpoint):
    """Base of both: a file of a fixed name, replaced when the new one is complete, in a folder checked in advance."""

    @property
    def file(self) -> Path:
        """Path of the file in this run, whether it has been written or not."""
        assert self.dirpath is not None
        return Path(self.dirpath) / f"{self.filename}.ckpt"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder and check it.

        Raises:
            InputError: it cannot be written to.
        """
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # not one that the configuration names
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        self._writes = stage == "fit" and trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if self._writes:
            check_folder(self.file.parent)


class BestCheckpoint(RunCheckpoint):
    """Keep the epoch with the best value of a metric as `best.ckpt`; a resumed run goes on comparing with it.

    A value that is not finite is never the best.

    Args:
        monitor: the metric.
        mode: whether its lowest or its highest value is the best: "max" for scores such as `val/f1`.
    """

    monitor: str

    def __init__(self, monitor: str = "val/mae", mode: Literal["min", "max"] = "min") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)
        self._fitted_by: Trainer | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note whether this is a training: an evaluation restores callbacks as well."""
        super().setup(trainer, pl_module, stage)
        self._fitted_by = trainer if stage == "fit" else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best epoch so far, with its file: a resumed run has a folder of its own.

        Without the file (the old run was deleted) the comparison starts anew.

        Raises:
            InputError: the file is damaged, or of another network.
        """
        score = state_dict["best_model_score"]
        if self._fitted_by is None or self.dirpath is None or score is None or not score.isfinite():
            return
        beside = Path(self._fitted_by.ckpt_path or "").with_name("best.ckpt")
        candidates = (Path(state_dict["best_model_path"]), beside)
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            return
        self._take_over(found, self._fitted_by)
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})
        self.best_model_path = self.kth_best_model_path = str(self.file)
        self.best_k_models = {str(self.file): score}

    def _take_over(self, found: Path, trainer: Trainer) -> None:
        try:
            check_checkpoint(found, trainer.lightning_module)
        except InputError as error:
            reason = str(error).removeprefix("--ckpt_path: ")
            raise InputError(
                f"{reason}; it is the best epoch of the resumed run: restore it, or remove it to compare anew", found
            ) from error
        if trainer.is_global_zero and found.resolve() != self.file.resolve():
            atomic_write(self.file, found.read_bytes(), sync=True)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether a value is the best so far."""
        if current is not None and not current.isfinite():
            logger.warning("epoch %d: %s is %s, which is never the best", trainer.current_epoch, self.monitor, current)
            return False
        return super().check_monitor_top_k(trainer, current)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the epoch, if it has been validated.

        Raises:
            InputError: the metric is none of those measured.
        """
        if trainer.fit_loop.epoch_loop.val_loop._has_run:
            self._check_monitor(trainer)
        super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the epoch; at the trial validation before the training, check that the metric will be measured.

        Raises:
            InputError: the metric is none of those measured.
        """
        if trainer.sanity_checking and self.monitor.startswith("val"):
            self._check_monitor(trainer)
        super().on_validation_end(trainer, pl_module)

    def _check_monitor(self, trainer: Trainer) -> None:
        measured = trainer.callback_metrics
        if self.monitor not in measured:
            raise InputError(f"best.monitor: {self.monitor} is not measured; there are {', '.join(sorted(measured))}")


class LastCheckpoint(RunCheckpoint):
    """Write `last.ckpt`, to resume from, after every epoch and its validation, and where SIGTERM ends a training.

    Args:
        every_n_train_steps: also after so many optimizer steps inside an epoch; 0 for not.

    Attributes:
        started: whether the training has begun.
        termination: SIGTERM, after which the step that is running is saved.
    """

    def __init__(self, every_n_train_steps: int = 0) -> None:
        check_number("last.every_n_train_steps", every_n_train_steps, 0)
        super().__init__(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.steps = every_n_train_steps
        self.started = False
        self.termination = Termination()
        self._saved_step = self._first_step = self._step_before = 0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over nothing: a resumed run writes a file of its own."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Note that a step begins."""
        self.termination.stepping = True
        self._step_before = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save inside an epoch, right after a step; the last step of an epoch is saved when it is validated.

        Raises:
            InputError: after the first step, there is no room for the checkpoints.
        """
        step = trainer.global_step
        made = step != self._step_before  # with accumulated gradients, not by every batch
        if made and self._step_before == self._first_step and self._writes:
            check_room(self.file.parent, checkpoint_size(trainer), files=len(trainer.checkpoint_callbacks) + 1)
        # with accumulated gradients, the batches up to the next step are still to come
        ended = self.termination.agreed(trainer) and (made or trainer.is_last_batch)
        due = step == trainer.max_steps or (self.steps and step % self.steps == 0)
        if ((due and step != self._saved_step) or ended) and not trainer.is_last_batch:
            self._saved_step = step
            trainer.save_checkpoint(self.file)
        self.termination.stepping = not trainer.is_last_batch
        if ended:
            raise SIGTERMException

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the first step."""
        super().on_train_start(trainer, pl_module)
        self.termination.enter_loop(trainer)
        self.started = True
        self._first_step = trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that no step is running."""
        self.termination.stepping = False
        self.termination.enter_loop(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End several processes together where one of them got SIGTERM."""
        if self.termination.agreed(trainer):
            raise SIGTERMException

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that no step is running."""
        self.on_validation_start(trainer, pl_module)

    def on_test_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End several processes together where one of them got SIGTERM."""
        self.on_validation_batch_end(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a whole epoch; one cut short would be resumed as if it were whole."""
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)
