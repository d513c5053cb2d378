"""Features of an image, by which frames of different kinds are told apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crowdcount.inference.prediction import Prediction
from crowdcount.models.base import DensityNetwork

Features = NDArray[np.float64]
"""(D,) of an image."""

_LEVEL: Final = 2
"""Cells of a density: 4 x 4, as those of GAME(2)."""


class FeatureMoments:
    """Mean and standard deviation of each channel over the blocks of an image, also if it is counted in parts.

    The features are the input of the layer that the network names as `feature_layer`. A network that names none has the
    square roots of its people in 4 x 4 cells instead.

    Args:
        network: a density network.
    """

    def __init__(self, network: DensityNetwork) -> None:
        name = getattr(network, "feature_layer", "")
        self._layer: nn.Module | None = network.get_submodule(name) if name else None
        self._sums: list[Tensor] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the features of the one image that is counted in the block."""
        self._sums = []
        handle = None if self._layer is None else self._layer.register_forward_pre_hook(self._keep)
        try:
            yield
        finally:
            if handle is not None:
                handle.remove()

    def take(self, prediction: Prediction) -> Features:
        """Return the features of the image whose prediction this is."""
        if self._layer is None:
            cells: Features = np.sqrt(prediction.cells(_LEVEL).clip(0)).ravel()
            return cells
        number, first, second = torch.stack(self._sums).sum(dim=0).cpu().numpy()
        mean = first / number
        deviation = np.sqrt((second / number - mean**2).clip(0))
        moments: Features = np.concatenate([mean, deviation])
        return moments

    def _keep(self, _layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        values = inputs[0].detach().double().movedim(1, 0).flatten(1)  # (C, blocks)
        number = torch.full_like(values[:, 0], values.shape[1])
        self._sums.append(torch.stack([number, values.sum(dim=1), values.square().sum(dim=1)]))
