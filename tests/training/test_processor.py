"""Memory and bfloat16 on the processor."""

import logging
from types import SimpleNamespace

import pytest
import torch

from crowdcount.models import Ebc
from crowdcount.models.blockwise import Bins, Dace
from crowdcount.training import BlockwiseModule, base, processor

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True}, False),
        ({"architecture": "x86_64", "amx_bf16": True}, False),
        ({"architecture": "x86_64", "avx2": True}, True),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_bfloat16_is_emulated_where_the_processor_lacks_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert processor.emulates_bfloat16(CPU) is expected
    assert not processor.emulates_bfloat16(torch.device("cuda"))


@pytest.mark.parametrize(("precision", "warns"), [("bf16-mixed", True), ("bf16-true", True), ("32-true", False)])
@pytest.mark.parametrize("emulated", [True, False])
def test_a_training_says_that_bfloat16_is_emulated(monkeypatch, caplog, precision, warns, emulated):
    monkeypatch.setattr(base, "emulates_bfloat16", lambda device: emulated)
    network = Ebc("test_resnet", Bins([0, "1+"]), pretrained=False)
    module = BlockwiseModule(network, Dace())
    module._trainer = SimpleNamespace(precision=precision)
    with caplog.at_level(logging.WARNING):
        base.TrainingModule.on_fit_start(module)
    assert ("trainer.precision: bf16" in caplog.text) == (warns and emulated)


def test_memory_is_kept_where_the_system_has_a_way():
    assert isinstance(processor.keep_memory(), bool)
    assert torch.zeros(1 << 24).sum() == 0
