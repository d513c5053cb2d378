"""A counter of a few layers that is exported in a moment, once for all tests of a process."""

import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import nn

from crowdcount.export.export import export_model
from crowdcount.inference.density import Inference
from crowdcount.inference.model import Model
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.layers import upsample

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


class TinyCounter(BlockwiseCounter):
    """Features of stride 16, upsampled to blocks of 8 pixels, with a receptive field of a few blocks."""

    size_divisor = 16

    def __init__(self):
        super().__init__(Bins([0, 1, "2+"], [0, 1, 3.5]), 8)
        self.coarse = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 8, 4, 4), nn.ReLU())
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image):
        return self.decode(3 * self.head(upsample(self.coarse(image), 2)))


def tiny_model(seed=0, **settings):
    """Return a model of the counter; settings are those of `Inference` and `resize`."""
    torch.manual_seed(seed)
    resize = settings.pop("resize", None)
    return Model(TinyCounter().eval(), Inference(**settings), resize, "tiny")


@cache
def exported(form="onnx", **settings):
    """Return the path of the exported model; it stays until the process ends."""
    folder = Path(_FOLDER.name) / f"{form}{len(list(Path(_FOLDER.name).iterdir()))}"
    path = folder / f"tiny{SUFFIXES[form]}"
    export_model(tiny_model(**settings), path, form)
    return path


_FOLDER = tempfile.TemporaryDirectory()
