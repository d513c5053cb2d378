"""The service under load: simultaneous uploads, answers meanwhile, memory, and damaged files.

`crowdcount serve` runs in a process of its own on this machine, with its default limits but those of rate and time. All
clients begin at once, each with a connection of its own; seconds are those that a client waits for its count. Memory is
the resident memory of the process, with the model and the libraries.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image

from benchmarks.damaged import damaged_files
from benchmarks.race import Commands, Row, positive
from benchmarks.tiles import scene
from crowdcount.errors import InputError

_START_SECONDS: Final = 300.0
_PATIENCE: Final = 600.0
_PROBE: Final = 0.1
_KINDS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000")


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    service = commands.add_parser("service", parents=[shared], help="crowdcount serve under load")
    service.add_argument("--image", type=Path, metavar="FILE", help="to upload (default: a generated one, 1024 x 768)")
    service.add_argument("--clients", type=positive, default=50, metavar="N", help="at once (default %(default)s)")
    service.add_argument(
        "--damaged", type=positive, default=200, metavar="N", help="damaged files (default %(default)s)"
    )
    service.add_argument("--model", help="default: the model in the package")
    service.set_defaults(run=service_benchmark)


def service_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Measure the service."""
    image = _jpeg() if arguments.image is None else arguments.image.read_bytes()
    with running(arguments.model) as (address, process):
        expected = _count(address, image)[1]
        idle = _memory(process, "VmRSS")
        seconds, health = _load(address, image, arguments.clients)
        peak = _memory(process, "VmHWM")
        statuses = Counter(_post(address, data) for data in damaged_files(_small_files(), arguments.damaged))
        after, count = _count(address, image)
        if process.poll() is not None or count != expected:
            raise InputError("the service did not survive the damaged files")
    values = {
        f"{arguments.clients} uploads: p50 (s)": float(np.percentile(seconds, 50)),
        f"{arguments.clients} uploads: p95 (s)": float(np.percentile(seconds, 95)),
        f"{arguments.clients} uploads: images/s": arguments.clients / max(seconds),
        "one upload (s)": after,
        "/health meanwhile: p50 (s)": float(np.percentile(health, 50)),
        "/health meanwhile: largest (s)": max(health),
        "memory before (MiB)": idle,
        "memory at most (MiB)": peak,
        **{f"damaged files with status {status}": number for status, number in sorted(statuses.items())},
    }
    return [{"measure": name, "value": value} for name, value in values.items()]


@contextmanager
def running(model: str | None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `crowdcount serve` at a free port; yield its address and its process.

    Raises:
        InputError: it does not begin to answer.
    """
    command = [sys.executable, "-m", "crowdcount", "serve", "--port", "0", "--rate", "0", "--timeout", str(_PATIENCE)]
    command += [] if model is None else ["--model", model]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stderr is not None
        watch = threading.Timer(_START_SECONDS, process.kill)
        watch.start()
        said = ""
        try:
            for line in process.stderr:
                said += line
                if found := re.search(r"(http://\S+) counts with", line):
                    watch.cancel()
                    threading.Thread(target=process.stderr.read, daemon=True).start()
                    yield found[1], process
                    return
            raise InputError(f"the service did not begin: {said.strip()}")
        finally:
            watch.cancel()
            process.terminate()
            process.wait()


def _load(address: str, image: bytes, clients: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each upload, and those of requests for /health meanwhile."""
    health: list[float] = []
    done = threading.Event()

    def probe() -> None:
        while True:
            start = time.perf_counter()
            with urllib.request.urlopen(f"{address}/health", timeout=_PATIENCE):
                health.append(time.perf_counter() - start)
            if done.wait(_PROBE):
                return

    prober = threading.Thread(target=probe)
    prober.start()
    begin = threading.Barrier(clients)

    def upload(_: int) -> float:
        begin.wait()
        return _count(address, image)[0]

    try:
        with ThreadPoolExecutor(clients) as pool:
            seconds = list(pool.map(upload, range(clients)))
    finally:
        done.set()
        prober.join()
    return seconds, health


def _count(address: str, image: bytes) -> tuple[float, float]:
    """Return the seconds that a count takes, and the count."""
    start = time.perf_counter()
    with urllib.request.urlopen(f"{address}/count", image, timeout=_PATIENCE) as answer:
        content: dict[str, Any] = json.load(answer)
    return time.perf_counter() - start, float(content["count"])


def _post(address: str, data: bytes) -> int:
    try:
        with urllib.request.urlopen(f"{address}/count", data or b"\0", timeout=_PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def _memory(process: subprocess.Popen[str], key: str) -> float:
    """Return an entry of /proc/PID/status in MiB; NaN where there is none."""
    file = Path(f"/proc/{process.pid}/status")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), float("nan"))


def _jpeg() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(scene(768, 1024)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _small_files() -> list[bytes]:
    """Return one small image in each format."""
    files = []
    for kind in _KINDS:
        file = io.BytesIO()
        PIL.Image.fromarray(scene(96, 128)).save(file, kind)
        files.append(file.getvalue())
    return files
