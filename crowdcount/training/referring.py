"""Training of referring expression counting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crowdcount.checks import check_number
from crowdcount.data.datamodule import CrowdData
from crowdcount.data.dataset import Batch
from crowdcount.errors import InputError
from crowdcount.inference.points import PointInference
from crowdcount.losses.contrastive.term import ContrastiveTerm, Place
from crowdcount.metrics import CountErrors, Localisation, predicted_radius
from crowdcount.models.rec.loss import RecLoss
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.models.rec.outputs import PointDetections, selected
from crowdcount.training.base import MakeOptimizer, MakeSchedule, TrainingModule
from crowdcount.training.contrastive import ContrastiveTerms, MakePairs
from crowdcount.training.contrastive_tokens import logit_pairs, text_ids, token_pairs
from crowdcount.training.parameter_groups import LrMultipliers


class ReferringModule(TrainingModule):
    """Train a detector to find and count what expressions name; each image is trained with all its expressions.

    Args:
        network: the detector.
        loss: terms and weights of the loss.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: inference on whole images.
        radius: radius of the localisation scores `f1_fixed`, `precision_fixed` and `recall_fixed`, in pixels of the
            network's input; scores without `fixed` use GroundingREC's radius, which depends on the prediction.
        contrastive: further terms of the loss, on image tokens (`at: rec_tokens`) or on their scores with expressions
            (`at: rec_logits`).
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.

    Raises:
        InputError: a part of the network would stay untrained, or a contrastive term belongs elsewhere.
    """

    network: ReferringDetector

    def __init__(
        self,
        network: ReferringDetector,
        loss: RecLoss = RecLoss(),  # noqa: B008  the configuration system reads the defaults off it
        optimizer: MakeOptimizer = torch.optim.AdamW,
        schedule: MakeSchedule | None = None,
        inference: PointInference = PointInference(),  # noqa: B008
        radius: float = 10.0,
        contrastive: tuple[ContrastiveTerm, ...] = (),
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, lr_multipliers)
        check_number("model.radius", radius, 0, above=True, hint="in pixels")
        if not (loss.label_weight and loss.point_weight):
            raise InputError("model.loss.label_weight, point_weight: 0 would leave part of the detector untrained")
        self.contrastive = ContrastiveTerms(contrastive, ("rec_tokens", "rec_logits"))
        contrasts = loss.contrast_weight or self.contrastive.at("rec_tokens")
        if not contrasts and not isinstance(network.projection, nn.Identity):
            raise InputError(
                "model.network.projection: only the contrast among image tokens trains this head; "
                "set it to null, or model.loss.contrast_weight above 0"
            )
        self.loss = loss
        self.inference = inference
        self.radius = radius
        self.scores = {stage: (CountErrors(), Localisation(), Localisation()) for stage in ("val", "test")}

    def check_data(self, data: CrowdData) -> None:
        """Check that the data have expressions and are not cropped, which would change what some expressions mean.

        Raises:
            InputError: a setting of the data does not suit this family; the message names the key.
        """
        if data.augment is not None:
            raise InputError("data.augment: set it to null; a crop or a mirror image changes what expressions mean")
        if data.crops_per_image != 1:
            raise InputError(
                f"data.crops_per_image: {data.crops_per_image}; whole images are not cropped, leave it out"
            )
        for record in data.splits[0]:
            if not record.expressions:
                raise InputError(f"data.source: {record.name} has no expressions; this family needs them")

    def on_fit_start(self) -> None:
        """Refuse what several processes cannot learn; start as every module."""
        self.contrastive.check_processes(self.trainer.world_size)
        super().on_fit_start()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of images with all their expressions."""
        detections = self.detect(batch)
        targets = point_targets(batch, detections)
        tokens = self.network.projection(detections.queries)
        terms = self.loss(detections, targets, tokens)
        if self.contrastive.terms:
            terms |= self.contrastive.forward(self._places(batch, detections, targets, tokens), self.global_step)
        kept = selected(
            detections.logits, detections.phrases, self.inference.cls_threshold, self.inference.word_threshold
        )
        true = torch.tensor([len(points) for points in targets], device=self.device)
        # The empty sum gives a head that only terms yet to start will train gradients of 0: DDP stops at absent ones.
        error = (kept.sum(dim=1) - true).abs().float().mean()
        waiting: Tensor = tokens[:0].sum()
        return self.log_losses(terms, len(targets), error) + waiting

    def _places(
        self, batch: Batch, detections: PointDetections, targets: Sequence[Tensor], tokens: Tensor
    ) -> dict[Place, MakePairs]:
        matches = self.loss.matcher(detections, targets)
        ids = text_ids([each.text for expressions in batch.expressions for each in expressions], self.device)
        return {
            "rec_tokens": lambda number: token_pairs(detections, targets, matches, tokens, ids, number),
            "rec_logits": lambda _: logit_pairs(detections, matches, ids),
        }

    def detect(self, batch: Batch) -> PointDetections:
        """Run the network on the images of a batch with all their expressions."""
        inside = torch.zeros(len(batch.images), *batch.images.shape[-2:], dtype=torch.bool, device=self.device)
        for mask, (height, width) in zip(inside, batch.sizes, strict=True):
            mask[:height, :width] = True
        images = self.network.normalize(batch.images) * inside[:, None]
        flat = [expression for expressions in batch.expressions for expression in expressions]
        counts = torch.tensor([len(expressions) for expressions in batch.expressions], device=self.device)
        index = torch.arange(len(counts), device=self.device).repeat_interleave(counts)
        phrases = self.network.tokenize([each.text for each in flat], [each.attribute for each in flat])
        detections: PointDetections = self.network(images, inside, phrases.to(self.device), index)
        return detections

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Count the expressions of one image and return predictions with true points; empty for padding."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Count the expressions of one image and return predictions with true points; empty for padding."""
        return self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log count and localisation errors over all pairs of image and expression."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log count and localisation errors over all pairs of image and expression."""
        self._report("test")

    def _evaluate(self, batch: Batch, stage: str) -> dict[str, Any]:
        if batch.is_padding:
            return {}
        expressions = batch.expressions[0]
        if not expressions:
            raise InputError(f"data.source: {batch.names[0]} has no expressions; this family needs them")
        predictions = self.inference(self.network, batch.images[0], [each.text for each in expressions])
        errors, published, fixed = self.scores[stage]
        for prediction, expression in zip(predictions, expressions, strict=True):
            errors.update(prediction.count, len(expression.points))
            # as published, radius and distances are fractions of the image's sides
            scale = np.array([prediction.width, prediction.height])
            radius = predicted_radius(prediction.sizes / scale)
            published.update(prediction.points / scale, expression.points / scale, radius)
            fixed.update(prediction.points, expression.points, self.radius)
        return {"predictions": predictions, "truths": [each.points for each in expressions]}

    def _report(self, stage: str) -> None:
        errors, published, fixed = self.scores[stage]
        values = {f"{stage}/{name}": value for name, value in errors.compute().items()}
        values |= {f"{stage}/{name}": value for name, value in published.compute().items()}
        values |= {f"{stage}/{name}_fixed": value for name, value in fixed.compute().items()}
        self.log_dict(values, prog_bar=stage == "val")
        for each in (errors, published, fixed):
            each.reset()


def point_targets(batch: Batch, detections: PointDetections) -> list[Tensor]:
    """Return the points of each expression of a batch as fractions of its image's width and height, (N, 2) each."""
    return [
        torch.from_numpy(expression.points / (width, height)).to(detections.points)
        for (height, width), expressions in zip(batch.sizes, batch.expressions, strict=True)
        for expression in expressions
    ]
