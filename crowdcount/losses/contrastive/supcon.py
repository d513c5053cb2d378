"""Supervised contrastive losses as an object that a configuration names.

C-REX (arXiv 2505.22850, no code released) states a loss that is based on supervised contrastive learning, in image
space alone. That its samples are image tokens, that it is the log of the mean, that the anchors are the positives, and
the temperature of 0.07 are reconstructed from second-hand sources and may differ from the authors' choices.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from crowdcount.checks import check_choice, check_number
from crowdcount.losses.contrastive.scores import anchor_mean, cosines
from crowdcount.losses.contrastive.softmax import Form, contrast


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
            delta: (A, R) label of the reference less that of the anchor, for losses on ordered labels.
            weight: (A, R) factor, at least 0, of each negative in the denominator, where 0 ignores it; 1 if not given.
            group: (A,) int64, for instance the expression of each anchor. The loss is then the mean over the groups
                of the mean over a group's anchors, else the mean over all anchors. Only anchors that count for the
                loss, and groups that have one, enter these means.
        """


@dataclass
class SupCon(ContrastiveLoss):
    """The supervised contrastive loss, see `contrast`; as it stands, the form reconstructed for C-REX.

    Sources: Khosla et al., "Supervised Contrastive Learning", arXiv 2004.11362, which calls log_of_mean L_in and
    mean_of_logs L_out; Yeh et al., "Decoupled Contrastive Learning", arXiv 2110.06848, in the two-view case, of which
    the form with several positives is our extension.

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
        return contrast(
            cosines(z_anchor, z_ref) / self.temperature,
            pos_mask,
            neg_mask,
            form=self.form,
            denominator="negatives" if self.decoupled else "all",
            weight=weight,
            group=group,
        )


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
    return anchor_mean(number.clamp(min=1).float().log(), number > 0, group)
