"""Training steps of a configuration, compared with a plain loop over the same batches.

The plain loop is what one writes without a framework: images as contiguous floats, the loss, backward, the optimizer's
step. Both sides run in a process of their own, since how memory is kept is a property of the process, and are measured
by CPU time, so that other work on the computer counts less. The ratio is how many times as fast ours is.
"""

import argparse
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.child import in_child
from benchmarks.loader import published_decode, write_image
from benchmarks.losses import published_transport
from benchmarks.race import Commands, Row, positive
from crowdcount.data import ReferringScenes
from crowdcount.data.dataset import Batch, CrowdDataset, collate
from crowdcount.geometry import Points, as_points
from crowdcount.images.read import read_image
from crowdcount.losses.density import block_targets
from crowdcount.losses.transport import variation
from crowdcount.models.base import CountMap
from crowdcount.models.rec.outputs import PointDetections
from crowdcount.training.base import CountingModule
from crowdcount.training.blockwise import BlockwiseModule
from crowdcount.training.processor import keep_memory
from crowdcount.training.referring import ReferringModule, point_targets
from crowdcount.zoo.config import find_config, read_config_file

MODELS = (
    "ebc/resnet18_sha_scratch",
    "ebc/mobilenetv4_shab_scratch",
    "zip/mobilenetv4_sha_scratch",
    "hmode/mobilenetv4_sha_scratch",
    "rec/tiny_scenes",
)
"""The small model of each family. CLIP-EBC has none: clip_ebc/rn50_sha takes minutes on a processor."""

PARTS = ("loader", "network", "loss", "step")
Side = Literal["plain", "ours"]
Module = CountingModule | ReferringModule
Output = CountMap | PointDetections


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    training = commands.add_parser("training", parents=[shared], help="training steps against a plain loop")
    training.add_argument("--models", nargs="+", default=MODELS, metavar="NAME", help="configurations")
    training.add_argument("--crop", type=positive, default=448, help="crop side in pixels (default %(default)s)")
    training.add_argument("--batch", type=positive, default=8, help="crops (default %(default)s)")
    training.set_defaults(run=training_benchmark)


def training_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time the parts of a training step and the whole of it against a plain loop, in CPU time."""
    return [row for name in arguments.models for row in _rows(name, arguments)]


def _rows(name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    options = (arguments.crop, arguments.batch, arguments.repeats, arguments.threads)
    (plain, expected), (ours, got) = (in_child(measure, name, side, *options) for side in ("plain", "ours"))
    for part in PARTS:
        yield {
            "model": name,
            "part": part,
            "plain ms": plain[part] * 1e3,
            "ours ms": ours[part] * 1e3,
            "ratio": plain[part] / ours[part],
            "loss difference": relative_difference(got, expected) if part == "step" else None,
        }


def relative_difference(got: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest difference of the losses of the same steps, relative to the larger."""
    return max(abs(a - b) / max(abs(a), abs(b)) for a, b in zip(got, expected, strict=True))


