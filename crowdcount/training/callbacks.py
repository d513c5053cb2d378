"""Callbacks of a run: its configuration (inside its checkpoints too), checkpoints and images of predictions."""

import shutil
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from crowdcount.checks import check_number
from crowdcount.data.dataset import Batch
from crowdcount.files import atomic_write
from crowdcount.inference.plotting import comparison
from crowdcount.legacy import upgrade_config
from crowdcount.visualize import image_bytes


class SaveConfig(SaveConfigCallback):
    """Write config.yaml into the run's folder, and the same text into every checkpoint."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration: a checkpoint alone can be read back by `crowdcount.load_model`."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        checkpoint["config"] = yaml.safe_dump(upgrade_config(config), sort_keys=False)


class BestCheckpoint(ModelCheckpoint):
    """Keep the epoch with the best value of a metric as `best.ckpt`; a resumed run goes on comparing with it.

    Args:
        monitor: the metric.
        mode: whether its lowest or its highest value is the best: "max" for scores such as `val/f1`.
    """

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
        """
        if self._fitted_by is None or self.dirpath is None:
            return
        beside = Path(self._fitted_by.ckpt_path or "").with_name("best.ckpt")
        candidates = (Path(state_dict["best_model_path"]), beside)
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            return
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})
        copy = Path(self.dirpath) / "best.ckpt"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, copy)
        self.best_model_path = self.kth_best_model_path = str(copy)
        self.best_k_models = {str(copy): state_dict["best_model_score"]}


class LastCheckpoint(ModelCheckpoint):
    """Write `last.ckpt`, to resume from, after every epoch and its validation.

    Args:
        every_n_train_steps: also after so many optimizer steps inside an epoch; 0 for not.
    """

    def __init__(self, every_n_train_steps: int = 0) -> None:
        check_number("last.every_n_train_steps", every_n_train_steps, 0)
        super().__init__(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.steps = every_n_train_steps
        self._saved_step = 0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save inside an epoch, right after a step; the last step of an epoch is saved when it is validated."""
        step = trainer.global_step
        due = step == trainer.max_steps or (self.steps and step % self.steps == 0)
        if due and step != self._saved_step and not trainer.is_last_batch:
            assert self.dirpath is not None
            self._saved_step = step
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a whole epoch; one cut short would be resumed as if it were whole."""
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


class PredictionPictures(Callback):
    """Draw some evaluated images now and then: overlay, or the points of each expression, and the counts.

    PNG files go to `pictures/` in the run's folder, and to TensorBoard where that is the logger.

    Args:
        every_n_epochs: draw when the number of the epoch is a multiple of it; 0 draws in tests alone.
        images: how many images, the first of the split.
    """

    def __init__(self, every_n_epochs: int = 10, images: int = 4) -> None:
        check_number("pictures.every_n_epochs", every_n_epochs, 0)
        check_number("pictures.images", images, 0)
        self.every_n_epochs = every_n_epochs
        self.images = images
        self._folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note the run's folder: asking for it is a collective call that all processes must join."""
        self._folder = Path(trainer.log_dir) / "pictures" if trainer.log_dir is not None else None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, *_: int
    ) -> None:
        """Draw a validation image if its epoch's turn has come."""
        due = self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            self._draw(trainer, f"val_epoch_{trainer.current_epoch + 1:04d}", outputs, batch, batch_idx)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, *_: int
    ) -> None:
        """Draw a test image."""
        self._draw(trainer, "test", outputs, batch, batch_idx)

    def _draw(self, trainer: Trainer, stage: str, outputs: dict[str, Any], batch: Batch, index: int) -> None:
        if index >= self.images or trainer.global_rank > 0 or "predictions" not in outputs:
            return
        image = batch.images[0].permute(1, 2, 0).cpu().numpy()
        picture = comparison(image, outputs["predictions"], outputs["truths"])
        if self._folder is not None:
            path = self._folder / stage / f"{Path(batch.names[0]).stem}.png"
            atomic_write(path, image_bytes(picture))
        tag = f"{stage.split('_')[0]}/{batch.names[0]}"
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")
