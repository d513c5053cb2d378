import math

import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.losses.contrastive import (
    IndividualTemperature,
    PairTemperature,
    contrast,
    cosines,
    temperature_penalty,
)
from tests.support.contrastive import assert_ignored, assert_recorded, gradient, random_pairs, recorded

CASES = recorded("isogclr")


def step(case, number):
    """One recorded step as a case of its own."""
    prefix = f"s{number}_"
    return type(case)({key[len(prefix) :]: value for key, value in case.items() if key.startswith(prefix)})


def made(case, **options):
    keys = {"tau": "temperature", "tau_min": "lowest", "tau_max": "highest", "rho": "rho", "gamma": "decay"}
    keys |= {"beta": "momentum", "eta": "rate"}
    given = {ours: case[theirs] for theirs, ours in keys.items()}
    head = IndividualTemperature(case["n_ids"], **{**given, **options}).double()
    head.temperature.fill_(case["tau"])  # which single precision rounds
    return head


def assert_state(head, expected, *, average, slope, temperature, tolerance=1e-9):
    torch.testing.assert_close(head.log_average, average, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(head.slope, expected[slope], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(head.temperature, expected[temperature], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case["variant"])
def test_recorded_views(case):
    head = made(case, clip=3.0 if case["variant"] == "unimodal" else None)
    for number in range(case["steps"]):
        given = step(case, number)
        z = given.z
        sample = torch.arange(len(z)) % (len(z) // 2)
        same, own = sample[:, None] == sample, torch.eye(len(z), dtype=torch.bool)
        value = head(cosines(z, z), same & ~own, ~same, given["ids"].repeat(2), first=given["epoch"] == 0)
        assert_recorded(given, 2 * value, z)  # the authors take the sum over both views
        assert_state(head, given, average=given["u"].log(), slope="momentum", temperature="tau_state")


@pytest.mark.parametrize("case", [CASES[1], CASES[3]], ids=lambda case: case["variant"])
def test_recorded_modalities(case):
    official = case["variant"] == "bimodal"
    size = len(case["s0_ids"])
    # the authors leave the diagonal in the sums but divide by the number of the others
    excess = math.log(size / (size - 1)) if official else 0.0
    options = {"relative": True, "clip": 5.0 if official else None, "rho": case["rho"] + excess}
    heads = [made(case, **options), made(case, **options)]
    for number in range(case["steps"]):
        given = step(case, number)
        z = given.z
        scores, own = cosines(*z.chunk(2)), torch.eye(size, dtype=torch.bool)
        neg = own | ~own if official else ~own
        first = not official and given["epoch"] == 0
        parts = [head(each, own, neg, given["ids"], first=first) for head, each in zip(heads, (scores, scores.T))]  # noqa: B905
        scale = 1 if official else (size - 1) / 2  # libauc takes half of the sum over negatives
        assert_recorded(given, scale * sum(parts), z)
        for head, side in zip(heads, "ab", strict=True):
            average = given[f"u_{side}"].log() + given[f"max_{side}"] - excess
            names = {"slope": f"momentum_{side}", "temperature": f"tau_{side}"}
            # the authors add 1e-10 to the averages that they divide by
            assert_state(head, given, average=average, **names, tolerance=2e-8 if official else 1e-9)


def head_of(**options):
    head = IndividualTemperature(3, **options).double()
    head.temperature.fill_(0.1)
    return head


IDS = torch.tensor([0, 0, 1, 1, 2, 2, 2])


@pytest.mark.parametrize("relative", [False, True])
def test_plain_formula(relative):
    scores, pos, neg = random_pairs()
    head = head_of(relative=relative, clip=None)
    losses, slopes, averages = [], {}, {}
    for i in range(7):
        if not (pos[i].any() and neg[i].any()):
            continue
        up, down = scores[i][pos[i]].mean(), scores[i][neg[i]]
        terms = down - up if relative else down
        mean = (terms.detach() / 0.1).exp().mean()
        share = (terms.detach() / 0.1).exp() / mean
        losses.append((share * terms).mean() - (0 if relative else up))
        slope = mean.log() + 0.3 - (share * terms.detach() / 0.1).mean()
        slopes.setdefault(int(IDS[i]), []).append(slope)
        averages.setdefault(int(IDS[i]), []).append(mean)
    value = head(scores, pos, neg, IDS)
    torch.testing.assert_close(value, sum(losses) / len(losses))
    torch.testing.assert_close(gradient(value, scores), gradient(sum(losses) / len(losses), scores))
    for name, number in slopes.items():
        assert head.slope[name] == pytest.approx(0.9 * float(sum(number) / len(number)))
        assert head.log_average[name].exp() == pytest.approx(float(sum(averages[name]) / len(averages[name])))


def test_ids_start_at_their_first_visit():
    scores, pos, neg = random_pairs()
    head = head_of()
    few = IDS < 2
    head(scores[few], pos[few], neg[few], IDS[few])
    assert head.log_average[2].isinf() and head.temperature[2].float() == torch.tensor(0.1)
    alone = head_of()(scores[~few], pos[~few], neg[~few], IDS[~few])
    assert head(scores[~few], pos[~few], neg[~few], IDS[~few]) == alone


def test_ignored_pairs_and_no_pairs():
    def loss(*pairs):
        return head_of()(*pairs, IDS)

    scores, pos, neg = random_pairs()
    assert_ignored(loss, scores, pos, neg)
    value = loss(scores, pos & False, neg)
    assert value.item() == 0
    assert (gradient(value, scores) == 0).all()


def test_evaluation_leaves_the_state():
    scores, pos, neg = random_pairs()
    head = head_of().eval()
    before = {key: each.clone() for key, each in head.state_dict().items()}
    head(scores, pos, neg, IDS)
    assert all(torch.equal(each, before[key]) for key, each in head.state_dict().items())


def test_a_resumed_state_is_the_uninterrupted_one():
    scores, pos, neg = random_pairs()
    whole = head_of()
    whole(scores, pos, neg, IDS)
    resumed = head_of()
    resumed.load_state_dict(whole.state_dict())
    assert whole(scores * 0.9, pos, neg, IDS) == resumed(scores * 0.9, pos, neg, IDS)
    assert all(torch.equal(each, resumed.state_dict()[key]) for key, each in whole.state_dict().items())


def test_temperatures_stay_between_their_bounds():
    scores, pos, neg = random_pairs()
    head = head_of(rate=100.0)
    head(scores, pos, neg, IDS)
    moved = head.temperature[1:]  # no anchor of id 0 has both a positive and a negative
    assert (((moved - 0.05).abs() < 1e-6) | ((moved - 0.7).abs() < 1e-6)).all()
    assert head.temperature[0] == 0.1


def test_bad_numbers():
    for key, value in {"number": 0, "lowest": 0, "rate": 0, "decay": 1.5, "momentum": -0.1}.items():
        with pytest.raises(InputError, match=rf"IndividualTemperature\.{key}"):
            IndividualTemperature(**{"number": 3, key: value})
    with pytest.raises(InputError, match="not between lowest"):
        IndividualTemperature(3, temperature=1.0)


def networks(case):
    """The recorded networks, one a head."""
    made = []
    for head in range(case["z"].shape[1]):
        network = PairTemperature(case["z"].shape[3], hidden=len(case["h0_b1"]), lowest=case["lower"]).double()
        for layer, number in ((network.first, 1), (network.second, 2)):
            layer.weight.data, layer.bias.data = case[f"h{head}_w{number}"], case[f"h{head}_b{number}"]
        made.append(network)
    return made


def test_recorded_amcl():
    """As described; the released forward divides each sample's score by all temperatures of the batch."""
    case = recorded("amcl")[1]
    z = case.z
    own = torch.eye(z.shape[2], dtype=torch.bool)
    value = 0
    for head, network in enumerate(networks(case)):
        first, second = z[0, head], z[1, head]
        tau = network(first, second)
        value = value + contrast(cosines(first, second) / tau, own, ~own)
        value = value + case["beta"] * temperature_penalty(tau, z.shape[3])
    assert_recorded(case, value, z)


def test_recorded_amcl_as_released():
    case = recorded("amcl")[0]
    z = case.z
    size = z.shape[2]
    value = 0
    for head, network in enumerate(networks(case)):
        first, second = z[0, head], z[1, head]
        tau = network(first, second).diagonal()[:, None]
        score = cosines(first, second).diagonal()
        value = value + torch.nn.functional.softplus(-2 * score / tau).mean()
        value = value + case["beta"] * temperature_penalty(tau, size)
    assert_recorded(case, value, z)
