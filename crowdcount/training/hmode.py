"""Training of HMoDE."""

import torch
from torch import Tensor

from crowdcount.data.datamodule import CrowdData
from crowdcount.data.dataset import Batch
from crowdcount.errors import InputError
from crowdcount.geometry import Kernel
from crowdcount.inference.density import Inference
from crowdcount.losses.density import render_densities
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.hmode.loss import HmodeLoss
from crowdcount.models.hmode.network import ExpertMaps, Hmode
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule
from crowdcount.training.parameter_groups import LrMultipliers


class HmodeModule(CountingModule):
    """Train HMoDE (arXiv 2208.02894) on density maps rendered from the points of each crop.

    Args:
        network: the network to train.
        loss: terms and weights of the loss.
        kernel: kernel of a person in the true density of a crop; people outside the crop neither contribute to it nor
            count as neighbours of an adaptive kernel.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images in validation, testing and prediction.
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.

    Raises:
        InputError: the network is not an HMoDE, or a region of the loss does not fit its stride.
    """

    network: Hmode

    def __init__(
        self,
        network: DensityNetwork,
        loss: HmodeLoss = HmodeLoss(),  # noqa: B008  the configuration system reads the defaults off it
        kernel: Kernel = Kernel(),  # noqa: B008
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: Inference = Inference(),  # noqa: B008
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        if not isinstance(network, Hmode):
            raise InputError(
                f"model.network: {type(network).__name__} is not a mixture of experts, which this loss needs; train it "
                "with crowdcount.training.DensityModule and one of its losses"
            )
        super().__init__(network, optimizer, schedule, inference, lr_multipliers)
        if loss.relative is not None and loss.region % network.stride:
            raise InputError(f"loss.region: {loss.region} should be a multiple of {network.stride}, the finest stride")
        self.loss = loss
        self.kernel = kernel

    def check_data(self, data: CrowdData) -> None:
        """Check that crops consist of whole cells, also in the released form, which counts in images of any size."""
        super().check_data(data)
        deepest = self.network.strides[-1]
        if data.augment is not None and data.augment.crop % deepest:
            raise InputError(
                f"data.augment.crop: {data.augment.crop} is not a multiple of {deepest}, the coarsest stride"
            )

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss."""
        assert isinstance(output, ExpertMaps)
        height, width = batch.images.shape[-2:]
        density = render_densities(batch.points, height, width, self.kernel)[:, 0]
        return self.loss(output, density.to(self.device))
