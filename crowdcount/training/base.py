"""Training: what every family shares (optimizer, random streams), and what density families share."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from crowdcount.data.datamodule import CrowdData
from crowdcount.data.dataset import Batch
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.metrics import CountErrors, MacroNae
from crowdcount.models.base import CountMap, CrowdNetwork, DensityNetwork, count_map
from crowdcount.training.averages import EpochAverages
from crowdcount.training.finite import check_weights, loss_error
from crowdcount.training.parameter_groups import Group, LrMultipliers, check_schedule, multiply_rates, parameter_groups
from crowdcount.training.processor import emulates_bfloat16, keep_memory

logger = logging.getLogger(__name__)

MakeOptimizer = Callable[[Iterable[Tensor] | Iterable[Group]], Optimizer]
MakeSchedule = Callable[[Optimizer], LRScheduler]


class TrainingModule(LightningModule):
    """Base of all modules: a network, how it is optimised, and what makes a resumed run the uninterrupted one.

    Args:
        network: the network to train.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.
    """

    def __init__(
        self,
        network: CrowdNetwork,
        optimizer: MakeOptimizer,
        schedule: MakeSchedule | None,
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.lr_multipliers = lr_multipliers or {}
        self.averages = EpochAverages()
        self._rate: float | None = None
        self._terms: dict[str, Tensor] = {}
        self._streams: dict[str, Any] | None = None
        self._restored = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy that shares what makes the optimizer: from the command line that holds a parser and locks."""
        memo |= {id(factory): factory for factory in (self.make_optimizer, self.make_schedule)}
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(deepcopy(self.__getstate__(), memo))
        return twin

    @abstractmethod
    def check_data(self, data: CrowdData) -> None:
        """Refuse data that the network cannot be trained on.

        Raises:
            InputError: names the key.
        """

    def setup(self, stage: str) -> None:
        """Look at the data before anything is fetched: nobody waits for a download to learn that they are not there.

        Raises:
            InputError: they do not suit the network, or are incomplete.
        """
        data = self.trainer.datamodule if stage == "fit" else None  # type: ignore[attr-defined]
        if isinstance(data, CrowdData):
            self.check_data(data)
            data.splits  # noqa: B018  reads the annotations

    def keep_weights(self) -> None:
        """Start from the weights that the network has, in place of the pretrained ones that it is configured with."""
        self._restored = True

    def on_fit_start(self) -> None:
        """Fetch pretrained towers when a training starts from scratch; a checkpoint has brought its own weights."""
        self._prepare_processor()
        if not self._restored:
            self.network.load_pretrained()

    def _prepare_processor(self) -> None:
        if self.device.type != "cpu":
            return
        keep_memory()
        precision = str(self.trainer.precision)
        if precision.startswith("bf16") and emulates_bfloat16(self.device):
            logger.warning(
                "trainer.precision: %s is emulated on this processor and slower than 32-true; set that", precision
            )

    def on_train_epoch_start(self) -> None:
        """Note the rate of the epoch (of the first group); a resumed run has rate and averages from its checkpoint."""
        self.averages.reset()
        self._rate = self._current_rate()

    def on_train_epoch_end(self) -> None:
        """Log the learning rate, and the averages over the batches of the epoch."""
        assert self._rate is not None
        # the values are the same in each process and need no averaging
        self.log_dict({"lr": self._rate, **self.averages.compute()}, on_step=False, on_epoch=True)
        self.averages.reset()

    def _current_rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self) -> None:
        """Stop a training before an epoch with broken weights is validated.

        Raises:
            InputError: they are not finite.
        """
        if self.trainer.optimizers:
            check_weights(self, self.global_step)

    def new_optimizer(self) -> Optimizer:
        """Make the optimizer over the trained parameters.

        Raises:
            InputError: a value that the optimizer refuses, or a multiplier that takes no effect.
        """
        groups = parameter_groups(self, self.lr_multipliers)
        try:
            optimizer = self.make_optimizer(groups)
        except ValueError as error:  # torch names neither the key nor the class
            raise InputError(f"model.optimizer: {error}") from error
        multiply_rates(optimizer, self.lr_multipliers)
        return optimizer

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimizer, and its schedule.

        Raises:
            InputError: see `new_optimizer`; a schedule that takes no account of `lr_multipliers`.
        """
        optimizer = self.new_optimizer()
        if self.make_schedule is None:
            return optimizer
        rates = [group["lr"] for group in optimizer.param_groups]
        schedule = self.make_schedule(optimizer)
        if self.lr_multipliers:
            check_schedule(optimizer, rates, type(schedule).__name__)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add torch's random streams (dropout draws from them), how images were normalised and the epoch so far.

        Raises:
            InputError: the weights are not finite.
        """
        check_weights(self, self.global_step)
        checkpoint["epoch_so_far"] = {"rate": self._rate, "averages": self.averages.state_dict()}
        checkpoint["normalization"] = {"mean": list(self.network.mean), "std": list(self.network.std)}
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_streams"] = {"cpu": torch.get_rng_state(), "cuda": cuda}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the streams until the training starts, as setting it up may draw from them; normalise as before."""
        if "epoch_so_far" in checkpoint:
            self._rate = checkpoint["epoch_so_far"]["rate"]
            self.averages.load_state_dict(checkpoint["epoch_so_far"]["averages"], self.global_rank)
        self.network.restore_normalization(checkpoint.get("normalization", {}))
        self._streams = checkpoint.get("random_streams")
        self._restored = True

    def on_train_start(self) -> None:
        """Continue the random streams of the checkpoint."""
        if self._rate is None:
            self._rate = self._current_rate()
        if self._streams is None:
            return
        torch.set_rng_state(self._streams["cpu"].cpu())
        for device, state in zip(range(torch.cuda.device_count()), self._streams["cuda"], strict=False):
            torch.cuda.set_rng_state(state.cpu(), device)
        self._streams = None

    def log_losses(self, terms: dict[str, Tensor], images: int, error: Tensor | None = None) -> Tensor:
        """Log the terms of the training loss of a batch, and its count error, if any; return the loss, their sum."""
        loss = torch.stack(list(terms.values())).sum()
        self._terms = {name: value.detach() for name, value in terms.items()}
        log = {f"train/{name}": value for name, value in terms.items()}
        log["train/loss"] = loss
        if error is not None:
            log["train/mae"] = error
            self.log("mae", error, on_step=True, on_epoch=False, prog_bar=True, logger=False)
        self.averages.update(log, images)
        return loss

    def on_after_backward(self) -> None:
        """Stop before a step with a loss that is not finite; only now, when a GPU has been given all its work.

        Raises:
            InputError: it is not, in this process or in another.
        """
        finite = not self._terms or bool(torch.stack(list(self._terms.values())).isfinite().all())
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            raise loss_error(self._terms, self, self.global_step + 1)


