"""Adapting to a few frames: levels, what each changes, the choice among them, seeds."""

import copy
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from crowdcount.data.annotations.count_table import CountedFile
from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.images.mask import IgnoreMask
from crowdcount.inference.density import Inference
from crowdcount.inference.model import Model
from crowdcount.models import Bins, Ebc, Hmode, Zip
from crowdcount.training.adapting import Frame, Plan, Trial, adapt, fit, frames_of_files, frames_of_records
from crowdcount.training.adapting.compare import choose
from crowdcount.training.adapting.frames import check_frames, held_out_parts, outside
from crowdcount.training.adapting.levels import backbone, normalisations, offered_levels, trained_parameters
from crowdcount.training.adapting.remembered import Remembered
from crowdcount.training.adapting.without_training import MOST, PRIOR, best_factor, renew_statistics, scale_counts

BINS = Bins([0, 1, "2+"], [0, 1, 3])
SIDE = 48


def counter(seed=0, context=(1,), **changes):
    torch.manual_seed(seed)
    network = Ebc("test_resnet", BINS, pretrained=False, context=context).eval()
    config = {"backbone": "test_resnet", "pretrained": False, "bins": {"intervals": [0, 1, "2+"], "anchors": [0, 1, 3]}}
    config["context"] = list(context)
    whole = {"model": {"init_args": {"network": {"class_path": "crowdcount.models.Ebc", "init_args": config}}}}
    return Model(network, **{"inference": Inference(), "name": "tiny", "config": whole, **changes})


