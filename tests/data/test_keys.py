"""Names of data sets: on the command line, in the index and in reports."""

import pytest

from crowdcount.data import (
    Concat,
    CrowdSource,
    Folder,
    Fsc147,
    HoldOut,
    JhuCrowd,
    Mall,
    Nwpu,
    Rec8k,
    ReferringScenes,
    ShanghaiTech,
    Synthetic,
    UcfCc50,
    UcfQnrf,
)
from crowdcount.doctor import DataSet
from crowdcount.doctor.datasets import find_adapter, known
from crowdcount.errors import InputError
from crowdcount.evaluation.index_record import data_name, require_published

PUBLISHED = {
    "sha": ShanghaiTech("x", "A"),
    "shb": ShanghaiTech("x", "B"),
    "qnrf": UcfQnrf("x"),
    "nwpu": Nwpu("x"),
    "jhu": JhuCrowd("x"),
    "mall": Mall("x"),
    "fsc147": Fsc147("x"),
    "rec8k": Rec8k("x"),
    "ucfcc50.fold2": UcfCc50("x", fold=2),
}
OTHERS = {
    "mine": Folder("some/where/mine"),
    "folder": Folder("/"),
    "a+b": Concat({"a": Synthetic(), "b": Synthetic()}),
    "sha.held_out": HoldOut(ShanghaiTech("x", "A"), val=0.1),
    "synthetic": Synthetic(),
    "referring_scenes": ReferringScenes(),
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_published_data_sets_have_the_names_of_the_index(key):
    source = PUBLISHED[key]
    assert source.key == key and data_name(source, "test") == f"{key}/test"
    require_published(source)


@pytest.mark.parametrize("key", OTHERS)
def test_figures_on_other_data_stay_out_of_the_index(key):
    source = OTHERS[key]
    assert source.key == key
    with pytest.raises(InputError, match=f"for published data sets, not for {type(source).__name__}"):
        require_published(source)


@pytest.fixture(scope="module")
def outside():
    """A class from outside the package."""

    class CarPark2(CrowdSource):
        def __init__(self, root, level: int = 0):
            self.root, self.level = root, level

        def records(self, split):
            return []

    return CarPark2


def test_a_data_set_from_outside_is_named_by_its_class(outside, tmp_path):
    source = outside("x")
    assert (outside.name, source.key, source.published) == ("car_park2", "car_park2", False)
    assert known()["car_park2"] is outside
    assert DataSet.parse("car_park2", tmp_path, ["--level", "2"]).source().level == 2


def test_two_data_sets_of_one_name_are_refused(outside, monkeypatch):
    monkeypatch.setattr(outside, "name", "folder")
    with pytest.raises(InputError, match=r"folder: .*Folder and .*CarPark2 have this name; give one .* another `name`"):
        find_adapter("folder")
    assert known()["mall"].name == "mall"  # the others can still be read


def test_a_class_defined_again_replaces_itself():
    def define(level):
        class Ramp(CrowdSource):
            def __init__(self, root):
                self.root = root

            def records(self, split):
                return []

        Ramp.level = level
        return Ramp

    classes = [define(1), define(2)]  # both are alive, as after a cell of a notebook was run twice
    assert known()["ramp"] is classes[1]
