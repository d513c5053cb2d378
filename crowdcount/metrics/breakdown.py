"""Count errors of parts of a data set, by crowd level and by attributes of the images."""

from collections.abc import Sequence
from typing import Final

from crowdcount.metrics.count import count_errors

NWPU_EDGES: Final = (0, 100, 500, 5000)
"""Highest counts of NWPU-Crowd's scene levels 0 to 3; its lists of the validation images agree with them."""

NWPU_CATEGORIES: Final = {"level": ("0", "1", "2", "3", "4"), "luminance": ("0", "1", "2", "3")}
"""Columns of NWPU-Crowd's lists of images."""


def crowd_level(count: float, edges: Sequence[int]) -> str:
    """Return the level of a true count, such as "101-500"; each edge is the highest count of its level."""
    lows = [0, *(edge + 1 for edge in edges)]
    below = sum(count > edge for edge in edges)
    if below == len(edges):
        return f">{edges[-1]}" if edges else "all"
    low, high = lows[below], edges[below]
    return f"{low}-{high}" if low < high else str(high)


def crowd_levels(edges: Sequence[int]) -> list[str]:
    """Return the names of all levels in ascending order."""
    return [crowd_level(edge, edges) for edge in edges] + [crowd_level(float("inf"), edges)]


def errors_by(
    groups: Sequence[str], predicted: Sequence[float], true: Sequence[float]
) -> dict[str, dict[str, float | int]]:
    """Return number of images, MAE, RMSE, NAE and bias (mean of predicted - true) of each group, sorted by name."""
    table: dict[str, dict[str, float | int]] = {}
    for name in sorted(set(groups)):
        own = [(p, t) for group, p, t in zip(groups, predicted, true, strict=True) if group == name]
        bias = sum(p - t for p, t in own) / len(own)
        table[name] = {"images": len(own), **count_errors(*zip(*own, strict=True)), "bias": bias}
    return table


def nwpu_mean_mae(
    category: str, groups: Sequence[str], predicted: Sequence[float], true: Sequence[float]
) -> dict[str, float]:
    """Return the MAE of each category of NWPU-Crowd and their mean, as computed by its server.

    Every category has the same weight, however many images it has. A category without images has an MAE of -1, which
    enters the mean as it is, so the mean of a part of the data set is not comparable.

    Args:
        category: "level" (five of them) or "luminance" (four).
        groups: category of each image, as in the lists of the data set: "0", "1", ...
        predicted: predicted counts.
        true: true counts.

    Returns:
        The MAE by category, and their mean under "mean".
    """
    parts = errors_by(groups, predicted, true)
    maes = {name: float(parts[name]["mae"]) if name in parts else -1.0 for name in NWPU_CATEGORIES[category]}
    return {**maes, "mean": sum(maes.values()) / len(maes)}
