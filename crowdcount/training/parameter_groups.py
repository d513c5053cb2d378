"""Learning rates of parts of a network."""

from torch import Tensor, nn
from torch.optim import Optimizer

from crowdcount.checks import check_number
from crowdcount.errors import InputError

LrMultipliers = dict[str, float]
"""Learning rates of parts of a network, relative to the optimizer's, by the beginning of parameter names."""

Group = dict[str, list[Tensor]]


def parameter_groups(module: nn.Module, multipliers: LrMultipliers) -> list[Group]:
    """Split the trained parameters of a module into a group for each multiplier, after that of the others.

    Pretrained weights are often trained at a lower rate than new layers. In a configuration:

        model:
          class_path: crowdcount.training.BlockwiseModule
          init_args:
            lr_multipliers: {backbone: 0.2}

    Args:
        module: a training module with a `network`.
        multipliers: by the beginning of names in the network: `backbone` matches `backbone.encoder.weight`, not
            `backbones.weight`. The longest match counts.

    Returns:
        Groups for an optimizer. The group of the others comes first, and is left out where it is empty.

    Raises:
        InputError: a multiplier matches nothing, or is negative or not finite.
    """
    groups: dict[str, list[Tensor]] = {"": [], **{part: [] for part in multipliers}}
    parts = sorted(multipliers, key=len, reverse=True)
    named = {name: value for name, value in module.named_parameters() if value.requires_grad}
    for name, parameter in named.items():
        inside = f"{name.removeprefix('network.')}."
        groups[next((part for part in parts if inside.startswith(f"{part}.")), "")].append(parameter)
    for part, factor in multipliers.items():
        check_number(f"model.lr_multipliers.{part}", factor, 0)
        if not groups[part]:
            tops = ", ".join(dict.fromkeys(name.removeprefix("network.").split(".")[0] for name in named))
            raise InputError(f"model.lr_multipliers: no trained parameter begins with {part!r}; they begin with {tops}")
    return [{"params": group} for group in groups.values() if group]


def multiply_rates(optimizer: Optimizer, multipliers: LrMultipliers) -> None:
    """Multiply the rates of the last groups of a new optimizer, which are those of `parameter_groups`."""
    for group, factor in zip(reversed(optimizer.param_groups), reversed(multipliers.values()), strict=False):
        group["lr"] = group["lr"] * factor
