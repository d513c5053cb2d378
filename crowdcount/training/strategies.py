"""The strategies of Lightning with which trainings run in several processes."""

from typing import Any, Final

from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)

from crowdcount.class_paths import find_class
from crowdcount.errors import InputError

_SHARDED: Final = (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)


def check_strategy(given: Any) -> None:
    """Refuse strategies whose processes hold a part of the model each, its weights or the state of its optimizer.

    Validation counts whole images of any size, so that processes make different numbers of forward passes, while each
    pass through sharded weights waits for all processes; averages of weights (`WeightAveraging`) do not shard either,
    and DeepSpeed writes folders where `last.ckpt` and `best.ckpt` are files.

    Args:
        given: a name of Lightning, or a class path with arguments.

    Raises:
        InputError: it is such a strategy.
    """
    found = _strategy_class(given)
    if found is not None and issubclass(found, _SHARDED):
        raise InputError(
            f"trainer.strategy: {found.__name__} shards the model, which trainings here do not support (validation "
            "counts whole images, and the processes would wait for each other); use ddp, where each process holds all "
            "weights"
        )


def _strategy_class(given: Any) -> type[Strategy] | None:
    """Return the class of a strategy, None where Lightning chooses it or refuses the name."""
    if isinstance(given, str):
        known: dict[str, Any] = dict(StrategyRegistry)
        found: type[Strategy] | None = known.get(given, {}).get("strategy")
        return found
    path = getattr(given, "class_path", None)
    return None if path is None else find_class(path)
