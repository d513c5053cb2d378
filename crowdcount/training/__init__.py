"""Training modules; only this package and `crowdcount.data.datamodule` depend on Lightning."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.training.base import CountingModule, TrainingModule
    from crowdcount.training.blockwise import BlockwiseModule
    from crowdcount.training.callbacks import PredictionPictures, SaveConfig
    from crowdcount.training.checkpoints import BestCheckpoint, LastCheckpoint
    from crowdcount.training.density import DensityModule
    from crowdcount.training.embedding_metrics import EmbeddingMetrics
    from crowdcount.training.hmode import HmodeModule
    from crowdcount.training.image_text import ImageTextModule
    from crowdcount.training.referring import ReferringModule
    from crowdcount.training.schedule import WarmupRestarts
    from crowdcount.training.zip import ZipModule

__all__ = [
    "BestCheckpoint",
    "BlockwiseModule",
    "CountingModule",
    "DensityModule",
    "EmbeddingMetrics",
    "HmodeModule",
    "ImageTextModule",
    "LastCheckpoint",
    "PredictionPictures",
    "ReferringModule",
    "SaveConfig",
    "TrainingModule",
    "WarmupRestarts",
    "ZipModule",
]

__getattr__ = lazy_names(
    __name__,
    {
        "base": (
            "CountingModule",
            "TrainingModule",
        ),
        "blockwise": ("BlockwiseModule",),
        "callbacks": (
            "PredictionPictures",
            "SaveConfig",
        ),
        "checkpoints": (
            "BestCheckpoint",
            "LastCheckpoint",
        ),
        "density": ("DensityModule",),
        "embedding_metrics": ("EmbeddingMetrics",),
        "hmode": ("HmodeModule",),
        "image_text": ("ImageTextModule",),
        "referring": ("ReferringModule",),
        "schedule": ("WarmupRestarts",),
        "zip": ("ZipModule",),
    },
)