def measure(
    name: str, side: Side, crop: int, batch: int, steps: int, threads: int
) -> tuple[dict[str, float], list[float]]:
    """Return the least CPU time of each part in seconds, and the loss of each step.

    Args:
        name: configuration of a density model or a detector of expressions.
        side: the plain loop, or the module under Lightning's trainer.
        crop: side of the crops in pixels.
        batch: crops in a batch.
        steps: training steps; each other part is repeated as often.
        threads: threads of torch.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    module = build_module(name)
    batches = generated_batches(module, steps + 1, batch, crop)
    if side == "plain":
        module.network.to(memory_format=torch.contiguous_format)
        times, losses = plain_steps(module, batches)
    else:
        keep_memory()
        times, losses = trainer_steps(module, batches)
    parts = {"step": min(times[1:])}
    parts |= {"network": _least(partial(_network_pass, module, batches[0]), steps)}
    loss = plain_loss if side == "plain" else own_loss
    parts |= {"loss": _least(_loss_pass(module, batches[0], loss), steps)}
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(Path(folder) / "image.jpg", 1024, 768)
        decode = _plain_crop if side == "plain" else _our_crop
        parts |= {"loader": batch * _least(partial(decode, path, min(crop, 768)), steps)}
    return parts, losses


def build_module(name: str) -> Module:
    """Return the module of a configuration, its network with the same random weights at each call."""
    torch.manual_seed(0)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments((CountingModule, ReferringModule), "model", required=True)
    config = read_config_file(find_config(name))
    module: Module = parser.instantiate(parser.parse_object({"model": config["model"]})).model
    module.network.load_pretrained = lambda: None  # type: ignore[method-assign]  # random weights take the same time
    return module.train()


def generated_batches(module: Module, count: int, batch: int, crop: int) -> list[Batch]:
    """Return batches of images (batch, 3, crop, crop), the same at each call.

    They are noise with up to 200 points an image; for a detector of expressions generated scenes.
    """
    if isinstance(module, ReferringModule):
        scenes = ReferringScenes(train=count * batch, val=0, test=0, size=crop)
        data = CrowdDataset(scenes.records("train"), None)
        return [collate([data[i * batch + j] for j in range(batch)]) for i in range(count)]
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        points: list[Points] = [as_points(random.uniform(0, crop, (n, 2))) for n in random.integers(1, 200, batch)]
        images = torch.from_numpy(random.integers(0, 256, (batch, 3, crop, crop), np.uint8))
        counts, names = [len(each) for each in points], [str(number) for number in range(batch)]
        found.append(Batch(images, [(crop, crop)] * batch, points, counts, names, [()] * batch, [""] * batch))
    return found


def plain_steps(module: Module, batches: Sequence[Batch]) -> tuple[list[float], list[float]]:
    """Train the network of a module in a plain loop; return CPU time and loss of each step."""
    optimizer = module.new_optimizer()
    if module.make_schedule is not None:
        module.make_schedule(optimizer)  # sets the rate of the first epoch
    times, losses = [], []
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        start = time.process_time()
        output = module.network(_floats(module, batch)) if isinstance(module, CountingModule) else module.detect(batch)
        loss = plain_loss(module, output, batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
        times.append(time.process_time() - start)
    return times, losses


def trainer_steps(module: Module, batches: Sequence[Batch]) -> tuple[list[float], list[float]]:
    """Train a module with Lightning; return CPU time and loss of each step, with all that stands between two steps."""
    watch = _Watch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=CSVLogger(folder),
            callbacks=[watch],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, DataLoader(list(batches), batch_size=None))  # type: ignore[arg-type]
    return [after - before for before, after in zip(watch.ends, watch.ends[1:], strict=False)], watch.losses


class _Watch(Callback):
    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.ends.append(time.process_time())

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(batch_idx)  # layers are dropped at random

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())
        self.ends.append(time.process_time())


def _floats(module: CountingModule, batch: Batch) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (module.network.mean, module.network.std))
    return (batch.images.float() / 255 - mean) / std


def _output(module: Module, batch: Batch) -> Output:
    if isinstance(module, ReferringModule):
        return module.detect(batch)
    output: CountMap = module.network(module.network.normalize(batch.images))
    return output


def _network_pass(module: Module, batch: Batch) -> None:
    output = _output(module, batch)
    torch.autograd.backward((output.density if isinstance(output, CountMap) else output.points).sum())
    module.network.zero_grad()


def own_loss(module: Module, output: Output, batch: Batch) -> Tensor:
    """Return the training loss of a module."""
    if isinstance(output, PointDetections):
        assert isinstance(module, ReferringModule)
        tokens = module.network.projection(output.queries)
        return torch.stack(list(module.loss(output, point_targets(batch, output), tokens).values())).sum()
    assert isinstance(module, CountingModule)
    return torch.stack(list(module.losses(output, batch).values())).sum()


def plain_loss(module: Module, output: Output, batch: Batch) -> Tensor:
    """Return the training loss, with DACE's transport as a dense loop over the images; other losses as they are."""
    if not isinstance(module, BlockwiseModule) or module.loss.count_loss != "dmcount" or module.loss.once_per_pixel:
        return own_loss(module, output, batch)
    dace = module.loss
    assert isinstance(output, CountMap) and output.logits is not None
    stride, numbers = module.network.stride, torch.tensor([len(points) for points in batch.points])
    blocks = block_targets(batch.points, output.density, stride)
    classes = module.network.bins.classes(blocks[:, 0])
    count = (output.density.sum(dim=(1, 2, 3)) - numbers).abs().sum()
    count = count + dace.tv_weight * variation(output.density, blocks, numbers).sum()
    if dace.ot_weight:
        count = count + dace.ot_weight * published_transport(output.density, batch.points, stride)
    total = functional.cross_entropy(output.logits, classes, reduction="sum") + dace.weight * count
    return total / len(batch.points)


def _loss_pass(module: Module, batch: Batch, loss: Callable[[Module, Any, Batch], Tensor]) -> Callable[[], None]:
    """Return a function that computes the loss of a fixed output, and its gradient."""
    with torch.no_grad():
        output = _output(module, batch)
    values = [value for value in vars(output).values() if isinstance(value, Tensor)]
    tensors = [value.requires_grad_() for value in values if value.is_floating_point()]

    def run() -> None:
        torch.autograd.grad(loss(module, output, batch), tensors, allow_unused=True)

    return run


def _plain_crop(path: Path, side: int) -> Tensor:
    return published_decode(path)[:, :side, :side].contiguous()


def _our_crop(path: Path, side: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(read_image(path)[:side, :side].transpose(2, 0, 1)))


def _least(function: Callable[[], object], repeats: int) -> float:
    least = math.inf
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        least = min(least, time.process_time() - start)
    return least
