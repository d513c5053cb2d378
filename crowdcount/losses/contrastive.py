"""Contrastive losses between embeddings: one interface, and the supervised contrastive loss in its two forms.

Anchor i has the positives P_i and the negatives N_i. With unit vectors z and s_ij = z_i . z_j / temperature:

    log of the mean:   L_i = -log ( 1/|P_i| * sum_{p in P_i} exp(s_ip) / D_i )
    mean of the logs:  L_i = -1/|P_i| * sum_{p in P_i} log ( exp(s_ip) / D_i )
    D_i = sum_{p in P_i} exp(s_ip) + sum_{n in N_i} w_in exp(s_in)

and without its first sum when decoupled. Sources: Khosla et al., "Supervised Contrastive Learning", arXiv 2004.11362,
which calls the first form L_in and the second L_out; Yeh et al., "Decoupled Contrastive Learning", arXiv 2110.06848, in
the two-view case, of which the form with several positives is our extension.

C-REX (arXiv 2505.22850, no code released) states a loss that is based on supervised contrastive learning, in image
space alone. That its samples are image tokens, that it is the log of the mean, that the anchors are the positives, and
the temperature of 0.07 are reconstructed from second-hand sources and may differ from the authors' choices.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_choice, check_number

Form = Literal["log_of_mean", "mean_of_logs"]


class ContrastiveLoss(ABC):
    """Base of every contrastive loss."""

    @abstractmethod
    def __call__(
        self,
        z_anchor: Tensor,
        z_ref: Tensor,
        pos_mask: Tensor,
        neg_mask: Tensor,
        *,
        delta: Tensor | None = None,
        weight: Tensor | None = None,
        group: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, a scalar of at least float32.

        Without an anchor that counts, it is 0 with zero gradients.

        Args:
            z_anchor: (A, d) embeddings of any length; they are normalised here.
            z_ref: (R, d) embeddings that the anchors are compared with, also normalised here. They may be, or contain,
                the anchors.
            pos_mask: (A, R) bool, the positives of each anchor.
            neg_mask: (A, R) bool, the negatives of each anchor, none of them a positive. A pair in neither mask is
                ignored: an anchor with itself, or a token whose object satisfies two expressions.
            delta: (A, R) distance of the labels of a pair, for losses on ordered labels.
            weight: (A, R) factor, at least 0, of each negative in the denominator, where 0 ignores it; 1 if not given.
            group: (A,) int64, for instance the expression of each anchor. The loss is then the mean over the groups
                of the mean over a group's anchors, else the mean over all anchors. Only anchors that count for the
                loss, and groups that have one, enter these means.
        """


@dataclass
class SupCon(ContrastiveLoss):
    """The supervised contrastive loss; as it stands, the form reconstructed for C-REX.

    An anchor counts if it has a positive and its denominator has a term. Coupled, the positives are such terms, so that
    an anchor without negatives counts: its loss is constant in the form log_of_mean, while mean_of_logs still evens out
    the similarities of its positives. Decoupled, it needs a negative of nonzero weight.

    Neither form reaches 0 unless anchors have one positive each, see `supcon_floor`. Decoupled, there is no lower bound
    but the one that unit vectors set. `delta` is not used.

    Args:
        temperature: divisor of the cosine similarities.
        form: log_of_mean takes one log per anchor, of the mean share of its positives in the denominator (C-REX, as
            reconstructed); mean_of_logs takes one log per positive, then their mean (classic SupCon).
        decoupled: leave the positives out of the denominator, so that their pull does not fade with their number.

    Raises:
        InputError: a temperature that is not a positive number; an unknown form.
    """

    temperature: float = 0.07
    form: Form = "log_of_mean"
    decoupled: bool = False

    def __post_init__(self) -> None:
        check_number("SupCon.temperature", self.temperature, 0, above=True)
        check_choice("SupCon.form", self.form, get_args(Form))

    def __call__(
        self,
        z_anchor: Tensor,
        z_ref: Tensor,
        pos_mask: Tensor,
        neg_mask: Tensor,
        *,
        delta: Tensor | None = None,
        weight: Tensor | None = None,
        group: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, see `ContrastiveLoss`."""
        scores = _cosines(z_anchor, z_ref) / self.temperature
        terms = neg_mask if self.decoupled else pos_mask | neg_mask
        weighted = scores
        if weight is not None:
            terms = terms & ~(neg_mask & (weight == 0))
            # a factor of exp(s) adds its log to s; the inner 1 keeps log and its gradient finite where none applies
            weighted = scores + torch.where(neg_mask & (weight != 0), weight.to(scores.dtype), 1).log()
        loss = _log_sum_exp(weighted, terms) - self._positive(scores, pos_mask)
        return _mean(loss, pos_mask.any(dim=1) & terms.any(dim=1), group)

    def _positive(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Return log(mean(exp)) or the mean of the scores in the mask, (A,)."""
        number = mask.sum(dim=1).clamp(min=1).to(scores.dtype)
        if self.form == "log_of_mean":
            return _log_sum_exp(scores, mask) - number.log()
        return scores.masked_fill(~mask, 0).sum(dim=1) / number


def supcon_floor(pos_mask: Tensor, *, group: Tensor | None = None) -> Tensor:
    """Return the bound below which `SupCon`, in either form but not decoupled, can't fall; a float32 scalar.

    It is the mean of log |P_i|: log(N - 1) if the N tokens of an expression are each other's positives. Together the
    positives are at most the whole denominator, so that their mean share is at most 1 / |P_i|. The loss less the floor
    is comparable between images of different counts, and has the same gradient.

    Args:
        pos_mask: (A, R) bool, as given to the loss.
        group: (A,) int64, as given to the loss.
    """
    number = pos_mask.sum(dim=1)
    return _mean(number.clamp(min=1).float().log(), number > 0, group)


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """Return the (A, R) cosine similarities, in float32 at least: divided by 0.07, bfloat16 would be off by 0.03."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        return functional.normalize(a.to(dtype), dim=1) @ functional.normalize(b.to(dtype), dim=1).T


def _log_sum_exp(scores: Tensor, mask: Tensor) -> Tensor:
    """Return log(sum(exp)) over the scores in the mask, (A,); finite, but meaningless, for rows without any."""
    # the lowest number instead of -inf: the gradient of a row of -inf is NaN, unused, but detect_anomaly stops at it
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).logsumexp(dim=1)


def _mean(values: Tensor, valid: Tensor, group: Tensor | None) -> Tensor:
    """Return the mean of the valid (A,) values, or the mean over groups of their means; 0 if there is none."""
    share = valid.to(values.dtype)
    if group is not None:
        # every anchor gets one over the size of its group: no list of groups, which would wait for the GPU
        share = share / ((group[:, None] == group) & valid).sum(dim=1).clamp(min=1)
    return (torch.where(valid, values, 0) * share).sum() / share.sum().clamp(min=1)
