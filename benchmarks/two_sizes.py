"""Means of the densities at full and half size, and doubt, on images held out from a training.

For the mean of `crowdcount.models.ebc.network.average_with_half` and the bound
`crowdcount.inference.prediction.DOUBTFUL`; docs/default_model.md says how they were chosen.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import crowdcount
from benchmarks.default_model import Counted, doubts, scaled
from benchmarks.race import Commands, Row
from crowdcount.cli.data_section import read_data, split_records
from crowdcount.data import Record
from crowdcount.errors import InputError
from crowdcount.inference.model import Model
from crowdcount.inference.prediction import DOUBT_FLOOR
from crowdcount.metrics.macro import macro_nae
from crowdcount.models.ebc.network import Ebc
from crowdcount.predictor import DEFAULT_MODEL
from crowdcount.zoo.config import find_config

Blocks = NDArray[np.float64]
Mean = Callable[[Blocks, Blocks], Blocks]


def _weighted(crowd: float, ratio: float) -> Mean:
    def mean(full: Blocks, half: Blocks) -> Blocks:
        alone = (full / ratio / np.maximum(half, 1e-12)) ** 2
        weight = (0.5 / (1 + full / crowd) + alone) / (1 + alone)
        return full ** (1 - weight) * half**weight

    return mean


MEANS: Final[dict[str, Mean]] = {
    "full size": lambda full, half: full,
    "half size": lambda full, half: half,
    "arithmetic": lambda full, half: (full + half) / 2,
    "harmonic": lambda full, half: 2 * full * half / np.maximum(full + half, 1e-12),
    "geometric": lambda full, half: np.sqrt(full * half),
    "geometric, 2/3 and 1/3": lambda full, half: full ** (2 / 3) * half ** (1 / 3),
    **{f"weighted, {crowd} and {ratio}": _weighted(crowd, ratio) for crowd in (2, 4, 8) for ratio in (5, 10, 20, inf)},
}
"""Means of the people in four blocks of an image and in the block of its copy at half size that covers them.

The weight of half the size in "weighted, C and R" is (1/2 / (1 + D / C) + x) / (1 + x), x = (D / (R h))^2, for D people
in the four blocks and h in the one; the package has C = 2 and R = 10.
"""


@dataclass(frozen=True)
class TwoSizes:
    """An image counted at both sizes.

    Attributes:
        source: the data set that it is of.
        true: its annotated count.
        full: (rows / 2, columns / 2) people in four blocks of the image.
        half: people in the block of its copy at half size that covers them.
    """

    source: str
    true: int
    full: Blocks
    half: Blocks


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    add = commands.add_parser("two_sizes", parents=[shared], help="means of the densities at two sizes").add_argument
    add("--model", default=DEFAULT_MODEL, help="name or file (default %(default)s)")
    add("--data", default=DEFAULT_MODEL, metavar="CONFIG", help="configuration whose validation images are counted")
    add("--scale", type=float, nargs="+", default=[1.0, 0.5], help="sides of the images, relative to their own")
    commands.choices["two_sizes"].set_defaults(run=two_sizes_benchmark)


def two_sizes_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Return the errors and doubts of every mean at every scale.

    Raises:
        InputError: the model does not count at two sizes, or the data cannot be read.
    """
    model = crowdcount.load_model(arguments.model).density_model()
    if not isinstance(model.network, Ebc) or not model.network.half_size:
        raise InputError(f"--model {arguments.model}: counts at one size; name one with half_size")
    records = split_records(read_data(find_config(arguments.data), ()), "val")
    rows = []
    for scale in arguments.scale:
        found = list(count_at_both(model, records, scale))
        rows += [{"scale": scale, "mean": name, **measured(found, mean)} for name, mean in MEANS.items()]
    return rows


def count_at_both(model: Model, records: Sequence[Record], scale: float) -> Iterator[TwoSizes]:
    """Count the images of records at full and at half size."""
    assert isinstance(model.network, Ebc)
    anchors = np.asarray(model.network.bins.values)
    for record in tqdm(records, f"scale {scale:g}", leave=False, disable=None):
        found = model.predict(scaled(record.read(), scale))
        assert found.probabilities is not None and found.size_difference is not None
        full = np.tensordot(anchors, found.probabilities, axes=1)
        half = np.maximum(full - found.size_difference, 0)
        yield TwoSizes(record.attributes.get("source", ""), record.count, _fours(full), _fours(half))


def _fours(blocks: Blocks) -> Blocks:
    """Sum blocks two by two, with nobody beyond the last row and column."""
    rows, columns = (side + side % 2 for side in blocks.shape)
    even = np.zeros((rows, columns))
    even[: blocks.shape[0], : blocks.shape[1]] = blocks
    fours: Blocks = even.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3))
    return fours


def measured(found: Sequence[TwoSizes], mean: Mean) -> Row:
    """Return `macro_nae` of a mean, how many counts are off by half, and how many are doubted."""
    counts = [float(mean(each.full, each.half).sum()) for each in found]
    errors = macro_nae(counts, [each.true for each in found], [each.source for each in found])
    differences = [abs(float(each.full.sum() - each.half.sum())) for each in found]
    seen = [
        Counted(each.true, count, difference / max(count, DOUBT_FLOOR))
        for each, count, difference in zip(found, counts, differences, strict=True)
    ]
    return {**errors, **doubts(seen)}
