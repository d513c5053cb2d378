"""Training of ZIP."""

import torch
from torch import Tensor

from crowdcount.data.dataset import Batch
from crowdcount.inference.density import Inference
from crowdcount.losses.contrastive.term import ContrastiveTerm
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.zip.loss import ZipLoss
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule
from crowdcount.training.contrastive_blocks import BlockContrast
from crowdcount.training.parameter_groups import LrMultipliers


class ZipModule(CountingModule):
    """Train zero-inflated Poisson counts of blocks (arXiv 2506.19955).

    Args:
        network: the network to train; a network with bins from another family accepts the losses that need no head for
            structural zeros, which allows comparing the two heads.
        loss: terms and weights of the loss.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images in validation, testing and prediction.
        contrastive: further terms of the loss, on the features of blocks (`at: count_bins`).
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.
    """

    network: BlockwiseCounter

    def __init__(
        self,
        network: BlockwiseCounter,
        loss: ZipLoss = ZipLoss(),  # noqa: B008  the configuration system reads the defaults off it
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: Inference = Inference(),  # noqa: B008
        contrastive: tuple[ContrastiveTerm, ...] = (),
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, inference, lr_multipliers)
        self.loss = loss
        self.contrastive = BlockContrast(contrastive, network)

    def on_fit_start(self) -> None:
        """Refuse what several processes cannot learn; start as every module."""
        self.contrastive.check_processes(self.trainer.world_size)
        super().on_fit_start()

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss, and the contrastive ones."""
        terms = self.loss(output, batch.points, self.network.bins, self.network.stride)
        return terms | self.contrastive.losses(
            output.density, batch.points, self.global_step, once_per_pixel=self.loss.once_per_pixel
        )
