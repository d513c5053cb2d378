"""Optimal assignment of queries to annotated points for each expression.

Source: Dai et al., "Referring Expression Counting", CVPR 2024 (GroundingREC), and the authors' code (commit e8f5a54).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.losses.precision import widen
from crowdcount.models.rec.outputs import PointDetections

Match = tuple[Tensor, Tensor]
"""Indices of the matched queries, in ascending order, and of their points: two (min(Q, N),) int64 tensors."""


@dataclass
class PointMatcher:
    """Minimum-cost assignment of points to queries.

    The cost of a query and a point of its expression is `class_cost` times the binary cross-entropy of the query's
    scores with the expression's labels, plus `point_cost` times |dx| + |dy| in fractions of the image's sides.

    Args:
        class_cost: weight of the cross-entropy.
        point_cost: weight of the distance.
        columns: the cross-entropy is summed over the tokens and divided by this. The default 256 is the published
            padding; a constant keeps the balance of the two costs independent of the other expressions of the batch.

    Raises:
        InputError: a cost is negative or not finite, both are 0, or there are no columns.
    """

    class_cost: float = 5.0
    point_cost: float = 1.0
    columns: int = 256

    def __post_init__(self) -> None:
        for name in ("class_cost", "point_cost"):
            check_number(f"loss.matcher.{name}", getattr(self, name), 0)
        if self.class_cost == self.point_cost == 0:
            raise InputError("loss.matcher: class_cost and point_cost are both 0; one of them must be above 0")
        check_number("loss.matcher.columns", self.columns, 1)

    @torch.no_grad()
    def __call__(self, detections: PointDetections, targets: Sequence[Tensor]) -> list[Match]:
        """Return the matches of each expression, on the device of the detections.

        Each expression has its own cost matrix, with at most Q x N entries.

        Args:
            detections: of E expressions.
            targets: (N, 2) points of each expression, as fractions of width and height; N may be 0 or exceed Q.
        """
        device = detections.points.device
        classes = self.class_costs(detections)[..., None]
        queries = torch.cat([classes, detections.points.to(classes)], dim=2).double().cpu().numpy()
        points = torch.cat(list(targets)).detach().double().cpu().numpy()
        ends = np.cumsum([len(each) for each in targets])[:-1]
        pairs = zip(queries, np.split(points, ends), strict=True)
        matches = [self._match(*pair) for pair in pairs]
        return [(torch.from_numpy(query).to(device), torch.from_numpy(point).to(device)) for query, point in matches]

    def class_costs(self, detections: PointDetections) -> Tensor:
        """Return the weighted cross-entropy of each query, (E, Q), equal for all points of an expression."""
        tokens, labels = detections.phrases.tokens, detections.phrases.labels
        used = tokens.any(dim=0)  # published logits have 256 columns, expressions ten tokens
        logits = widen(detections.logits[..., used])
        padding = ~tokens[:, None, used]
        # cross-entropy from logits: softplus(x) - x where the label is 1, which is softplus(-x)
        entropy = functional.softplus(logits.where(~labels[:, None, used], -logits)).masked_fill(padding, 0)
        return self.class_cost / self.columns * entropy.sum(dim=2)

    def _match(
        self, queries: NDArray[np.float64], points: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Match (Q, 3) class costs and centres with (N, 2) points."""
        # one row per point: scipy would copy a matrix with more rows than columns
        cost = self.point_cost * cdist(points, queries[:, 1:], "cityblock") + queries[:, 0]
        point, query = linear_sum_assignment(cost)
        order = query.argsort()
        return query[order], point[order]
