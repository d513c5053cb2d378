"""Fine-tuning of image-text models on captions with numbers, with Count-CLIP's loss."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.data.datamodule import CrowdData
from crowdcount.data.dataset import Batch
from crowdcount.distributed import all_gather
from crowdcount.errors import InputError
from crowdcount.inference.captions import CaptionInference
from crowdcount.losses.count import counterfactual_loss
from crowdcount.metrics import CountErrors
from crowdcount.models.clip.number_words import number_words
from crowdcount.models.image_text.captions import NUMBERS, replace_number
from crowdcount.models.image_text.network import ImageText
from crowdcount.training.base import MakeOptimizer, MakeSchedule, TrainingModule
from crowdcount.training.parameter_groups import LrMultipliers

_VALUES = {number_words(number): number for number in NUMBERS}


class ImageTextModule(TrainingModule):
    """Train both towers with CLIP's loss on all captions, and Count-CLIP's on those that say a number.

    The loss is L_CLIP + count_weight * L_count (arXiv 2302.12066): L_count prefers a caption to the same caption with
    another number, drawn at random. Wrong captions are no negatives of L_CLIP. In several processes each contrasts the
    images of its own batch.

    Args:
        network: the image-text model.
        count_weight: weight of the loss of counterfactual captions; 0 leaves it out.
        wrong_numbers: wrong numbers drawn for each caption: 1 in the paper, 8 (all of them) in its replication.
        count_scale: one over the temperature of the counterfactual loss; 1 as published.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        inference: how the number of an image is chosen in validation and testing.
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.

    Raises:
        InputError: a number is out of its range.
    """

    network: ImageText

    def __init__(
        self,
        network: ImageText,
        count_weight: float = 1.0,
        wrong_numbers: int = 1,
        count_scale: float = 1.0,
        optimizer: MakeOptimizer = torch.optim.Adam,
        schedule: MakeSchedule | None = None,
        inference: CaptionInference = CaptionInference(),  # noqa: B008  the configuration system reads the defaults off it
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, lr_multipliers)
        check_number("model.count_weight", count_weight, 0)
        check_number("model.wrong_numbers", wrong_numbers, 1, len(NUMBERS) - 1)
        check_number("model.count_scale", count_scale, 0, above=True)
        self.count_weight = count_weight
        self.wrong_numbers = wrong_numbers
        self.count_scale = count_scale
        self.inference = inference
        self.errors = {stage: CountErrors() for stage in ("val", "test")}
        self.right: dict[str, list[bool]] = {stage: [] for stage in self.errors}

    def check_data(self, data: CrowdData) -> None:
        """Refuse data without captions, and crops, which may cut off what a caption counts.

        Raises:
            InputError: names the key.
        """
        if data.augment is not None or data.crops_per_image != 1:
            raise InputError("data.augment, crops_per_image: set the first to null and leave the second out")
        for record in data.splits[0]:
            if len(record.expressions) != 1:
                raise InputError(f"data.source: {record.name} has no caption; take crowdcount.data.Captions")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of images with their captions."""
        captions = [each[0].text for each in batch.expressions]
        numbers = [_VALUES.get(each[0].attribute) for each in batch.expressions]
        counted = [index for index, number in enumerate(numbers) if number is not None]
        wrong = self._wrong_captions(captions, numbers)
        images, texts, scale = self.network(
            self.network.prepare(batch.images, batch.sizes), self.network.tokenize([*captions, *wrong])
        )
        own = texts[: len(captions)]
        terms = {"clip": clip_loss(scale * images @ own.T)}
        if self.count_weight:
            right = (images * own).sum(dim=1)[counted]
            others = texts[len(captions) :].reshape(len(counted), self.wrong_numbers, own.shape[1])
            similar = torch.einsum("bd,bkd->bk", images[counted], others)
            terms["count"] = self.count_weight * counterfactual_loss(right, similar, scale=self.count_scale)
        return self.log_losses(terms, len(captions))

    def _wrong_captions(self, captions: Sequence[str], numbers: Sequence[int | None]) -> list[str]:
        """Return `wrong_numbers` captions for each that says a number; drawn from torch's stream, which resumes."""
        if not self.count_weight:
            return []
        wrong = []
        for caption, number in zip(captions, numbers, strict=True):
            if number is not None:
                others = [other for other in NUMBERS if other != number]
                drawn = torch.randperm(len(others))[: self.wrong_numbers].tolist()
                wrong += [replace_number(caption, number, others[index]) for index in drawn]
        return wrong

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Choose the number of one image among nine captions; nothing for padding, or a caption without a number."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Choose the number of one image among nine captions; nothing for padding, or a caption without a number."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log count errors and accuracy over the captions that say a number."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log count errors and accuracy over the captions that say a number."""
        self._report("test")

    def _evaluate(self, batch: Batch, stage: str) -> None:
        number = None if batch.is_padding else _VALUES.get(batch.expressions[0][0].attribute)
        if number is None:
            return
        caption = batch.expressions[0][0].text
        found = self.inference(self.network, batch.images[0], [caption], [number])[0]
        self.errors[stage].update(found.count, number)
        self.right[stage].append(found.count == number)

    def _report(self, stage: str) -> None:
        right = all_gather(self.right[stage])
        if not right:
            raise InputError(f"data.source: no caption of the {stage} images says a number from two to ten")
        values = {f"{stage}/{name}": value for name, value in self.errors[stage].compute().items()}
        values[f"{stage}/accuracy"] = sum(right) / len(right)
        self.log_dict(values, prog_bar=stage == "val")
        self.errors[stage].reset()
        self.right[stage] = []


def clip_loss(logits: Tensor) -> Tensor:
    """Return CLIP's loss, the mean of the cross-entropies of rows and columns of scaled similarities (B, B)."""
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
