"""Learning rates of parts of a network."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from crowdcount.checks import check_number
from crowdcount.errors import InputError

LrMultipliers = dict[str, float]
"""Learning rates of parts of a network, relative to the optimizer's, by the beginning of parameter names."""

Group = dict[str, Any]
"""`params`, and with multipliers the `part` they belong to, "" for the others."""


def parameter_groups(module: nn.Module, multipliers: LrMultipliers) -> list[Group]:
    """Split the trained parameters of a module into a group for each multiplier, after that of the others.

    Pretrained weights are often trained at a lower rate than new layers. In a configuration:

        model:
          class_path: crowdcount.training.BlockwiseModule
          init_args:
            lr_multipliers: {backbone: 0.2}

    Args:
        module: a training module with a `network`.
        multipliers: by the beginning of names in the network, without `network.`: `backbone` matches
            `backbone.encoder.weight`, not `backbones.weight`. The longest match counts.

    Returns:
        Groups for an optimizer. The group of the others comes first, and is left out where it is empty.

    Raises:
        InputError: a multiplier names no part or is left without a parameter, or is not above 0 or not finite.
    """
    for part, factor in multipliers.items():
        check_number(f"model.lr_multipliers.{part}", factor, 0, above=True)
    parts = sorted(multipliers, key=len, reverse=True)
    names = {name: name.removeprefix("network.") for name, each in module.named_parameters() if each.requires_grad}
    groups: dict[str, Group] = {part: {"params": [], "part": part} for part in ("", *multipliers)}
    for name, inside in names.items():
        part = next((part for part in parts if f"{inside}.".startswith(f"{part}.")), "")
        groups[part]["params"].append(module.get_parameter(name))
    for part in multipliers:
        if not part or not groups[part]["params"]:
            tops = ", ".join(dict.fromkeys(inside.split(".")[0] for inside in names.values()))
            raise InputError(
                f"model.lr_multipliers: no trained parameter is left for {part!r} (names begin with {tops}; the "
                "longest match counts)"
            )
    if not multipliers:
        return [{"params": groups[""]["params"]}]
    return [group for group in groups.values() if group["params"]]


def multiply_rates(optimizer: Optimizer, multipliers: LrMultipliers) -> None:
    """Multiply the rates of a new optimizer over `parameter_groups`."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * multipliers.get(group.get("part", ""), 1.0)


def check_schedule(optimizer: Optimizer, rates: list[float], schedule: str) -> None:
    """Check that a new schedule starts from the rates that its optimizer had.

    Args:
        optimizer: after the schedule was made.
        rates: of its groups before.
        schedule: name of the schedule.

    Raises:
        InputError: it sets rates of its own, such as `OneCycleLR`.
    """
    if [group.get("initial_lr", rate) for group, rate in zip(optimizer.param_groups, rates, strict=True)] != rates:
        raise InputError(
            f"model.schedule: {schedule} sets the rates of all parts itself; leave lr_multipliers out or take another "
            "schedule"
        )
