"""Count over HTTP: a page for the browser, POST /count, metrics.

    crowdcount serve
    crowdcount serve --camera gate=rtsp://user:password@10.0.0.7/1 --ground gate=camera.yaml --readings readings.sqlite
    crowdcount serve --model RUN/checkpoints/best.ckpt --port 8080
    CROWDCOUNT_TOKEN=... crowdcount serve --host 0.0.0.0
    curl -F image=@photo.jpg -F zones=@zones.json http://127.0.0.1:8000/count
    curl -H 'Accept: image/png' --data-binary @photo.jpg http://127.0.0.1:8000/count -o counted.png

Needs pip install 'crowdcount-zoo[serve]'. It listens to this machine alone unless --host says otherwise; another
address needs a token, which clients send as "Authorization: Bearer TOKEN" and the page asks for. Nothing that is
uploaded is stored. GET /health says that it works, /metrics gives measurements for Prometheus, /openapi.json describes
all. SIGTERM ends it after the running requests, with status 0; so does Ctrl-C, with 130. While the model is loaded
SIGTERM ends it at once, with 143. See docs/service.md.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, get_args

from crowdcount.checks import check_number
from crowdcount.cli.parser import MODEL, Options, add_device, add_weights, make_parser, reports_errors
from crowdcount.errors import InputError
from crowdcount.ground.file import read_camera
from crowdcount.ground.measure import Ground
from crowdcount.live.readings import Readings
from crowdcount.live.source import parse_sources
from crowdcount.predictor import Precision, Predictor

TOKEN: Final = "CROWDCOUNT_TOKEN"
"""Environment variable of the token."""

_EXTRA: Final = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "starlette")


@reports_errors("serve")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    _require_extra()
    from crowdcount.service.app import create_app
    from crowdcount.service.cameras import Cameras
    from crowdcount.service.server import bind, serve
    from crowdcount.service.settings import Settings, check_exposure, is_loopback, read_token

    token = read_token(args.token_file, os.environ.get(TOKEN))
    check_exposure(args.host, token, args.no_token)
    if args.no_token and token is not None:
        raise InputError(f"--no-token: there is a token ({args.token_file or TOKEN}); leave one of them out")
    settings = Settings(
        token=token,
        host_names=tuple(args.host_name),
        max_bytes=_millions("--max-megabytes", args.max_megabytes),
        max_pixels=_millions("--max-megapixels", args.max_megapixels),
        rate=args.rate,
        workers=args.workers,
        queue=args.queue,
        count_seconds=args.timeout,
        level=args.interval,
    )
    cameras = Cameras(parse_sources(args.camera))
    grounds = _grounds(args.ground, cameras.names)
    with bind(args.host, args.port) as listener, _opened(args.readings) as readings:
        predictor = Predictor(
            args.model, args.weights, args.device, args.precision, long_side=args.long_side, intervals=args.intervals
        )
        app = create_app(predictor, settings, cameras, readings, grounds)
        if not is_loopback(args.host):
            _say("what is sent is not encrypted; put a proxy with TLS in front of it (docs/service.md)")
        host, port = listener.getsockname()[:2]
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        serve(app, listener, lambda: _say(f"{where} counts with {predictor.model.label}; Ctrl-C ends it"), args.proxy)
    _say("ended")
    return 0


def _millions(option: str, number: float) -> int:
    """Return a number of millions as a whole number.

    Raises:
        InputError: it is not finite, or less than one millionth.
    """
    check_number(option, number, 1e-6)
    return round(number * 1e6)


def _grounds(words: Sequence[str], cameras: Sequence[str]) -> dict[str, Ground]:
    """Return the ground that each camera sees, of those with a camera file.

    Raises:
        InputError: a word is not NAME=FILE with the name of a camera, which has one already, or the file is invalid.
    """
    found: dict[str, Ground] = {}
    for word in words:
        name, _, file = word.partition("=")
        if name not in cameras or not file or name in found:
            known = ", ".join(cameras) or "none"
            raise InputError(f"--ground {word}: write NAME=FILE, once for a --camera; there are {known}")
        found[name] = Ground(read_camera(file))
    return found


def _opened(file: Path | None) -> AbstractContextManager[Readings | None]:
    """Return the readings of a file, None without one.

    Raises:
        InputError: there is no such file, or it holds no readings.
    """
    if file is None:
        return nullcontext()
    if not file.is_file():
        raise InputError(f"--readings: {file} is not there; `crowdcount watch SOURCE --output {file}` writes it", file)
    return Readings(file)


def _say(line: str) -> None:
    print(f"crowdcount serve: {line}", file=sys.stderr, flush=True)


def _require_extra() -> None:
    """Check that the packages of the extra are there.

    Raises:
        InputError: one is missing.
    """
    for name in _EXTRA:
        try:
            __import__(name)
        except ImportError as error:
            raise InputError(f"{name} is missing: pip install 'crowdcount-zoo[serve]' ({error})") from error


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "serve", "[OPTIONS]")
    model = parser.add_argument_group("model")
    model.add_argument("--model", help=f"{MODEL} (default: the model in the package)")
    add_weights(model)
    model.add_argument(
        "--intervals", type=Path, metavar="FILE", help="written by `crowdcount calibrate` (default: beside the weights)"
    )
    model.add_argument(
        "--interval", type=float, default=0.9, metavar="LEVEL", help="level of the intervals (default: %(default)s)"
    )
    add_device(model)
    model.add_argument(
        "--precision", choices=get_args(Precision), default="float32", help="of the network (default: %(default)s)"
    )
    model.add_argument(
        "--long-side", type=int, metavar="PIXELS", help="shrink larger images to this side; for close-ups try 1024"
    )
    live = parser.add_argument_group("cameras")
    live.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="a stream, camera or video to count in on request, as of `crowdcount watch`; may be repeated",
    )
    live.add_argument(
        "--ground",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="camera file of a --camera (see `crowdcount camera`), for people per square metre; may be repeated",
    )
    live.add_argument("--readings", type=Path, metavar="FILE", help="show what `crowdcount watch` wrote there")
    _add_access(parser.add_argument_group("who may ask"))
    _add_limits(parser.add_argument_group("limits"))
    return parser


def _add_access(group: Options) -> None:
    add = group.add_argument
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen at (default: %(default)s)")
    add("--port", type=int, default=8000, help="its port; 0 takes a free one (default: %(default)s)")
    add("--token-file", type=Path, metavar="FILE", help=f"file with the token (default: the variable {TOKEN})")
    add("--no-token", action="store_true", help="let everyone in who reaches the address")
    add("--host-name", action="append", default=[], metavar="NAME", help="name of this service; may be repeated")
    add("--proxy", metavar="ADDRESS", help="proxy in front of it, whose word on the client's address is taken")


def _add_limits(group: Options) -> None:
    add = group.add_argument
    add("--max-megabytes", type=float, default=32, metavar="N", help="size of an upload (default: %(default)s)")
    add("--max-megapixels", type=float, default=50, metavar="N", help="size of an image (default: %(default)s)")
    add(
        "--rate",
        type=float,
        default=240,
        metavar="N",
        help="images per minute and client; 0: any (default: %(default)s)",
    )
    add("--workers", type=int, default=1, metavar="N", help="images counted at once (default: %(default)s)")
    add("--queue", type=int, default=64, metavar="N", help="images that may wait (default: %(default)s)")
    add("--timeout", type=float, default=60, metavar="SECONDS", help="for waiting and counting (default: %(default)s)")


if __name__ == "__main__":
    sys.exit(main())
