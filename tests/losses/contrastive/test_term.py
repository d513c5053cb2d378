import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import (
    ContrastiveTerm,
    IdSlots,
    Pairs,
    Subclasses,
    class_pairs,
    contrast,
    cosines,
    dclw_pull,
    draw_per_class,
    hardest,
    mann_whitney,
    ordinal_target,
)
from crowdcount.losses.contrastive.scores import row_means
from crowdcount.losses.contrastive.term import FORMS, PLACES
from tests.support.contrastive import gradient

VALUES = torch.tensor([0.0, 1, 2, 3.5])
LABELS = torch.arange(60) % 4
EVERY = [(loss, at) for loss, places in PLACES.items() for at in places]
MORE = [
    {"loss": "supcon", "at": "count_bins", "ordinal": "weight"},
    {"loss": "supcon", "at": "count_bins", "ordinal": "target"},
    {"loss": "supcon", "at": "count_bins", "mix": "supremix", "ordinal": "weight"},
    {"loss": "supcon", "at": "rec_tokens", "mix": "mochi"},
    {"loss": "dcl", "at": "rec_tokens", "hard_fraction": 0.2},
    {"loss": "supcon_in", "at": "rec_tokens", "per_group": False},
]
LINES = [{"loss": loss, "at": at} for loss, at in EVERY] + MORE
SCORED = [x for x in LINES if not x.get("mix") and x["loss"] not in ("groco", "sbcl", "soft_count", "top_scores")]


