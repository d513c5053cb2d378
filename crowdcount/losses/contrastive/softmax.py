"""The softmax contrast: most published losses are this function with other masks, weights, targets or temperatures.

Anchor i has the positives P_i and the negatives N_i. With scores s_ij, which are divided by the temperature already:

    mean of the logs:  L_i = -1/|P_i| * sum_{p in P_i} log ( exp(s_ip) / D_i )
    log of the mean:   L_i = -log ( 1/|P_i| * sum_{p in P_i} exp(s_ip) / D_i )

    denominator all:        D_i  = sum_{p in P_i} exp(s_ip) + sum_{n in N_i} w_in exp(s_in)
    denominator negatives:  D_i  = sum_{n in N_i} w_in exp(s_in)
    denominator own:        D_ip = exp(s_ip) + sum_{n in N_i} w_in exp(s_in)
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_choice
from crowdcount.losses.contrastive.scores import anchor_mean, log_sum_exp
from crowdcount.losses.precision import widen

Form = Literal["log_of_mean", "mean_of_logs"]
Denominator = Literal["all", "own", "negatives"]
Over = Literal["anchors", "pairs"]


def contrast(
    scores: Tensor,
    pos: Tensor,
    neg: Tensor,
    *,
    form: Form = "mean_of_logs",
    denominator: Denominator = "all",
    weight: Tensor | None = None,
    target: Tensor | None = None,
    pull: Tensor | None = None,
    group: Tensor | None = None,
    over: Over = "anchors",
) -> Tensor:
    """Return the softmax contrast, a scalar of at least float32; 0 with zero gradients if no anchor counts.

    An anchor counts if it has a positive (of nonzero target) and its denominator has a term (of nonzero weight).

    - SupCon, L_out and L_in: the two forms (Khosla et al., arXiv 2004.11362, equations 2 and 3).
    - InfoNCE (van den Oord et al., arXiv 1807.03748, equation 4) and CLIP's direction: one positive per anchor.
    - DCL (Yeh et al., arXiv 2110.06848): the denominator negatives. Several positives are our extension.
      DCLW: also `pull` from `dclw_pull`.
    - Hard contrastive (Wang and Liu, arXiv 2012.09740): `neg` from `hardest`.
    - SupReMix (Wu et al., arXiv 2309.16633): `weight` from `label_distance_weight`, mixtures as more columns.
    - MoCHi (Kalantidis et al., arXiv 2010.01028): mixtures as more columns of negatives.
    - CWCL (Srinivasa et al., arXiv 2309.14580): `target`, all pairs positive and none negative.
    - SBCL (Hou et al., arXiv 2306.15925): the sum of two calls.
    - COCONUT's NSPT (arXiv 2310.02699): the denominator negatives, positives of a teacher, negatives of the student.
    - SimLAP (arXiv 2410.18200): the denominator own, mean over pairs, scores from `gated_scores`.

    Args:
        scores: (A, R) scores, divided by their temperature.
        pos: (A, R) bool, the positives of each anchor.
        neg: (A, R) bool, the negatives of each anchor.
        form: one log per anchor, of the mean share of its positives, or one log per positive, then their mean.
        denominator: terms of the denominator: all, the pair's own positive and the negatives, or the negatives only.
        weight: (A, R) factor, at least 0, of each negative in the denominator, where 0 ignores it; 1 if not given.
        target: (A, R) share, at least 0, of each positive in the mean of its row, which is divided by their sum.
        pull: (A, R), or broadcast to it: factor of the scores of positives outside the denominator.
        group: (A,) int64; the loss is then the mean over groups of the mean over their anchors.
        over: mean over anchors that count, or over their positive pairs.

    Raises:
        InputError: an unknown form, denominator or mean.
    """
    check_choice("contrast.form", form, get_args(Form))
    check_choice("contrast.denominator", denominator, get_args(Denominator))
    check_choice("contrast.over", over, get_args(Over))
    scores = widen(scores)
    if target is not None:
        pos = pos & (target > 0)
    weighted = scores
    if weight is not None:
        neg = neg & (weight != 0)
        # a factor of exp(s) adds its log to s; the inner 1 keeps log and its gradient finite where none applies
        weighted = scores + torch.where(neg, weight.to(scores.dtype), 1).log()
    terms = neg if denominator == "negatives" else pos | neg
    pulled = scores if pull is None else scores * pull
    if denominator == "own":
        pushed = log_sum_exp(weighted, neg)[:, None]
        shares = pulled - scores - functional.softplus(pushed - scores)
        loss = -_positive(shares, pos, target, form)
    else:
        loss = log_sum_exp(weighted, terms) - _positive(pulled, pos, target, form)
    number = pos.sum(dim=1).to(scores.dtype) if over == "pairs" else None
    return anchor_mean(loss, pos.any(dim=1) & terms.any(dim=1), group, number)


def _positive(scores: Tensor, pos: Tensor, target: Tensor | None, form: Form) -> Tensor:
    """Return log(mean(exp)) or the mean of the scores of the positives, (A,)."""
    parts = pos.to(scores.dtype) if target is None else torch.where(pos, target.to(scores.dtype), 0)
    total = parts.sum(dim=1)
    total = torch.where(total > 0, total, 1)
    if form == "mean_of_logs":
        return (scores.masked_fill(~pos, 0) * parts).sum(dim=1) / total
    return log_sum_exp(scores + torch.where(pos, parts, 1).log(), pos) - total.log()
