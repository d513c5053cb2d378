"""The size rules of further papers, by name."""

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
    """Limits that an image of any size is brought to; its aspect ratio is kept but for the rounding of each side.

    The image is shrunk until it is within the highest limits, or, where `fill`, scaled to reach `longest`; after that
    it is enlarged until it is within the lowest ones, which win where no size satisfies all.

    Attributes:
        shortest: least pixels of the shorter side.
        window: least width and height.
        short: most pixels of the shorter side; null for any.
        longest: most pixels of the longer side; null for any.
        fill: enlarge a smaller image to `longest`, too.
        multiple: sides are rounded to multiples of this, but not below the least.
        nearest: round to the nearest multiple; otherwise down.
        cap: cut each side to `longest` at the end, so that of limits that exclude each other the highest wins and the
            shape changes.
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
        """Return the (width, height) an image of that size gets."""
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
"""The numbers behind each name."""


@dataclass(frozen=True)
class ResizePreset:
    """Brings whole images to the size that the code of a paper gives them; see `LIMITS` for the numbers.

    - bayesian (Bayesian loss), man (MAN), for UCF-QNRF and JHU-CROWD++, and dm_count/qnrf (DM-Count): the shorter side
      from 512 to 2048;
    - dm_count/nwpu: the longer side to 1920, also of smaller images, each side from 384 to 1920, multiples of 16;
    - nwpu_sample (the sample code of NWPU-Crowd): the longer side to 2048, also of smaller images, then at least 768
      wide and 576 high, as its least size, 576x768, is taken; multiples of 16;
    - steerer/shanghaitech, /qnrf, /nwpu (STEERER's `base_size` in tests, taken as the most pixels of the longer side):
      2048, 3072, 4096;
    - pet/qnrf, /nwpu, /jhu (PET): the longer side at most 1536, 2048, 2048;
    - cltr/nwpu_train, /nwpu_test, /jhu (CLTR): the longer side at most 2048, 4096, 2048, the last with a shorter one of
      512 at least;
    - fidtm/qnrf_train, /qnrf_test (FIDTM): the longer side at most 2048, the shorter at least 512, 1024;
    - zip/224, /448, /672 (ZIP): the shorter side at least that. Its tests take 224 for ShanghaiTech, 672 for UCF-QNRF
      and NWPU-Crowd; while it trains, ShanghaiTech is validated at 448. It enlarges normalised floats, narrow images in
      two steps that give the same size.

    CLIP-EBC's rule is `Resize`, that of detectors `ShortSide`. These limits and multiples are those of the published
    code. Which limit gives way where they exclude each other, and the rounding, are so where `Limits` says it of a
    rule, and otherwise ours: the lower limit wins, sides are rounded to the nearest. The resampling is a choice: it
    differs between these codes, and so from their pixels.

    Args:
        rule: whose rule.
        interpolation: OpenCV's bicubic or bilinear, without anti-aliasing, or the mean over areas.
        jpeg_quality: quality (1-100) at which every image is compressed and decoded again, as preprocessing into JPEG
            files does; null keeps the pixels. DM-Count wrote files of 75, PET of 100.

    Raises:
        InputError: no such rule or quality.
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
        """Return the (width, height) an image of that size gets."""
        return LIMITS[self.rule].target(width, height)

    def scaled(self, image: Image) -> Image:
        """Return an image (H, W, 3) uint8 at its new size, not yet compressed; itself where it keeps its size."""
        height, width = image.shape[:2]
        target = self.target(width, height)
        return image if target == (width, height) else cv_resized(image, target, self.interpolation)

    def __call__(self, image: Image, points: Points) -> tuple[Image, Points]:
        """Resize an image (H, W, 3) uint8 and its points (N, 2), which are scaled by each side's own ratio."""
        return apply_rule(self, image, points)
