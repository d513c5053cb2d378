"""The cache: whatever the server, the disk and other processes do, a file it hands out is the right one."""

import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from crowdcount.errors import InputError
from crowdcount.weights import archive as unpack
from crowdcount.weights import cache as weight_cache
from crowdcount.weights import download as download_module
from crowdcount.weights.cache import (
    cache_folder,
    ensure_downloaded,
    file_path,
    import_file,
    known_as,
    offline,
    remove,
    state,
)
from crowdcount.weights.index import find_entry
from tests.support.server import serving

CONTENT = b"\x80" + random.Random(1).randbytes(2_000_000)  # begins like a pickle
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "ebc/vgg19ae_nwpu.v1"
GENERIC = {"config": "ebc/vgg19ae_nwpu", "format": "torch"}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download_module, "BACKOFF", 0.001)
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def known(server, local_index):
    """An entry whose SHA-256 the index gives."""
    local_index({NAME: {"urls": [server.url], "sha256": SHA256, "bytes": len(CONTENT)}})
    return find_entry(NAME)


@pytest.fixture
def unknown(server, local_index):
    """An entry whose SHA-256 nobody knows."""
    local_index({NAME: {"urls": [server.url], "sha256": None, "bytes": None}})
    return find_entry(NAME)


def packed(files, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def archived(server, local_index, files, member="best_mae_0.pth", **changes):
    server.content = packed(files)
    digest = hashlib.sha256(server.content).hexdigest()
    local_index({NAME: {"urls": [server.url], "sha256": digest, "bytes": None, "member": member, **changes}})
    return find_entry(NAME)


def left():
    """Return the files in the cache beside locks."""
    return sorted(path.name for path in cache_folder().iterdir() if path.suffix != ".lock" and path.name != "lock.json")


def test_a_file_is_fetched_once(known, server):
    path = ensure_downloaded(known)
    assert path == ensure_downloaded(known) == file_path(known) and state(known) == "right"
    assert path.read_bytes() == CONTENT and len(server.requests) == 1
    assert path.name == f"ebc-vgg19ae_nwpu.v1-{SHA256[:12]}.pth" and left() == [path.name]


@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: x + b"\0", lambda x: b"\0" + x[1:], lambda x: b""])
def test_a_damaged_file_is_found_and_fetched_again(known, server, damage, caplog):
    path = ensure_downloaded(known)
    path.write_bytes(damage(CONTENT))
    assert state(known) == "damaged"
    assert ensure_downloaded(known).read_bytes() == CONTENT and len(server.requests) == 2
    assert state(known) == "right" and caplog.text.count("damaged since it was stored") == 1


@pytest.mark.parametrize("tenths", range(1, 10))
def test_no_cut_connection_leaves_a_wrong_file(known, server, tenths):
    server.cut_after = len(CONTENT) * tenths // 10
    assert ensure_downloaded(known).read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [
    {"content": CONTENT[:-1]}, {"content": CONTENT[::-1]}, {"content": b""}, {"lie": 5}, {"lie": -5},
    {"statuses": [404]}, {"statuses": [500] * 9}, {"redirects": 99}, {"ranges": False, "cut_after": 1000},
])  # fmt: skip
def test_no_misbehaving_server_leaves_a_file(known, server, wrong):
    for name, value in wrong.items():
        setattr(server, name, value)
    with pytest.raises(InputError):
        ensure_downloaded(known)
    assert state(known) == "absent" and not [name for name in left() if name.endswith(".pth")]


def test_what_nobody_can_check_is_taken_only_when_told_to_and_held_to(unknown, server):
    with pytest.raises(InputError, match=r"(?s)its SHA-256 is not known.*get ebc/vgg19ae_nwpu.v1 --allow-unverified"):
        ensure_downloaded(unknown)
    assert not server.requests
    path = ensure_downloaded(unknown, allow_unverified=True)
    assert path.read_bytes() == CONTENT and "unverified" in path.name
    assert json.loads((cache_folder() / "lock.json").read_text())[NAME]["sha256"] == SHA256
    assert ensure_downloaded(unknown) == path and len(server.requests) == 1  # from now on it needs no leave
    path.unlink()
    assert ensure_downloaded(unknown) == path  # the recorded hash is enough to fetch it again
    path.write_bytes(b"damaged")
    server.content = b"\x80" + CONTENT[::-1]
    with pytest.raises(
        InputError, match=rf"(?s)SHA-256 .* instead of {SHA256}.*recorded in .*lock\.json.* remove {NAME}"
    ):
        ensure_downloaded(unknown, allow_unverified=True)
    assert remove(unknown) and not remove(unknown)
    assert ensure_downloaded(unknown, allow_unverified=True).read_bytes() == server.content


