"""Training of blockwise classifiers."""

import torch
from torch import Tensor

from crowdcount.data.dataset import Batch
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.losses.contrastive.term import ContrastiveTerm
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.blockwise.loss import Dace
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule
from crowdcount.training.contrastive_blocks import BlockContrast
from crowdcount.training.parameter_groups import LrMultipliers


class BlockwiseModule(CountingModule):
    """Train a blockwise classifier (families clip_ebc and ebc) with the DACE loss (arXiv 2403.09281).

    Args:
        network: the network to train.
        loss: terms and weights of the loss.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images in validation, testing and prediction.
        contrastive: further terms of the loss, on the features of blocks (`at: count_bins`).
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.

    Raises:
        InputError: the network does not classify counts; a contrastive term belongs elsewhere.
    """

    network: BlockwiseCounter

    def __init__(
        self,
        network: DensityNetwork,
        loss: Dace,
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: Inference = Inference(),  # noqa: B008  the configuration system reads the defaults off it
        contrastive: tuple[ContrastiveTerm, ...] = (),
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        if not isinstance(network, BlockwiseCounter):
            raise InputError(
                f"model.network: {type(network).__name__} has no count classes, which DACE needs; train it with "
                "crowdcount.training.DensityModule and one of its losses"
            )
        super().__init__(network, optimizer, schedule, inference, lr_multipliers)
        self.loss = loss
        self.contrastive = BlockContrast(contrastive, network)

    def on_fit_start(self) -> None:
        """Refuse what several processes cannot learn; start as every module."""
        self.contrastive.check_processes(self.trainer.world_size)
        super().on_fit_start()

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the DACE loss, and the contrastive ones."""
        terms = self.loss(output, batch.points, self.network.bins, self.network.stride)
        return terms | self.contrastive.losses(
            output.density, batch.points, self.global_step, once_per_pixel=self.loss.once_per_pixel
        )
