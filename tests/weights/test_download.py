"""Downloads from a server on this machine that cuts, ignores, lies and fails."""

import hashlib
import random
import resource
from types import SimpleNamespace

import pytest

from crowdcount.errors import InputError
from crowdcount.weights import download as module
from crowdcount.weights.download import download, file_sha256, require_space
from tests.support.server import serving

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    for name in ("http_proxy", "https_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights.pth"


def right(target):
    """Whether the file is whole and nothing else is left."""
    return target.read_bytes() == CONTENT and [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("known", [True, False])
def test_a_whole_file(server, target, known):
    sha256, size = (SHA256, len(CONTENT)) if known else (None, None)
    assert download([server.url], target, sha256, size) == SHA256
    assert right(target) and len(server.requests) == 1


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_cut_connection_is_resumed(server, target, tenths, known):
    server.cut_after = len(CONTENT) * tenths // 10
    sha256, size = (SHA256, len(CONTENT)) if known else (None, None)
    assert download([server.url], target, sha256, size) == SHA256
    assert right(target)
    assert len(server.requests) == -(-10 // tenths)
    assert server.sent == len(CONTENT)  # no byte came twice


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_killed_download_goes_on_later(server, target, tenths, monkeypatch):
    def killed(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=killed))
    server.cut_after = len(CONTENT) * tenths // 10
    with pytest.raises(KeyboardInterrupt):
        download([server.url], target, SHA256, len(CONTENT))
    assert not target.exists()
    server.cut_after = None
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target) and server.sent == len(CONTENT)


@pytest.mark.parametrize("etag", ['"1"', None, 'W/"1"'])
def test_without_a_hash_a_part_is_resumed_only_if_the_server_names_the_version(server, target, etag):
    server.etag, server.cut_after = etag, len(CONTENT) // 2
    if etag == '"1"':
        assert download([server.url], target, None, None) == SHA256
        assert server.requests[1][1] == f"bytes={len(CONTENT) // 2}-"
    else:
        with pytest.raises(InputError, match="gave nothing new in 5 requests"):
            download([server.url], target, None, None)
        assert {wanted for _, wanted in server.requests} == {None}


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changes_in_between_is_fetched_anew(server, target, known):
    target.with_name("weights.pth.part").write_bytes(CONTENT[::-1][:1_000_000])  # of the version before
    target.with_name("weights.pth.part.etag").write_text(f'{server.url}\n"0"')
    download([server.url], target, SHA256 if known else None, None)
    assert right(target) and server.sent == len(CONTENT)


def test_a_wrong_part_is_noticed_by_the_hash(server, target, caplog):
    target.with_name("weights.pth.part").write_bytes(CONTENT[::-1][:1_000_000])
    server.etag = None
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target) and "the pieces do not fit together" in caplog.text


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_as_long_as_the_file_or_longer(server, target, length):
    """As a process leaves it that was killed before it renamed the file, or with another file's bytes."""
    target.with_name("weights.pth.part").write_bytes((CONTENT + b"other")[:length])
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target) and len(server.requests) == int(length > len(CONTENT))


def test_a_longer_part_of_unknown_size_is_dropped(server, target):
    target.with_name("weights.pth.part").write_bytes(CONTENT + b"other")
    download([server.url], target, SHA256, None)
    assert right(target)


def test_a_server_without_range(server, target):
    server.ranges = False
    target.with_name("weights.pth.part").write_bytes(CONTENT[:1_000_000])
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target) and server.sent == len(CONTENT)


def test_a_server_without_range_that_cuts_is_given_up(server, target):
    server.ranges, server.cut_after = False, 1_000_000
    with pytest.raises(InputError, match="gave nothing new in 5 requests; the last time the connection ended"):
        download([server.url], target, SHA256, len(CONTENT))
    assert not target.exists() and len(server.requests) == 6


def test_another_part_than_asked_for_is_dropped(server, target):
    target.with_name("weights.pth.part").write_bytes(CONTENT[:1_000_000])
    server.wrong_start = 7
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target) and [wanted for _, wanted in server.requests] == ["bytes=1000000-", None]
    server.cut_after = 1_000_000
    with pytest.raises(InputError, match="gave nothing new in 5 requests"):
        download([server.url], target.with_name("other.pth"), SHA256, len(CONTENT))