def features(seed=0):
    return torch.randn(60, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def pairs_at(at, z):
    """Pairs of each place, with ignored ones."""
    if at == "count_bins":
        pairs = class_pairs(z, LABELS, VALUES)
        pairs.neg = pairs.neg & ~torch.eye(60, dtype=torch.bool).roll(1, 1)
        return pairs
    generator = torch.Generator().manual_seed(1)
    kind = torch.randint(5, (12, 60), generator=generator)
    pos, neg = kind == 0, (kind == 1) | (kind == 2)
    group = torch.arange(12) // 3
    if at == "rec_logits":
        return Pairs(3 * z[:12] @ z.T, pos, neg, ids=group)
    return Pairs(cosines(z[:12], z), pos, neg, z[:12], z, group=group, ids=group * 10**15)


def value_of(line, z, classes=4):
    term = ContrastiveTerm(**line)
    torch.manual_seed(0)
    state = term.make_state(classes if line["at"] == "count_bins" else 0, 6).double()
    return term(pairs_at(line["at"], z), state)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_every_line_trains(line):
    z = features()
    value = value_of(line, z)
    assert value.ndim == 0 and value.isfinite()
    slopes = gradient(value, z)
    assert slopes.isfinite().all() and (slopes != 0).any()


@pytest.mark.parametrize("line", SCORED, ids=str)
def test_ignored_pairs_have_no_gradient(line):
    """Scores are the leaf: what mixes or sorts embeddings is tested beside it, what counts sees all scores."""
    term = ContrastiveTerm(**line)
    pairs = pairs_at(line["at"], features())
    pairs.scores = pairs.scores.detach().requires_grad_()
    value = term(pairs, term.make_state(4 if line["at"] == "count_bins" else 0, 6).double())
    slopes = gradient(value, pairs.scores)
    assert (slopes[~(pairs.pos | pairs.neg)] == 0).all()
    assert (slopes != 0).any()


@pytest.mark.parametrize("line", LINES, ids=str)
def test_nothing_to_contrast(line):
    z = features()
    pairs = pairs_at(line["at"], z)
    pairs.pos, pairs.neg = pairs.pos & False, pairs.neg & False
    term = ContrastiveTerm(**line)
    value = term(pairs, term.make_state(4 if line["at"] == "count_bins" else 0, 6).double())
    if line["loss"] in ("soft_count", "top_scores"):
        assert value > 0  # they see all scores
    else:
        assert value.item() == 0 and (gradient(value, z) == 0).all()


def test_lines_are_the_functions():
    z = features()
    pairs = pairs_at("count_bins", z)
    scores, pos, neg = pairs.scores, pairs.pos, pairs.neg
    rows = (LABELS[:, None] == LABELS) & ~torch.eye(60, dtype=torch.bool)
    assert (pos == rows).all() and (pairs.delta == VALUES[LABELS] - VALUES[LABELS][:, None]).all()
    expected = {
        ("supcon", ()): contrast(scores / 0.1, pos, neg),
        ("supcon_in", ()): contrast(scores / 0.1, pos, neg, form="log_of_mean"),
        ("infonce", ()): contrast(scores / 0.1, pos, neg, denominator="own"),
        ("dcl", ()): contrast(scores / 0.1, pos, neg, denominator="negatives"),
        ("dclw", ()): contrast(scores / 0.1, pos, neg, denominator="negatives", pull=dclw_pull(row_means(scores, pos))),
        ("mw", ()): mann_whitney(scores / 0.1, pos, neg),
        ("supcon", (("hard_fraction", 0.25),)): contrast(scores / 0.1, pos, hardest(scores, neg, fraction=0.25)),
        ("supcon", (("ordinal", "weight"),)): contrast(scores / 0.1, pos, neg, weight=1 + pairs.delta.abs()),
        ("supcon", (("ordinal", "target"), ("bandwidth", 2.0))): contrast(
            scores / 0.1, pos | neg, neg & False, target=ordinal_target(pairs.delta, 2.0)
        ),
    }
    for (loss, options), value in expected.items():
        term = ContrastiveTerm(loss=loss, at="count_bins", **dict(options))
        torch.testing.assert_close(term(pairs), value)


def test_temperatures_of_the_places():
    assert ContrastiveTerm("dcl", "rec_logits").scale == 1
    assert ContrastiveTerm("dcl", "rec_tokens").scale == 0.1
    assert ContrastiveTerm("dcl", "rec_tokens", temperature=0.5).scale == 0.5


def test_drawn_classes():
    labels = torch.tensor([0] * 50 + [2] * 3 + [1] * 10)[torch.randperm(63)]
    chosen = draw_per_class(labels, 5)
    assert labels[chosen].bincount().tolist() == [5, 5, 3]
    assert (chosen == chosen.unique()).all()
    assert (draw_per_class(labels, 5) != chosen).any()


def test_slots():
    slots = IdSlots(4)
    assert slots(torch.tensor([7, -3, 7])).tolist() == [1, 0, 1]
    twin = IdSlots(4)
    twin.load_state_dict(slots.state_dict())
    for each in (slots, twin):
        assert each(torch.tensor([100, 7, 0, -3])).tolist() == [3, 1, 2, 0]
    with pytest.raises(InputError, match="more than 4 ids"):
        slots(torch.tensor([8]))


def test_subclasses_are_found_and_resumed():
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    kind = torch.tensor([0, 1, 2] * 20 + [3] * 12)  # class 0 has three clusters, class 1 one
    z = centres[kind] + 0.05 * torch.randn(72, 8)
    labels = (kind == 3).long()
    whole = Subclasses(2, 8, refresh=2, capacity=64)
    subclass, tau = whole(z, labels)
    assert subclass.unique().numel() == 2 and (tau == 0.1).all()
    resumed = Subclasses(2, 8, refresh=2, capacity=64)
    resumed.load_state_dict(whole.state_dict())
    for each in (whole, resumed):
        torch.manual_seed(3)
        subclass, tau = each(z, labels)
        assert subclass[kind == 3].unique().numel() == 1 and 1 < subclass[kind < 3].unique().numel() <= 5
        split = [subclass[kind == k].unique().numel() for k in range(3)]
        assert min(split) == 1
    assert all(torch.equal(each, resumed.state_dict()[key]) for key, each in whole.state_dict().items())
    before = whole.state_dict()["calls"].clone()
    whole.eval()(z, labels)
    assert whole.calls == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"loss": "other", "at": "rec_tokens"}, r"contrastive\.loss: 'other' is not one of"),
        ({"loss": "supcon", "at": "nowhere"}, r"contrastive\.at: 'nowhere' is not one of"),
        ({"loss": "sbcl", "at": "rec_tokens"}, "sbcl has no meaning at rec_tokens, it belongs at count_bins"),
        ({"loss": "supcon", "at": "rec_tokens", "ordinal": "weight"}, r"contrastive\.ordinal: weight needs ordered"),
        ({"loss": "dcl", "at": "rec_tokens", "mix": "supremix"}, r"contrastive\.mix: supremix needs ordered"),
        ({"loss": "dcl", "at": "rec_logits", "mix": "mochi"}, "rec_logits has none"),
        ({"loss": "mw", "at": "count_bins", "ordinal": "weight"}, r"contrastive\.ordinal: mw takes none"),
        ({"loss": "cacr", "at": "count_bins", "mix": "mochi"}, r"contrastive\.mix: cacr takes none"),
        ({"loss": "groco", "at": "count_bins", "hard_fraction": 0.1}, "groco takes none"),
        ({"loss": "dcl", "at": "count_bins", "mix": "mochi", "ordinal": "target"}, "no soft target"),
        ({"loss": "dcl", "at": "count_bins", "weight": -1}, r"contrastive\.weight"),
        ({"loss": "dcl", "at": "count_bins", "temperature": 0}, r"contrastive\.temperature"),
        ({"loss": "dcl", "at": "count_bins", "hard_fraction": 2}, r"contrastive\.hard_fraction"),
    ],
)
def test_bad_lines(line, message):
    with pytest.raises(InputError, match=message):
        ContrastiveTerm(**line)


def test_every_softmax_loss_has_a_place():
    assert set(FORMS) <= set(PLACES)