def test_a_record_of_another_version_does_not_count(known, server, local_index):
    ensure_downloaded(known)
    server.content = CONTENT + b"of the next release"
    digest = hashlib.sha256(server.content).hexdigest()
    local_index({NAME: {"urls": [server.url], "sha256": digest, "bytes": len(server.content)}})
    newer = ensure_downloaded(find_entry(NAME))
    assert newer.read_bytes() == server.content
    assert ensure_downloaded(known).read_bytes() == CONTENT  # both versions side by side
    assert len(server.requests) == 2


def test_the_weights_are_taken_out_of_an_archive(server, local_index):
    entry = archived(server, local_index, {"./best_mae_0.pth": CONTENT, "log.txt": b"epoch 1"})
    path = ensure_downloaded(entry)
    assert path.read_bytes() == CONTENT and left() == [path.name]
    assert ensure_downloaded(entry) == path and len(server.requests) == 1
    path.write_bytes(CONTENT[:-1])
    assert state(entry) == "damaged"
    assert ensure_downloaded(entry).read_bytes() == CONTENT and len(server.requests) == 2


def test_an_archive_of_unknown_content_and_hash(server, local_index):
    entry = archived(server, local_index, {"deep/in/model.pth": CONTENT}, "*.pth", sha256=None)
    assert ensure_downloaded(entry, allow_unverified=True).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.pth": b"1", "b.pth": b"2"}, r"2 files in it are called \*\.pth; it holds a\.pth, b\.pth"),
        ({"readme": b""}, r"0 files in it are called \*\.pth; it holds readme"),
        ({}, "0 files in it .* it holds nothing"),
    ],
)
def test_an_archive_that_holds_something_else(server, local_index, files, message):
    with pytest.raises(InputError, match=message):
        ensure_downloaded(archived(server, local_index, files, "*.pth"))
    assert not [name for name in left() if name.endswith(".pth")]


def test_an_archive_that_is_none(server, local_index):
    local_index({NAME: {"urls": [server.url], "sha256": SHA256, "bytes": None, "member": "*.pth"}})
    with pytest.raises(InputError, match="cannot be unpacked"):
        ensure_downloaded(find_entry(NAME))


def test_names_in_an_archive_lead_nowhere_else(server, local_index, tmp_path):
    entry = archived(server, local_index, {"../../escaped.pth": CONTENT}, "*.pth")
    assert ensure_downloaded(entry).parent == cache_folder()
    assert not list(tmp_path.rglob("escaped*"))


def test_a_file_downloaded_by_hand(known, server, tmp_path):
    file = tmp_path / "from browser.pth"
    file.write_bytes(CONTENT)
    path = import_file(known, file)
    assert ensure_downloaded(known) == path and not server.requests and file.exists()
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=rf"from browser.pth: is not {NAME}: SHA-256 \w+ \(2000000 bytes\) instead of"):
        import_file(known, file)
    file.write_bytes(CONTENT[::-1])
    with pytest.raises(InputError, match=f"from browser.pth: is not {NAME}: SHA-256 .* instead of SHA-256 {SHA256}"):
        import_file(known, file)
    assert state(known) == "right"
    with pytest.raises(InputError, match="nowhere: no such file"):
        import_file(known, Path("nowhere"))


def test_what_only_a_person_can_fetch(local_index, tmp_path):
    name = "hmode/vgg16bn_sha_released.authors"
    local_index({name: {}})
    with pytest.raises(
        InputError, match=r"(?s)nobody but a person can fetch it. Download it from https://drive.*--from"
    ):
        ensure_downloaded(find_entry(name))
    file = tmp_path / "best_model.pth"
    file.write_bytes(CONTENT)
    with pytest.raises(InputError, match=rf"(?s)its SHA-256 is not known.*get {name} --from {file} --allow-unverified"):
        import_file(find_entry(name), file)
    path = import_file(find_entry(name), file, allow_unverified=True)
    assert ensure_downloaded(find_entry(name)) == path
    path.unlink()
    with pytest.raises(InputError, match="nobody but a person"):
        ensure_downloaded(find_entry(name))
    file.write_bytes(b"another file")
    with pytest.raises(InputError, match=rf"(?s)instead of SHA-256 {SHA256}.* To take another one: .* remove {name}"):
        import_file(find_entry(name), file, allow_unverified=True)
    assert left() == []


