"""Limits: requests per client, bytes in memory, and settings that are refused."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from crowdcount.errors import InputError
from crowdcount.service.limits import Memory, RateLimit, Refused, client_key
from crowdcount.service.settings import Settings, check_exposure, is_loopback, read_token


def test_a_bucket_empties_and_fills_again():
    now = [0.0]
    limit = RateLimit(6, clock=lambda: now[0])
    for _ in range(6):
        limit.take("a")
    with pytest.raises(Refused) as refused:
        limit.take("a")
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "10"
    limit.take("b")  # has a bucket of its own
    now[0] = 9.9
    with pytest.raises(Refused):
        limit.take("a")
    now[0] = 10.0
    limit.take("a")
    now[0] = 1e6  # never holds more than it can
    for _ in range(6):
        limit.take("a")
    with pytest.raises(Refused):
        limit.take("a")


def test_no_more_clients_are_remembered_than_allowed():
    limit = RateLimit(6, clients=3)
    for number in range(1000):
        limit.take(str(number))
    assert len(limit) == 3


def test_no_rate_is_no_limit():
    limit = RateLimit(0)
    for _ in range(1000):
        limit.take("a")
    assert len(limit) == 0


def test_a_client_of_ipv6_has_a_network():
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:1") != client_key("2001:db8:0:1::1")
    assert client_key(None) == "" and client_key("testclient") == "testclient"


def test_memory_is_given_back():
    memory = Memory(100)
    with memory.share() as first:
        first(60)
        with pytest.raises(Refused) as refused, memory.share() as second:
            second(30)
            second(30)
        assert refused.value.status == 503 and memory.used == 60
        with memory.share() as third:
            third(40)
    assert memory.used == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"queue": -1},
        {"rate": -1},
        {"count_seconds": 0},
        {"level": 2},
        {"max_bytes": 0},
        {"token": "short"},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host):
    check_exposure(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "myserver", ""])
def test_other_machines_need_a_token(host):
    assert not is_loopback(host)
    check_exposure(host, "a token")
    check_exposure(host, None, open_to_all=True)
    with pytest.raises(InputError, match="CROWDCOUNT_TOKEN"):
        check_exposure(host, None)


def test_the_token_of_a_file_goes_before_that_of_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text("from the file\n")
    assert read_token(file, "from outside") == "from the file"
    assert read_token(None, "from outside") == "from outside"
    assert read_token(None, "") is None
    file.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        read_token(file, None)
    with pytest.raises(InputError, match="missing"):
        read_token(tmp_path / "missing", None)
