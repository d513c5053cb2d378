"""The Bayesian loss: every annotated point should get a count of 1, the background of 0.

Source: Ma et al., "Bayesian Loss for Crowd Count Estimation with Point Supervision", ICCV 2019, arXiv 1908.03684; the
letters are ours. With cells x_m, their density D(x_m) and N points z_n:

    likelihood   p(x_m | y_n) = N(x_m; z_n, sigma^2 I)                                          (a)
    posterior    p(y_n | x_m) = p(x_m | y_n) / sum_k p(x_m | y_k)                                (b)
    count        E[c_n] = sum_m p(y_n | x_m) D(x_m)                                              (c)
    loss         L_Bayes = sum_n |1 - E[c_n]|                                                    (d)

and with a background y_0 (Bayesian+), whose likelihood is that of a dummy point at the
distance d from z, the point nearest to the cell, on the line from z through the cell:

    likelihood   p(x_m | y_0) proportional to exp(-(d - |x_m - z|)^2 / (2 sigma^2))              (e)
    loss         L_Bayes+ = sum_n |1 - E[c_n]| + |0 - E[c_0]|, with y_0 among the k of (b)       (f)

The factors before the exponentials of (a) and (e) are the same and cancel in (b), which is a softmax over n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.geometry import Points
from crowdcount.losses.density import DensityLoss
from crowdcount.losses.precision import widen


@dataclass
class BayesianLoss(DensityLoss):
    """The Bayesian loss with a background (Bayesian+) or without.

    Returns the terms `points`, (d), and `background`, |E[c_0]| of (f). An image without points is all background, in
    either form. Needs memory for one number for each pair of a point and a cell.

    Args:
        sigma: standard deviation of the likelihood in pixels.
        background: distance d of the dummy point as a share of the image's shorter side; null leaves
            the background out, so that every cell belongs to the points.

    Raises:
        InputError: a number that is not finite and above 0.
    """

    sigma: float = 8.0
    background: float | None = 0.15

    def __post_init__(self) -> None:
        for name in ("sigma", "background"):
            value = getattr(self, name)
            if value is not None:
                check_number(f"loss.{name}", value, 0, above=True)

    def __call__(self, density: Tensor, points: Sequence[Points], stride: int) -> dict[str, Tensor]:
        """Return the terms, see `DensityLoss`."""
        maps = widen(density)[:, 0]
        with torch.autocast(density.device.type, enabled=False):
            images = [self._image_terms(map_, each, stride) for map_, each in zip(maps, points, strict=True)]
        of_points, of_background = torch.stack(images).mean(dim=0)
        return {"points": of_points, "background": of_background}

    def _image_terms(self, density: Tensor, points: Points, stride: int) -> Tensor:
        """Return the two terms of one image, (2,), for its density (rows, columns)."""
        total = density.sum()
        if not len(points):
            return torch.stack([torch.zeros_like(total), total.abs()])
        rows, columns = density.shape
        margin = None if self.background is None else self.background * min(rows, columns) * stride
        positions = torch.from_numpy(points).to(density)
        expected = posterior(positions, rows, columns, stride, self.sigma, margin) @ density.flatten()
        background = torch.zeros_like(total) if margin is None else expected[-1].abs()
        return torch.stack([(1 - expected[: len(points)]).abs().sum(), background])


def posterior(
    points: Tensor, rows: int, columns: int, stride: int, sigma: float, margin: float | None = None
) -> Tensor:
    """Return the probability that the density of a cell belongs to each point, and in a last row to the background.

    Args:
        points: (N, 2) pixels, N >= 1.
        rows: rows of the density map.
        columns: columns of the density map.
        stride: side of a cell in pixels; a cell lies at its centre.
        sigma: standard deviation of the likelihood in pixels.
        margin: distance d of the dummy point of the background in pixels; None for no background.

    Returns:
        (N, rows * columns), or (N + 1, rows * columns) with the background; the columns sum to 1.
    """
    x, y = ((torch.arange(cells).to(points) + 0.5) * stride for cells in (columns, rows))
    along_x, along_y = (points[:, :1] - x).square(), (points[:, 1:] - y).square()
    squared = (along_y[:, :, None] + along_x[:, None, :]).flatten(1)
    if margin is not None:
        dummy = (margin - squared.amin(dim=0).sqrt()).square()
        squared = torch.cat([squared, dummy[None]])
    return (squared / (-2 * sigma**2)).softmax(dim=0)
