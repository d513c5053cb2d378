"""Losses of referring expression counting: token labels, centres, and two contrastive terms.

Sources: Dai et al., "Referring Expression Counting", CVPR 2024 (GroundingREC), and the authors' code (commit e8f5a54)
for the labels, the points and the image-text contrast. C-REX, arXiv 2505.22850, states that its contrast works in image
space only, is based on supervised contrastive learning, and uses a detector of centres. No code is released: the use of
image tokens as samples (here the queries of the last decoder layer), the choice of positives and negatives, and the
weights of that term are reconstructed from secondary sources and may differ from the authors'.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_choice, check_number
from crowdcount.losses.contrastive import ContrastiveLoss, SupCon
from crowdcount.losses.precision import widen
from crowdcount.models.rec.matcher import Match, PointMatcher
from crowdcount.models.rec.outputs import PointDetections

Positives = Literal["hungarian", "text_topn"]
Negatives = Literal["own", "image"]

_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss, as published
_SAME_POINT = 1e-6  # as a fraction of the image's sides: points of two expressions that are the same object


@dataclass
class RecLoss:
    """Weighted sum of up to four terms; terms of weight 0 are not computed.

    The defaults give the baseline of centres and token labels. GroundingREC adds `image_text_weight: 0.06`; C-REX, as
    reconstructed, adds `contrast_weight: 0.005` instead.

    Args:
        label_weight: weight of the focal loss of the token scores.
        point_weight: weight of the distance between matched centres.
        image_text_weight: weight of the contrast between matched queries and the texts of their image.
        contrast_weight: weight of the contrast among image tokens.
        contrast: form and temperature of the contrast among image tokens.
        positives: tokens to pull together: "hungarian" takes the queries matched to the points, "text_topn" the queries
            most similar to the text, as many as there are points. Sources differ on which C-REX uses. Expressions
            with fewer than two positives are excluded from the mean.
        negatives: tokens to push away: "own" takes all other queries of the expression, "image" adds the matched
            queries of the other expressions of the image, except those whose point belongs to both expressions.
        matcher: assigns points to queries.

    Raises:
        InputError: a weight is negative or not finite, or `positives` or `negatives` is unknown.
    """

    label_weight: float = 5.0
    point_weight: float = 1.0
    image_text_weight: float = 0.0
    contrast_weight: float = 0.0
    contrast: ContrastiveLoss = field(default_factory=SupCon)
    positives: Positives = "hungarian"
    negatives: Negatives = "own"
    matcher: PointMatcher = field(default_factory=PointMatcher)

    def __post_init__(self) -> None:
        for term in ("label", "point", "image_text", "contrast"):
            check_number(f"loss.{term}_weight", getattr(self, f"{term}_weight"), 0)
        for name, choices in (("positives", get_args(Positives)), ("negatives", get_args(Negatives))):
            check_choice(f"loss.{name}", getattr(self, name), choices)

    def __call__(
        self, detections: PointDetections, targets: Sequence[Tensor], embeddings: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the weighted terms; the training loss is their sum.

        Args:
            detections: detections of E expressions.
            targets: (N, 2) points of each expression, as fractions of width and height; N may be 0.
            embeddings: (E, Q, d') features that replace the queries in the contrast among image tokens.

        Returns:
            Scalars of at least float32, those of `label`, `point`, `image_text` and `contrast` with a weight above 0.
        """
        with torch.autocast(detections.points.device.type, enabled=False):
            exact = _at_least_float32(detections)
            targets = [each.to(exact.points) for each in targets]
            matches = self.matcher(exact, targets)
            terms = {}
            if self.label_weight:
                terms["label"] = self.label_weight * label_loss(exact, matches)
            if self.point_weight:
                terms["point"] = self.point_weight * point_loss(exact, targets, matches)
            if self.image_text_weight:
                terms["image_text"] = self.image_text_weight * image_text_loss(exact, matches)
            if self.contrast_weight:
                tokens = exact.queries if embeddings is None else widen(embeddings)
                terms["contrast"] = self.contrast_weight * self._contrast(exact, targets, matches, tokens)
            return terms

    def _contrast(
        self, detections: PointDetections, targets: Sequence[Tensor], matches: Sequence[Match], tokens: Tensor
    ) -> Tensor:
        """Return the mean over the expressions with at least two positives."""
        positives = [query for query, _ in matches]
        if self.positives == "text_topn":
            positives = text_topn(detections, [len(each) for each in targets])
        losses = []
        for row, chosen in enumerate(positives):
            if len(chosen) > 1:
                others = tokens[:0, 0]
                if self.negatives == "image":
                    index = strangers(row, detections.image_index, targets, matches)
                    others = tokens[index[:, 0], index[:, 1]]
                losses.append(self._query_contrast(tokens[row], chosen, others))
        # the empty sum keeps the gradients 0 instead of absent
        return torch.stack(losses).mean() if losses else tokens[:0].sum()

    def _query_contrast(self, tokens: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
        """Contrast the chosen tokens of (Q, d) with each other, with the rest, and with (M, d) others."""
        positive = torch.zeros(len(tokens) + len(others), dtype=torch.bool, device=tokens.device)
        positive[chosen] = True
        positives = positive.repeat(len(chosen), 1)
        negatives = ~positives
        # an anchor is neither its own positive nor its own negative
        positives[torch.arange(len(chosen), device=chosen.device), chosen] = False
        return self.contrast(tokens[chosen], torch.cat([tokens, others]), positives, negatives)


def label_loss(detections: PointDetections, matches: Sequence[Match]) -> Tensor:
    """Return the focal loss of the token scores.

    Matched queries should respond to the labels of their expression, other queries to no token. The loss is averaged
    over queries, summed over tokens, divided by the expression's size and averaged over expressions, but not divided by
    the number of objects.
    """
    phrases = detections.phrases
    found = torch.zeros_like(detections.logits[..., 0], dtype=torch.bool)
    for row, (query, _) in zip(found, matches, strict=True):
        row[query] = True
    wanted = found[..., None] & phrases.labels[:, None]
    logits = detections.logits.masked_fill(~phrases.tokens[:, None], 0)  # first of all, since padding may be -inf
    wrong = logits.where(~wanted, -logits)  # margin of error: the cross-entropy is its softplus
    alpha = torch.where(wanted, _ALPHA, 1 - _ALPHA)
    focal = alpha * wrong.sigmoid() ** _GAMMA * functional.softplus(wrong)
    sums = (focal * phrases.tokens[:, None]).sum(dim=2).mean(dim=1)
    return (sums / phrases.sizes.clamp(min=1)).mean()


def point_loss(detections: PointDetections, targets: Sequence[Tensor], matches: Sequence[Match]) -> Tensor:
    """Return |dx| + |dy| summed over the matched pairs and divided by max(1, number of points in the batch)."""
    pairs = zip(detections.points, targets, matches, strict=True)
    distances = [(centres[query] - points[point]).abs().sum() for centres, points, (query, point) in pairs]
    return torch.stack(distances).sum() / max(sum(map(len, targets)), 1)


def image_text_loss(detections: PointDetections, matches: Sequence[Match]) -> Tensor:
    """Return GroundingREC's contrast between matched queries and texts, without temperature.

    For an expression i: half of the mean of softplus(-cos(q, t_i)) over its matched queries q, plus half of the mean of
    softplus(cos(q, t_j)) over its queries and the other expressions j of its image, where t pools the attribute tokens.
    The result is the mean over expressions; one that is alone in its image or has no points contributes 0. The released
    code uses the queries of another expression for most expressions; here each uses its own.
    """
    image = detections.image_index
    row = torch.cat([torch.full_like(query, index) for index, (query, _) in enumerate(matches)])
    queries = detections.queries[row, torch.cat([query for query, _ in matches])]
    cosines = functional.normalize(queries, dim=1) @ functional.normalize(pooled_text(detections), dim=1).T
    own = row[:, None] == torch.arange(len(image), device=row.device)
    other = (image[row][:, None] == image) & ~own
    pull = functional.softplus(-cosines).where(own, 0).sum(dim=1)
    push = functional.softplus(cosines).where(other, 0).sum(dim=1) / other.sum(dim=1).clamp(min=1)
    each = (0.5 * (pull + push)).where(other.any(dim=1), 0)
    queries_of_expression = own.sum(dim=0)[row]
    return (each / queries_of_expression).sum() / len(image)


def text_topn(detections: PointDetections, counts: Sequence[int]) -> list[Tensor]:
    """Return the queries of each expression whose features are most similar to its text, in ascending order.

    Args:
        detections: of E expressions.
        counts: number of queries per expression.
    """
    with torch.no_grad():
        similarity = functional.cosine_similarity(detections.queries, pooled_text(detections)[:, None], dim=2)
        ranked = similarity.argsort(dim=1, descending=True, stable=True)
    return [row[:count].sort().values for row, count in zip(ranked, counts, strict=True)]


def pooled_text(detections: PointDetections) -> Tensor:
    """Return the mean of the attribute tokens of each expression, (E, d)."""
    mask = detections.phrases.attributes[..., None]
    return detections.text.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def strangers(row: int, image_index: Tensor, targets: Sequence[Tensor], matches: Sequence[Match]) -> Tensor:
    """Return the matched queries of the image's other expressions whose points do not belong to the expression.

    Args:
        row: the expression.
        image_index: (E,) image of each expression.
        targets: points of each expression.
        matches: queries and points of each expression.

    Returns:
        (M, 2) int64, expression and query.
    """
    found = []
    for other in (
        (image_index == image_index[row]).nonzero()[:, 0].tolist()
    ):  # includes the row itself, which adds nothing
        query, point = matches[other]
        distances = (targets[other][point][:, None] - targets[row]).abs().amax(dim=2)
        query = query[~(distances <= _SAME_POINT).any(dim=1)]
        found.append(torch.stack([torch.full_like(query, other), query], dim=1))
    return torch.cat(found)


def _at_least_float32(detections: PointDetections) -> PointDetections:
    return dataclasses.replace(
        detections,
        logits=widen(detections.logits),
        points=widen(detections.points),
        queries=widen(detections.queries),
        text=widen(detections.text),
    )
