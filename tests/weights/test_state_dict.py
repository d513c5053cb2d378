"""State dicts in the wrappers of trainers."""

import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.weights.state_dict import difference, find_state, unwrapped

OWN = {"encoder.weight": torch.zeros(2, 3), "head.bias": torch.zeros(4)}


def prefixed(prefix):
    return {f"{prefix}{key}": value for key, value in OWN.items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "network.", "module._orig_mod.", "_orig_mod.module.", "net.model."],
)
@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model",), ("model_state_dict",), ("model", "state_dict")])
def test_known_wrappers_are_removed(prefix, keys):
    checkpoint = prefixed(prefix)
    for key in reversed(keys):
        checkpoint = {key: checkpoint, "epoch": 3, "optimizer": {"state": {}}}
    found = unwrapped(find_state(checkpoint), OWN)
    assert found.keys() == OWN.keys() and all(found[key] is OWN[key] for key in OWN)


def test_a_compiled_part_has_the_names_of_the_part():
    state = {"network.encoder._orig_mod.weight": OWN["encoder.weight"], "network.head.bias": OWN["head.bias"]}
    assert unwrapped(state, OWN).keys() == OWN.keys()


def test_a_prefix_of_the_network_is_kept():
    own = {"model.weight": torch.zeros(1), "module.bias": torch.zeros(1)}
    assert unwrapped(own, own).keys() == own.keys()
    assert unwrapped({f"module.{key}": value for key, value in own.items()}, own).keys() == own.keys()


def test_what_stands_beside_the_network_is_named():
    state = {**prefixed("network."), "criterion.weight": torch.zeros(1), "epoch": 3}
    assert difference(unwrapped(state, OWN), OWN) == "1 unknown: criterion.weight"


def test_a_difference_names_keys_and_shapes():
    assert difference(OWN, OWN) == ""
    state = {"encoder.weight": torch.zeros(3, 3), **{f"more.{number}": torch.zeros(1) for number in range(5)}}
    assert difference(state, OWN) == (
        "1 missing: head.bias; 5 unknown: more.0, more.1, more.2, ...; "
        "1 of another shape: encoder.weight ((3, 3) instead of (2, 3))"
    )


def test_odd_containers():
    loop = {}
    loop["model"] = loop
    assert find_state(loop) is loop
    for odd in ([torch.zeros(1)], 3, {1: torch.zeros(1)}):
        with pytest.raises(InputError, match=r"its state_dict holds .*, not names and tensors"):
            find_state({"state_dict": odd})
