"""Training of ZIP."""

import torch
from torch import Tensor

from crowdcount.data.dataset import Batch
from crowdcount.inference.density import Inference
from crowdcount.models.base import CountMap
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.zip.loss import ZipLoss
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule


class ZipModule(CountingModule):
    """Train zero-inflated Poisson counts of blocks (arXiv 2506.19955).

    Args:
        network: the network to train; a network with bins from another family accepts the losses that need no head for
            structural zeros, which allows comparing the two heads.
        loss: terms and weights of the loss.
        optimizer: makes the optimizer from the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images in validation, testing and prediction.
    """

    network: BlockwiseCounter

    def __init__(
        self,
        network: BlockwiseCounter,
        loss: ZipLoss = ZipLoss(),  # noqa: B008  the configuration system reads the defaults off it
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: Inference = Inference(),  # noqa: B008
    ) -> None:
        super().__init__(network, optimizer, schedule, inference)
        self.loss = loss

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss."""
        return self.loss(output, batch.points, self.network.bins, self.network.stride)
