"""Connections: slow clients, clients that leave, and the end of the process."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from crowdcount.errors import InputError
from crowdcount.service import server
from crowdcount.service.app import create_app
from crowdcount.service.settings import Settings
from tests.support.service import image_bytes, listening, tiny_predictor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return tiny_predictor(tmp_path_factory.mktemp("counter") / "release")


def connected(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def received(connection):
    """Return all that comes until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_connections_without_a_request_are_closed(predictor, monkeypatch):
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.3)
    with (
        listening(create_app(predictor)) as address,
        connected(address) as silent,
        connected(address) as slow,
        connected(address) as used,
    ):
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        used.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert received(silent) == received(slow) == b""
        assert received(used).startswith(b"HTTP/1.1 200 OK")


def test_headers_that_trickle_in_do_not_keep_a_connection(predictor, monkeypatch):
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.5)
    with listening(create_app(predictor)) as address, connected(address) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(OSError):
            for _ in range(500):
                slow.sendall(b"X-A: 1\r\n")
                time.sleep(0.02)


def test_a_slow_upload_is_given_up(predictor):
    with listening(create_app(predictor, Settings(upload_seconds=0.3))) as address, connected(address) as slow:
        slow.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        answer = received(slow)
        assert answer.startswith(b"HTTP/1.1 408") and b"0.3 seconds" in answer
        with urllib.request.urlopen(f"{address}/health") as health:
            assert health.status == 200


def test_a_stated_size_above_the_limit_is_refused_before_anything_is_sent(predictor):
    with listening(create_app(predictor)) as address, connected(address) as client:
        client.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_who_leaves_gives_the_memory_back(predictor):
    with listening(create_app(predictor)) as address:
        for _ in range(3):
            with connected(address) as client:
                client.sendall(
                    b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000
                )
        request = urllib.request.Request(f"{address}/count", image_bytes(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["count"] > 0


def test_a_taken_port_is_named():
    with server.bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: cannot be taken"):
            server.bind("127.0.0.1", port)
    for host, port in (("127.0.0.1", 70000), ("no such host", 80)):
        with pytest.raises(InputError, match="cannot be taken"):
            server.bind(host, port)


PROGRAM = """
import asyncio, sys
from crowdcount.service.server import bind, serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            await send({"type": (await receive())["type"] + ".complete"})
    print("asked", flush=True)
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})

listener = bind("127.0.0.1", 0)
serve(app, listener, lambda: print(listener.getsockname()[1], flush=True))
print("ended", flush=True)
"""


@pytest.mark.parametrize("before", ["", "trap '' INT; "])  # so it is in the background of a shell
@pytest.mark.parametrize(
    ("ending", "status", "last"), [(signal.SIGTERM, 0, "ended\n"), (signal.SIGINT, -signal.SIGINT, "")]
)
def test_a_signal_ends_it_after_the_running_request(before, ending, status, last):
    command = ["sh", "-c", f'{before}exec "$0" -c "$1"', sys.executable, PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert process.stdout.readline() == "asked\n"
            process.send_signal(ending)
            assert received(client).endswith(b"done")
        assert process.stdout.read() == last
        assert process.wait(30) == status
