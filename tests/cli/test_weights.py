"""The tool that lists, fetches and checks weights, as a person uses it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crowdcount.cli import weights as tool
from crowdcount.weights.cache import cache_folder
from crowdcount.weights.index import find_entry
from tests.support.server import serving

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"\x08\0\0\0\0\0\0\0{}      "  # a safetensors file without tensors
KNOWN, UNKNOWN, START = "ebc/vgg19ae_nwpu.v1", "clip_ebc/vit_l14_nwpu.authors", "rec/swin_t.hub"


@pytest.fixture
def server(local_index):
    with serving(CONTENT) as server:
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        local_index({
            KNOWN: {"urls": [server.url], "sha256": sha256, "bytes": len(CONTENT)},
            UNKNOWN: {"urls": [server.url]},
            START: {"urls": [server.url], "sha256": sha256, "bytes": None},
        })  # fmt: skip
        yield server


def run(capsys, *arguments):
    status = tool.main(arguments)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_list(server, capsys):
    status, out, _ = run(capsys, "list")
    lines = out.splitlines()
    assert status == 0 and lines[0].split() == ["name", "size", "SHA-256", "cached", "code", "reported"]
    assert lines[1].split() == [KNOWN, "0", "MB", "known", "no", "MIT", "nwpu/test", "83.7", "/", "376.0"]
    assert "unverified" in lines[2] and lines[3].split()[:4] == [START, tool.UNKNOWN, "known", "no"]
    assert run(capsys, "get", KNOWN)[0] == 0
    assert "yes" in run(capsys, "list", "ebc/*", "rec/*")[1].splitlines()[1]
    assert [line.split()[0] for line in run(capsys, "list", "rec/*", "clip*")[1].splitlines()[1:]] == [START, UNKNOWN]


def test_all_that_is_known_of_one(server, capsys):
    out = run(capsys, "list", "ebc/vgg19ae_nwpu")[1]
    assert f"name            {KNOWN}\n" in out and "data_terms" in out and server.url in out
    everything = json.loads(run(capsys, "list", "--json")[1])
    assert everything[KNOWN]["bytes"] == len(CONTENT) and everything[UNKNOWN]["cached"] is False


def test_get_says_where_and_under_which_terms(server, capsys):
    status, out, _ = run(capsys, "get", "ebc/vgg19ae_nwpu", START)
    assert status == 0 and len(server.requests) == 2
    first, terms, *_ = out.splitlines()
    path = Path(first.removeprefix(f"{KNOWN}: "))
    assert path.read_bytes() == CONTENT
    assert terms == "  licence of the code: MIT; of the weights: none is stated; trained on: terms not known"
    assert f"  {find_entry(KNOWN).notes}\n" in out
    assert "licence of the code: Apache-2.0; of the weights: Apache-2.0" in out


def test_get_with_a_pattern(server, capsys):
    assert run(capsys, "get", "*", "--allow-unverified")[0] == 0
    assert len(server.requests) == 3


def test_unverified(server, capsys):
    status, _, err = run(capsys, "get", UNKNOWN)
    assert status == 2 and err.startswith(f"crowdcount weights: {UNKNOWN}: its SHA-256 is not known")
    assert run(capsys, "get", UNKNOWN, "--allow-unverified")[0] == 0
    assert run(capsys, "get", UNKNOWN)[0] == 0 and len(server.requests) == 1


def test_offline(server, capsys, monkeypatch):
    monkeypatch.setenv("CROWDCOUNT_OFFLINE", "")
    status, _, err = run(capsys, "get", KNOWN, "--offline")
    assert status == 2 and "downloads are forbidden (offline)" in err and not server.requests


def test_verify(server, capsys):
    assert run(capsys, "verify")[:2] == (0, f"0 of 0 files in {cache_folder()} are right (0 MB in all)\n")
    run(capsys, "get", KNOWN, START)
    assert run(capsys, "verify")[0] == 0
    next(cache_folder().glob("ebc-*.pth")).write_bytes(b"damaged")
    status, out, _ = run(capsys, "verify")
    assert status == 1 and f"damaged       {KNOWN}\nright         {START}\n1 of 2 files" in out
    assert out.splitlines()[-1] == f"fetch it again: crowdcount weights get {KNOWN}"
    assert run(capsys, "get", KNOWN)[0] == 0 and run(capsys, "verify")[0] == 0
    run(capsys, "get", UNKNOWN, "--allow-unverified")
    (cache_folder() / "lock.json").unlink()
    status, out, _ = run(capsys, "verify")
    assert status == 1 and f"not recorded  {UNKNOWN}\n" in out and f"get {UNKNOWN} --allow-unverified" in out


def test_remove(server, capsys):
    run(capsys, "get", KNOWN, START)
    assert run(capsys, "remove", "ebc/*", UNKNOWN)[1] == f"{KNOWN}: removed\n{UNKNOWN}: was not in the cache\n"
    assert "1 of 1 files" in run(capsys, "verify")[1]


def test_one_failure_does_not_keep_the_others(server, capsys):
    status, out, err = run(capsys, "get", UNKNOWN, KNOWN)
    assert status == 2 and UNKNOWN in err and out.startswith(KNOWN)


def test_stopping(server, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, "ensure_downloaded", stop)
    status, _, err = run(capsys, "get", KNOWN)
    assert status == 130 and err == "crowdcount weights: stopped; the same command goes on from here\n"


def test_from_is_for_one_file(server, capsys, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    status, _, err = run(capsys, "get", KNOWN, START, "--from", str(tmp_path / "file"))
    assert status == 2 and "is the file of one entry, and 2 are asked for" in err
    assert run(capsys, "get", KNOWN, "--from", str(tmp_path / "file"))[0] == 0 and not server.requests


@pytest.mark.parametrize("command", [["list", "ebc/vgg19ae_nwpuu"], ["get", "ebc/vgg19ae_nwpuu"]])
def test_wrong_names(server, capsys, command):
    status, _, err = run(capsys, *command)
    assert status == 2 and "the index has no such weights; near it: ebc/vgg19ae_nwpu" in err
    status, _, err = run(capsys, "get", "nothing/*")
    assert status == 2 and "nothing/*: the index has no weights of such a name" in err


def test_the_table(server, capsys, tmp_path):
    _, table, _ = run(capsys, "table")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [row[0].split("`")[1] for row in rows[2:]] == ["ebc/vgg19ae_nwpu", "clip_ebc/vit_l14_nwpu"]
    assert rows[2][1:4] == ["`v1`", "`v1` nwpu/test 83.7 / 376.0", tool.UNKNOWN]  # a start of a training has no row
    assert rows[3][1] == "`authors` (unverified)"
    file = tmp_path / "README.md"
    file.write_text(f"before\n{tool.MARKS[0]}old\n{tool.MARKS[1]}after\n")
    assert run(capsys, "table", "--write", str(file))[0] == 0
    assert file.read_text() == f"before\n{tool.MARKS[0]}{table}{tool.MARKS[1]}after\n"
    file.write_text("no marks")
    status, _, err = run(capsys, "table", "--write", str(file))
    assert status == 2 and "needs the lines" in err and file.read_text() == "no marks"


def test_listing_needs_no_torch():
    code = (
        f"import runpy, sys; sys.argv = ['download_weights.py', 'list']\n"
        f"try: runpy.run_path({str(ROOT / 'tools' / 'download_weights.py')!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers', 'open_clip', 'cv2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
