"""Training of any density network."""

import torch
from torch import Tensor

from crowdcount.data.dataset import Batch
from crowdcount.inference.density import Inference
from crowdcount.losses.density import DensityLoss
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule
from crowdcount.training.parameter_groups import LrMultipliers


class DensityModule(CountingModule):
    """Train any density network with a loss on its density.

    Args:
        network: the network to train.
        loss: a loss such as `crowdcount.losses.DensityMse`, `DmCount`, `BayesianLoss` or `CountL1`.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images in validation, testing and prediction.
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.
    """

    def __init__(
        self,
        network: DensityNetwork,
        loss: DensityLoss,
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: Inference = Inference(),  # noqa: B008  the configuration system reads the defaults off it
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, inference, lr_multipliers)
        self.loss = loss

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss."""
        return self.loss(output.density, batch.points, self.network.stride)
