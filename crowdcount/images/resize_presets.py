"""Size rules of other papers, by name."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.images.read import Image
from crowdcount.images.resize import Interpolation, apply_rule, check_quality, cv_resized

Rule = Literal[
    "bayesian",
    "man",
    "dm_count/qnrf",
    "dm_count/nwpu",
    "nwpu_sample",
    "steerer/shanghaitech",
    "steerer/qnrf",
    "steerer/nwpu",
    "pet/qnrf",
    "pet/nwpu",
    "pet/jhu",
    "cltr/nwpu_train",
    "cltr/nwpu_test",
    "cltr/jhu",
    "fidtm/qnrf_train",
    "fidtm/qnrf_test",
    "zip/224",
    "zip/448",
    "zip/672",
]


@dataclass(frozen=True)
class Limits:
    """Limits of the image size; the aspect ratio is kept up to the rounding of each side.

    The image is shrunk to the upper limits or, with `fill`, scaled to `longest`. It is then enlarged to the lower
    limits, which take precedence if no size satisfies all of them.

    Attributes:
        shortest: lower limit of the shorter side in pixels.
        window: lower limits of width and height.
        short: upper limit of the shorter side; null for none.
        longest: upper limit of the longer side; null for none.
        fill: whether to enlarge smaller images to `longest`.
        multiple: divisor of both sides, which are not rounded below their lower limits.
        nearest: whether to round to the nearest multiple; otherwise down.
        cap: whether to limit each side to `longest` at the end: if limits conflict, the upper one takes precedence
            and the aspect ratio changes.
    """

    shortest: int = 0
    window: tuple[int, int] = (0, 0)
    short: int | None = None
    longest: int | None = None
    fill: bool = False
    multiple: int = 1
    nearest: bool = True
    cap: bool = False

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size."""
        # Ratios are pairs of whole numbers: a limit is reached exactly and not missed by a rounding error.
        up, down = min(self._shrinking(width, height), key=_value)
        for least, side in self._least(width, height):
            if side * up < least * down:
                up, down = least, side
        return self._side(width, up, down, 0), self._side(height, up, down, 1)

    def _shrinking(self, width: int, height: int) -> list[tuple[int, int]]:
        short, long = sorted((width, height))
        ratios = [] if self.fill else [(1, 1)]
        ratios += [] if self.short is None else [(self.short, short)]
        return ratios + ([] if self.longest is None else [(self.longest, long)])

    def _least(self, width: int, height: int) -> list[tuple[int, int]]:
        return [(self.shortest, min(width, height)), (self.window[0], width), (self.window[1], height)]

    def _side(self, side: int, up: int, down: int, axis: int) -> int:
        scaled = side * up / down / self.multiple if self.nearest else side * up // down // self.multiple
        rounded = max(round(scaled) * self.multiple, self.shortest, self.window[axis], 1)
        return min(rounded, self.longest) if self.cap and self.longest else rounded


def _value(ratio: tuple[int, int]) -> float:
    return ratio[0] / ratio[1]


LIMITS: Final[dict[Rule, Limits]] = {
    "bayesian": Limits(shortest=512, short=2048),
    "man": Limits(shortest=512, short=2048),
    "dm_count/qnrf": Limits(shortest=512, short=2048),
    "dm_count/nwpu": Limits(shortest=384, longest=1920, fill=True, multiple=16, nearest=False, cap=True),
    "nwpu_sample": Limits(window=(768, 576), longest=2048, fill=True, multiple=16),
    "steerer/shanghaitech": Limits(longest=2048),
    "steerer/qnrf": Limits(longest=3072),
    "steerer/nwpu": Limits(longest=4096),
    "pet/qnrf": Limits(longest=1536, nearest=False),
    "pet/nwpu": Limits(longest=2048, nearest=False),
    "pet/jhu": Limits(longest=2048, nearest=False),
    "cltr/nwpu_train": Limits(longest=2048),
    "cltr/nwpu_test": Limits(longest=4096),
    "cltr/jhu": Limits(shortest=512, longest=2048),
    "fidtm/qnrf_train": Limits(shortest=512, longest=2048),
    "fidtm/qnrf_test": Limits(shortest=1024, longest=2048),
    "zip/224": Limits(shortest=224, nearest=False),
    "zip/448": Limits(shortest=448, nearest=False),
    "zip/672": Limits(shortest=672, nearest=False),
}
"""Limits of each rule."""


@dataclass(frozen=True)
class ResizePreset:
    """Resizing of whole images as in the code of a paper; see `LIMITS` for the numbers.

    - bayesian (Bayesian loss), man (MAN), for UCF-QNRF and JHU-CROWD++, and dm_count/qnrf (DM-Count): the shorter side
      from 512 to 2048;
    - dm_count/nwpu: the longer side to 1920, enlarging smaller images, each side from 384 to 1920, multiples of 16;
    - nwpu_sample (the sample code of NWPU-Crowd): the longer side to 2048, enlarging smaller images, then at least 768
      wide and 576 high, our reading of its minimum size 576x768; multiples of 16;
    - steerer/shanghaitech, /qnrf, /nwpu (STEERER's `base_size` in tests, read as the limit of the longer side):
      2048, 3072, 4096;
    - pet/qnrf, /nwpu, /jhu (PET): the longer side at most 1536, 2048, 2048;
    - cltr/nwpu_train, /nwpu_test, /jhu (CLTR): the longer side at most 2048, 4096, 2048, the last with a shorter side
      of at least 512;
    - fidtm/qnrf_train, /qnrf_test (FIDTM): the longer side at most 2048, the shorter at least 512, 1024;
    - zip/224, /448, /672 (ZIP): the shorter side at least that. It tests with 224 on ShanghaiTech and 672 on UCF-QNRF
      and NWPU-Crowd, and validates with 448 on ShanghaiTech. Its code enlarges normalised floats, narrow images in two
      steps with the same final size.

    CLIP-EBC's rule is `Resize`, that of detectors `ShortSide`. Limits and multiples are those of the published code.
    The precedence of conflicting limits and the rounding are as published for rules that set `Limits.cap` or
    `Limits.nearest`, and otherwise ours: the lower limit takes precedence, sides are rounded to the nearest multiple.
    The published codes differ in their resampling; here it is an option, so pixels differ from theirs.

    Args:
        rule: name of the rule.
        interpolation: OpenCV's bicubic or bilinear, without anti-aliasing, or its area mean.
        jpeg_quality: quality (1-100) at which every image is compressed and decoded again, as preprocessing to JPEG
            files does; null keeps the pixels. DM-Count used 75, PET 100.

    Raises:
        InputError: if there is no such rule, interpolation or quality.
    """

    rule: Rule
    interpolation: Interpolation = "cubic"
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in LIMITS:
            raise InputError(f"rule: {self.rule!r} is none of {', '.join(LIMITS)}")
        if self.interpolation not in get_args(Interpolation):
            raise InputError(f"interpolation: {self.interpolation!r} is none of {', '.join(get_args(Interpolation))}")
        check_quality(self.jpeg_quality)

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of an image of that size."""
        return LIMITS[self.rule].target(width, height)

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size, uncompressed; the same object if it keeps its size."""
        height, width = image.shape[:2]
        target = self.target(width, height)
        return image if target == (width, height) else cv_resized(image, target, self.interpolation)

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image (H, W, 3) uint8 and scale its points (N, 2) by the ratio of each side."""
        return apply_rule(self, image, points)