@pytest.mark.parametrize("known", [True, False])
def test_a_part_of_another_version_is_dropped(server, target, known):
    """Some servers send the part asked for whatever If-Range says."""
    target.with_name("weights.pth.part").write_bytes(CONTENT[::-1][:1_000_000])
    target.with_name("weights.pth.part.etag").write_text(f'{server.url}\n"0"')
    server.if_range = False
    assert download([server.url], target, SHA256 if known else None, None) == SHA256
    assert right(target)


def test_wrong_bytes_over_a_bad_line_come_to_an_end(server, target):
    server.content = CONTENT[:-1] + b"x"
    server.cut_after = len(CONTENT) * 6 // 10
    with serving(CONTENT) as good:
        download([server.url, good.url], target, SHA256, len(CONTENT))
    assert right(target) and len(server.requests) == 4


@pytest.mark.parametrize("wrong", [{"content": b""}, {"status": 204}, {"status": 202}, {"encoding": "gzip"}])
def test_what_is_no_file_is_refused_even_if_nobody_knows_the_right_one(server, target, wrong):
    for name, value in wrong.items():
        setattr(server, name, value)
    with pytest.raises(InputError, match=r"sends an empty file|answered 20|packs what it sends"):
        download([server.url], target, None, None)
    assert not target.exists()
    server.announce = False
    with pytest.raises(InputError):
        download([server.url], target, None, None)


def test_a_length_that_is_no_number(server, target):
    server.lie = " bytes"
    assert download([server.url], target, SHA256, len(CONTENT)) == SHA256


def test_416_without_a_part(server, target):
    server.statuses = [416]
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target)


def test_a_folder_in_the_way_is_no_network_trouble(server, target):
    target.with_name("weights.pth.part").mkdir()
    with pytest.raises(InputError, match=r"weights\.pth\.part: Is a directory"):
        download([server.url], target, SHA256, None)
    assert len(server.requests) == 1


@pytest.mark.parametrize("lie", [-1_000_000, 1_000_000])
@pytest.mark.parametrize(("sha256", "size"), [(SHA256, len(CONTENT)), (SHA256, None), (None, len(CONTENT))])
def test_a_lie_about_the_length(server, target, lie, sha256, size):
    server.lie = lie
    if (sha256, size, lie > 0) == (SHA256, None, True):  # all bytes came, and the hash shows that no more are missing
        assert download([server.url], target, sha256, size) == SHA256
        assert right(target)
        return
    with pytest.raises(InputError):
        download([server.url], target, sha256, size)
    assert not target.exists()


def test_a_file_without_a_length(server, target):
    server.announce = False
    assert download([server.url], target, SHA256, len(CONTENT)) == SHA256
    assert right(target)


def test_more_than_there_should_be_stops_the_download(server, target):
    server.announce = False
    server.content = CONTENT + bytes(5_000_000)
    with pytest.raises(InputError, match="sends more than the 3000000 bytes"):
        download([server.url], target, SHA256, len(CONTENT))
    assert not target.exists()


def test_wrong_bytes_are_refused(server, target):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(InputError, match=f"other bytes than it should: SHA-256 [0-9a-f]+ instead of {SHA256}"):
        download([server.url], target, SHA256, len(CONTENT))
    assert list(target.parent.iterdir()) == [target.with_name("weights.pth.part.etag")]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410, 501])
def test_a_refusal_is_not_asked_again(server, target, status):
    server.statuses = [status] * 9
    with pytest.raises(InputError, match=f"(?s)weights.pth could not be downloaded.*{server.url}: answered {status}"):
        download([server.url], target, SHA256, len(CONTENT))
    assert len(server.requests) == 1 and not target.exists()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_waited_out(server, target, status):
    server.statuses = [status] * 4
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target)
    server.statuses = [status] * 5
    with pytest.raises(InputError, match=f"the last time it answered {status}"):
        download([server.url], target.with_name("other.pth"), SHA256, len(CONTENT))


def test_pauses_double(server, target, monkeypatch):
    pauses = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=pauses.append))
    server.statuses = [500] * 4
    download([server.url], target, SHA256, len(CONTENT))
    assert pauses == [0.001, 0.002, 0.004, 0.008]


