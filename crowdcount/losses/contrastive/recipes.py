"""Published losses by name: each as options of a `ContrastiveTerm`, or as the functions it is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from crowdcount.losses import count
from crowdcount.losses.contrastive import (
    geometry,
    margin,
    mixtures,
    negatives,
    ranking,
    scores,
    softmax,
    sorting,
    subclasses,
    temperatures,
    views,
    weights,
)
from crowdcount.losses.contrastive.term import PLACES, ContrastiveTerm, Place


@dataclass(frozen=True)
class Recipe:
    """How a published loss is had here.

    Attributes:
        title: its name in the literature.
        functions: what it is made of, whose docstrings say what it is and where it comes from.
        options: of a `ContrastiveTerm`, beside place and weight; None for a loss without a place in a network.
        note: what is ours about it, what it needs, or why it has no place.
    """

    title: str
    functions: tuple[Callable[..., Any], ...]
    options: dict[str, Any] | None = None
    note: str = ""

    @property
    def places(self) -> tuple[Place, ...]:
        """Places of the network at which the loss has a meaning."""
        if self.options is None:
            return ()
        places = PLACES[self.options["loss"]]
        if self.options.get("ordinal") or self.options.get("mix") == "supremix":
            return tuple(place for place in places if place == "count_bins")
        return tuple(place for place in places if not (self.options.get("mix") and place == "rec_logits"))

    def term(self, at: Place, weight: float = 0.1) -> ContrastiveTerm:
        """Return the term at a place."""
        assert self.options is not None
        return ContrastiveTerm(at=at, weight=weight, **self.options)


_NO_VIEWS = "No place: it needs several aligned views of one object, and would push tokens of one expression apart."

RECIPES: Final[dict[str, Recipe]] = {
    "supcon": Recipe("SupCon, L_out", (softmax.contrast,), {"loss": "supcon"}),
    "supcon_in": Recipe(
        "SupCon, L_in",
        (softmax.contrast,),
        {"loss": "supcon_in"},
        "The form reconstructed for C-REX; `model.loss.contrast_weight` of ReferringModule is the same contrast.",
    ),
    "infonce": Recipe(
        "InfoNCE",
        (softmax.contrast,),
        {"loss": "infonce"},
        "Several positives, each with its own denominator, are our extension.",
    ),
    "dcl": Recipe("DCL", (softmax.contrast,), {"loss": "dcl"}, "Several positives are our extension."),
    "dclw": Recipe(
        "DCLW",
        (softmax.contrast, weights.dclw_pull),
        {"loss": "dclw"},
        "With several positives the weight is that of their mean similarity, which is ours.",
    ),
    "hard_contrastive": Recipe(
        "Hard contrastive loss",
        (negatives.hardest,),
        {"loss": "supcon", "hard_fraction": 0.1},
        "As in the paper; the authors' code also drops positives that are not hard.",
    ),
    "mw": Recipe(
        "Mann-Whitney loss",
        (ranking.mann_whitney,),
        {"loss": "mw"},
        "Its home are logits pooled over expressions, which it makes comparable with one threshold.",
    ),
    "mochi": Recipe(
        "MoCHi",
        (mixtures.mix_hardest,),
        {"loss": "supcon", "mix": "mochi"},
        "The paper starts it late (`start_step`). There is no queue here: negatives are those of the batch.",
    ),
    "cwcl": Recipe(
        "CWCL for ordered labels",
        (weights.ordinal_target, weights.similarity_target),
        {"loss": "supcon", "ordinal": "target"},
        "The targets from labels are ours; the paper takes them from a frozen encoder.",
    ),
    "supremix_weights": Recipe(
        "SupReMix, weights alone",
        (weights.label_distance_weight,),
        {"loss": "supcon", "ordinal": "weight"},
        "Temperature 0.1 here, 0.3 in the paper.",
    ),
    "supremix": Recipe(
        "SupReMix",
        (mixtures.mix_ordinal, weights.label_distance_weight),
        {"loss": "supcon", "mix": "supremix", "ordinal": "weight"},
        "Mixtures are drawn, a fixed number per anchor.",
    ),
    "cacr": Recipe("CACR", (geometry.attraction, geometry.repulsion), {"loss": "cacr"}),
    "isogclr": Recipe(
        "iSogCLR",
        (temperatures.IndividualTemperature,),
        {"loss": "isogclr"},
        "A temperature for each expression or bin instead of each image; trains in one process.",
    ),
    "sbcl": Recipe(
        "SBCL",
        (subclasses.Subclasses, subclasses.cluster_numbers, subclasses.class_temperatures),
        {"loss": "sbcl"},
        "Clusters are found among the latest blocks of each bin, not over an epoch; there is no second view. Trains in "
        "one process.",
    ),
    "align_uniform": Recipe(
        "Alignment and uniformity", (geometry.alignment, geometry.uniformity), {"loss": "align_uniform"}
    ),
    "groco": Recipe(
        "GroCo",
        (sorting.group_ordering, sorting.soft_sort),
        {"loss": "groco"},
        "Eight positives are drawn and the ten hardest negatives taken; anchors with fewer negatives are left out.",
    ),
    "soft_count": Recipe("Soft count", (count.soft_count, count.soft_count_loss), {"loss": "soft_count"}),
    "top_scores": Recipe(
        "Top-score hinge (PFCD), two-sided",
        (count.top_score_hinge,),
        {"loss": "top_scores"},
        "The second side, against surplus detections, is ours.",
    ),
    "multi_view": Recipe("MV-InfoNCE, MV-DHEL", (views.multi_view,), note=_NO_VIEWS),
    "cua": Recipe(
        "CUA, CUAXU",
        (geometry.uniformity,),
        note="No place here: it is for two modalities that both train; within one, see alignment and uniformity.",
    ),
    "metrix": Recipe(
        "Metrix",
        (margin.mixed_distances, margin.margin_contrast),
        note="No place: SupReMix mixes ordered labels, MoCHi negatives; memory grows with A * R * R.",
    ),
    "amcl": Recipe(
        "AMCL",
        (temperatures.PairTemperature, temperatures.temperature_penalty),
        note="No place: it needs several projection heads and a network over all pairs.",
    ),
    "simlap": Recipe(
        "SimLAP, Hydra",
        (scores.gated_scores,),
        note="No place: it learns a subspace for each pair of classes. It is `contrast` with the denominator own.",
    ),
    "coconut": Recipe(
        "COCONUT's NSPT",
        (softmax.contrast,),
        note="No place: it is for classes that are added one after another; DCL with positives of a teacher.",
    ),
    "count_clip": Recipe(
        "Count-CLIP",
        (count.counterfactual_loss,),
        note="Not a term: `crowdcount.training.ImageTextModule` trains with it, on captions with numbers.",
    ),
    "count_token": Recipe(
        "Count token",
        (count.count_token_loss, count.detector_scale),
        note="No place: it trains a token of an image generator.",
    ),
}
"""All of them."""
