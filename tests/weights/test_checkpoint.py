"""Reading checkpoints: what they may hold, and that nothing in them is run."""

import argparse
import io
import os
import pickle
import subprocess
import zipfile
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from crowdcount.errors import InputError
from crowdcount.weights.checkpoint import read_checkpoint, read_metadata
from crowdcount.weights.provenance import training_origin
from crowdcount.weights.torchscript import is_torchscript, read_torchscript


class Net(nn.Module):
    """Layers, sharing, buffers of several types, and attributes that are no weights."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.tied = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        self.tied[2].weight = self.tied[0].weight
        self.register_buffer("number", torch.tensor(5))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.empty(0, 3))
        self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
        whole = torch.arange(10.0)
        self.register_buffer("first", whole[:4])
        self.register_buffer("second", whole[4:])
        self.sizes = [1, 2, 3]
        self.name = "net"

    def forward(self, x):
        return self.tied(self.norm(self.conv(x)).mean((2, 3))[:, :2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(1, 3, 8, 8))])
def test_a_torchscript_archive_has_the_weights_that_torch_reads(tmp_path, dtype, make):
    path = tmp_path / "net.pt"
    make(Net().eval()).to(dtype).save(path)
    expected = torch.jit.load(path).state_dict()
    found = read_torchscript(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) and found[key].dtype == expected[key].dtype for key in found)
    assert is_torchscript(path) and read_checkpoint(path).keys() == found.keys()


class Bomb:
    """A pickle that makes a file when it is read."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def archive_of(pickled):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/constants.pkl", pickle.dumps(()))
        archive.writestr("net/code/__torch__.py", "import pathlib\npathlib.Path('exploded').touch()\n")
    return stream.getvalue()


class Command:
    """A pickle that runs a command when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


COMMANDS = [Command(os.system, "touch exploded"), Command(eval, "open('exploded', 'w')")]
COMMANDS += [Command(subprocess.run, ["touch", "exploded"]), Command(torch.load, "other.pt")]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("write", [
    lambda path, command: path.write_bytes(archive_of(pickle.dumps({"weight": command}, protocol=2))),
    lambda path, command: torch.save({"weight": command}, path),
])  # fmt: skip
def test_no_command_is_run(tmp_path, monkeypatch, write, command):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bomb.pth", command)
    with pytest.raises(InputError, match=r"it holds \S+ beside tensors|is no part of a module's weights"):
        read_checkpoint(tmp_path / "bomb.pth")
    assert not Path("exploded").exists()


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    """Its numbers would be those of one place, repeated until the memory is full."""
    path = tmp_path / "net.pt"
    torch.jit.script(Net()).save(path)
    before = zipfile.ZipFile(path)
    with zipfile.ZipFile(tmp_path / "huge.pt", "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, content[:8] if "/data/" in name else content)
    with pytest.raises(InputError, match=r"a tensor of size .* in a storage of"):
        read_checkpoint(tmp_path / "huge.pt")


@pytest.mark.parametrize("write", [
    lambda path: path.write_bytes(pickle.dumps(Bomb())),
    lambda path: path.write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2)),
    lambda path: torch.save({"state_dict": {"weight": torch.zeros(1)}, "args": Bomb()}, path),
    lambda path: torch.save(Bomb(), path, _use_new_zipfile_serialization=False),
    lambda path: path.write_bytes(archive_of(pickle.dumps(Bomb()))),
])  # fmt: skip
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt", ".safetensors"])
def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch, write, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"bomb{suffix}"
    write(path)
    with pytest.raises(InputError, match=f"bomb{suffix}: cannot be read as a checkpoint"):
        read_checkpoint(path)
    assert not Path("exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))  # it would explode
    assert Path("exploded").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            {"args": argparse.Namespace(lr=1)},
            r"it holds argparse\.Namespace beside tensors and plain values, and whoever",
        ),
        (nn.Linear(1, 1), r"it holds torch\.nn\.modules\.linear\.Linear beside tensors"),
    ],
)
def test_what_needs_more_is_refused_with_the_reason(tmp_path, content, reason):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(
        InputError, match=f"model.pth: cannot be read as a checkpoint .{reason}.*ask for the state dict"
    ):
        read_checkpoint(tmp_path / "model.pth")


def test_numpy_scalars_are_plain_values(tmp_path):
    torch.save({"best": np.float64(54.5), "mae": np.float32(1.5), "model": {}}, tmp_path / "best.pth")
    assert read_checkpoint(tmp_path / "best.pth")["best"] == 54.5


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_files_that_are_none(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(InputError, match=f"weights{suffix}: no such checkpoint"):
        read_checkpoint(path)
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".safetensors":
        save_file({"weight": torch.rand(1000)}, whole)
    else:
        torch.save({"weight": torch.rand(1000)}, whole)
    for content in (b"", b"no checkpoint", whole.read_bytes()[:2000]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"weights{suffix}: cannot be read as a checkpoint"):
            read_checkpoint(path)
    with pytest.raises(InputError, match="holds no state dict, but list"):
        torch.save([torch.zeros(1)], tmp_path / "list.pth")
        read_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"it is empty \(0 bytes\)"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", r"it is a web page \(HTML\)"),
        (b"<HTML><body>Not found", r"it is a web page \(HTML\)"),
        (b'{"error": "not found"}', "it is a JSON text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5300000\n", "pointer to a file of 5.3 MB"),
        (b"\x1f\x8b\x08\0", "it is packed; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, suffix, content, message):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    for read in (read_checkpoint, read_metadata)[: 1 + (suffix == ".safetensors")]:
        with pytest.raises(InputError, match=rf"weights\{suffix}: cannot be read as a checkpoint: .*{message}"):
            read(path)


def test_no_file_has_a_name_of_5000_letters():
    with pytest.raises(InputError, match="no such checkpoint"):
        read_checkpoint(Path("x" * 5000))


def deflated(path):
    """Pack an archive of torch anew, compressed; its size is then no bound of what is in it."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(path.with_suffix(".z"), "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    return path.with_suffix(".z")


