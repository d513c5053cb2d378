"""Labelled frames of a site, and the parts of them that are held out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crowdcount.data.annotations.count_table import CountedFile
from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image

_STREAM = 104  # first word of the seeds here; other uses of the same seed have other words


@dataclass(frozen=True)
class Frame:
    """A frame with the number of people in it, and with their points where they are known.

    Attributes:
        record: the image; its points are None where the number alone is known.
        count: number of people.
        group: frames of one group are held out together, as those of one window of a video; by default the own name.
    """

    record: Record
    count: float
    group: str


def frames_of_records(records: Sequence[Record]) -> list[Frame]:
    """Return frames with points.

    Raises:
        InputError: the annotation of an image is not public.
    """
    return [Frame(record, float(record.count), record.name) for record in records]


def frames_of_files(files: Sequence[CountedFile]) -> list[Frame]:
    """Return frames with counts alone; those of one window form a group."""
    return [Frame(Record(each.name, each.path, None), each.count, each.window or each.name) for each in files]


def outside(frames: Sequence[Frame], mask: IgnoreMask | None) -> list[Frame]:
    """Return frames without the points under a mask; counts alone are already those of the people outside it."""
    records = [frame.record.outside(mask) for frame in frames]
    return [
        frame if record.points is None else replace(frame, record=record, count=float(record.count))
        for frame, record in zip(frames, records, strict=True)
    ]


@dataclass(frozen=True)
class Painted:
    """The image of a record with one colour under a mask: people there are not labelled, and must teach nothing.

    Attributes:
        record: of the image.
        mask: of its size.
        colour: RGB, 0 to 255.
    """

    record: Record
    mask: IgnoreMask
    colour: tuple[int, int, int]

    def __call__(self) -> Image:
        """Return the image (H, W, 3) uint8.

        Raises:
            InputError: it cannot be read, or has another size than the mask.
        """
        image = self.record.read()
        self.mask.check(*image.shape[:2])
        return np.where(self.mask.pixels[..., None], np.array(self.colour, np.uint8), image)


def check_frames(frames: Sequence[Frame]) -> None:
    """Check that a part of the frames can be held out, and that they show what is to be counted.

    Raises:
        InputError: there are fewer than two groups of them, or nobody is in any.
    """
    groups = len({frame.group for frame in frames})
    if not frames:
        raise InputError("frames: there are none; label 5 to 50 of the site")
    if groups < 2:
        raise InputError(
            f"frames: {len(frames)} in one group; a part must be held out to see whether adapting helps, so label at "
            "least 2, better 5 to 50, at different times"
        )
    if not any(frame.count for frame in frames):
        raise InputError(
            f"frames: nobody is in any of the {len(frames)}, which would teach the model to count nobody anywhere; "
            "label frames with people as well"
        )


def held_out_parts(frames: Sequence[Frame], folds: int, seed: int) -> list[list[int]]:
    """Return the indices of the frames of each part: every frame is in one, and a group is never divided.

    Args:
        frames: the frames.
        folds: number of parts; there are no more than groups.
        seed: seed of the random parts.
    """
    groups = list(dict.fromkeys(frame.group for frame in frames))
    order = np.random.default_rng([_STREAM, seed]).permutation(len(groups))
    parts = min(folds, len(groups))
    part_of = {groups[group]: place % parts for place, group in enumerate(order)}
    return [[number for number, frame in enumerate(frames) if part_of[frame.group] == part] for part in range(parts)]
