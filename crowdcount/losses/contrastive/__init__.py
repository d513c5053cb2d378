"""Contrastive losses as functions of scores and masks.

Mining, mixing, temperatures and clusters, which are random or have a state, make scores, masks or temperatures for
them. `SupCon` is the loss that a configuration of referring expression counting names.
"""

from crowdcount.losses.contrastive.scores import cosines, gated_scores
from crowdcount.losses.contrastive.softmax import contrast
from crowdcount.losses.contrastive.supcon import ContrastiveLoss, SupCon, supcon_floor
from crowdcount.losses.contrastive.weights import dclw_pull, label_distance_weight, ordinal_target, similarity_target

__all__ = [
    "ContrastiveLoss",
    "SupCon",
    "contrast",
    "cosines",
    "dclw_pull",
    "gated_scores",
    "label_distance_weight",
    "ordinal_target",
    "similarity_target",
    "supcon_floor",
]
