"""Optimal transport between predicted density and annotated points, and the terms of the DM-Count loss.

Source: Wang et al., "Distribution Matching for Crowd Counting", NeurIPS 2020, arXiv 2009.13077, as used by CLIP-EBC
(arXiv 2403.09281). A density map is compared with n points: C is the squared pixel distance of a point and a block
centre, K = exp(-C / 10), and Sinkhorn's iterates are

    v = b / (K^T u + eps),    u = a / (K v + eps),    a = 1 / n,  b = density / sum(density).

K factorises into a row and a column part, and nearly all of it is zero in float32: a point reaches some 43 blocks of
8 x 8 px. Only those entries are formed, and the images of a batch share one block-diagonal sparse matrix.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from crowdcount.geometry import Points
from crowdcount.losses.precision import widen

REG = 10.0  # of the entropy, in squared pixels
ITERATIONS = 100
EPS = 1e-16  # guards both divisions; also decides the value of every block that no point reaches
STOP = 1e-9  # squared error of the marginal at which an image is done, tested every 10 iterations
_SUM_EPS = 1e-8

# Kernel entries below the smallest normal float32 are left out. They can't matter: EPS keeps sum(u) and sum(v) below
# 1e16, so all of them together add less than 1.2e-22 to a denominator of at least 1e-16: 1e-6 of it at the worst.
_TINY = np.finfo(np.float32).tiny
_REACH = math.sqrt(-REG * math.log(_TINY))  # 29.6 px


@dataclass
class GibbsKernel:
    """Gibbs kernel of a batch of B images with N points together, block-diagonal.

    Attributes:
        matrix: (N, B * rows * columns) sparse, float32; the points of one image lie together.
        transposed: its transpose.
        order: (B, rows * columns) the block that each of the image's columns of `matrix` stands for.
        mass: (N,) one over the number of points in the point's image.
        owner: (N,) index of the image a point belongs to.
    """

    matrix: Tensor
    transposed: Tensor
    order: Tensor
    mass: Tensor
    owner: Tensor


def gibbs_kernel(
    points: Sequence[Points], rows: int, columns: int, stride: int, device: torch.device | None = None
) -> GibbsKernel:
    """Build the kernel between the points of each image and its block centres (i + 0.5) * stride.

    Args:
        points: (n, 2) pixels of each image, n >= 1.
        rows: rows of the density map.
        columns: columns of the density map.
        stride: block side in pixels.
        device: where the kernel is used; it is built on the CPU in any case, where the points are.
    """
    sizes = [len(each) for each in points]
    owner = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    blocks, values, starts = _entries(np.concatenate(points), owner, (rows, columns), stride)
    by_point = sparse.csr_array((values, blocks, starts), shape=(len(owner), len(sizes) * rows * columns))
    by_block = by_point.T.tocsr()
    # the blocks of an image are sorted by the number of points they reach: rows of like length are multiplied faster
    reached = np.diff(by_block.indptr).reshape(len(sizes), -1)
    order = np.argsort(-reached, axis=1, kind="stable")
    by_block = by_block[(order + np.arange(len(sizes))[:, None] * rows * columns).ravel()]
    return GibbsKernel(
        matrix=_to_torch(by_block.T.tocsr(), device),
        transposed=_to_torch(by_block, device),
        order=torch.from_numpy(order).to(device),
        mass=torch.from_numpy(1 / np.repeat(sizes, sizes).astype(np.float32)).to(device),
        owner=torch.from_numpy(owner).to(device, torch.int64),
    )


def _entries(
    points: Points, owner: NDArray[np.int32], size: tuple[int, int], stride: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Return block, value and, for every point, the first of the kernel's entries, as a CSR matrix needs them."""
    rows, columns = size
    column, along_x = _axis(points[:, 0], columns, stride)
    row, along_y = _axis(points[:, 1], rows, stride)
    values = along_y[:, :, None] * along_x[:, None, :]
    block = ((owner[:, None] * rows + row) * columns)[:, :, None] + column[:, None, :]
    keep = values >= _TINY
    starts = np.append(0, np.count_nonzero(keep, axis=(1, 2)).cumsum()).astype(np.int32)
    return block[keep], values[keep], starts