class CountingModule(TrainingModule):
    """Base of the density families' modules: how a network is trained on crops and how a whole image is counted.

    Args:
        network: the network to train.
        optimizer: makes the optimizer from groups of the parameters that require gradients.
        schedule: makes the learning-rate schedule, stepped once an epoch; null keeps the rate.
        lr_multipliers: learning rate of parts of the network relative to that of the rest, by the beginning of
            parameter names, such as {backbone: 0.2}; see `crowdcount.training.parameter_groups`.
        inference: how whole images are counted in validation, testing and prediction.
    """

    network: DensityNetwork

    def __init__(
        self,
        network: DensityNetwork,
        optimizer: MakeOptimizer,
        schedule: MakeSchedule | None,
        inference: Inference,
        lr_multipliers: LrMultipliers | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, lr_multipliers)
        network.check_sizes()
        network.to(memory_format=torch.channels_last)
        inference.check(network)
        self.inference = inference
        self.val_errors, self.val_macro = CountErrors(), MacroNae()
        self.test_errors, self.test_macro = CountErrors(), MacroNae()

    @abstractmethod
    def losses(self, output: CountMap, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms of the training loss; their sum is minimised."""

    def check_data(self, data: CrowdData) -> None:
        """Refuse crops that do not suit the network.

        Raises:
            InputError: people at their edge would be lost.
        """
        multiple = self.network.size_divisor
        if data.augment is None:
            raise InputError("data.augment: null trains on whole images of any size; this family needs crops")
        if data.augment.crop % multiple:
            raise InputError(
                f"data.augment.crop: {data.augment.crop} is not a multiple of {multiple}; people at its edge would be "
                "lost"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch of crops."""
        output = count_map(self.network, self.network.normalize(batch.images))
        true = torch.tensor([len(points) for points in batch.points], device=self.device)
        error = (output.density.detach().sum(dim=(1, 2, 3)) - true).abs().mean()
        return self.log_losses(self.losses(output, batch), len(batch.points), error)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Count one whole image; returned with the true points, nothing for padding."""
        return self._evaluate(batch, self.val_errors, self.val_macro)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Count one whole image; returned with the true points, nothing for padding."""
        return self._evaluate(batch, self.test_errors, self.test_macro)

    def on_validation_epoch_end(self) -> None:
        """Log MAE, RMSE and NAE over all validation images, and the relative error of each data set."""
        self._report("val", self.val_errors, self.val_macro)

    def on_test_epoch_end(self) -> None:
        """Log MAE, RMSE and NAE over all test images, and the relative error of each data set."""
        self._report("test", self.test_errors, self.test_macro)

    def _evaluate(self, batch: Batch, errors: CountErrors, macro: MacroNae) -> dict[str, Any]:
        if batch.is_padding:
            return {}
        prediction = self.inference(self.network, batch.images[0])
        errors.update(prediction.count, batch.counts[0])
        macro.update(prediction.count, batch.counts[0], batch.sources[0])
        return {"predictions": [prediction], "truths": [batch.points[0]]}

    def _report(self, stage: str, errors: CountErrors, macro: MacroNae) -> None:
        # `compute` has gathered all processes: the values are the same on each and need no averaging
        values = {f"{stage}/{name}": value for name, value in (errors.compute() | macro.compute()).items()}
        self.log_dict(values, prog_bar=stage == "val")
        errors.reset()
        macro.reset()
