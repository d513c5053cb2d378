"""The loggers of Lightning by the flags that docs/train.md shows, offline, with a tiny training."""

import pytest

from crowdcount.cli import train
from tests.support.doc_pages import blocks, command_lines
from tests.support.tiny_fit import write_config

LINES = [words for language, code in blocks("train.md") if language == "bash" for words in command_lines(code)]


def words_of(logger):
    """Return the options of the page for a logger."""
    found = next(words for words in LINES if f"--trainer.logger+={logger}" in words)
    return found[found.index(f"--trainer.logger+={logger}") :]


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """A function that trains an epoch with the options of a logger, and returns the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # who asks for something outside fails

    def run(logger):
        path = write_config(tmp_path, trainer={"max_epochs": 1})
        train.main(["fit", "--config", path, *words_of(logger)])
        assert (tmp_path / "run/version_0/metrics.csv").is_file()  # the table of the run stays
        assert (tmp_path / "run/version_0/checkpoints/best.ckpt").is_file()
        return tmp_path

    return run


def test_tensorboard(fit):
    pytest.importorskip("tensorboard")
    events = next(fit("TensorBoardLogger").rglob("events.out*")).read_bytes()
    assert b"val/mae" in events


def test_weights_and_biases(fit):
    wandb = pytest.importorskip("wandb")
    folder = fit("WandbLogger")
    wandb.finish()
    wandb.teardown()  # its own process writes the record, and ends
    record = next(folder.rglob("run-*.wandb")).read_bytes()
    assert b"val/mae" in record


def test_mlflow(fit):
    pytest.importorskip("mlflow")
    (values,) = (fit("MLFlowLogger") / "runs" / "mlruns").glob("*/*/metrics/val/mae")
    assert float(values.read_text().split()[1]) >= 0
