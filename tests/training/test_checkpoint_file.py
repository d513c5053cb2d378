"""Files of checkpoints: what fails leaves the previous one, and says why in a line."""

import errno
import os
import shutil

import pytest
import torch
from torch import nn

from crowdcount.errors import InputError
from crowdcount.training.checkpoint_file import AtomicCheckpointIO, check_folder, check_resumable, check_room
from crowdcount.training.parameter_groups import parameter_groups


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free space there"), (errno.EFBIG, "ulimit -f"), (errno.EROFS, "choose a folder")],
)
def test_the_previous_checkpoint_stays_where_the_new_one_cannot_be_written(tmp_path, monkeypatch, call, number, remedy):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    monkeypatch.setattr(call, fail)
    with pytest.raises(InputError, match=remedy) as error:
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert str(path) in str(error.value) and os.strerror(number) in str(error.value)
    assert torch.load(path, weights_only=True) == {"step": 1} and list(tmp_path.iterdir()) == [path]


def test_the_folder_for_temporary_files_is_not_used(tmp_path, monkeypatch):
    """It may be on another disk, from where a file can't be renamed, only copied."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(shutil, "move", None)
    AtomicCheckpointIO().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 1}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/checkpoints: cannot be written \(Not a directory\); choose a folder"):
        check_folder(tmp_path / "file" / "checkpoints")
    check_folder(tmp_path / "new" / "checkpoints")
    assert list((tmp_path / "new" / "checkpoints").iterdir()) == []


def test_room_is_for_all_checkpoints_beside_those_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 * 2**20, 0, 5 * 2**20))
    check_room(tmp_path, size=2**20, files=5)
    with pytest.raises(InputError, match=r"5\.0 MiB are free, .* need 6\.0 MiB \(3 of 2\.0 MiB"):
        check_room(tmp_path, size=2 * 2**20, files=3)
    (tmp_path / "best.ckpt").write_bytes(bytes(2**20))
    check_room(tmp_path, size=2 * 2**20, files=3)


def test_the_limit_of_file_sizes_is_known_in_advance(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        check_room(tmp_path, size=2**20, files=1)
        with pytest.raises(InputError, match=r"takes 1\.5 MiB, but files may have 1\.0 MiB \(ulimit -f\)"):
            check_room(tmp_path, size=3 * 2**19, files=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state_of(optimizer):
    """Return the content of a checkpoint of a training with an optimizer."""
    return {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [], "loops": {}, "callbacks": {}}


def test_a_training_resumes_with_its_optimizer_alone(tmp_path):
    layer = nn.Linear(2, 2)
    adam = torch.optim.Adam(layer.parameters())
    path = tmp_path / "last.ckpt"
    check_resumable(path, state_of(adam), torch.optim.AdamW(layer.parameters()))
    older = state_of(adam)
    older["optimizer_states"][0]["param_groups"][0].pop("fused")  # as other versions of torch write it
    check_resumable(path, older, adam)
    for other in (torch.optim.SGD(layer.parameters()), torch.optim.Adam([layer.weight])):
        with pytest.raises(InputError, match=r"last\.ckpt holds the state of another optimizer than"):
            check_resumable(path, state_of(adam), other)


def test_groups_of_equal_sizes_are_told_apart(tmp_path):
    """The moments would go to other parameters."""
    layers = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("backbone", "head")})
    first, second = (torch.optim.Adam(parameter_groups(layers, {part: 0.5})) for part in layers)
    check_resumable(tmp_path / "last.ckpt", state_of(first), first)
    with pytest.raises(InputError, match=r"last\.ckpt holds the state of another optimizer than"):
        check_resumable(tmp_path / "last.ckpt", state_of(first), second)


@pytest.mark.parametrize("change", [{"optimizer_states": []}, {"optimizer_states": None}, {"loops": None}])
def test_weights_alone_are_not_resumed(tmp_path, change):
    adam = torch.optim.Adam(nn.Linear(2, 2).parameters())
    state = {key: value for key, value in (state_of(adam) | change).items() if value is not None}
    with pytest.raises(InputError, match=r"last\.ckpt holds no state of a training .*; give a last\.ckpt"):
        check_resumable(tmp_path / "last.ckpt", state, adam)