@pytest.mark.parametrize("variable", ["CROWDCOUNT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(known, server, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(InputError, match=r"is not in .*cache, and downloads are forbidden \(offline\)"):
        ensure_downloaded(known)
    monkeypatch.setenv(variable, "0")
    assert not offline()
    path = ensure_downloaded(known)
    monkeypatch.setenv(variable, "1")
    assert ensure_downloaded(known) == path and len(server.requests) == 1


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CROWDCOUNT_CACHE", "~/here")
    assert cache_folder() == Path.home() / "here"
    monkeypatch.delenv("CROWDCOUNT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "crowdcount"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "crowdcount"


def test_a_cache_that_cannot_be_written(known, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CROWDCOUNT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot be written to .* set CROWDCOUNT_CACHE to a folder that can"):
        ensure_downloaded(known)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"a": 1}', '{"a": {}}'])
def test_a_damaged_lock_file_says_so(unknown, text):
    ensure_downloaded(unknown, allow_unverified=True)
    (cache_folder() / "lock.json").write_text(text)
    with pytest.raises(
        InputError, match=r"lock\.json: is damaged .* remove it, then unverified files are fetched anew"
    ):
        ensure_downloaded(unknown)
    (cache_folder() / "lock.json").unlink()
    assert state(unknown) == "not recorded"
    with pytest.raises(InputError, match="its SHA-256 is not known"):
        ensure_downloaded(unknown)


PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@pytest.mark.parametrize("format_", ["torch", "torchscript", "safetensors"])
@pytest.mark.parametrize("content", [PAGE, b"PK\x03\x04 the beginning of a zip", b"\x08\0\0\0\0\0\0\0{", b"x"])
def test_what_cannot_be_weights_is_not_recorded(server, local_index, tmp_path, format_, content):
    server.content = content
    local_index({NAME: {"urls": [server.url], "sha256": None, "bytes": None, "format": format_}})
    (tmp_path / "by hand").write_bytes(content)
    for take in (ensure_downloaded, lambda entry, leave: import_file(entry, tmp_path / "by hand", leave)):
        with pytest.raises(
            InputError, match=f"is no {format_} file(, or not all of it; it begins with|: it is a web page)"
        ):
            take(find_entry(NAME), True)
        assert left() == [] and state(find_entry(NAME)) == "absent"
    server.content = packed({"best_mae_0.pth": PAGE})
    local_index({NAME: {"urls": [server.url], "sha256": None, "bytes": None, "member": "*.pth"}})
    with pytest.raises(InputError, match="is no torch file"):
        ensure_downloaded(find_entry(NAME), allow_unverified=True)
    assert left() == []


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_archive_gives_no_weights(server, local_index, seed):
    """Even if nobody knows its hash: it has checksums of its own, the last one at its end."""
    entry = archived(server, local_index, {"best_mae_0.pth": CONTENT}, sha256=None)
    rng = random.Random(seed)
    damaged = bytearray(server.content)
    for place in [rng.randrange(30, len(damaged)) for _ in range(3)] if seed else [len(damaged) - 6]:
        damaged[place] ^= 1 + rng.randrange(255)
    server.content = bytes(damaged)
    with pytest.raises(InputError, match="cannot be unpacked"):
        ensure_downloaded(entry, allow_unverified=True)
    assert left() == [] and state(entry) == "absent"


def test_a_right_archive_is_not_fetched_twice_because_the_disk_was_full(server, local_index, monkeypatch):
    entry = archived(server, local_index, {"best_mae_0.pth": CONTENT})
    original, calls = unpack.require_space, []

    def full(folder, needed):
        calls.append(needed)
        raise InputError("the disk is full")

    monkeypatch.setattr(unpack, "require_space", full)
    with pytest.raises(InputError, match="the disk is full"):
        ensure_downloaded(entry)
    assert calls == [len(CONTENT)]
    monkeypatch.setattr(unpack, "require_space", original)
    assert ensure_downloaded(entry).read_bytes() == CONTENT and len(server.requests) == 1
    assert left() == [file_path(entry).name]


def test_a_copy_needs_room(known, tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    file.write_bytes(CONTENT)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(InputError, match="2 MB are needed, with 67 MB to spare, and 1 MB are free"):
        import_file(known, file)
    assert left() == []


def test_a_file_is_known_by_its_hash(known):
    assert known_as(SHA256) == known and known_as("0" * 64) is None


def test_an_extracted_or_unverified_file_is_known_by_what_is_recorded(server, local_index):
    entry = archived(server, local_index, {"best_mae_0.pth": CONTENT}, sha256=None)
    assert known_as(SHA256) is None
    ensure_downloaded(entry, allow_unverified=True)
    assert known_as(SHA256) == known_as(hashlib.sha256(server.content).hexdigest()) == entry


def test_removing(known, server):
    path = ensure_downloaded(known)
    path.with_suffix(".download.part").write_bytes(b"of a later download")
    assert remove(known) and left() == [] and json.loads((cache_folder() / "lock.json").read_text()) == {}
    assert not remove(known)


def started(index, name=NAME):
    """Start a process that wants the weights."""
    code = (
        "import sys; from pathlib import Path; from crowdcount.weights import download, index; "
        "download.BACKOFF = 0.01; "
        f"index.index_file = lambda: Path({str(index)!r}); from crowdcount.weights.cache import ensure_downloaded; "
        f"print(ensure_downloaded(index.find_entry({name!r}), allow_unverified=True))"
    )
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_several_processes_at_once_fetch_it_once(server, local_index, sha256):
    index = local_index({NAME: {"urls": [server.url], "sha256": sha256, "bytes": None}})
    server.delay, server.cut_after = 0.3, 700_000
    processes = [started(index) for _ in range(3)]
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0] and len(paths) == 1
    assert Path(paths.pop()).read_bytes() == CONTENT and server.sent == len(CONTENT)


def test_processes_with_different_files_all_are_recorded(server, local_index):
    names = [f"ebc/vgg19ae_nwpu.v{number}" for number in range(1, 7)]
    entry = {"urls": [server.url], "sha256": None, "bytes": None}
    index = local_index({key: {**GENERIC, **entry} for key in names})
    processes = [started(index, name) for name in names]
    assert [process.wait(timeout=100) for process in processes] == [0] * 6
    assert json.loads((cache_folder() / "lock.json").read_text()).keys() == set(names)


def test_a_second_process_says_that_it_waits(server, local_index, caplog):
    index = local_index({NAME: {"urls": [server.url], "sha256": SHA256, "bytes": None}})
    server.delay = 1.0
    process = started(index)
    while not server.requests:
        os.sched_yield()
    caplog.set_level("INFO")
    assert ensure_downloaded(find_entry(NAME)).read_bytes() == CONTENT
    assert "another process is fetching it; waiting" in caplog.text and process.wait(timeout=60) == 0
    assert server.sent == len(CONTENT)


def test_a_killed_process_leaves_a_part_that_the_next_one_goes_on_with(server, local_index):
    index = local_index({NAME: {"urls": [server.url], "sha256": SHA256, "bytes": len(CONTENT)}})
    server.cut_after, server.stall_after_cut = 900_000, True
    process = started(index)
    part = cache_folder() / f"ebc-vgg19ae_nwpu.v1-{SHA256[:12]}.download.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size == 900_000):
        os.sched_yield()
    process.kill()
    process.communicate()
    assert state(find_entry(NAME)) == "absent" and part.stat().st_size == 900_000
    server.cut_after = None
    assert ensure_downloaded(find_entry(NAME)).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=900000-"


def test_a_lock_file_says_nothing_of_what_the_index_knows(known, server):
    path = ensure_downloaded(known)
    records = json.loads((cache_folder() / "lock.json").read_text())
    path.write_bytes(b"another file")
    records[NAME]["file_sha256"] = hashlib.sha256(b"another file").hexdigest()
    (cache_folder() / "lock.json").write_text(json.dumps(records))
    assert state(known) == "damaged" and ensure_downloaded(known).read_bytes() == CONTENT
    (cache_folder() / "lock.json").write_text("{")
    assert state(known) == "right"


def test_a_file_that_changes_while_it_is_copied_is_refused(known, tmp_path, monkeypatch):
    file = tmp_path / "still being written"
    file.write_bytes(CONTENT)
    monkeypatch.setattr(weight_cache, "require_space", lambda *_: file.write_bytes(CONTENT[:-1]))
    with pytest.raises(InputError, match="still being written: is not"):
        import_file(known, file)
    assert left() == []


def test_of_two_different_files_at_once_the_second_is_refused(unknown, tmp_path):
    """The second is expected to be as the first was."""
    files = [tmp_path / name for name in "ab"]
    for number, file in enumerate(files):
        file.write_bytes(b"\x80" + bytes([number]) * 1000)
    results = []

    def take(file):
        try:
            results.append(import_file(unknown, file, allow_unverified=True))
        except InputError as error:
            results.append(error)

    with pytest.MonkeyPatch.context() as patch:
        original = weight_cache._expected

        def slow(*arguments):
            expected = original(*arguments)
            time.sleep(0.3)
            return expected

        patch.setattr(weight_cache, "_expected", slow)
        threads = [threading.Thread(target=take, args=(file,)) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(type(each).__name__ for each in results) == ["InputError", "PosixPath"]
    assert state(unknown) == "right"


def test_a_wrong_file_does_not_replace_a_good_one(unknown, server, tmp_path):
    path = ensure_downloaded(unknown, allow_unverified=True)
    (cache_folder() / "lock.json").unlink()
    server.content = PAGE
    (tmp_path / "page").write_bytes(PAGE)
    for take in (ensure_downloaded, lambda entry, leave: import_file(entry, tmp_path / "page", leave)):
        with pytest.raises(InputError, match="is no torch file: it is a web page") as error:
            take(unknown, True)
        assert path.read_bytes() == CONTENT
    assert str(error.value).startswith(f"{tmp_path / 'page'}: ")  # of its own file the user knows, not of a copy


def test_a_readable_archive_with_another_content_is_kept(server, local_index):
    entry = archived(server, local_index, {"a.pth": CONTENT, "b.pth": CONTENT}, "*.pth", sha256=None)
    with pytest.raises(InputError, match=r"Unpack it yourself") as error:
        ensure_downloaded(entry, allow_unverified=True)
    assert Path(str(error.value).split(": ")[0]).read_bytes() == server.content


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_of_gigabytes_is_not_read(server, local_index, tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 1 << 30
    (tmp_path / "long.tar").write_bytes(header.tobuf() + bytes(1024))
    local_index({NAME: {"urls": [server.url], "sha256": None, "bytes": None, "member": "*.pth"}})
    with pytest.raises(InputError, match=r"long\.tar: cannot be unpacked .*header of a file has 1073741824 bytes"):
        import_file(find_entry(NAME), tmp_path / "long.tar", True)


def test_an_archive_of_too_many_files_is_not_listed(server, local_index, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "_MEMBERS", 3)
    entry = archived(server, local_index, {f"{number}.pth": b"" for number in range(4)}, "*.pth", sha256=None)
    (tmp_path / "many.tgz").write_bytes(server.content)
    with pytest.raises(InputError, match=r"many\.tgz: cannot be unpacked .*more than 3 files"):
        import_file(entry, tmp_path / "many.tgz", True)


def test_a_full_disk_while_copying(known, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(CONTENT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written .File too large.; make room"):
            import_file(known, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left() == []


def test_a_process_killed_while_it_unpacks_leaves_no_weights(server, local_index, monkeypatch):
    entry = archived(server, local_index, {"best_mae_0.pth": CONTENT})

    def killed(source, file, _chunk):
        file.write(source.read(1000))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unpack.shutil, "copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure_downloaded(entry)
    assert state(entry) == "absent" and not file_path(entry).exists()
    assert ensure_downloaded(entry).read_bytes() == CONTENT and len(server.requests) == 1


def test_no_home(monkeypatch):
    monkeypatch.delenv("CROWDCOUNT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda _: (_ for _ in ()).throw(RuntimeError("no home"))))
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(InputError, match=r"there is no home for the cache .* set CROWDCOUNT_CACHE to a folder"):
        cache_folder()