def _axis(position: NDArray[np.float32], cells: int, stride: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the (N, w) cells that each position can reach along one axis, and the kernel there; 0 off the map."""
    width = int(2 * _REACH / stride) + 1
    first = np.ceil((position - _REACH) / stride - 0.5).astype(np.int32)
    cell: NDArray[np.int32] = np.add.outer(first, np.arange(width, dtype=np.int32))
    centre = (cell.astype(np.float32) + np.float32(0.5)) * np.float32(stride)
    position = position[:, None]
    # expanded as published: at 448 px this rounds to 1/64 px^2, which changes K by 0.2 % against (position - centre)^2
    cost: NDArray[np.float32] = -2 * position * centre + position * position + centre * centre
    kernel = np.exp(-cost / np.float32(REG))
    kernel[(cell < 0) | (cell >= cells)] = 0
    return cell, kernel


def _to_torch(matrix: sparse.csr_array, device: torch.device | None) -> Tensor:
    starts, block, values = (torch.from_numpy(part).to(device) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, block, values, matrix.shape, check_invariants=False)


@torch.no_grad()
def sinkhorn(kernel: GibbsKernel, target: Tensor) -> tuple[Tensor, Tensor]:
    """Run Sinkhorn's iteration for every image at once.

    An image stops where the published loop, which takes one image at a time, would: when the squared error of its
    marginal is at most 1e-9 (tested every 10 iterations), after 100 iterations, or at NaN or infinity with the
    pair before.

    Args:
        kernel: of the images.
        target: (B, blocks) float32, density of each image divided by its sum.

    Returns:
        The scalings u (N,) of the points and v (B, blocks) of the blocks.
    """
    # where no number is negative nothing can overflow (see _TINY), so the pairs need no test
    careful = not bool((target >= 0).all())
    b = target.gather(1, kernel.order)
    u, v = kernel.mass.clone(), torch.full_like(b, 1 / b.shape[1])
    last_u, last_v = u.clone(), v.clone()
    running = torch.ones(len(b), dtype=torch.bool, device=b.device)

    def stop(images: Tensor, u: Tensor, v: Tensor) -> None:
        images = images & running
        torch.where(images[kernel.owner], u, last_u, out=last_u)
        torch.where(images[:, None], v, last_v, out=last_v)
        running.logical_and_(~images)

    reached = torch.mv(kernel.transposed, u)
    for iteration in range(1, ITERATIONS + 1):
        before = (u.clone(), v.clone()) if careful else (u, v)
        torch.div(b, reached.add_(EPS).view_as(b), out=v)
        torch.mv(kernel.matrix, v.view(-1), out=u)
        torch.div(kernel.mass, u.add_(EPS), out=u)
        if careful:
            stop(_broken(kernel, u, v), *before)
        torch.mv(kernel.transposed, u, out=reached)
        if iteration % 10 == 0:
            stop((b - v * reached.view_as(b)).square().sum(dim=1) <= STOP, u, v)
    stop(running, u, v)
    return last_u, torch.empty_like(last_v).scatter_(1, kernel.order, last_v)


def _broken(kernel: GibbsKernel, u: Tensor, v: Tensor) -> Tensor:
    """Return the (B,) mask of images with NaN or infinity in their pair."""
    points = torch.zeros(len(v), device=v.device).index_add_(0, kernel.owner, (~u.isfinite()).float())
    return (points > 0) | ~v.isfinite().all(dim=1)


def transport(density: Tensor, points: Sequence[Points], stride: int) -> Tensor:
    """Return the optimal transport term of each image, (B,).

    Its value is about 0 by construction: it is a linear function of the density with the gradient of the
    transport cost. Images without points have exactly 0.

    Args:
        density: (B, 1, rows, columns).
        points: (n, 2) of each image, in pixels of the map times `stride`.
        stride: block side in pixels.
    """
    flat = widen(density).flatten(1)
    gradient = torch.zeros_like(flat)
    occupied = [index for index, each in enumerate(points) if len(each)]
    if occupied:
        rows, columns = density.shape[-2:]
        chosen = flat.detach()[occupied]
        found = _gradient(chosen.float(), [points[index] for index in occupied], (rows, columns), stride)
        gradient[occupied] = found.to(gradient)
    return (flat * gradient).sum(dim=1)


def _gradient(density: Tensor, points: Sequence[Points], size: tuple[int, int], stride: int) -> Tensor:
    """Return the (B, blocks) gradient of the transport cost with respect to `density`, float32 like the kernel."""
    # elsewhere (mps, xpu) torch has no sparse products
    device = density.device if density.device.type in ("cpu", "cuda") else torch.device("cpu")
    with torch.autocast(density.device.type, enabled=False):
        total = density.sum(dim=1, keepdim=True)
        kernel = gibbs_kernel(points, *size, stride, device)
        _, v = sinkhorn(kernel, (density / (total + _SUM_EPS)).to(device))
        beta = REG * (v.to(density.device) + EPS).log()
        inner = (density * beta).sum(dim=1, keepdim=True)
        square = total.square() + _SUM_EPS
        return beta * (total / square) - inner / square


def variation(density: Tensor, blocks: Tensor, counts: Tensor) -> Tensor:
    """Return n times the L1 distance of the normalised maps of each image, (B,); 0 for images without points.

    Args:
        density: (B, 1, rows, columns).
        blocks: (B, 1, rows, columns) annotated points of each block.
        counts: (B,) number of points n of each image.
    """
    flat, truth = widen(density).flatten(1), blocks.flatten(1)
    predicted = flat / (flat.sum(dim=1, keepdim=True) + _SUM_EPS)
    return counts * (predicted - truth / (counts[:, None] + _SUM_EPS)).abs().sum(dim=1)
