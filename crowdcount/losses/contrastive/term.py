"""A contrastive term of a training loss: one line of a configuration."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.losses.contrastive.geometry import alignment, attraction, repulsion, uniformity
from crowdcount.losses.contrastive.mixtures import Mixtures, mix_hardest, mix_ordinal
from crowdcount.losses.contrastive.negatives import hardest
from crowdcount.losses.contrastive.pairs import Pairs
from crowdcount.losses.contrastive.ranking import mann_whitney
from crowdcount.losses.contrastive.scores import cosines, row_means
from crowdcount.losses.contrastive.softmax import Denominator, Form, contrast
from crowdcount.losses.contrastive.sorting import group_ordering
from crowdcount.losses.contrastive.subclasses import Subclasses
from crowdcount.losses.contrastive.temperatures import IdSlots, IndividualTemperature
from crowdcount.losses.contrastive.weights import dclw_pull, label_distance_weight, ordinal_target
from crowdcount.losses.count import soft_count, soft_count_loss, top_score_hinge

Place = Literal["rec_tokens", "rec_logits", "count_bins"]
Softmax = Literal["supcon", "supcon_in", "infonce", "dcl", "dclw"]
Other = Literal["mw", "cacr", "align_uniform", "groco", "isogclr", "sbcl", "soft_count", "top_scores"]

FORMS: Final[dict[str, tuple[Form, Denominator]]] = {
    "supcon": ("mean_of_logs", "all"),
    "supcon_in": ("log_of_mean", "all"),
    "infonce": ("mean_of_logs", "own"),
    "dcl": ("mean_of_logs", "negatives"),
    "dclw": ("mean_of_logs", "negatives"),
}
"""Form and denominator of `contrast` for each softmax loss."""

PLACES: Final[dict[str, tuple[Place, ...]]] = {
    **dict.fromkeys(("supcon", "supcon_in", "cacr", "align_uniform", "groco", "isogclr"), ("rec_tokens", "count_bins")),
    **dict.fromkeys(("infonce", "dcl", "dclw", "mw"), ("rec_tokens", "rec_logits", "count_bins")),
    "sbcl": ("count_bins",),
    "soft_count": ("rec_logits",),
    "top_scores": ("rec_logits",),
}
"""Places of the network at which each loss has a meaning."""

STATEFUL: Final = ("isogclr", "sbcl")
"""Losses whose state is learned in one process."""

_IDS: Final = 4096  # expressions with a temperature of their own
_SBCL_BASE, _SBCL_SECOND = 0.07, 0.25  # base temperature and weight of the second term, as published
_GROCO_POSITIVES, _GROCO_NEGATIVES = 8, 10  # the sorting network has a fixed size; 10 negatives as published


@dataclass
class ContrastiveTerm:
    """A contrastive or counting loss beside the loss of a module; several may be listed.

    Example:
        `contrastive: [{loss: supcon, at: count_bins, ordinal: weight, weight: 0.1}]`

    Losses: `supcon` (L_out), `supcon_in` (L_in), `infonce`, `dcl` and `dclw` are softmax contrasts, which
    `hard_fraction`, `mix` and `ordinal` turn into those of other papers; `mw` (Mann-Whitney, AUC), `cacr`,
    `align_uniform`, `groco`; `isogclr` and `sbcl`, which learn a state; `soft_count` and `top_scores`, which need the
    number of objects alone.

    Places: `rec_tokens` contrasts image tokens of expressions, `rec_logits` their scores with the expressions, for
    ReferringModule; `count_bins` contrasts the features of blocks by their ordered count bins, for BlockwiseModule and
    ZipModule. Pairs are those of one process.

    Args:
        loss: name of the loss.
        at: place in the network.
        weight: factor of the loss in the training loss.
        temperature: divisor of the scores; by default 0.1 for cosine similarities and 1 for logits. Not used by `cacr`,
            `align_uniform`, `groco`, `soft_count` and `top_scores`; where `isogclr` starts.
        hard_fraction: share of each anchor's negatives to keep, the hardest; null for all.
        mix: add synthetic references: "mochi" (negatives), or "supremix" (both, for ordered labels).
        ordinal: use the order of the bins: as "weight" of the negatives (SupReMix) or as soft "target" (CWCL).
        bandwidth: difference of the bins' counts at which the target falls to 1/e.
        window: largest difference of the bins' counts in SupReMix's positive mixtures.
        per_group: mean over expressions of the mean over their tokens, instead of the mean over tokens; for the softmax
            contrasts and `cacr` at rec_tokens, others have one mean.
        start_step: optimizer steps before which the term is off.
        max_anchors: anchors at most, drawn at random; as many of each bin.
        threshold: score at which a detection counts, for `soft_count` and `top_scores`.

    Raises:
        InputError: a value is out of range, or the loss has no meaning at the place or with the option.
    """

    loss: Softmax | Other
    at: Place
    weight: float = 0.1
    temperature: float | None = None
    hard_fraction: float | None = None
    mix: Literal["mochi", "supremix"] | None = None
    ordinal: Literal["weight", "target"] | None = None
    bandwidth: float = 1.0
    window: float = 5.0
    per_group: bool = True
    start_step: int = 0
    max_anchors: int = 512
    threshold: float = 0.3

    def __post_init__(self) -> None:
        check_choice("contrastive.loss", self.loss, tuple(PLACES))
        check_choice("contrastive.at", self.at, get_args(Place))
        check_number("contrastive.weight", self.weight, 0)
        for key in ("temperature", "bandwidth", "window"):
            if getattr(self, key) is not None:
                check_number(f"contrastive.{key}", getattr(self, key), 0, above=True)
        if self.hard_fraction is not None:
            check_number("contrastive.hard_fraction", self.hard_fraction, 0, 1, above=True)
        check_number("contrastive.start_step", self.start_step, 0)
        check_number("contrastive.max_anchors", self.max_anchors, 2)
        check_number("contrastive.threshold", self.threshold, 0, 1, above=True)
        self._check_combination()

    def _check_combination(self) -> None:
        if self.at not in PLACES[self.loss]:
            raise InputError(
                f"contrastive: {self.loss} has no meaning at {self.at}, it belongs at {' or '.join(PLACES[self.loss])}"
            )
        ordered = "ordinal" if self.ordinal else "mix" if self.mix == "supremix" else None
        if ordered and self.at != "count_bins":
            raise InputError(
                f"contrastive.{ordered}: {getattr(self, ordered)} needs ordered labels, those of count_bins"
            )
        if self.mix and self.at == "rec_logits":
            raise InputError(f"contrastive.mix: {self.mix} mixes embeddings, and rec_logits has none")
        option = "mix" if self.mix else "ordinal" if self.ordinal else None
        if option and self.loss not in FORMS:
            raise InputError(f"contrastive.{option}: {self.loss} takes none; it goes with {', '.join(FORMS)}")
        if self.mix and self.ordinal == "target":
            raise InputError("contrastive.mix: mixtures have no soft target; leave mix or ordinal out")
        if self.hard_fraction is not None and self.loss in ("soft_count", "top_scores", "groco", "sbcl"):
            raise InputError(f"contrastive.hard_fraction: {self.loss} takes none; leave it out")

    @property
    def scale(self) -> float:
        """The temperature, or the default of the place."""
        default = 1.0 if self.at == "rec_logits" else 0.1
        return default if self.temperature is None else self.temperature

    def make_state(self, classes: int, width: int) -> nn.Module:
        """Return the module that holds the state of the loss; it has none for most.

        Args:
            classes: number of count bins; 0 for expressions.
            width: of the embeddings.
        """
        if self.loss == "sbcl":
            return Subclasses(classes, width, temperature=self.scale)
        if self.loss == "isogclr":
            number = classes or _IDS
            low, high = min(0.05, self.scale), max(0.7, self.scale)
            learned = IndividualTemperature(number, temperature=self.scale, lowest=low, highest=high)
            return nn.ModuleDict({"slots": IdSlots(number), "learned": learned})
        return nn.Identity()

    def __call__(self, pairs: Pairs, state: nn.Module | None = None) -> Tensor:
        """Return the loss without its weight, a scalar of at least float32; 0 with zero gradients without pairs.

        Args:
            pairs: of the term's place.
            state: from `make_state`; updated in training.
        """
        if self.hard_fraction is not None:
            pairs = replace(pairs, neg=hardest(pairs.scores, pairs.neg, fraction=self.hard_fraction))
        if not self.per_group:
            pairs = replace(pairs, group=None)
        if self.loss in FORMS:
            return self._softmax(pairs.rows(pairs.pos.any(dim=1)))
        return _OTHERS[self.loss](self, pairs, state)

    def _softmax(self, pairs: Pairs) -> Tensor:
        scores, pos, neg, delta = pairs.scores, pairs.pos, pairs.neg, pairs.delta
        pull = dclw_pull(row_means(scores, pos)) if self.loss == "dclw" and len(scores) else None
        made = self._mixtures(pairs)
        if made is not None:
            assert pairs.z_anchor is not None
            scores = torch.cat([scores, made.cosines(pairs.z_anchor).to(scores.dtype)], dim=1)
            pos, neg = torch.cat([pos, made.pos], dim=1), torch.cat([neg, made.neg], dim=1)
            delta = None if delta is None else torch.cat([delta, made.delta.to(delta.dtype)], dim=1)
        weight = target = None
        if self.ordinal and delta is not None:
            if self.ordinal == "weight":
                weight = label_distance_weight(delta)
            else:
                target, pos, neg = ordinal_target(delta, self.bandwidth), pos | neg, neg & False
        form, denominator = FORMS[self.loss]
        return contrast(
            scores / self.scale,
            pos,
            neg,
            form=form,
            denominator=denominator,
            weight=weight,
            target=target,
            pull=pull,
            group=pairs.group,
        )

    def _mixtures(self, pairs: Pairs) -> Mixtures | None:
        if self.mix is None:
            return None
        assert pairs.z_anchor is not None and pairs.z_ref is not None
        if self.mix == "mochi":
            return mix_hardest(pairs.z_anchor, pairs.z_ref, pairs.scores, pairs.neg)
        assert pairs.delta is not None
        return mix_ordinal(pairs.z_anchor, pairs.z_ref, pairs.delta, pairs.pos | pairs.neg, window=self.window)


def _mw(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    return mann_whitney(pairs.scores / term.scale, pairs.pos, pairs.neg)


def _cacr(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    attract = attraction(pairs.scores, pairs.pos, group=pairs.group)
    return attract + repulsion(pairs.scores, pairs.neg, group=pairs.group)


def _align_uniform(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    return alignment(pairs.scores, pairs.pos) + uniformity(pairs.scores, pairs.pos | pairs.neg)


def _groco(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    """Sort a fixed number, positives drawn with replacement and the hardest negatives; leave out anchors with fewer."""
    pairs = pairs.rows(pairs.pos.any(dim=1) & (pairs.neg.sum(dim=1) >= _GROCO_NEGATIVES))
    assert pairs.z_anchor is not None and pairs.z_ref is not None
    scores = cosines(pairs.z_anchor, pairs.z_ref.detach())
    if not len(scores):
        return scores.sum()
    drawn = pairs.pos.double().multinomial(_GROCO_POSITIVES, replacement=True)
    hard = scores.detach().masked_fill(~pairs.neg, -torch.inf).topk(_GROCO_NEGATIVES, dim=1).indices
    return group_ordering(scores.gather(1, drawn), scores.gather(1, hard))


def _isogclr(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    assert isinstance(state, nn.ModuleDict) and pairs.ids is not None
    loss: Tensor = state["learned"](pairs.scores, pairs.pos, pairs.neg, state["slots"](pairs.ids))
    return loss


def _sbcl(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    assert isinstance(state, Subclasses) and pairs.labels is not None and pairs.z_anchor is not None
    subclass, second = state(pairs.z_anchor, pairs.labels)
    same, there = subclass[:, None] == subclass, pairs.pos | pairs.neg
    near = contrast(pairs.scores / term.scale, pairs.pos & same, there & ~(pairs.pos & same))
    far = contrast(pairs.scores / second[:, None], pairs.pos & ~same, pairs.neg)
    return term.scale / _SBCL_BASE * near + _SBCL_SECOND * far


def _soft_count(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    return soft_count_loss(soft_count(pairs.scores, threshold=term.threshold), pairs.pos.sum(dim=1))


def _top_scores(term: ContrastiveTerm, pairs: Pairs, state: nn.Module | None) -> Tensor:
    """Take both sides: scores of objects should reach the threshold, the others stay below it."""
    counts, scores = pairs.pos.sum(dim=1)[:, None], pairs.scores.float().sigmoid()[:, None]
    return top_score_hinge(scores, counts, threshold=term.threshold, surplus=term.threshold)


_OTHERS: Final[dict[str, Callable[[ContrastiveTerm, Pairs, nn.Module | None], Tensor]]] = {
    "mw": _mw,
    "cacr": _cacr,
    "align_uniform": _align_uniform,
    "groco": _groco,
    "isogclr": _isogclr,
    "sbcl": _sbcl,
    "soft_count": _soft_count,
    "top_scores": _top_scores,
}
