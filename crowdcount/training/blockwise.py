"""Training of blockwise classifiers."""

import torch
from torch import Tensor

from crowdcount.data.dataset import Batch
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.blockwise.loss import Dace
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule


class BlockwiseModule(CountingModule):
    """Train a blockwise classifier (families clip_ebc and ebc) with the DACE loss (arXiv 2403.09281).

    Args:
        network: the network to train.
        loss: terms and weights of the loss.
        optimizer: makes the optimizer from the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images in validation, testing and prediction.

    Raises:
        InputError: the network does not classify counts.
    """

    network: BlockwiseCounter

    def __init__(
        self,
        network: DensityNetwork,
        loss: Dace,
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: Inference = Inference(),  # noqa: B008  the configuration system reads the defaults off it
    ) -> None:
        if not isinstance(network, BlockwiseCounter):
            raise InputError(
                f"model.network: {type(network).__name__} has no count classes, which DACE needs; train it with "
                "crowdcount.training.DensityModule and one of its losses"
            )
        super().__init__(network, optimizer, schedule, inference)
        self.loss = loss

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the DACE loss."""
        return self.loss(output, batch.points, self.network.bins, self.network.stride)
