"""Strategies of several processes: those that shard the model are refused before anything is made."""

from argparse import Namespace

import pytest

from crowdcount.errors import InputError
from crowdcount.training.strategies import check_strategy
from tests.support.tiny_fit import fit, write_config

OURS = "lightning.pytorch.strategies"


@pytest.mark.parametrize("strategy", ["fsdp", {"class_path": f"{OURS}.ModelParallelStrategy"}])
def test_the_command_refuses_a_sharded_model_early(tmp_path, capsys, strategy):
    assert fit(write_config(tmp_path, {"strategy": strategy, "devices": 2})) == 2
    error = capsys.readouterr().err
    assert "crowdcount train: trainer.strategy: " in error and "shards the model" in error and "use ddp" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["fsdp_cpu_offload", "deepspeed_stage_3", "deepspeed_stage_1"])
def test_every_name_of_a_sharded_strategy_is_known(name):
    with pytest.raises(InputError, match=r"trainer\.strategy: (FSDP|DeepSpeed)Strategy shards the model"):
        check_strategy(name)


@pytest.mark.parametrize(
    "given", ["auto", "ddp", "ddp_find_unused_parameters_true", "ddpp", Namespace(class_path=f"{OURS}.DDPStrategy")]
)
def test_other_strategies_are_lightnings_business(given):
    check_strategy(given)
