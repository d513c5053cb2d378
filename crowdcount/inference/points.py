"""Inference of the detector on whole images: points and counts of expressions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.geometry import Points, resize_points
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.read import Image
from crowdcount.inference.plotting import Colour, Plottable
from crowdcount.metrics import predicted_radius
from crowdcount.metrics.game import point_cells
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.models.rec.outputs import PointDetections, selected
from crowdcount.visualize.density import expression_drawing, expression_panel
from crowdcount.visualize.hatch import hatch


@dataclass(frozen=True)
class PointPrediction(Plottable):
    """The prediction of a detector for one expression in one image.

    Attributes:
        text: the expression.
        points: (K, 2) in pixels of the network's input, unless `resized`.
        sizes: (K, 2) width and height of the boxes, in pixels; not supervised by training on points.
        scores: (K,) scores of [CLS].
        height: height in pixels of that image.
        width: its width.
        ignored: pixels of the image under which nothing is counted, None without.
    """

    text: str
    points: Points
    sizes: NDArray[np.float32]
    scores: NDArray[np.float32]
    height: int
    width: int
    ignored: IgnoreMask | None = field(default=None, kw_only=True, repr=False)

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self.points)

    def beside_truth(self, image: Image, truth: Points, colour: Colour) -> list[tuple[str, Image]]:
        """Return the predicted points on the image, with both counts."""
        return [expression_drawing(image, self.text, self.points_in(*image.shape[:2]), len(truth), colour)]

    @property
    def relative_radius(self) -> float:
        """GroundingREC's localisation radius, as a fraction of the image's sides; see `predicted_radius`."""
        return predicted_radius(self.sizes / np.array([self.width, self.height]))

    def points_in(self, height: int, width: int, peak_threshold: float = 0.0) -> Points:
        """Return the points, (K, 2) in pixels of the image at that size.

        Args:
            height: image height in pixels.
            width: image width in pixels.
            peak_threshold: unused; applies to densities, see `Prediction.points_in`.
        """
        return self.resized(height, width).points

    def cells(self, level: int) -> NDArray[np.int64]:
        """Return the points in each cell of GAME(`level`), (2 ** level, 2 ** level)."""
        return point_cells(self.points, self.width, self.height, level)

    def resized(self, height: int, width: int) -> "PointPrediction":
        """Convert the prediction to pixels of the image at another size."""
        scale = np.array([width / self.width, height / self.height], np.float32)
        points = resize_points(self.points, (self.width, self.height), (width, height))
        return replace(self, points=points, sizes=self.sizes * scale, height=height, width=width)

    def draw(self, image: Image) -> Image:
        """Mark the points on an image (H, W, 3) uint8 RGB of any size; see `plot`."""
        shown = image if self.ignored is None else hatch(image, self.ignored.pixels)
        return expression_panel(shown, [(self.text, self.resized(*image.shape[:2]).points, None)])


@dataclass
class PointInference:
    """Finding the objects that an expression names in a whole image.

    A query counts if its scores of [CLS] and of every word exceed their thresholds, as in GroundingREC. If more than
    the fraction `crowded_fraction` of the queries count, the detector may run out of queries: the image is cut into
    four overlapping tiles, each enlarged to the size of the image, and points of different tiles within a radius are
    merged. GroundingREC has no tiles.

    Args:
        cls_threshold: minimum score of [CLS].
        word_threshold: minimum score of each word.
        crowded_fraction: fraction of the queries above which an image is tiled; 1 never tiles, as published.
        overlap: overlap of neighbouring tiles as a fraction of the image's side.
        merge_radius: points of different tiles are merged within this fraction of the predicted objects' radius (half
            the diagonal of the box of median area).
        max_tiling_depth: maximum number of successive subdivisions.

    Raises:
        InputError: a number is out of its range.
    """

    cls_threshold: float = 0.25
    word_threshold: float = 0.35
    crowded_fraction: float = 0.72
    overlap: float = 0.1
    merge_radius: float = 0.5
    max_tiling_depth: int = 2

    def __post_init__(self) -> None:
        for key in ("cls_threshold", "word_threshold", "crowded_fraction", "overlap"):
            check_number(f"inference.{key}", getattr(self, key), 0, 1)
        for key in ("merge_radius", "max_tiling_depth"):
            check_number(f"inference.{key}", getattr(self, key), 0)

    @property
    def protocol(self) -> str:
        """Description of the protocol: all settings."""
        return str(self)

    @torch.inference_mode()
    def __call__(self, network: ReferringDetector, image: Tensor, texts: str | Sequence[str]) -> list[PointPrediction]:
        """Find what each expression names.

        Args:
            network: in evaluation mode, on the device of the image.
            image: (3, H, W) uint8, or float in [0, 1], RGB.
            texts: the expressions; a text alone is one.

        Raises:
            InputError: an expression is empty or too long, or the image too small.
        """
        texts = [texts] if isinstance(texts, str) else texts
        if not texts:
            return []
        found = self._find(network, network.normalize(image[None]), list(texts), self.max_tiling_depth)
        height, width = image.shape[-2:]
        scale = np.array([width, height], np.float32)
        return [
            PointPrediction(text, points * scale, sizes * scale, scores, height, width)
            for text, (points, sizes, scores) in zip(texts, found, strict=True)
        ]

    def _find(self, network: ReferringDetector, image: Tensor, texts: list[str], depth: int) -> list["_Matches"]:
        """Return points and sizes of each expression, as fractions of the image's sides, and scores."""
        rows = torch.zeros(len(texts), dtype=torch.long, device=image.device)
        inside = torch.ones(1, *image.shape[-2:], dtype=torch.bool, device=image.device)
        phrases = network.tokenize(texts, [""] * len(texts)).to(image.device)
        found = self._kept(network(image, inside, phrases, rows))
        crowded = [i for i, (points, _, _) in enumerate(found) if len(points) > self.crowded_fraction * network.queries]
        if depth and crowded:
            tiled = self._tiles(network, image, [texts[i] for i in crowded], depth - 1)
            for i, more in zip(crowded, tiled, strict=True):
                found[i] = more
        return found

    def _kept(self, detections: PointDetections) -> list["_Matches"]:
        keep = selected(detections.logits, detections.phrases, self.cls_threshold, self.word_threshold)
        scores = detections.logits[..., 0].sigmoid()

        def kept(values: Tensor, row: int) -> NDArray[np.float32]:
            found: NDArray[np.float32] = values[row][keep[row]].float().cpu().numpy()
            return found

        return [
            (kept(detections.points, row), kept(detections.sizes, row), kept(scores, row)) for row in range(len(keep))
        ]

    def _tiles(self, network: ReferringDetector, image: Tensor, texts: list[str], depth: int) -> list["_Matches"]:
        height, width = image.shape[-2:]
        high, wide = (math.ceil((0.5 + self.overlap / 2) * side) for side in (height, width))
        scale = np.array([wide / width, high / height], np.float32)
        parts: list[list[_Matches]] = [[] for _ in texts]
        for x, y in product((0, width - wide), (0, height - high)):
            cut = image[..., y : y + high, x : x + wide]
            tile = functional.interpolate(cut, size=(height, width), mode="bilinear")
            corner = np.array([x / width, y / height], np.float32)
            for part, (points, sizes, scores) in zip(parts, self._find(network, tile, texts, depth), strict=True):
                part.append((points * scale + corner, sizes * scale, scores))
        return [self._merged(part, width / height) for part in parts]

    def _merged(self, parts: list["_Matches"], aspect: float) -> "_Matches":
        """Merge the points of tiles, keeping the one with the highest score of each group."""
        points, sizes, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        square = np.array([aspect, 1])  # distances as fractions of the height along both axes
        tile = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        tree = KDTree(points * square)
        radius = self.merge_radius * predicted_radius(sizes * square)
        gone = np.zeros(len(points), bool)
        for index in np.argsort(-scores, kind="stable"):
            if not gone[index]:
                near = np.array(tree.query_ball_point(tree.data[index], radius), np.int64)
                gone[near[tile[near] != tile[index]]] = True
        return points[~gone], sizes[~gone], scores[~gone]


_Matches = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
