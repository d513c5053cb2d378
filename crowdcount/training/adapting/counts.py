"""Training from the counts of whole images."""

from collections.abc import Mapping

import torch
from torch import Tensor

from crowdcount.data.datamodule import CrowdData
from crowdcount.data.dataset import Batch
from crowdcount.inference.density import Inference
from crowdcount.losses.precision import widen
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.training.base import CountingModule, MakeOptimizer, MakeSchedule


class CountModule(CountingModule):
    """Train a density network with the absolute error of the counts of whole images; no points are needed.

    An image is counted as in predictions, in one pass or in windows, so that what is trained is what is measured.

    Args:
        network: the network to train.
        counts: number of people in each image, by its name.
        optimizer: makes the optimizer from the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images.
    """

    def __init__(
        self,
        network: DensityNetwork,
        counts: Mapping[str, float],
        optimizer: MakeOptimizer,
        schedule: MakeSchedule | None,
        inference: Inference,
    ) -> None:
        super().__init__(network, optimizer, schedule, inference)
        self.counts = dict(counts)

    def check_data(self, data: CrowdData) -> None:
        """Accept whole images, which are of any size."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of one image."""
        output = CountMap(self.inference.density(self.network, batch.images))
        terms = self.losses(output, batch)
        return self.log_losses(terms, len(batch.names), terms["count"].detach())

    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the absolute error of the count."""
        true = torch.tensor([self.counts[name] for name in batch.names], device=output.density.device)
        return {"count": (widen(output.density).sum(dim=(1, 2, 3)) - true).abs().mean()}
