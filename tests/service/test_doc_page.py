"""The commands of docs/service.md as they are printed: services, and requests that the last one of them answers."""

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from crowdcount.cli.main import main
from crowdcount.live.readings import Readings
from crowdcount.service import server
from tests.support.doc_pages import blocks, command_lines
from tests.support.service import TOKEN, image_bytes, listening, tiny_predictor

NOT_RUN = {"pip", "docker", "crowdcount benchmark"}
"""Programs of the blocks marked as `console`."""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The addresses of the services that `crowdcount serve` starts, in a folder with what the page names."""
    addresses, predictor, bind = [], tiny_predictor(tmp_path / "counter"), server.bind
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crowdcount.cli.serve.Predictor", lambda *_, **__: predictor)
    monkeypatch.setattr(server, "bind", lambda *_: bind("127.0.0.1", 0))
    monkeypatch.setenv("CROWDCOUNT_TOKEN", "")  # set by the page, put back afterwards
    monkeypatch.delenv("CROWDCOUNT_TOKEN")
    Path("photo.jpg").write_bytes(image_bytes("JPEG"))
    Path("zones.json").write_text('{"entrance": [[0, 0], [45, 0], [45, 60], [0, 60]]}')
    Readings(Path("readings.sqlite")).close()
    with ExitStack() as services:
        monkeypatch.setattr(server, "serve", lambda app, *_: addresses.append(services.enter_context(listening(app))))
        yield addresses


def ask(address, words):
    """Run curl, for which the service has the address that the page names, and return what it prints."""
    there = ["--connect-to", f"::{address.removeprefix('http://')}", "--noproxy", "*", "--silent", "--fail"]
    command = [words[0], *there, *map(os.path.expandvars, words[1:])]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is here")
def test_the_blocks_of_the_page_run(started):
    answers = 0
    for language, code in blocks("service.md"):
        for words in command_lines(code):
            if language == "console":
                assert words[0] in NOT_RUN or " ".join(words[:2]) in NOT_RUN
            elif words[0] == "export":
                os.environ[words[1].partition("=")[0]] = TOKEN
            elif words[0] == "curl":
                answer = ask(started[-1], words)
                answers += 1
                assert "-o" in words or json.loads(answer)["count"] > 0
            else:
                assert main(words[1:]) == 0
    assert len(started) == 4 and answers == 5
    assert Path("counted.png").read_bytes().startswith(b"\x89PNG")
