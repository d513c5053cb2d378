"""A training of a tiny network on generated scenes, and what its run left behind."""

import csv
from pathlib import Path
from typing import Any

import torch
import yaml

from crowdcount.cli import train


def write_config(folder: Path, trainer: dict[str, Any] | None = None, **sections: Any) -> str:
    """Write the configuration of two epochs of four steps, whose run goes to `folder`/run/version_N."""
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(folder), "name": "run"},
    }
    config = {
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "logger": logger,
            **(trainer or {}),
        },
        "model": {
            "class_path": "crowdcount.training.BlockwiseModule",
            "init_args": {
                "network": {
                    "class_path": "crowdcount.models.Ebc",
                    "init_args": {
                        "backbone": "test_resnet",
                        "pretrained": False,
                        "bins": {"intervals": [0, 1, "2+"]},
                    },
                },
                "loss": {"count_loss": "mae"},
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}},
            },
        },
        "data": {
            "source": {
                "class_path": "crowdcount.data.Synthetic",
                "init_args": {"train": 8, "val": 2, "test": 2, "width": 96, "height": 64},
            },
            "augment": {"crop": 64},
            "batch_size": 2,
            "num_workers": 0,
        },
        "pictures": {"every_n_epochs": 0},
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def fit(path: str, *options: str) -> int | str | None:
    """Train and return the exit status."""
    try:
        return train.main(["fit", "--config", path, *options])
    except SystemExit as end:
        return end.code


def checkpoint(folder: Path, version: int = 0, name: str = "last") -> Path:
    """Return the path of a checkpoint of a run."""
    return folder / f"run/version_{version}/checkpoints/{name}.ckpt"


def content(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint."""
    return torch.load(path, weights_only=True)


def same_weights(first: Path, second: Path) -> bool:
    """Return whether two checkpoints have equal weights, bit for bit."""
    one, two = (content(path)["state_dict"] for path in (first, second))
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def log_rows(folder: Path, version: int = 0) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv without empty cells."""
    with (folder / f"run/version_{version}/metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
