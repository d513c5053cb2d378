"""Messages of the installed jsonargparse, which has no other way of telling what is wrong, and what becomes of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from crowdcount import config_errors
from crowdcount.config_errors import explain
from crowdcount.data import CrowdSource
from crowdcount.models import CrowdNetwork


@dataclass
class Numbers:
    size: int = 3
    name: str | None = "x"


class Optimizer:
    """Stands for what a callable type gives."""

    def __init__(self, numbers: Numbers = Numbers(), rate: float = 0.1):  # noqa: B008
        self.numbers = numbers


BINS = {"intervals": [0, "1+"]}
EBC = {"class_path": "crowdcount.models.Ebc", "init_args": {"backbone": "vgg11_ae", "bins": BINS}}


def ebc(**arguments):
    return {"network": {**EBC, "init_args": {**EBC["init_args"], **arguments}}}


def refusal(given):
    """Return what `explain` makes of the refusal of a dictionary or a list of words."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Numbers, "numbers")
    parser.add_argument("--made", type=Optimizer)
    parser.add_argument("--filed", type=Numbers | None, enable_path=True)  # as the groups of a training are
    parser.add_argument("--make", type=Callable[[Numbers], Optimizer])
    parser.add_subclass_arguments(CrowdNetwork, "network", required=False)
    parser.add_argument("--source", type=CrowdSource)
    with pytest.raises((ArgumentError, ValueError)) as refused:
        parser.parse_object(given) if isinstance(given, dict) else parser.parse_args(given)
    options = [action.dest for action in parser._actions]
    return str(refused.value), explain(str(refused.value), options)


CASES = [
    ({"numbers": {"sise": 4}}, "numbers.sise: no such key; did you mean numbers.size?"),
    (["--numbers.sise=4"], "numbers.sise: no such key; did you mean numbers.size?"),
    (["--number=4"], "number: no such key; did you mean numbers?"),
    ({"numbers": {"size": "four"}}, "numbers.size: expected int. Got value: four"),
    ({"numbers": {"name": 4}}, "numbers.name: expected str; expected null; got 4"),
    ({"made": {"class_path": f"{__name__}.Optimizer", "init_args": {"rat": 1}}}, "made.rat: no such key; did you mean"),
    ({"make": {"class_path": f"{__name__}.Optimizer", "init_args": {"rat": 1}}}, "make.rat: no such key; did you mean"),
    ({"make": {"class_path": f"{__name__}.Optimizer", "init_args": {"rate": "x"}}}, "make.rate: expected float"),
    ({"make": {"class_path": "crowdcount.models.Bins"}}, "to be a subclass of Optimizer"),
    ({"filed": "nowhere.yaml"}, "filed: "),
    ({"source": {"class_path": "crowdcount.models.Bins"}}, "does not correspond to a subclass of CrowdSource"),
    (ebc(backbon="x"), "network.backbon: no such key; did you mean backbone?"),
    (ebc(reduction=9), "network.reduction: expected Literal[8, 16, 32]. Got value: 9"),
    (ebc(bins={"interval": [0]}), "network.bins.interval: no such key; did you mean bins.intervals?"),
    ({"network": {"class_path": "crowdcount.models.Ebb"}}, "network: crowdcount.models has no Ebb; did you mean Ebc?"),
    ({"source": "ShanghaiTek"}, "source: ShanghaiTek is not a class of this kind; give its import path"),
    ({"source": {"class_path": "crowdcount.data.Folder", "init_args": {"root": 4}}}, "source.root: Not of type Path"),
]


@pytest.mark.parametrize(("given", "message"), CASES)
def test_a_mistake_is_named_in_a_line(given, message):
    said, explained = refusal(given)
    assert message in explained, said
    assert len(explained.splitlines()) == 1


def test_every_pattern_meets_a_message_of_this_version():
    """A pattern that matches nothing has lost its message to another wording, or never had one."""
    messages = [refusal(given)[0] for given, _ in CASES]
    patterns = [config_errors._WRONG_KEY.pattern, config_errors._WRONG_ARGUMENT.pattern]
    patterns += [*config_errors._NOISE.pattern.split("(")[1].rstrip(")").split("|")]
    patterns += [pattern for pattern, _ in config_errors._PLAIN]
    unmet = [each for each in patterns if not any(re.search(each, message, re.MULTILINE) for message in messages)]
    assert unmet == []


def test_an_unknown_message_is_kept():
    assert explain("something new\nhappened", []) == "something new; happened"
