"""What a run leaves behind beside its numbers: the configuration, inside its checkpoints too, and pictures."""

import shutil
from pathlib import Path
from typing import Any

import cv2
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from crowdcount.data.dataset import Batch
from crowdcount.data.sample import Image
from crowdcount.errors import InputError
from crowdcount.inference import Prediction
from crowdcount.visualize import count_text, draw_points, overlay, panel


class SaveConfig(SaveConfigCallback):
    """Write config.yaml into the run's folder, and the same text into every checkpoint."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration: a checkpoint alone can be read back by `crowdcount.load_model`."""
        checkpoint["config"] = self.parser.dump(self.config, skip_none=False)


class BestCheckpoint(ModelCheckpoint):
    """Keep the epoch with the lowest value of a metric as `best.ckpt`; a resumed run goes on comparing with it.

    Args:
        monitor: the metric.
    """

    def __init__(self, monitor: str = "val/mae") -> None:
        super().__init__(filename="best", monitor=monitor, mode="min", enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best epoch so far, with its file: a resumed run has a folder of its own."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})
        if self.dirpath is None or not Path(self.best_model_path).is_file():
            return
        copy = Path(self.dirpath) / "best.ckpt"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.best_model_path, copy)


class LastCheckpoint(ModelCheckpoint):
    """Write `last.ckpt`, to resume from, after every epoch.

    Args:
        every_n_train_steps: after so many optimizer steps instead; 0 means after every epoch.
    """

    def __init__(self, every_n_train_steps: int = 0) -> None:
        super().__init__(
            filename="last",
            every_n_train_steps=every_n_train_steps or None,
            save_on_train_epoch_end=not every_n_train_steps,
            enable_version_counter=False,
        )


class PredictionPictures(Callback):
    """Draw some evaluated images now and then: overlay, true and predicted count.

    PNG files go to `pictures/` in the run's folder, and to TensorBoard where that is the logger.

    Args:
        every_n_epochs: draw when the number of the epoch is a multiple of it; 0 draws in tests alone.
        images: how many images, the first of the split.
    """

    def __init__(self, every_n_epochs: int = 10, images: int = 4) -> None:
        if every_n_epochs < 0 or images < 0:
            raise InputError(f"pictures: every_n_epochs {every_n_epochs} and images {images} must be >= 0")
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

    def _draw(self, trainer: Trainer, stage: str, outputs: dict[str, Prediction], batch: Batch, index: int) -> None:
        if index >= self.images or trainer.global_rank > 0 or "prediction" not in outputs:
            return
        picture = _picture(batch, outputs["prediction"])
        if self._folder is not None:
            path = self._folder / stage / f"{Path(batch.names[0]).stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        tag = f"{stage.split('_')[0]}/{batch.names[0]}"
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")


def _picture(batch: Batch, prediction: Prediction) -> Image:
    image: Image = batch.images[0].permute(1, 2, 0).cpu().numpy()
    return panel(
        [
            (f"truth {batch.counts[0]}", draw_points(image, batch.points[0])),
            (count_text(prediction.count, batch.counts[0]), overlay(image, prediction.density, prediction.stride)),
        ]
    )
