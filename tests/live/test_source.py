import sys

import pytest

from crowdcount.errors import InputError
from crowdcount.live.source import Source, parse_source, parse_sources


def test_addresses_keep_their_credentials_to_themselves():
    source = parse_source("rtsp://admin:secret@camera/1?token=abc")
    assert source == Source("rtsp://***@camera/1?***", "network", "rtsp://admin:secret@camera/1?token=abc")
    assert "secret" not in repr(source) and "abc" not in repr(source)


def test_a_name_before_the_source():
    source = parse_source("gate=rtsp://camera/1?a=b")
    assert (source.name, source.address) == ("gate", "rtsp://camera/1?a=b")


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walk=1.mp4").write_bytes(b"")
    source = parse_source("walk=1.mp4")
    assert (source.name, source.kind, source.address) == ("walk=1", "file", str(tmp_path / "walk=1.mp4"))
    assert parse_source("gate=walk=1.mp4").name == "gate"


@pytest.mark.skipif(sys.platform != "linux", reason="names of devices are those of Linux")
def test_cameras():
    assert parse_source("0") == Source("0", "camera", "/dev/video0", "v4l2")
    assert parse_source("desk=/dev/video2") == Source("desk", "camera", "/dev/video2", "v4l2")


@pytest.mark.parametrize("word", ["missing.mp4", "ftp://user:secret@host/a.mp4", "file:///etc/passwd"])
def test_no_source(word):
    with pytest.raises(InputError) as caught:
        parse_source(word)
    assert "secret" not in str(caught.value)


def test_two_sources_of_one_name():
    with pytest.raises(InputError, match="NAME=SOURCE"):
        parse_sources(["rtsp://a:b@camera/1", "rtsp://c:d@camera/1"])
