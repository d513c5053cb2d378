"""Random splits for data sets without official ones."""

import numpy as np

from crowdcount.checks import check_number
from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError

_STREAM = 103  # first word of the seeds here; other uses of the same seed have other words


class HoldOut(CrowdSource):
    """A data set whose training images are split into training, validation and test, without copying files.

    The parts are random, but determined by the seed and the data set. The test images are drawn first, so they do not
    depend on `val`.

        source:
          class_path: crowdcount.data.HoldOut
          init_args:
            source: {class_path: crowdcount.data.Folder, init_args: {root: data/mine}}
            val: 0.15
            test: 0.25

    Args:
        source: the data set.
        val: share of its training images for validation; 0 keeps its own validation split.
        test: share of its training images for testing; 0 keeps its own test split.
        seed: seed of the random parts.

    Raises:
        InputError: if the shares are negative or leave nothing to train on, or the seed is negative.
    """

    def __init__(self, source: CrowdSource, val: float = 0.0, test: float = 0.0, seed: int = 0) -> None:
        if not (val >= 0 and test >= 0 and val + test < 1):
            raise InputError(f"val, test: {val}, {test} are shares of the training images; their sum must be below 1")
        check_number("seed", seed, 0)
        self.source = source
        self.shares: dict[Split, float] = {"test": test, "val": val}
        self.seed = seed

    @property
    def key(self) -> str:
        """Key of the data set with a suffix, such as "sha.held_out"."""
        return f"{self.source.key}.held_out"

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split in the order of the data set.

        Raises:
            InputError: if the data set already has such a split, or a file is missing or damaged.
        """
        held = [name for name, share in self.shares.items() if share > 0]
        if split != "train" and split not in held:
            return self.source.records(split)
        for name in held:
            if self.source.records(name):
                raise InputError(f"{name}: the data set has a {name} split of its own; set the share to 0 to use it")
        return self._parts()[split]

    def _parts(self) -> dict[Split, list[Record]]:
        parts: dict[Split, list[Record]] = {}
        rest = self.source.records("train")
        total = len(rest)
        for name, share in self.shares.items():
            # relative to the remaining images, so that the part is `share` of all
            fraction = share * total / len(rest) if rest else 0
            rest, parts[name] = hold_out(rest, fraction, self.seed) if share else (rest, [])
        return {**parts, "train": rest}


def hold_out(records: list[Record], fraction: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Split records into kept ones and a seeded random `fraction` (at least one) held out, both in file order."""
    size = min(max(round(len(records) * fraction), 1), len(records))
    chosen = set(np.random.default_rng([_STREAM, seed]).permutation(len(records))[:size].tolist())
    kept = [record for index, record in enumerate(records) if index not in chosen]
    return kept, [records[index] for index in sorted(chosen)]
