"""Contrastive terms beside the loss of a training module."""

from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Tensor, nn

from crowdcount.errors import InputError
from crowdcount.losses.contrastive.pairs import Pairs
from crowdcount.losses.contrastive.term import STATEFUL, ContrastiveTerm, Place

MakePairs = Callable[[int], Pairs]
"""Makes the pairs of a place with at most so many anchors."""


class ContrastiveTerms(nn.Module):
    """The terms of a configuration with their states, which are saved in checkpoints as part of the training module.

    Args:
        terms: lines of the configuration.
        places: where the training module makes pairs.
        classes: number of count bins; 0 for expressions.
        width: of the embeddings.

    Raises:
        InputError: a term belongs at another place.
    """

    def __init__(
        self, terms: Sequence[ContrastiveTerm], places: Collection[Place], classes: int = 0, width: int = 0
    ) -> None:
        super().__init__()
        for term in terms:
            if term.at not in places:
                raise InputError(
                    f"model.contrastive: {term.loss} at {term.at}; this module has {' and '.join(sorted(places))}"
                )
        self.terms = tuple(terms)
        self.states = nn.ModuleList(term.make_state(classes, width) for term in terms)

    def check_processes(self, number: int) -> None:
        """Refuse to learn a state in several processes: each would see its own images, and rank 0 would be saved.

        Args:
            number: of processes.

        Raises:
            InputError: there are several, and a term learns a state.
        """
        stateful = [term.loss for term in self.terms if term.loss in STATEFUL]
        if number > 1 and stateful:
            raise InputError(
                f"model.contrastive: {stateful[0]} learns its state from the images of one process, and there are "
                f"{number}; train on one device (trainer.devices: 1), or take a loss without a state"
            )

    def at(self, place: Place) -> bool:
        """Return whether a term of nonzero weight is at a place."""
        return any(term.at == place and term.weight for term in self.terms)

    def forward(self, places: Mapping[Place, MakePairs], step: int) -> dict[str, Tensor]:
        """Return the weighted terms by name, such as `count_bins_supcon`; those that are off are left out.

        Args:
            places: makes the pairs of each place.
            step: optimizer steps so far.
        """
        made: dict[tuple[Place, int], Pairs] = {}
        values: dict[str, Tensor] = {}
        for term, state in zip(self.terms, self.states, strict=True):
            if not term.weight or step < term.start_step:
                continue
            key = term.at, term.max_anchors
            if key not in made:
                made[key] = places[term.at](term.max_anchors)
            name = f"{term.at}_{term.loss}"
            while name in values:
                name += "_"
            values[name] = term.weight * term(made[key], state)
        return values
