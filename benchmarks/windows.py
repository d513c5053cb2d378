"""Windows of CLIP-EBC with ViT-B/16, compared with a plain loop after the published description.

The plain side cuts all windows, stacks them into one batch, and runs one forward pass in float32 with contiguous
kernels under `no_grad`. In each layer the prompts are inserted between the class token and the patches, and dropped
after it. The densities of overlapping windows are averaged. Both sides have the same weights and equal densities.
"""

import argparse
import copy
import time
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from benchmarks.race import Commands, Row, positive
from benchmarks.tiles import scene
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.models.clip.towers import ClipVit, resize_positions
from crowdcount.models.clip_ebc.network import ClipEbc
from crowdcount.predictor import find_device
from crowdcount.zoo.config import build, read_config

_TOLERANCE = 1e-4


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    windows = commands.add_parser("windows", parents=[shared], help="windows of a transformer")
    windows.add_argument(
        "--model", default="clip_ebc/vit_b16_nwpu", help="a model of clip_ebc/vit_* (default %(default)s)"
    )
    windows.add_argument("--width", type=positive, default=1024, help="of the image (default %(default)s)")
    windows.add_argument("--height", type=positive, default=768, help="of the image (default %(default)s)")
    windows.add_argument("--device", default="auto", help="default %(default)s")
    windows.set_defaults(run=windows_benchmark)


def windows_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time both sides in turns; the ratio is that of the best times, its range that of the turns."""
    device = find_device(arguments.device)
    network, inference = _model(arguments.model)
    plain, ours = network.to(device), copy.deepcopy(network).to(memory_format=torch.channels_last)
    image = torch.from_numpy(scene(arguments.height, arguments.width)).permute(2, 0, 1).to(device)
    sides = (lambda: plain_windows(plain, image, inference), lambda: our_windows(ours, image, inference))
    error = float((sides[0]() - sides[1]()).abs().max())
    assert error <= _TOLERANCE, error
    # CPU time with one thread, since both sides may wait on a shared machine
    clock = time.process_time if device.type == "cpu" and arguments.threads == 1 else time.perf_counter
    turns = [tuple(_seconds(side, clock) for side in sides) for _ in _counted(arguments.repeats)]
    best = [min(times) for times in zip(*turns, strict=True)]
    ratios = sorted(plain / ours for plain, ours in turns)
    return [
        {
            "model": arguments.model,
            "image": f"{arguments.width} x {arguments.height}",
            "plain s": best[0],
            "ours s": best[1],
            "ratio": best[0] / best[1],
            "ratio of the turns": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            "largest difference": error,
        }
    ]


def _counted(repeats: int) -> "tqdm[int]":
    return tqdm(range(repeats), "turns", leave=False, disable=None)


def _seconds(side: Callable[[], Tensor], clock: Callable[[], float]) -> float:
    start = clock()
    side()  # returns its density on the CPU, so a GPU has finished
    return clock() - start


def _model(name: str) -> tuple[ClipEbc, Inference]:
    torch.manual_seed(0)
    built = build(read_config(name), name).density_model()
    network, inference = built.network, built.inference
    if not isinstance(network, ClipEbc) or not isinstance(network.visual, ClipVit) or not network.visual.deep:
        raise InputError(f"--model: {name} is not a CLIP-EBC model with a transformer and deep prompts")
    if inference.window is None:
        raise InputError(f"--model: {name} does not count in windows")
    return network, inference


def our_windows(network: ClipEbc, image: Tensor, inference: Inference) -> Tensor:
    """Return the density of an image (3, H, W), computed by the package."""
    return torch.from_numpy(inference(network, image).density)


@torch.no_grad()
def plain_windows(network: ClipEbc, image: Tensor, inference: Inference) -> Tensor:
    """Return the density by the published rule, for sides that are multiples of the block and at least a window."""
    window, step, block = inference.window or 0, inference.step or 0, network.stride
    image = network.normalize(image[None])[0]
    height, width = image.shape[1:]
    corners = list(product(_starts(height, window, step), _starts(width, window, step)))
    maps = _forward(network, torch.stack([image[:, y : y + window, x : x + window] for y, x in corners])).cpu()
    sums = torch.zeros(height // block, width // block)
    hits = torch.zeros_like(sums)
    for (y, x), one in zip(corners, maps, strict=True):
        cells = slice(y // block, (y + window) // block), slice(x // block, (x + window) // block)
        sums[cells] += one
        hits[cells] += 1
    return sums / hits


def _starts(length: int, window: int, step: int) -> list[int]:
    return [min(index * step, length - window) for index in range(-(-(length - window) // step) + 1)]


def _forward(network: ClipEbc, windows: Tensor) -> Tensor:
    """Return the densities (B, rows, columns) of normalised windows."""
    assert isinstance(network.visual, ClipVit)
    x = _features(network.visual, windows)
    x = functional.interpolate(x, scale_factor=network.visual.stride / network.stride, mode="bilinear")
    x = functional.normalize(network.projection(network.decoder(x)).permute(0, 2, 3, 1), dim=-1)
    logits = network.logit_scale.exp() * x @ functional.normalize(network.text_features, dim=-1).t()
    densities: Tensor = (logits.softmax(dim=-1) * network.anchors).sum(dim=-1)
    return densities


def _features(visual: ClipVit, windows: Tensor) -> Tensor:
    """Return the features of the transformer.

    The blocks are open_clip's, batch first. They are at least as fast as OpenAI's, which are tokens first and cannot
    use torch's fast path for attention, so the ratio is not inflated.
    """
    trunk = visual.trunk
    patches = trunk.conv1(windows)
    rows, columns = patches.shape[-2:]
    first = trunk.class_embedding.expand(len(windows), 1, -1)
    x = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
    x = trunk.ln_pre(x + resize_positions(trunk.positional_embedding, rows, columns))
    for prompts, block in zip(visual.prompts, trunk.transformer.resblocks, strict=True):
        x = block(torch.cat([x[:, :1], prompts.expand(len(x), -1, -1), x[:, 1:]], dim=1))
        x = torch.cat([x[:, :1], x[:, 1 + len(prompts) :]], dim=1)
    features: Tensor = trunk.ln_post(x)[:, 1:].transpose(1, 2)
    return features.reshape(len(windows), -1, rows, columns)
