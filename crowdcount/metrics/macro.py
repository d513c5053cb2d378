"""Relative count error with equal weight for every data set, including those without people."""

import math
from collections.abc import Sequence

from crowdcount.distributed import all_gather

FLOOR = 10
"""Lower limit of the denominator: 3 people counted in an empty image are an error of 0.3."""


def macro_nae(predicted: Sequence[float], true: Sequence[float], sources: Sequence[str]) -> dict[str, float]:
    """Return the mean relative error of each source and the mean of these.

    The error of an image is |predicted - true| / max(true, 10), which is defined for images without people too.

    Args:
        predicted: predicted counts.
        true: true counts, in the same order.
        sources: data set of each image.

    Returns:
        `macro_nae`, and `macro_nae/SOURCE` of each source, sorted by name.

    Raises:
        ValueError: if the lengths differ or there are no images.
    """
    errors: dict[str, list[float]] = {source: [] for source in sorted(set(sources))}
    for p, t, source in zip(predicted, true, sources, strict=True):
        errors[source].append(abs(p - t) / max(t, FLOOR))
    if not errors:
        raise ValueError("count errors need at least one image")
    means = {source: math.fsum(values) / len(values) for source, values in errors.items()}
    whole = math.fsum(means.values()) / len(means)
    return {"macro_nae": whole, **{f"macro_nae/{source}": mean for source, mean in means.items() if source}}


class MacroNae:
    """`macro_nae` of the images of an epoch, gathered over processes."""

    def __init__(self) -> None:
        self._images: list[tuple[float, float, str]] = []

    def update(self, predicted: float, true: float, source: str) -> None:
        """Add one image."""
        self._images.append((predicted, true, source))

    def compute(self) -> dict[str, float]:
        """Return `macro_nae` of the images of all processes; a collective call."""
        predicted, true, sources = zip(*all_gather(self._images), strict=True)
        return macro_nae(predicted, true, sources)

    def reset(self) -> None:
        """Remove all images."""
        self._images = []
