"""An untrained counter that is loaded in a moment, and images to count in."""

import cv2
import numpy as np
import PIL.Image
import torch

from crowdcount.inference.release import save_release
from crowdcount.zoo.config import build
from crowdcount.zoo.models import Model


def counter_config():
    bins = {"intervals": [0, 1, "2+"], "anchors": [0, 1, 3]}
    network = {"backbone": "resnet18", "pretrained": False, "feature_level": 1, "bins": bins}
    return {
        "model": {"init_args": {"network": {"class_path": "crowdcount.models.ebc.network.Ebc", "init_args": network}}}
    }


def save_counter(folder, seed=0):
    """Write a release to a new folder and return its path as text."""
    torch.manual_seed(seed)
    built = build(counter_config(), "tiny")
    model = Model(
        built.network, built.inference or Model(built.network).inference, name="tiny", config=counter_config()
    )
    return str(save_release(model, folder, "tiny"))


def noise_image(height=60, width=90, seed=0):
    """Return coarse noise, (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST))


def write_images(folder, names):
    """Write an image of its own for each name, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        PIL.Image.fromarray(noise_image(seed=seed)).save(folder / name)
    return [folder / name for name in names]
