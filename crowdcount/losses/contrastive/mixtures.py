"""Mixtures of embeddings as further references: what is random about MoCHi and SupReMix.

Mixtures have no gradient. Their scores become more columns of `contrast`, beside those of the references.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.losses.contrastive.scores import unit


@dataclass
class Mixtures:
    """S further references of each of A anchors.

    Attributes:
        vectors: (A, S, d) mixtures, without gradient; of length 1 for MoCHi, shorter for SupReMix.
        pos: (A, S) bool, mixtures that are positives of their anchor.
        neg: (A, S) bool, mixtures that are negatives; a place in neither mask could not be filled.
        delta: (A, S) label of the mixture less that of the anchor; 0 for labels without an order.
    """

    vectors: Tensor
    pos: Tensor
    neg: Tensor
    delta: Tensor

    def cosines(self, z_anchor: Tensor) -> Tensor:
        """Return the (A, S) products of each unit anchor, (A, d) of any length, with its mixtures."""
        with torch.autocast(z_anchor.device.type, enabled=False):
            return torch.einsum("ad,asd->as", unit(z_anchor), self.vectors)


def mixture(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return share * first + (1 - share) * second of unit vectors, detached; not normalised again.

    Args:
        first: (..., d) vectors of any length.
        second: (..., d) vectors of any length.
        share: (...) parts of the first.
    """
    share = share[..., None]
    return (share * unit(first) + (1 - share) * unit(second)).detach()


@torch.no_grad()
def mix_hardest(
    z_anchor: Tensor,
    z_ref: Tensor,
    scores: Tensor,
    neg: Tensor,
    *,
    hardest: int = 64,
    pairs: int = 32,
    with_anchor: int = 16,
    generator: torch.Generator | None = None,
) -> Mixtures:
    """Return MoCHi's synthetic negatives: mixtures of each anchor's hardest negatives, and of one with the anchor.

    A pair of negatives is mixed with a share from (0, 1), a negative with a share of the anchor below a half; both are
    drawn with replacement and normalised. Kalantidis et al., "Hard Negative Mixing for Contrastive Learning", arXiv
    2010.01028. An anchor without negatives gets none.

    Args:
        z_anchor: (A, d) embeddings of any length.
        z_ref: (R, d) embeddings of any length.
        scores: (A, R) scores, by which negatives are hard.
        neg: (A, R) bool, the negatives of each anchor; a pair in no mask is never mixed.
        hardest: how many negatives of an anchor are drawn from.
        pairs: number of mixtures of two negatives.
        with_anchor: number of mixtures of a negative and the anchor.
        generator: of the draws, on the device of the scores.

    Raises:
        InputError: a number below 1, or below 0 for the mixtures.
    """
    check_number("mix_hardest.hardest", hardest, 1)
    check_number("mix_hardest.pairs", pairs, 0)
    check_number("mix_hardest.with_anchor", with_anchor, 0)
    ranked = scores.masked_fill(~neg, -torch.inf).argsort(dim=1, descending=True, stable=True)
    available = neg.sum(dim=1).clamp(max=hardest)

    def draw(number: int) -> Tensor:
        rank = (_uniform(scores, number, generator) * available[:, None]).long()
        return z_ref[ranked.gather(1, rank.clamp(max=scores.shape[1] - 1))]

    both = mixture(draw(pairs), draw(pairs), _uniform(scores, pairs, generator))
    half = _uniform(scores, with_anchor, generator) / 2
    own = mixture(z_anchor[:, None].expand(-1, with_anchor, -1), draw(with_anchor), half)
    vectors = unit(torch.cat([both, own], dim=1))
    filled = (available > 0)[:, None].expand(-1, pairs + with_anchor)
    return Mixtures(vectors, torch.zeros_like(filled), filled, torch.zeros_like(vectors[..., 0]))


@torch.no_grad()
def mix_ordinal(
    z_anchor: Tensor,
    z_ref: Tensor,
    delta: Tensor,
    allowed: Tensor,
    *,
    window: float = 5.0,
    negatives: int = 8,
    positives: int = 8,
    generator: torch.Generator | None = None,
) -> Mixtures:
    """Return SupReMix's mixtures for ordered labels.

    A negative is share * anchor + (1 - share) * reference of another label, its share from Beta(2, 8). A positive mixes
    two references whose labels lie on either side of the anchor's, less than `window` away, with the share that gives
    the mixture the anchor's label. Not normalised again, as in the paper. Wu et al., "Mixup Your Own Pairs", arXiv
    2309.16633. The authors' code mixes all pairs and drops columns; this draws a fixed number per anchor.

    Args:
        z_anchor: (A, d) embeddings of any length.
        z_ref: (R, d) embeddings of any length.
        delta: (A, R) label of the reference less that of the anchor.
        allowed: (A, R) bool, references that may be mixed; those in no mask are not.
        window: largest distance of labels for positives, which it does not include.
        negatives: number of negative mixtures per anchor.
        positives: number of positive mixtures per anchor.
        generator: of the draws, on the device of the embeddings.

    Raises:
        InputError: a window that is not positive, or a negative number.
    """
    check_number("mix_ordinal.window", window, 0, above=True)
    check_number("mix_ordinal.negatives", negatives, 0)
    check_number("mix_ordinal.positives", positives, 0)
    other, found = _choose(allowed & (delta != 0), negatives, generator)
    low, below = _choose(allowed & (delta < 0) & (delta > -window), positives, generator)
    high, above = _choose(allowed & (delta > 0) & (delta < window), positives, generator)
    share = _second_of_nine(z_anchor, negatives, generator)
    hard = mixture(z_anchor[:, None].expand(-1, negatives, -1), z_ref[other], share)
    down, up = delta.gather(1, low), delta.gather(1, high)
    fair = up / torch.where(below & above, up - down, 1)
    vectors = torch.cat([hard, mixture(z_ref[low], z_ref[high], fair.to(hard.dtype))], dim=1)
    pos, neg = torch.cat([found & False, below & above], dim=1), torch.cat([found, below & False], dim=1)
    distance = torch.cat([(1 - share) * delta.gather(1, other), torch.zeros_like(fair)], dim=1)
    return Mixtures(vectors, pos, neg, distance)


def _choose(mask: Tensor, number: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return random columns of each row's mask, (A, number) int64, and whether the row has any, likewise."""
    count = mask.sum(dim=1, keepdim=True)
    draw = (torch.rand(len(mask), number, device=mask.device, generator=generator) * count).long()
    columns = mask.byte().argsort(dim=1, descending=True, stable=True)
    # rounding may reach the count itself
    return columns.gather(1, torch.minimum(draw, (count - 1).clamp(min=0))), (count > 0).expand(-1, number)


def _second_of_nine(like: Tensor, number: int, generator: torch.Generator | None) -> Tensor:
    """Return (A, number) draws from Beta(2, 8), the second smallest of nine uniform numbers."""
    return torch.stack([_uniform(like, number, generator) for _ in range(9)]).sort(dim=0).values[1]


def _uniform(like: Tensor, number: int, generator: torch.Generator | None) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.rand(len(like), number, dtype=dtype, device=like.device, generator=generator)
