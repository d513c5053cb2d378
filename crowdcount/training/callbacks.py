"""Callbacks of a run: its configuration (inside its checkpoints too), and images of predictions."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from crowdcount.checks import check_number
from crowdcount.data.dataset import Batch
from crowdcount.files import atomic_write, printable
from crowdcount.inference.plotting import comparison
from crowdcount.legacy import upgrade_config
from crowdcount.visualize import image_bytes


class SaveConfig(SaveConfigCallback):
    """Write config.yaml into the run's folder, and the same text into every checkpoint."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration: a checkpoint alone can be read back by `crowdcount.load_model`."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        checkpoint["config"] = yaml.safe_dump(upgrade_config(config), sort_keys=False)


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
        tag = f"{stage.split('_')[0]}/{printable(batch.names[0])}"
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")