def test_a_small_file_that_fills_the_memory_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1_000_000)}, tmp_path / "net.pth")
    torch.jit.script(Net()).save(tmp_path / "net.pt")
    for name in ("net.pth", "net.pt"):
        read_checkpoint(tmp_path / name)
        with pytest.raises(InputError, match=r"net\.z: .* in it is compressed \(\d+ bytes in \d+\)"):
            read_checkpoint(deflated(tmp_path / name))


def test_parts_that_overlap_are_refused(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(100_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        storage = archive.getinfo("net/data/0")
        for number in range(1, 9):
            again = copy(storage)
            again.filename = f"net/data/{number}"
            archive.filelist.append(again)
        archive._didModify = True
    with pytest.raises(InputError, match="its parts overlap"):
        read_checkpoint(path)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_allocates_is_refused(tmp_path, old):
    path = tmp_path / "net.pth"
    for bomb in (Command(bytearray, 1 << 33), Command(np.float64(0).__reduce__()[0], np.dtype("V2000000000"))):
        torch.save({"weight": bomb}, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(InputError, match=r"net\.pth: "):
            read_checkpoint(path)


def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(1).expand(1 << 20)}}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"net\.pth: weight of size \(1048576,\) is larger than the file"):
        read_checkpoint(tmp_path / "net.pth")


def test_a_memo_beyond_the_pickle_is_refused(tmp_path):
    (tmp_path / "net.pt").write_bytes(archive_of(b"\x80\x02}r\xff\xff\xff\x7f."))
    with pytest.raises(InputError, match="object number 2147483647 in"):
        read_checkpoint(tmp_path / "net.pt")


def test_metadata(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"name": "x"})
    save_file({"weight": torch.zeros(1)}, tmp_path / "b.safetensors")
    torch.save({}, tmp_path / "c.pth")
    assert read_metadata(tmp_path / "a.safetensors") == {"name": "x"}
    assert read_metadata(tmp_path / "b.safetensors") == read_metadata(tmp_path / "c.pth") == {}
    (tmp_path / "bad.safetensors").write_bytes(b"12345678abc")
    with pytest.raises(InputError, match=r"bad\.safetensors: cannot be read"):
        read_metadata(tmp_path / "bad.safetensors")


def test_scores_of_a_training_are_those_of_whatever_monitors():
    """A subclass or another class of callback has another key; one that only saves, or only stops, has no score."""
    score = torch.tensor(12.5)
    callbacks = {
        "mine.Keeper{'monitor': 'val/f1'}": {"monitor": "val/f1", "current_score": score},
        "LastCheckpoint": {"monitor": None, "current_score": None},
        "EarlyStopping": {"best_score": score},
        "odd": 3,
    }
    assert training_origin({"callbacks": callbacks, "epoch": 4}, {}) == {
        "trained_on": None,
        "epoch": 4,
        "validation": {"val/f1": 12.5},
    }


def test_a_mixture_names_its_data_sets():
    part = {"class_path": "d.ShanghaiTech", "init_args": {"root": "/home/me/sha", "part": "A"}}
    held = {"class_path": "d.HoldOut", "init_args": {"source": part, "val": 0.1}}
    mixture = {"class_path": "d.Concat", "init_args": {"sources": {"a": held, "b": {"class_path": "d.Mall"}}}}
    assert training_origin({}, {"data": {"source": mixture}})["trained_on"] == "a: d.ShanghaiTech, b: d.Mall"
    for odd in (None, 3, {}, {"class_path": 3}, {"init_args": 3}):
        assert training_origin({}, {"data": {"source": odd}})["trained_on"] is None
