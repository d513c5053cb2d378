"""Learning rates of parts of a network."""

import pytest
import torch
from torch import nn

from crowdcount.errors import InputError
from crowdcount.models import Bins, Ebc
from crowdcount.models.blockwise.loss import Dace
from crowdcount.training import BlockwiseModule, WarmupRestarts
from crowdcount.training.parameter_groups import parameter_groups


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("backbone", "backbones", "head")})
        self.network["backbone"].bias.requires_grad = False
        self.states = nn.Linear(2, 2)


def test_groups():
    module = Module()
    groups = [each["params"] for each in parameter_groups(module, {"backbone": 0.1, "head.bias": 2.0, "head": 0.5})]
    network = module.network
    others = [*network["backbones"].parameters(), *module.states.parameters()]
    expected = [others, [network["backbone"].weight], [network["head"].bias], [network["head"].weight]]
    assert [[id(each) for each in group] for group in groups] == [[id(each) for each in group] for group in expected]


def test_without_multipliers_one_group():
    module = Module()
    (group,) = parameter_groups(module, {})
    assert [id(each) for each in group["params"]] == [id(each) for each in module.parameters() if each.requires_grad]


@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        ({"encoder": 0.1}, r"left for 'encoder' \(names begin with backbone, backbones, head, states"),
        ({"head": 0.1, "head.weight": 0.1, "head.bias": 0.1}, "left for 'head'"),
        ({"backbone": 0.1, "": 0.5}, "left for ''"),
        ({"head": 0.0}, "head: 0.0"),
    ],
)
def test_refused(multipliers, message):
    with pytest.raises(InputError, match=message):
        parameter_groups(Module(), multipliers)


def trained(schedule, multipliers=None):
    return BlockwiseModule(
        Ebc("resnet18", Bins([0, 1, "2+"], [0, 1, 2.4]), reduction=16, pretrained=False),
        Dace(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
        schedule=schedule,
        lr_multipliers=multipliers or {"backbone": 0.25, "classifier.bias": 2.0},
    )


def test_schedules_with_rates_of_their_own_are_refused():
    module = trained(lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5))
    with pytest.raises(InputError, match="OneCycleLR sets the rates of all parts itself"):
        module.configure_optimizers()


def test_schedule_keeps_the_ratio():
    """Each group follows the schedule from its own rate."""
    module = trained(lambda optimizer: WarmupRestarts(optimizer, warmup_epochs=0, first_period=2, min_lr=0.0))
    configured = module.configure_optimizers()
    groups = configured["optimizer"].param_groups
    assert [each["lr"] for each in groups] == pytest.approx([0.1, 0.025, 0.2])
    assert sum(len(each["params"]) for each in groups) == len(list(module.parameters()))
    configured["optimizer"].step()
    configured["lr_scheduler"].step()
    assert [each["lr"] for each in groups] == pytest.approx([0.05, 0.0125, 0.1])
