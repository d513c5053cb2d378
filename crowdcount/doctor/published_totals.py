"""Published sizes of the data sets, as far as they could be verified.

Sources: the lists and papers of the data sets, and counts over the published files. Totals that include points outside
their image are compared with all points, the others with the points inside.
"""

from typing import Final, NamedTuple

from crowdcount.data.sample import Split


class Total(NamedTuple):
    """Published size of one split, or of several together.

    Attributes:
        splits: splits that the totals cover.
        images: number of images.
        heads: number of points; None if no verified number is known.
        inside: whether `heads` only includes points inside their images: releases differ in the others.
    """

    splits: tuple[Split, ...]
    images: int
    heads: int | None = None
    inside: bool = False


TOTALS: Final[dict[str, tuple[Total, ...]]] = {
    "sha": (
        Total(("train",), 300, 162_413, inside=True),
        Total(("test",), 182, 78_862, inside=True),
    ),
    "shb": (
        Total(("train",), 400, 49_151, inside=True),
        Total(("test",), 316, 39_121, inside=True),
    ),
    "qnrf": (
        Total(("train", "val"), 1201),
        Total(("test",), 334, 240_127),
        Total(("train", "val", "test"), 1535, 1_251_642),
    ),
    **{f"ucfcc50.fold{fold}": (Total(("train", "val", "test"), 50, 63_974),) for fold in range(1, 6)},
    "nwpu": (Total(("train",), 3109), Total(("val",), 500, 196_238), Total(("test",), 1500)),
    "jhu": (
        Total(("train",), 2272),
        Total(("val",), 500),
        Total(("test",), 1600),
        Total(("train", "val", "test"), 4372, 1_515_005),
    ),
    "mall": (Total(("train",), 800), Total(("test",), 1200), Total(("train", "test"), 2000, 62_315)),
    "fsc147": (Total(("train",), 3659), Total(("val",), 1286, 82_042), Total(("test",), 1190, 78_836)),
}
"""Totals by `CrowdSource.key`, of the data sets with verified totals."""
