"""The order of the images: by weight, in an epoch of another length, over processes, and continued in its midst."""

from collections import Counter

import numpy as np
import pytest

from crowdcount.data import Augment, Concat, CrowdData, CrowdSource, Record
from crowdcount.data.dataset import CrowdDataset
from crowdcount.data.loader import EpochSampler, systematic_sample
from crowdcount.errors import InputError


class Noise(CrowdSource):
    """Training images of 40 x 40 pixels, of a seed each."""

    def __init__(self, images: int) -> None:
        self.images = images

    def records(self, split):
        numbers = range(self.images) if split == "train" else ()
        return [Record(str(number), NoiseImage(number), np.full((1, 2), 20, np.float32)) for number in numbers]


class NoiseImage:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self):
        return np.random.default_rng(self.seed).integers(0, 256, (40, 40, 3), np.uint8)


SOURCE = Concat({"few": Noise(3), "many": Noise(20)}, {"few": 3, "many": 1})


def dataset(records=None):
    return CrowdDataset(SOURCE.records("train") if records is None else records, None, Augment(crop=8, noise=1.0))


def sampler(length=None, rank=0, world=1, epoch=0, seed=5, weighted=True):
    data = dataset()
    weights = SOURCE.sampling_weights(data.records) if weighted else None
    made = EpochSampler(data, shuffle=True, seed=seed, weights=weights, length=length)
    made.rank, made.num_replicas = rank, world
    made.num_samples = -(-made.length // world)
    made.set_epoch(epoch)
    return made


def test_each_data_set_has_its_share_in_every_epoch():
    for epoch in range(20):
        records = [SOURCE.records("train")[draw.index] for draw in sampler(length=40, epoch=epoch)]
        shares = Counter(record.attributes["source"] for record in records)
        assert shares == {"few": 30, "many": 10}
        times = Counter(record.name for record in records)
        assert {times[f"few/{number}"] for number in range(3)} == {10}
        assert max(times[f"many/{number}"] for number in range(20)) == 1


def test_the_share_of_an_image_is_that_of_a_plain_weighted_draw():
    """Over many epochs, against the expectation length * weight / sum of weights."""
    weights = np.array([0.2, 1.0, 3.0, 0.7])
    drawn = [systematic_sample(weights, 7, np.random.default_rng(seed)) for seed in range(4000)]
    counts = np.stack([np.bincount(each, minlength=4) for each in drawn])
    expected = 7 * weights / weights.sum()
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=0.03)
    assert (counts >= np.floor(expected)).all() and (counts <= np.ceil(expected)).all()


def test_an_order_is_that_of_its_seed_and_epoch():
    orders = {
        (seed, epoch): [draw.index for draw in sampler(length=17, seed=seed, epoch=epoch)]
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert orders[1, 0] == [draw.index for draw in sampler(length=17, seed=1, epoch=0)]
    assert len({tuple(order) for order in orders.values()}) == 4


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("length", [None, 7, 40])
def test_processes_share_an_epoch(weighted, length):
    whole = list(sampler(length, weighted=weighted))
    parts = [list(sampler(length, rank, 2, weighted=weighted)) for rank in (0, 1)]
    assert len(whole) == (23 if length is None else length)
    assert len(parts[0]) == len(parts[1]) == -(-len(whole) // 2)
    merged = [draw for pair in zip(*parts, strict=True) for draw in pair]
    assert merged[: len(whole)] == whole


@pytest.mark.parametrize("world", [1, 2])
def test_what_is_skipped_is_the_start_of_the_epoch(world):
    whole, rest = sampler(40, world - 1, world, epoch=3), sampler(40, world - 1, world, epoch=3)
    rest.skip = 6
    assert list(rest) == list(whole)[6:] and len(list(rest)) > 10


def test_an_image_drawn_again_is_cut_anew():
    data = dataset()
    again = [draw for draw in sampler(length=40) if draw.index == 1]
    assert [draw.repeat for draw in again] == list(range(len(again))) and len(again) > 1
    first, second = (data[draw].images[0] for draw in again[:2])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, data[again[0]].images[0])


def test_without_weights_the_order_is_the_earlier_one():
    order = np.arange(23)
    np.random.default_rng([102, 5, 4]).shuffle(order)
    draws = list(sampler(weighted=False, epoch=4))
    assert [draw.index for draw in draws] == order.tolist() and not any(draw.repeat for draw in draws)


def test_a_loader_continues_inside_a_weighted_epoch():
    def loader():
        made = CrowdData(SOURCE, Augment(crop=8), batch_size=3, val_fraction=0, epoch_images=31, num_workers=0)
        made = made.train_dataloader()
        made.sampler.set_epoch(2)
        return made

    whole = [batch.images for batch in loader()]
    half = loader()
    batches = iter(half)
    for _ in range(4):
        next(batches)
    resumed = loader()
    resumed.load_state_dict(half.state_dict())
    rest = [batch.images for batch in resumed]
    assert len(whole) == 11 and len(rest) == 7
    assert all((a == b).all() for a, b in zip(whole[4:], rest, strict=True))


def test_a_batch_says_which_data_set_an_image_is_from():
    data = CrowdData(SOURCE, Augment(crop=8), val_fraction=0, num_workers=0)
    batch = next(iter(data.train_dataloader()))
    assert batch.sources == [name.split("/")[0] for name in batch.names] and set(batch.sources) == {"few", "many"}


def test_impossible_lengths_are_refused():
    with pytest.raises(InputError, match=r"data\.epoch_images: 0 must be at least 1"):
        CrowdData(SOURCE, Augment(crop=8), epoch_images=0)