def test_redirects(server, target):
    server.redirects = 3
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target)
    assert len(server.requests) == 4
    server.redirects = 99
    with pytest.raises(InputError, match="answered 302"):
        download([server.url], target.with_name("other.pth"), SHA256, len(CONTENT))


def test_the_next_address_is_tried(server, target):
    with serving(CONTENT) as broken:
        broken.statuses = [404]
        download([broken.url, server.url], target, SHA256, len(CONTENT))
    assert right(target)
    with pytest.raises(InputError) as error:  # nobody listens at the first any more
        download([broken.url], target.with_name("other.pth"), SHA256, len(CONTENT))
    assert broken.url in str(error.value) and "refused" in str(error.value)


def test_a_silent_server(server, target, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    server.delay = 0.3
    with pytest.raises(InputError, match="timed out"):
        download([server.url], target, SHA256, len(CONTENT))


def test_the_mirror_of_the_hub(server, target, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/file") + "/")
    download(["https://huggingface.co/who/what/resolve/main/model.safetensors"], target, SHA256, len(CONTENT))
    assert right(target) and server.requests == [("/who/what/resolve/main/model.safetensors", None)]
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example.com")
    with pytest.raises(InputError, match=r"HF_ENDPOINT: 'mirror\.example\.com' is no address"):
        download(["https://huggingface.co/who/what"], target, SHA256, None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # addresses elsewhere stay
    download([server.url], target, SHA256, None)


def test_the_proxy_of_the_environment(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/file"))
    download(["http://weights.invalid/model.pth"], target, SHA256, len(CONTENT))
    assert right(target) and server.requests == [("http://weights.invalid/model.pth", None)]


def test_the_disk_is_looked_at_first(server, target, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    with pytest.raises(InputError, match="3 MB are needed, with 67 MB to spare, and 2 MB are free; make room"):
        download([server.url], target, SHA256, None)
    assert not list(target.parent.glob("*.part")) and not target.exists()
    with pytest.raises(InputError):
        require_space(target.parent, 1)


@pytest.mark.parametrize("piece", [4000, 1 << 20])
def test_a_full_disk_keeps_what_came(server, target, piece):
    server.piece = piece
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"weights\.pth\.part: File too large; the download goes on from here"):
            download([server.url], target, SHA256, len(CONTENT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not target.exists() and target.with_name("weights.pth.part").stat().st_size == 1_500_000
    download([server.url], target, SHA256, len(CONTENT))
    assert right(target) and server.requests[-1][1] == "bytes=1500000-"


def test_file_sha256(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("known", [True, False])
def test_a_part_is_not_continued_from_another_address(server, target, known):
    """Two servers may call different files by one version."""
    with serving(CONTENT[::-1]) as other:
        other.cut_after, other.statuses = 1_000_000, [200, 404]
        urls = [other.url, server.url]
        assert download(urls, target, SHA256 if known else None, None) == SHA256
    assert right(target)


@pytest.mark.parametrize("tag", [b"\xff\xfe", b"", b"\n", b"no version"])
def test_a_damaged_note_of_the_version_is_passed_over(server, target, tag):
    target.with_name("weights.pth.part").write_bytes(CONTENT[:1_000_000])
    target.with_name("weights.pth.part.etag").write_bytes(tag)
    download([server.url], target, SHA256, None)
    assert right(target)


@pytest.mark.parametrize("mirror", ["https://hf..mirror", "https://spiegel.example/ü", "https://[::1"])
def test_a_mirror_that_is_no_address(target, mirror, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", mirror)
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    with pytest.raises(InputError, match=r"weights\.pth could not be downloaded"):
        download(["https://huggingface.co/a/b"], target, SHA256, None)


def test_a_whole_part_of_unknown_size_is_recognised(server, target):
    target.with_name("weights.pth.part").write_bytes(CONTENT)
    download([server.url], target, SHA256, None)
    assert right(target) and server.sent == 0


def test_a_part_nobody_asked_for(server, target):
    server.status, server.announce = 206, True
    with pytest.raises(InputError, match="gave nothing new in 5 requests; the last time the connection ended"):
        download([server.url], target, SHA256, None)
