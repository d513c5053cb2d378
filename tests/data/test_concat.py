import pickle
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from crowdcount.data import Concat, CrowdSource, JhuCrowd, Record, ShanghaiTech, UcfQnrf
from crowdcount.errors import InputError


@pytest.fixture
def joined(tmp_path, write_jhu_crowd, shanghaitech_root):
    jhu = JhuCrowd(write_jhu_crowd(tmp_path))
    return Concat({"b": ShanghaiTech(shanghaitech_root, "B"), "a": ShanghaiTech(shanghaitech_root, "A"), "jhu": jhu})


def test_splits_follow_each_other_under_names_of_their_own(joined):
    names = [record.name for record in joined.records("train")]
    numbers = range(1, 5)
    assert names == [
        *(f"b/IMG_{number}" for number in numbers),
        *(f"a/IMG_{number}" for number in numbers),
        *(f"jhu/{number:04d}" for number in numbers),
    ]
    assert [record.name for record in joined.records("val")] == ["jhu/0005", "jhu/0006"]
    assert len({record.name for record in joined.records("test")}) == 9


def test_records_keep_what_they_have_and_say_where_they_come_from(joined):
    records = joined.records("test")
    assert [record.attributes["source"] for record in records] == ["b"] * 3 + ["a"] * 3 + ["jhu"] * 3
    last, alone = records[-2], joined.sources["jhu"].records("test")[-2]
    assert last.attributes == {**alone.attributes, "source": "jhu"} and alone.attributes["scene"] == "street"
    np.testing.assert_array_equal(last.points, alone.points)
    np.testing.assert_array_equal(last.boxes, alone.boxes)
    assert last.image == alone.image
    assert pickle.loads(pickle.dumps(last)).attributes == last.attributes


@pytest.mark.parametrize(("sources", "message"), [({}, "at least one"), ({"a/b": None}, "'a/b'"), ({"": None}, "''")])
def test_names_that_are_none_are_refused(sources, message):
    with pytest.raises(InputError, match=f"sources: .*{message}"):
        Concat(sources)


def test_a_configuration_joins_data_sets(tmp_path, write_ucf_qnrf, shanghaitech_root):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(CrowdSource, "source")
    sources = {
        "sha": {"class_path": "ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"}},
        "qnrf": {"class_path": "UcfQnrf", "init_args": {"root": str(write_ucf_qnrf(tmp_path))}},
    }
    config = {"source": {"class_path": "crowdcount.data.Joined", "init_args": {"sources": sources}}}
    source = parser.instantiate_classes(parser.parse_object(config)).source
    assert isinstance(source.sources["qnrf"], UcfQnrf)
    assert [record.name for record in source.records("train")][3:5] == ["sha/IMG_4", "qnrf/img_0001"]


def test_a_missing_image_names_its_file():
    class Broken(CrowdSource):
        def records(self, split):
            return [Record("x", Path("nowhere.jpg"), np.zeros((0, 2), np.float32))]

    with pytest.raises(InputError, match=r"nowhere\.jpg: no such image"):
        Concat({"a": Broken()}).records("train")[0].read()


def test_weights_are_shares_of_data_sets_not_of_images(shanghaitech_root, tmp_path, write_jhu_crowd):
    sources = {"a": ShanghaiTech(shanghaitech_root, "A"), "jhu": JhuCrowd(write_jhu_crowd(tmp_path))}
    whole = Concat(sources, {"a": 0.9, "jhu": 0.1})
    records = whole.records("train")[1:]  # one of `a` is held out
    weights = whole.sampling_weights(records)
    names = [record.attributes["source"] for record in records]
    assert [weight for weight, name in zip(weights, names, strict=True) if name == "a"] == [0.9 / 3] * 3
    assert [weight for weight, name in zip(weights, names, strict=True) if name == "jhu"] == [0.1 / 4] * 4
    assert Concat(sources).sampling_weights(records) is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1}, "weights: a; give one for each of a, b"),
        ({"a": 1, "b": 1, "c": 1}, "weights: a, b, c; give one for each of a, b"),
        ({"a": 1, "b": 0}, r"weights\.b: 0 must be a number above 0"),
        ({"a": float("nan"), "b": 1}, r"weights\.a: nan must be"),
    ],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        Concat({"a": ShanghaiTech("nowhere", "A"), "b": ShanghaiTech("nowhere", "B")}, weights)
