"""The transport loss, compared with a dense loop over images."""

import argparse

import numpy as np
import torch
from torch import Tensor

from benchmarks.race import Commands, Row, positive, race
from crowdcount.cli.word_order import Values
from crowdcount.geometry import Points, as_points, block_counts
from crowdcount.losses.transport import transport


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    losses = commands.add_parser("losses", parents=[shared], help="optimal transport, forward and backward")
    numbers = [100, 300, 1000, 3000]
    losses.add_argument("--points", type=positive, action=Values, default=numbers, help="points per image")
    losses.add_argument("--batch", type=positive, default=8, help="images (default %(default)s)")
    losses.add_argument("--crop", type=positive, default=448, help="image side in pixels (default %(default)s)")
    losses.add_argument("--stride", type=positive, default=8, help="block side in pixels (default %(default)s)")
    losses.set_defaults(run=losses_benchmark)


def losses_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time the transport term of DM-Count against a dense loop over images, and compare the gradients."""
    return [_losses_row(count, arguments) for count in arguments.points]


def _losses_row(count: int, arguments: argparse.Namespace) -> Row:
    stride = arguments.stride
    points, density = _crowd(count, arguments.batch, arguments.crop, stride)

    def ours() -> Tensor:
        return _gradient(density, transport(density, points, stride).sum())

    def published() -> Tensor:
        return _gradient(density, published_transport(density, points, stride))

    (slow, fast), (expected, got) = race([published, ours], arguments.repeats, f"{count} points")
    return {
        "points per image": count,
        "published ms": slow * 1e3,
        "ours ms": fast * 1e3,
        "ratio": slow / fast,
        "gradient rel. difference": _relative_difference(got, expected),
    }


def _relative_difference(got: Tensor, expected: Tensor) -> float:
    """Return the maximum over the images of max |got - expected| / max |expected|."""
    largest = expected.flatten(1).abs().amax(dim=1)
    return ((got - expected).flatten(1).abs().amax(dim=1) / largest).max().item()


def _gradient(density: Tensor, loss: Tensor) -> Tensor:
    return torch.autograd.grad(loss, density)[0]


def _crowd(count: int, batch: int, side: int, stride: int) -> tuple[list[Points], Tensor]:
    """Return points, half of them uniform and half in groups, and a density (batch, 1, ...) that partly fits them."""
    random = np.random.default_rng(count)
    points, maps = [], []
    for _ in range(batch):
        grouped = count // 2
        centres = random.uniform(0, side, (6, 2))[random.integers(6, size=grouped)]
        groups = np.clip(centres + random.normal(0, side / 16, (grouped, 2)), 0, side - 0.01)
        points.append(as_points(np.concatenate([random.uniform(0, side - 0.01, (count - grouped, 2)), groups])))
        blocks = block_counts(points[-1], side, side, stride)
        maps.append(0.5 * blocks + random.gamma(0.5, count / blocks.size, blocks.shape))
    return points, torch.from_numpy(np.stack(maps)[:, None]).float().requires_grad_()


def published_transport(density: Tensor, points: list[Points], stride: int) -> Tensor:
    """Return the transport term summed over the batch: a dense kernel and a loop for each image."""
    total = density.new_zeros(())
    for each, cell in zip(points, density, strict=True):
        flat = cell.flatten()
        cost = _published_cost(torch.from_numpy(each), cell.shape[-1], stride)
        mass = flat.detach().sum()
        plan, beta = _published_sinkhorn(cost, flat.detach() / (mass + 1e-8))
        # also computed in the published code, but never used
        _ = (cost * plan).sum()
        square = mass * mass
        gradient = mass / (square + 1e-8) * beta - (flat.detach() * beta).sum() / (square + 1e-8)
        total = total + (flat * gradient).sum()
    return total


def _published_cost(points: Tensor, cells: int, stride: int) -> Tensor:
    """Return the (n, cells^2) squared distances of points and block centres."""
    centres = torch.arange(cells, dtype=torch.float32)[None] * stride + stride / 2
    x, y = points[:, :1], points[:, 1:]
    along_x = -2 * (x @ centres) + x * x + centres * centres
    along_y = -2 * (y @ centres) + y * y + centres * centres
    return (along_y[:, :, None] + along_x[:, None, :]).flatten(1)


def _published_sinkhorn(cost: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the transport plan (n, blocks) and the potential of the blocks."""
    n, blocks = cost.shape
    source = torch.full((n,), 1 / n)
    kernel = torch.exp(cost / -10)
    u, v = source.clone(), torch.full((blocks,), 1 / blocks)
    for iteration in range(1, 101):
        before = u, v
        v = target / (u @ kernel + 1e-16)
        u = source / (kernel @ v + 1e-16)
        if v.isnan().any() or u.isnan().any() or v.isinf().any() or u.isinf().any():
            u, v = before
            break
        if iteration % 10 == 0 and (target - v * (u @ kernel)).square().sum().item() <= 1e-9:
            break
    return u[:, None] * kernel * v, 10 * torch.log(v + 1e-16)
