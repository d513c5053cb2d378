"""`crowdcount serve`: what it refuses before it loads a model."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from crowdcount.cli import serve
from crowdcount.service.server import bind


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    monkeypatch.setattr(serve, "Predictor", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "nobody is asked for a token"),
        (["--workers", "0"], "workers: 0 must be at least 1"),
        (["--interval", "1.5"], "level: 1.5"),
        (["--max-megapixels", "0"], "--max-megapixels: 0.0 must be at least 1e-06"),
        (["--max-megapixels", "inf"], "--max-megapixels: inf must be finite"),
        (["--max-megabytes", "nan"], "--max-megabytes: nan must be finite"),
        (["--token-file", "no_such_file"], "no_such_file"),
        (
            ["--ground", "gate=camera.yaml"],
            "--ground gate=camera.yaml: write NAME=FILE, once for a --camera; there are none",
        ),
        (["--camera", "gate=0", "--ground", "gate=no.yaml"], "no.yaml"),
        (["--port", "99999"], "--port 99999: cannot be taken"),
    ],
)
def test_wrong_options_end_with_one_line(words, message, capsys):
    assert serve.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("crowdcount serve: ") and message in error and error.count("\n") == 1


def test_a_token_and_no_token_contradict(monkeypatch, capsys):
    monkeypatch.setenv(serve.TOKEN, "a token of the tests")
    assert serve.main(["--no-token"]) == 2
    assert "--no-token: there is a token (CROWDCOUNT_TOKEN)" in capsys.readouterr().err
    monkeypatch.setenv(serve.TOKEN, "short")
    assert serve.main(["--host", "0.0.0.0"]) == 2
    assert "has 5 characters" in capsys.readouterr().err


def test_a_taken_port_is_told_before_the_model_is_loaded(capsys):
    with bind("127.0.0.1", 0) as listener:
        assert serve.main(["--port", str(listener.getsockname()[1])]) == 2
    assert "cannot be taken" in capsys.readouterr().err


def test_the_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(serve, "_EXTRA", ("a_package_that_nobody_has",))
    assert serve.main([]) == 2
    assert "pip install 'crowdcount-zoo[serve]'" in capsys.readouterr().err