class Noise:
    """An image of coarse noise, drawn when it is read."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self):
        coarse = np.random.default_rng(self.seed).integers(0, 256, (8, 8, 3), np.uint8)
        return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST))


def pointed(number=4, people=3):
    rng = np.random.default_rng(1)
    points = [rng.uniform(0, SIDE, (people + n, 2)).astype(np.float32) for n in range(number)]
    return frames_of_records([Record(f"{n}.png", Noise(n), each) for n, each in enumerate(points)])


def counted(counts):
    return [Frame(Record(f"{n}.png", Noise(n), None), float(count), f"{n}.png") for n, count in enumerate(counts)]


@pytest.fixture(autouse=True)
def small_crops(monkeypatch):
    monkeypatch.setattr("crowdcount.training.adapting.fit.CROP", 32)


def schedule(level="head", steps=2, seed=0, ticks=None):
    return fit.Schedule(level, steps, seed, lambda: None if ticks is None else ticks.append(1))


def predicted(model, frames):
    return np.array([model.predict(frame.record.read()).count for frame in frames])


def trial(level, errors):
    errors = np.asarray(errors, float)
    return Trial(level, np.zeros_like(errors), errors, (None,) * len(errors), 0.0)


def test_the_cheapest_level_about_as_good_as_the_best_is_taken():
    start, best = trial("start", [9, 9, 9, 9]), trial("blocks", [1, 2, 1, 2])
    near, far = trial("factor", [1, 3, 1, 2]), trial("factor", [3, 4, 3, 4])
    assert choose([start, near, best]) is near  # 0.25 worse, with a standard error of 0.25
    assert choose([start, far, best]) is best  # 2 worse on every frame
    assert choose([start, far]) is far


def test_a_level_is_never_taken_with_a_higher_error_than_the_start():
    start = trial("start", [2, 2, 2, 2])
    worse = trial("factor", [0, 0, 0, 9])  # within a standard error of the best, but worse than the start
    assert choose([start, worse, trial("head", [1, 2, 2, 2])]).level == "head"
    assert choose([start, worse]) is start and choose([start, trial("head", [2, 2, 2, 2])]) is start


def test_every_frame_is_held_out_once_and_windows_stay_together():
    files = [CountedFile(f"{n}.png", None, 1.0, f"w{n // 3}") for n in range(12)]
    parts = held_out_parts(frames_of_files(files), 3, seed=0)
    assert sorted(n for part in parts for n in part) == list(range(12)) and len(parts) == 3
    assert all(set(part) >= {3 * (n // 3) + k for n in part for k in range(3)} for part in parts)
    assert len(held_out_parts(pointed(3), 4, 0)) == 3
    assert held_out_parts(pointed(9), 3, 0) != held_out_parts(pointed(9), 3, 1)
    assert held_out_parts(pointed(9), 3, 0) == held_out_parts(pointed(9), 3, 0)


@pytest.mark.parametrize(
    ("frames", "said"),
    [([], "there are none"), (pointed(1), "1 in one group"), (counted([0, 0]), "nobody is in any of the 2")],
)
def test_frames_that_teach_nothing_are_refused(frames, said):
    with pytest.raises(InputError, match=said):
        check_frames(frames)


def test_the_factor_minimises_the_absolute_errors():
    rng = np.random.default_rng(0)
    true, predicted = rng.uniform(0, 9, 20), rng.uniform(1, 9, 20)
    tried = np.linspace(0.1, 5, 3000)
    errors = np.abs(true - tried[:, None] * predicted).sum(axis=1)
    assert np.abs(true - best_factor(true, predicted) * predicted).sum() <= errors.min() + 1e-9
    assert best_factor(np.array([5.0, 900.0]), np.array([0.0, 1.0])) == 10 and best_factor(true, 0 * true) == 1


NETWORKS = [
    lambda: counter().network,
    lambda: Zip("test_resnet", BINS, pretrained=False).eval(),
    lambda: Ebc("test_resnet", BINS, reduction=16, pretrained=False, half_size=True).eval(),
]


@pytest.mark.parametrize("make", NETWORKS, ids=["ebc", "zip", "two sizes"])
def test_a_factor_multiplies_every_count(make):
    network, image = make(), torch.rand(1, 3, 64, 64)
    before = network(image)
    scale_counts(network, 1.5)
    torch.testing.assert_close(network(image).density, 1.5 * before.density)


def test_levels_follow_the_network():
    network = counter().network
    assert offered_levels(network) == ["start", "factor", "statistics", "head", "blocks"]
    assert {name.split(".")[0] for name in trained_parameters(network, "head")} == {"classifier"}
    assert {name.split(".")[0] for name in trained_parameters(network, "blocks")} == {"context", "classifier"}
    assert trained_parameters(network, "factor") == []
    plain = counter(context=()).network  # the last third of its layers
    blocks = trained_parameters(plain, "blocks")
    assert {name.split(".")[0] for name in blocks} == {"backbone", "classifier"} and len(blocks) < 0.7 * len(
        list(plain.parameters())
    )
    mixture = Hmode("test_resnet", strides=(8, 16), pretrained=False)
    assert offered_levels(mixture) == ["start", "statistics", "blocks"]  # it names no features of blocks
    assert backbone(mixture)[0] == "encoder" and not any("encoder" in n for n in trained_parameters(mixture, "blocks"))
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    assert offered_levels(network) == ["start", "factor", "statistics"]  # a frozen tower is not trained


def test_a_level_that_the_network_lacks_is_refused():
    mixture = Model(Hmode("test_resnet", strides=(8, 16), pretrained=False).eval())
    with pytest.raises(InputError, match="Hmode has no level head; its levels: statistics, blocks"):
        adapt(mixture, pointed(), Plan(levels=("head",)))


@pytest.mark.parametrize("level", ["head", "blocks"])
def test_only_the_parameters_of_a_level_change(level):
    model, ticks = counter(), []
    before = copy.deepcopy(model.network.state_dict())
    frames, trained = pointed(), set(trained_parameters(model.network, level))
    fit.fit(model, frames, [0, 1, 2], schedule(level, ticks=ticks))
    changed = {key for key, value in model.network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and changed <= trained and len(ticks) == 2
    assert not model.network.training and all(each.requires_grad for each in model.network.parameters())


def test_a_network_of_two_sizes_learns(monkeypatch):
    monkeypatch.setattr("crowdcount.training.adapting.fit.CROP", 64)
    network = Ebc("test_resnet", BINS, pretrained=False, context=(1,), half_size=True).eval()
    model, before = replace(counter(), network=network), copy.deepcopy(network.classifier.weight)
    fit.fit(model, pointed(), [0, 1, 2], schedule())
    assert network.classifier.weight.isfinite().all() and not torch.equal(network.classifier.weight, before)


def test_seeds_decide_about_everything():
    states = []
    for seed in (0, 0, 1):
        model = counter()
        fit.fit(model, pointed(), [0, 1, 2], schedule("blocks", seed=seed))
        states.append(model.network.state_dict()["classifier.weight"])
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_held_out_frames_teach_nothing():
    model, other = counter(), counter()
    frames = pointed()
    fit.fit(model, frames, [0, 1], schedule())
    fit.fit(other, [*frames[:2], *counted([50, 60])], [0, 1], schedule())  # what the others hold does not matter
    assert torch.equal(model.network.classifier.weight, other.network.classifier.weight)


@pytest.mark.parametrize("inference", [Inference(), Inference(window=32, window_stride=16)])
def test_counts_alone_move_the_count(inference):
    model = counter(inference=inference)
    start = predicted(model, counted([0] * 3))
    frames = counted(1.1 * start)
    fit.fit(model, frames, [0, 1, 2], schedule(steps=10))
    now = predicted(model, frames)
    assert np.abs(now - 1.1 * start).mean() < np.abs(0.1 * start).mean()


def test_a_loss_of_counts_sees_what_a_prediction_sees():
    for inference in (Inference(), Inference(window=32, window_stride=16)):
        model = counter(inference=inference)
        for height, width in ((48, 48), (50, 71)):
            image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            density = inference.density(model.network, model.pixels(image)[None])
            found = model.predict(image)
            np.testing.assert_allclose(density[0, 0].detach().numpy(), found.density, rtol=1e-5, atol=1e-6)
            density.sum().backward()
            assert model.network.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("frames", [pointed(), counted([3, 4, 5, 6])])
def test_nothing_under_a_mask_is_learned(frames):
    """Whatever is there: another image and other points give the same weights, and without the mask others."""
    marked = np.zeros((SIDE, SIDE), bool)
    marked[:, : SIDE // 2] = True

    def changed(frame):
        def read():
            return np.where(marked[..., None], 255 - frame.record.read(), frame.record.read())

        points = frame.record.points
        more = None if points is None else np.concatenate([points, np.float32([[1, 1], [2, 9]])])
        return replace(frame, record=replace(frame.record, image=read, points=more))

    def learned(some, mask):
        model = counter().for_camera(ignored=mask)
        fit.fit(model, outside(some, mask), [0, 1, 2], schedule())
        return model.network.state_dict()["classifier.weight"]

    mask, others = IgnoreMask(marked), [changed(frame) for frame in frames]
    assert torch.equal(learned(frames, mask), learned(others, mask))
    assert not torch.equal(learned(frames, None), learned(others, None))
    with pytest.raises(InputError, match="the mask is 9 x 9 pixels, the image 48 x 48"):
        learned(frames, IgnoreMask(np.eye(9, dtype=bool)))


def test_a_mask_counts_in_the_comparison():
    """True and predicted counts are those outside it."""
    marked = np.zeros((SIDE, SIDE), bool)
    marked[:, : SIDE // 2] = True
    frames, model = pointed(), counter().for_camera(ignored=IgnoreMask(marked))
    found = adapt(model, frames, Plan(("factor",), folds=2))
    inside = [int((frame.record.points[:, 0] >= SIDE // 2).sum()) for frame in frames]
    assert found.trials[0].true.tolist() == inside and sum(inside) < sum(frame.count for frame in frames)
    whole, scale = predicted(counter(), frames), best_factor(found.trials[0].true, found.trials[0].counts)
    assert (found.trials[0].counts < whole).all() and found.model.ignored == IgnoreMask(marked)
    if found.taken.level == "factor":
        np.testing.assert_allclose(predicted(found.model, frames), scale * found.trials[0].counts, rtol=1e-5)


def test_statistics_are_mixed_with_those_of_the_frames():
    model, frames = counter(context=()), pointed(2)
    layer = normalisations(model.network)[0]
    first = next(module for module in model.network.modules() if isinstance(module, nn.Conv2d))
    before, maps = layer.running_mean.clone(), []
    handle = first.register_forward_hook(lambda _, __, output: maps.append(output.mean(dim=(0, 2, 3))))
    renew_statistics(model, frames)
    handle.remove()
    share = 2 / (2 + PRIOR)
    torch.testing.assert_close(layer.running_mean, before * (1 - share) + share * torch.stack(maps).mean(dim=0))
    assert layer.momentum == 0.1 and not layer.training and len(maps) == 2 < MOST


def test_a_remembered_module_computes_a_sample_once():
    seen = []

    class Trunk(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return [x + 1, x[:, :, ::2, ::2]]

    trunk = Trunk()
    memory, batch = Remembered(trunk), torch.arange(48.0).view(3, 1, 4, 4)
    with memory.active():
        with torch.inference_mode():
            first = trunk(batch[[0, 1, 0]])
        again = trunk(batch[[2, 1]].requires_grad_(False))
        assert seen == [2, 1]
        assert torch.equal(first[0], batch[[0, 1, 0]] + 1) and torch.equal(again[1], batch[[2, 1], :, ::2, ::2])
        assert not again[0].is_inference()  # a training may use it
    assert len(trunk(batch)) == 2 and seen == [2, 1, 3]
    small = Remembered(trunk, room=1)
    with small.active():
        trunk(batch)
        trunk(batch[:1])
    assert seen[-2:] == [3, 1]  # only one sample had room


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_adapting_by_counts(factor):
    """Frames that hold what the model counts leave it as it is; those that hold twice as many double it."""
    model, image = counter(), Noise(9)()
    frames = counted(factor * predicted(model, counted([1] * 5)))
    state, count = copy.deepcopy(model.network.state_dict()), model.predict(image).count
    found = adapt(model, frames, Plan(("factor", "head"), folds=2, steps=1))
    assert [each.level for each in found.trials] == ["start", "factor", "head"] and found.parts == 2
    assert found.taken.level == ("start" if factor == 1 else "factor") and found.taken.mae == pytest.approx(0, abs=1e-3)
    assert all(torch.equal(value, state[key]) for key, value in found.model.network.state_dict().items())
    assert found.model.predict(image).count == pytest.approx(factor * count, rel=1e-5)
    stored = found.model.config["model"]["init_args"]["network"]["init_args"]["bins"]["anchors"]
    assert stored == pytest.approx([0, factor, 3 * factor], rel=1e-5)
