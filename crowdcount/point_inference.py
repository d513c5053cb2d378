"""From a whole image and expressions to points and counts: the path of validation, testing, tools and Python API."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.metrics import predicted_radius
from crowdcount.models.rec.detections import PointDetections, selected
from crowdcount.models.rec.network import ReferringDetector


@dataclass(frozen=True)
class PointPrediction:
    """What a model says of one expression in one image.

    Attributes:
        text: the expression.
        points: (K, 2) in pixels of the image as the network saw it.
        sizes: (K, 2) width and height of the boxes, in pixels; training on points does not supervise them.
        scores: (K,) score of [CLS].
        height: height in pixels of that image.
        width: its width.
    """

    text: str
    points: Points
    sizes: NDArray[np.float32]
    scores: NDArray[np.float32]
    height: int
    width: int

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self.points)


@dataclass
class PointInference:
    """How the objects an expression names are found in a whole image.

    A query counts where its score of [CLS] and of every word are above their thresholds, as in GroundingREC. Where
    nearly all queries of a detector count, it may have run out of them: the image is cut into four overlapping tiles,
    each enlarged to the size of the image, and points of different tiles that lie within a radius are one.

    Args:
        cls_threshold: least score of [CLS].
        word_threshold: least score of each word.
        full: share of the queries above which an image is tiled; 1 never tiles.
        overlap: share of the image's side that neighbouring tiles have in common.
        merge_radius: points of different tiles are one within this share of the predicted objects' radius (half the
            diagonal of the box of median area).
        depth: how often tiles are cut again.

    Raises:
        InputError: a number is out of its range.
    """

    cls_threshold: float = 0.25
    word_threshold: float = 0.35
    full: float = 0.72
    overlap: float = 0.1
    merge_radius: float = 0.5
    depth: int = 2

    def __post_init__(self) -> None:
        for key in ("cls_threshold", "word_threshold", "full", "overlap"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"inference.{key}: {getattr(self, key)} should be between 0 and 1")
        if self.merge_radius < 0 or self.depth < 0:
            raise InputError(f"inference.merge_radius, depth: {self.merge_radius}, {self.depth} should be at least 0")

    @torch.inference_mode()
    def __call__(
        self, network: ReferringDetector, image: Tensor, texts: Sequence[str], attributes: Sequence[str] = ()
    ) -> list[PointPrediction]:
        """Find what each expression names.

        Args:
            network: in evaluation mode, on the device of the image.
            image: (3, H, W) uint8, or float in [0, 1], RGB.
            texts: the expressions.
            attributes: see `ReferringDetector.tokenize`; not needed to count.

        Raises:
            InputError: an expression is empty or too long.
        """
        if not texts:
            return []
        found = self._find(network, network.normalize(image[None]), list(texts), self.depth)
        height, width = image.shape[-2:]
        return [
            PointPrediction(text, points * (width, height), sizes * (width, height), scores, height, width)
            for text, (points, sizes, scores) in zip(texts, found, strict=True)
        ]

    def _find(self, network: ReferringDetector, image: Tensor, texts: list[str], depth: int) -> list["_Found"]:
        """Return for each expression points and sizes as parts of the image's sides, and scores."""
        rows = torch.zeros(len(texts), dtype=torch.long, device=image.device)
        inside = torch.ones(1, *image.shape[-2:], dtype=torch.bool, device=image.device)
        phrases = network.tokenize(texts, [""] * len(texts)).to(image.device)
        found = self._kept(network(image, inside, phrases, rows))
        crowded = [i for i, (points, _, _) in enumerate(found) if len(points) > self.full * network.queries]
        if depth and crowded:
            tiled = self._tiles(network, image, [texts[i] for i in crowded], depth - 1)
            for i, more in zip(crowded, tiled, strict=True):
                found[i] = more
        return found

    def _kept(self, detections: PointDetections) -> list["_Found"]:
        keep = selected(detections.logits, detections.phrases, self.cls_threshold, self.word_threshold)
        scores = detections.logits[..., 0].sigmoid()

        def kept(values: Tensor, row: int) -> NDArray[np.float32]:
            found: NDArray[np.float32] = values[row][keep[row]].float().cpu().numpy()
            return found

        return [
            (kept(detections.points, row), kept(detections.sizes, row), kept(scores, row)) for row in range(len(keep))
        ]

    def _tiles(self, network: ReferringDetector, image: Tensor, texts: list[str], depth: int) -> list["_Found"]:
        side = 0.5 + self.overlap / 2
        parts: list[list[_Found]] = [[] for _ in texts]
        for left in (0.0, 1 - side):
            for top in (0.0, 1 - side):
                tile = functional.interpolate(_cut(image, left, top, side), size=image.shape[-2:], mode="bilinear")
                for part, (points, sizes, scores) in zip(parts, self._find(network, tile, texts, depth), strict=True):
                    part.append((points * side + (left, top), sizes * side, scores))
        return [self._merged(part) for part in parts]

    def _merged(self, parts: list["_Found"]) -> "_Found":
        """Join the points of tiles; of those that are one, the point with the highest score stays."""
        points, sizes, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        tile = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        radius = self.merge_radius * predicted_radius(sizes)
        kept: list[int] = []
        for index in np.argsort(-scores, kind="stable"):
            others = [k for k in kept if tile[k] != tile[index]]
            if not others or np.hypot(*(points[others] - points[index]).T).min() >= radius:
                kept.append(int(index))
        return points[kept], sizes[kept], scores[kept]


_Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def _cut(image: Tensor, left: float, top: float, side: float) -> Tensor:
    height, width = image.shape[-2:]
    x, y = round(left * width), round(top * height)
    return image[..., y : y + round(side * height), x : x + round(side * width)]
