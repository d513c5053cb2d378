"""Matching, losses and selection of referring expression counting: recorded numbers, plain loops, edge cases."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import SupCon
from crowdcount.models.rec.loss import RecLoss, strangers, text_topn
from crowdcount.models.rec.matcher import PointMatcher
from crowdcount.models.rec.outputs import Phrases, PointDetections, selected

CASES = ["one_caption", "three_captions", "two_images", "lonely_caption", "more_gt_than_queries", "t256"]
ALL = {"label_weight": 5.0, "point_weight": 1.0, "image_text_weight": 0.06, "contrast_weight": 0.005}


# --- recorded numbers


def make_phrases(sizes, columns):
    """Return expressions of so many tokens; the last two are "." and [SEP]."""
    place, size = torch.arange(columns), torch.tensor(sizes)[:, None]
    tokens, labels = place < size, place < size - 2
    return Phrases(torch.zeros_like(tokens, dtype=torch.int64), tokens, labels & (place > 0), labels, tokens)


@pytest.fixture(params=CASES)
def case(request, golden):
    """Return the recorded case, its detections with leaves that require gradients, and its points."""
    recorded = np.load(golden / f"rec_criterion_{request.param}.npz")
    expressions = range(int(recorded["n_captions"]))
    leaves = {key: torch.from_numpy(recorded[key]).requires_grad_() for key in ("logits", "points", "img", "txt")}
    columns = leaves["logits"].shape[2]
    phrases = make_phrases([int(recorded[f"t{i}_caption_size"]) for i in expressions], columns)
    wanted = [torch.from_numpy(recorded[f"t{i}_labels"][0]).bool() for i in expressions]
    assert torch.equal(phrases.labels, torch.stack(wanted))
    attributes = torch.from_numpy(recorded["tok_mask"]).bool()
    padding = columns - attributes.shape[1]
    phrases.attributes = functional.pad(attributes, (0, padding))
    text = functional.pad(leaves["txt"], (0, 0, 0, padding))
    image = torch.from_numpy(recorded["mask_bi"])
    sizes = torch.zeros_like(leaves["points"])
    detections = PointDetections(leaves["logits"], leaves["points"], sizes, leaves["img"], text, phrases, image)
    return recorded, detections, [torch.from_numpy(recorded[f"t{i}_points"]) for i in expressions]


def published(detections, **weights):
    return RecLoss(**weights, matcher=PointMatcher(columns=detections.logits.shape[2]))


def test_matches_are_the_recorded_ones(case):
    recorded, detections, targets = case
    for i, (query, point) in enumerate(published(detections).matcher(detections, targets)):
        assert query.tolist() == recorded[f"i{i}_pred"].tolist()
        assert point.tolist() == recorded[f"i{i}_tgt"].tolist()


def test_losses_are_the_recorded_ones(case):
    recorded, detections, targets = case
    weights = {"label_weight": 1.0, "point_weight": 1.0, "image_text_weight": 1.0}
    terms = published(detections, **weights)(detections, targets)
    names = {"label": "loss_label", "point": "loss_point", "image_text": "loss_contrast_fixed"}
    assert terms.keys() == names.keys()
    for term, name in names.items():
        assert terms[term].item() == pytest.approx(float(recorded[name]), rel=2e-6, abs=1e-12)


def test_the_total_is_the_recorded_one_with_its_contrast_replaced(case):
    recorded, detections, targets = case
    total = sum(published(detections, image_text_weight=0.06)(detections, targets).values())
    released = float(recorded["loss_total"]) - 0.06 * float(recorded["loss_contrast"])
    assert total.item() == pytest.approx(released + 0.06 * float(recorded["loss_contrast_fixed"]), rel=2e-6)


def test_gradients_are_the_recorded_ones(case):
    """The released contrast is wrong, but touches neither logits nor points."""
    recorded, detections, targets = case
    sum(published(detections, image_text_weight=0.06)(detections, targets).values()).backward()
    for leaf, name in ((detections.logits, "grad_logits"), (detections.points, "grad_points")):
        expected = recorded[name]
        assert np.abs(leaf.grad.numpy() - expected).max() <= 2e-6 * np.abs(expected).max()


def test_released_labels_follow_the_last_full_stop(golden):
    recorded = np.load(golden / "rec_targets.npz")
    sizes = [int(recorded[f"t{i}_caption_size"]) for i in range(3)]
    labels = np.stack([recorded[f"t{i}_labels"][0] for i in range(3)])
    assert np.array_equal(make_phrases(sizes, 256).labels.numpy(), labels.astype(bool))


def test_selected_queries_are_the_recorded_ones(golden):
    recorded = np.load(golden / "rec_threshold.npz")
    phrases = make_phrases([int(end) + 2 for end in recorded["end_idx"]], 256)
    kept = selected(torch.from_numpy(recorded["logits"]), phrases).numpy()
    for i, row in enumerate(kept):
        assert np.array_equal(recorded["boxes"][i][row], recorded[f"keep{i}_boxes"])


def test_selection_needs_the_class_token_and_every_word():
    phrases = make_phrases([5], 6)  # [CLS] two words . [SEP] padding
    probabilities = torch.tensor([[0.26, 0.36, 0.36], [0.24, 0.9, 0.9], [0.9, 0.34, 0.9], [0.9, 0.9, 0.34]])
    logits = torch.full((1, 4, 6), -math.inf)
    logits[0, :, :3] = probabilities.logit()
    assert selected(logits, phrases).tolist() == [[True, False, False, False]]
    assert selected(logits, phrases, cls_threshold=0.2, word_threshold=0.3).all()


# --- plain loops


def scene(sizes, counts, images, queries=12, width=6, columns=9, seed=0):
    """Return random detections in double precision, padded with -inf, and points."""
    draw = torch.Generator().manual_seed(seed)
    rows = len(sizes)
    phrases = make_phrases(sizes, columns)
    phrases.attributes = phrases.tokens & (torch.rand(rows, columns, generator=draw) < 0.6)
    phrases.attributes[:, 0] = True
    logits = torch.randn(rows, queries, columns, generator=draw, dtype=torch.float64)
    shapes = {"points": (rows, queries, 2), "queries": (rows, queries, width), "text": (rows, columns, width)}
    values = {name: torch.rand(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    values["queries"] -= 0.5
    values["text"] -= 0.5
    values["logits"] = logits.masked_fill(~phrases.tokens[:, None], -math.inf)
    leaves = {name: value.requires_grad_() for name, value in values.items()}
    sizes = torch.zeros_like(leaves["points"])
    detections = PointDetections(sizes=sizes, phrases=phrases, image_index=torch.tensor(images), **leaves)
    return detections, [torch.rand(count, 2, generator=draw, dtype=torch.float64) for count in counts]


def leaf_tensors(detections):
    return [detections.logits, detections.points, detections.queries, detections.text]


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def plain_cost(detections, targets, row, query, point):
    real = int(detections.phrases.sizes[row])
    cost = 0.0
    for logit, label in zip(detections.logits[row, query, :real], detections.phrases.labels[row], strict=False):
        cost += -math.log(torch.sigmoid(logit if label else -logit).item())
    distance = (detections.points[row, query] - targets[row][point]).abs().sum().item()
    return 5 * cost / 256 + distance


def plain_label(detections, matches):
    total = 0
    for row, (matched, _) in enumerate(matches):
        size = int(detections.phrases.sizes[row])
        for query, token in itertools.product(range(detections.logits.shape[1]), range(size)):
            p = torch.sigmoid(detections.logits[row, query, token])
            if query in matched and detections.phrases.labels[row, token]:
                term = -0.25 * (1 - p) ** 2 * p.log()
            else:
                term = -0.75 * p**2 * (1 - p).log()
            total = total + term / size
    return total / detections.logits.shape[0] / detections.logits.shape[1]


def plain_point(detections, targets, matches):
    total = 0
    for row, (query, point) in enumerate(matches):
        for q, p in zip(query, point, strict=True):
            total = total + (detections.points[row, q] - targets[row][p]).abs().sum()
    return total / max(sum(len(each) for each in targets), 1)


def plain_pooled(detections, row):
    return detections.text[row][detections.phrases.attributes[row]].mean(dim=0)


def plain_image_text(detections, matches):
    total = 0
    for row, (matched, _) in enumerate(matches):
        image = detections.image_index
        others = [other for other in range(len(image)) if other != row and image[other] == image[row]]
        for query in detections.queries[row][matched] if others else []:
            term = (1 + (-cosine(query, plain_pooled(detections, row))).exp()).log()
            for other in others:
                term = term + (1 + cosine(query, plain_pooled(detections, other)).exp()).log() / len(others)
            total = total + term / 2 / len(matched)
    return total / len(matches)


def plain_contrast(tokens, positives, others, temperature=0.07):
    """Log of the mean share of the positives, for each expression of two positives or more."""
    losses = []
    for row, chosen in enumerate(positives):
        terms = []
        for anchor in chosen if len(chosen) > 1 else []:
            shares = [(cosine(tokens[row, anchor], tokens[row, other]) / temperature).exp() for other in chosen]
            up = sum(share for share, other in zip(shares, chosen, strict=True) if other != anchor) / (len(chosen) - 1)
            down = 0
            for other in range(tokens.shape[1]):
                if other != anchor:
                    down = down + (cosine(tokens[row, anchor], tokens[row, other]) / temperature).exp()
            for other in others[row]:
                down = down + (cosine(tokens[row, anchor], tokens[other]) / temperature).exp()
            terms.append(-(up / down).log())
        if terms:
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.fixture
def busy():
    """Five expressions of three images: none, one and more points than queries among them."""
    return scene([5, 7, 9, 6, 5], counts=[4, 3, 0, 14, 1], images=[0, 0, 0, 1, 2])


def test_matches_cost_least():
    detections, targets = scene([5, 7], counts=[3, 6], images=[0, 0], queries=5)
    for row, (query, point) in enumerate(PointMatcher()(detections, targets)):
        number = len(targets[row])
        ways = [
            dict(zip(range(number), order, strict=False))
            for order in itertools.permutations(range(max(5, number)), number)
        ]
        cost = {
            (q, p): plain_cost(detections, targets, row, q, p) for q, p in itertools.product(range(5), range(number))
        }
        best = min(sum(cost.get((q, p), 0) for p, q in way.items()) for way in ways)
        assert sum(cost[pair] for pair in zip(query.tolist(), point.tolist(), strict=True)) == pytest.approx(best)


def test_matches_do_not_depend_on_the_batch(busy):
    detections, targets = busy
    together = PointMatcher()(detections, targets)
    for row in range(len(targets)):
        size = int(detections.phrases.sizes[row])
        names = ("ids", "tokens", "words", "labels", "attributes")
        alone = {name: getattr(detections.phrases, name)[row : row + 1, :size] for name in names}
        lonely = dataclasses.replace(
            detections,
            logits=detections.logits[row : row + 1, :, :size],
            points=detections.points[row : row + 1],
            phrases=Phrases(**alone),
        )
        (match,) = PointMatcher()(lonely, [targets[row]])
        assert [index.tolist() for index in match] == [index.tolist() for index in together[row]]
        assert len(match[0]) == min(len(targets[row]), 12)


def test_terms_and_gradients_are_those_of_plain_loops(busy):
    detections, targets = busy
    terms = RecLoss(**ALL)(detections, targets)
    matches = PointMatcher()(detections, targets)
    expected = {
        "label": 5 * plain_label(detections, matches),
        "point": plain_point(detections, targets, matches),
        "image_text": 0.06 * plain_image_text(detections, matches),
        "contrast": 0.005 * plain_contrast(detections.queries, [q.tolist() for q, _ in matches], [[]] * 5),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-9)
        leaves = leaf_tensors(detections)
        got = torch.autograd.grad(terms[name], leaves, materialize_grads=True, retain_graph=True)
        plain = torch.autograd.grad(value, leaves, materialize_grads=True, retain_graph=True)
        for ours, theirs in zip(got, plain, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


def test_matched_queries_of_the_image_are_negatives_unless_they_share_the_point(busy):
    detections, targets = busy
    targets[1][2] = targets[0][1] + 1e-8
    matches = PointMatcher()(detections, targets)
    others = [[], [], [], [], []]
    for row, other in ((0, 1), (1, 0)):
        shared = 2 if other == 1 else 1
        others[row] = [(other, int(q)) for q, p in zip(*matches[other], strict=True) if p != shared]
        assert strangers(row, detections.image_index, targets, matches).tolist() == [list(o) for o in others[row]]
    assert [len(each) for each in others] == [2, 3, 0, 0, 0]
    loss = RecLoss(contrast_weight=1.0, negatives="image")
    expected = plain_contrast(detections.queries, [q.tolist() for q, _ in matches], others)
    assert loss(detections, targets)["contrast"].item() == pytest.approx(expected.item(), rel=1e-9)
    own = RecLoss(contrast_weight=1.0)(detections, targets)["contrast"].item()
    assert own < expected.item()


def test_a_shared_point_is_ignored_and_gets_no_gradient():
    detections, targets = scene([5, 6], counts=[2, 1], images=[0, 0])
    targets[1] = targets[0][:1].clone()  # the only object of one expression is the other's, too
    loss = RecLoss(contrast_weight=1.0, negatives="image")
    (gradient,) = torch.autograd.grad(loss(detections, targets)["contrast"], detections.queries)
    assert gradient[0].abs().amax() > 0
    assert gradient[1].abs().amax() == 0
    targets[1] = targets[1] + 1e-3  # now another object
    (_, (query, _)) = PointMatcher()(detections, targets)
    (gradient,) = torch.autograd.grad(loss(detections, targets)["contrast"], detections.queries)
    assert gradient[1].abs().amax(dim=1).nonzero()[:, 0].tolist() == query.tolist()


def test_top_n_are_the_queries_most_similar_to_the_text(busy):
    detections, _ = busy
    for row, chosen in enumerate(text_topn(detections, [4, 3, 0, 14, 1])):
        text = plain_pooled(detections, row)
        order = sorted(range(12), key=lambda query: -cosine(detections.queries[row, query], text))
        assert chosen.tolist() == sorted(order[: [4, 3, 0, 14, 1][row]])


def test_top_n_is_the_hungarian_choice_when_the_sets_agree(busy):
    detections, targets = busy
    losses = {name: RecLoss(contrast_weight=1.0, positives=name) for name in ("hungarian", "text_topn")}
    before = {name: loss(detections, targets)["contrast"].item() for name, loss in losses.items()}
    assert before["hungarian"] != pytest.approx(before["text_topn"], rel=1e-3)
    matches = PointMatcher()(detections, targets)
    with torch.no_grad():
        for row, (query, _) in enumerate(matches):
            detections.queries[row, query] += 5 * plain_pooled(detections, row)
    after = [loss(detections, targets)["contrast"] for loss in losses.values()]
    assert after[0].item() == after[1].item()
    gradients = [torch.autograd.grad(loss, leaf_tensors(detections)[2:], materialize_grads=True) for loss in after]
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert gradients[1][1].abs().amax() == 0  # the text chooses; it is not trained


def test_embeddings_take_the_place_of_the_queries(busy):
    detections, targets = busy
    embeddings = torch.randn(5, 12, 3, dtype=torch.float64, requires_grad=True)
    loss = RecLoss(image_text_weight=1.0, contrast_weight=1.0)
    terms, plain = loss(detections, targets, embeddings), loss(detections, targets)
    positives = [query.tolist() for query, _ in loss.matcher(detections, targets)]
    assert terms["contrast"].item() == pytest.approx(plain_contrast(embeddings, positives, [[]] * 5).item(), rel=1e-9)
    assert terms["image_text"].item() == plain["image_text"].item()
    terms["contrast"].backward()
    assert embeddings.grad.abs().amax() > 0
    assert detections.queries.grad is None


def test_the_contrast_is_the_given_one(busy):
    detections, targets = busy
    sharp, flat = (RecLoss(contrast_weight=1.0, contrast=SupCon(temperature=t)) for t in (0.07, 0.5))
    assert sharp(detections, targets)["contrast"].item() != pytest.approx(flat(detections, targets)["contrast"].item())


# --- edges


@pytest.mark.parametrize(
    ("counts", "images"),
    [([0, 0], [0, 0]), ([1, 1], [0, 0]), ([12, 20], [0, 0]), ([12, 20], [0, 1]), ([0, 5], [0, 0]), ([0, 0], [0, 1])],
)
@pytest.mark.parametrize("positives", ["hungarian", "text_topn"])
@pytest.mark.parametrize("negatives", ["own", "image"])
def test_every_term_has_finite_gradients(counts, images, positives, negatives):
    detections, targets = scene([5, 7], counts, images)
    terms = RecLoss(**ALL, positives=positives, negatives=negatives)(detections, targets)
    assert len(terms) == 4
    if sum(counts) == 0:
        assert [terms[name].item() for name in ("point", "image_text", "contrast")] == [0, 0, 0]
    sum(terms.values()).backward()
    for leaf in leaf_tensors(detections):
        assert leaf.grad.isfinite().all()
    padding = ~detections.phrases.tokens[:, None].expand_as(detections.logits)
    assert (detections.logits.grad[padding] == 0).all()


@pytest.mark.parametrize("padding", [math.inf, math.nan, 1e4])
def test_padding_holds_no_number_of_meaning(busy, padding):
    detections, targets = busy
    strange = detections.logits.detach().masked_fill(~detections.phrases.tokens[:, None], padding).requires_grad_()
    changed = dataclasses.replace(detections, logits=strange)
    expected, got = (RecLoss(**ALL)(each, targets) for each in (detections, changed))
    assert {name: term.item() for name, term in got.items()} == {name: term.item() for name, term in expected.items()}
    got["label"].backward()
    assert strange.grad.isfinite().all()
    assert torch.equal(selected(strange, detections.phrases), selected(detections.logits, detections.phrases))


def test_large_scores_have_finite_losses(busy):
    detections, targets = busy
    with torch.no_grad():
        detections.logits *= 1e4
    terms = RecLoss()(detections, targets)
    assert terms["label"].isfinite()
    terms["label"].backward()
    assert detections.logits.grad.isfinite().all()


def test_reduced_precision_and_autocast_change_nothing(busy):
    detections, targets = busy
    names = ("logits", "points", "queries", "text")
    halves = {name: getattr(detections, name).detach().bfloat16() for name in names}
    floats = {name: value.float() for name, value in halves.items()}
    expected = RecLoss(**ALL)(dataclasses.replace(detections, **floats), targets)
    with torch.autocast("cpu", torch.bfloat16):
        got = RecLoss(**ALL)(dataclasses.replace(detections, **halves), targets)
    for name, term in got.items():
        assert term.dtype == torch.float32
        assert term.item() == expected[name].item()


def test_terms_without_weight_are_left_out(busy):
    assert RecLoss()(*busy).keys() == {"label", "point"}
    assert RecLoss(label_weight=0, contrast_weight=1)(*busy).keys() == {"point", "contrast"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point_weight": -1.0}, "loss.point_weight: -1.0"),
        ({"contrast_weight": math.nan}, "loss.contrast_weight: nan"),
        ({"image_text_weight": math.inf}, "loss.image_text_weight: inf"),
        ({"positives": "nearest"}, "loss.positives: 'nearest' is not one of hungarian, text_topn"),
        ({"negatives": "all"}, "loss.negatives: 'all' is not one of own, image"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        RecLoss(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_cost": -1.0}, "loss.matcher.class_cost: -1.0"),
        ({"point_cost": math.inf}, "loss.matcher.point_cost: inf"),
        ({"class_cost": 0.0, "point_cost": 0.0}, "both 0"),
        ({"columns": 0}, "loss.matcher.columns: 0"),
    ],
)
def test_wrong_costs_are_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        PointMatcher(**arguments)
    assert message in str(caught.value)
