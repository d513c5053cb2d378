"""Concatenation of data sets."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.errors import InputError


class Concat(CrowdSource):
    """Concatenation of data sets: each split consists of the splits of that name of all of them.

    Record names are prefixed with the name of the data set and a slash; the attribute `source` is the name of the data
    set. If some of the data sets have a validation split, the validation split consists of these: no part of the others
    is held out (`HoldOut` does that for a single data set).

        source:
          class_path: crowdcount.data.Concat
          init_args:
            sources:
              sha: {class_path: crowdcount.data.ShanghaiTech, init_args: {root: data/ShanghaiTech, part: A}}
              qnrf: {class_path: crowdcount.data.UcfQnrf, init_args: {root: data/UCF-QNRF}}
            weights: {sha: 0.7, qnrf: 0.3}

    Args:
        sources: data sets by freely chosen names, in the order of the records.
        weights: share of the training crops from each data set, whatever its number of images; the shares need not
            sum to 1. Without weights, every image is drawn once per epoch.

    Raises:
        InputError: if there is no data set, a name is invalid, or weights are not one positive number for each data
            set.
    """

    def __init__(self, sources: Mapping[str, CrowdSource], weights: Mapping[str, float] | None = None) -> None:
        if not sources:
            raise InputError("sources: give at least one data set")
        for name in sources:
            if not name or "/" in name:
                raise InputError(f"sources: {name!r} is no name of a data set; use letters and digits, no slash")
        if weights is not None and weights.keys() != sources.keys():
            raise InputError(f"weights: {', '.join(weights)}; give one for each of {', '.join(sources)}")
        for name, weight in (weights or {}).items():
            if not 0 < weight < math.inf:
                raise InputError(f"weights.{name}: {weight} must be a number above 0; leave the data set out instead")
        self.sources = dict(sources)
        self.weights = None if weights is None else dict(weights)

    @property
    def key(self) -> str:
        """Names of the data sets, such as "sha+qnrf"."""
        return "+".join(self.sources)

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split of all data sets."""
        return [_named(name, record) for name, source in self.sources.items() for record in source.records(split)]

    def sampling_weights(self, records: Sequence[Record]) -> NDArray[np.float64] | None:
        """Return (N,) relative probabilities by which every data set gets its share; None without weights.

        Args:
            records: records of this data set, or a part of them; a data set without records has no share.
        """
        if self.weights is None:
            return None
        images = Counter(record.attributes["source"] for record in records)
        names = [record.attributes["source"] for record in records]
        return np.array([self.weights[name] / images[name] for name in names])


def _named(name: str, record: Record) -> Record:
    return replace(record, name=f"{name}/{record.name}", attributes={**record.attributes, "source": name})
