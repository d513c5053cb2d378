import numpy as np
import pytest

from crowdcount.data import Concat, CrowdSource, HoldOut, JhuCrowd, Record, ShanghaiTech
from crowdcount.errors import InputError


class Numbered(CrowdSource):
    def __init__(self, images):
        self.images = images

    def records(self, split):
        images = self.images if split == "train" else 0
        return [Record(f"{number:03d}", None, np.zeros((0, 2), np.float32)) for number in range(images)]


def names(source):
    return {split: [record.name for record in source.records(split)] for split in ("train", "val", "test")}


def test_parts_have_their_shares_and_nothing_in_common():
    parts = names(HoldOut(Numbered(200), val=0.15, test=0.25))
    assert {split: len(part) for split, part in parts.items()} == {"train": 120, "val": 30, "test": 50}
    assert sorted(name for part in parts.values() for name in part) == names(Numbered(200))["train"]
    assert all(part == sorted(part) for part in parts.values())


def test_parts_are_those_of_the_seed():
    source = Numbered(60)
    assert names(HoldOut(source, 0.2, 0.3)) == names(HoldOut(source, 0.2, 0.3))
    assert names(HoldOut(source, 0.2, 0.3)) != names(HoldOut(source, 0.2, 0.3, seed=1))


def test_another_share_of_validation_leaves_the_test_images():
    source = Numbered(60)
    assert names(HoldOut(source, 0.1, 0.3))["test"] == names(HoldOut(source, 0.4, 0.3))["test"]


def test_official_splits_stay_where_nothing_is_held_out(shanghaitech_root, tmp_path, write_jhu_crowd):
    source = ShanghaiTech(shanghaitech_root, "A")
    assert names(HoldOut(source)) == names(source)
    parts = names(HoldOut(source, val=0.25))
    assert parts["test"] == names(source)["test"]
    assert len(parts["val"]) == 1 and sorted(parts["train"] + parts["val"]) == names(source)["train"]
    with pytest.raises(InputError, match="test: the data set has a test split of its own"):
        HoldOut(source, test=0.25).records("test")
    with pytest.raises(InputError, match="val: the data set has a val split of its own"):
        HoldOut(JhuCrowd(write_jhu_crowd(tmp_path)), val=0.25).records("train")


@pytest.mark.parametrize("shares", [(-0.1, 0), (0, -0.1), (0.5, 0.5), (float("nan"), 0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(InputError, match=r"val, test: .* shares"):
        HoldOut(Numbered(3), *shares)
    with pytest.raises(InputError, match="seed: -1"):
        HoldOut(Numbered(3), seed=-1)


def test_each_of_several_data_sets_holds_out_its_part():
    parts = names(Concat({"a": HoldOut(Numbered(10), val=0.2), "b": HoldOut(Numbered(20), val=0.1)}))
    assert [name.split("/")[0] for name in parts["val"]] == ["a", "a", "b", "b"]
    assert len(parts["train"]) == 26
