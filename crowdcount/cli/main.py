"""The command `crowdcount`. One command is one file and one line of the table `COMMANDS`."""

import argparse
import atexit
import difflib
import gc
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from crowdcount import __version__
from crowdcount.cli.parser import Parser, escape_unknown_letters
from crowdcount.cli.signals import exit_status, terminable

atexit.register(gc.freeze)  # the last collection walks all that torch has imported, for seconds, and frees nothing

CLONE: Final = Path(__file__).parents[2]
"""The folder above the package."""


@dataclass(frozen=True)
class Command:
    """A command: its module has a function `main(argv) -> exit status`, and is imported when the command is asked for.

    Attributes:
        name: the word after `crowdcount`.
        module: full name of the module.
        help: one line.
        clone: whether it is there in a clone of the repository alone.
    """

    name: str
    module: str
    help: str
    clone: bool = False


COMMANDS: Final = {
    "count": (
        Command("predict", "crowdcount.cli.predict", "count people in images and videos"),
        Command("watch", "crowdcount.cli.watch", "count people in live streams and cameras, with alarms"),
        Command("serve", "crowdcount.cli.serve", "count over HTTP: a page for the browser, an API, metrics"),
        Command("visualize", "crowdcount.cli.visualize", "draw densities and points over images, beside annotations"),
    ),
    "square metres": (
        Command("camera", "crowdcount.cli.camera", "calibrate a camera for people per square metre"),
        Command("flow", "crowdcount.cli.flow", "experimental: count people who walk through a line of a video"),
    ),
    "train and evaluate": (
        Command("train", "crowdcount.cli.train", "train, validate or test a model from a configuration file"),
        Command("adapt", "crowdcount.cli.adapt", "fit a counter to your camera with 5 to 50 labelled frames"),
        Command("evaluate", "crowdcount.cli.evaluate", "measure a model on a data set and write a report"),
        Command("calibrate", "crowdcount.cli.calibrate", "find how sure its counts are, from images with known counts"),
    ),
    "data and weights": (
        Command("dataset", "crowdcount.cli.dataset", "check or download a data set, choose frames, import annotations"),
        Command("weights", "crowdcount.cli.weights", "list, download, verify and publish weights"),
        Command("convert", "crowdcount.cli.convert", "turn a checkpoint into one safetensors file with a model card"),
        Command("export", "crowdcount.cli.export", "write a model for ONNX, OpenVINO or torch.export, and compare it"),
    ),
    "develop": (
        Command("benchmark", "benchmarks.__main__", "measure speed and memory beside the published way", clone=True),
    ),
}

EXAMPLES: Final = """\
examples:
  crowdcount predict photo.jpg
  crowdcount train fit --config quickstart
  crowdcount evaluate RUN/checkpoints/best.ckpt --data RUN/config.yaml --output results
  crowdcount COMMAND --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.

    From here on SIGTERM ends a command as Ctrl-C does, also while torch and a model are loaded. Commands that have
    something to finish first handle it themselves.

    Args:
        argv: words after `crowdcount`; None takes those of the process.
    """
    escape_unknown_letters()
    parser = _parser()
    args = parser.parse_args(argv)
    if args.version:
        print(_versions())
        return 0
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    command = _find(parser, args.command)
    packages = [f"--import={name}" for name in getattr(args, "packages", ())]
    try:
        with terminable():
            return _load(command)([*packages, *args.words])
    except SystemExit as end:  # Lightning exits with 1 after Ctrl-C
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        return exit_status(end.__context__)
    except KeyboardInterrupt as stop:
        print(f"crowdcount {command.name}: interrupted", file=sys.stderr)
        return exit_status(stop)


def commands() -> Iterator[Command]:
    """Yield the commands that are there."""
    in_clone = (CLONE / "pyproject.toml").is_file() and (CLONE / "benchmarks").is_dir()
    yield from (each for group in COMMANDS.values() for each in group if in_clone or not each.clone)


def _parser() -> argparse.ArgumentParser:
    there = tuple(commands())
    groups = (
        f"{title}:\n" + "".join(f"  {each.name:10}  {each.help}\n" for each in group if each in there)
        for title, group in COMMANDS.items()
        if set(group) & set(there)
    )
    parser = Parser(
        prog="crowdcount",
        usage="crowdcount [--version] [--import PACKAGE] COMMAND ...",
        description="Dense crowd counting in PyTorch.\n\n" + "\n".join(groups),
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="store_true", help="print the versions of crowdcount, torch and Python")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _find(parser: argparse.ArgumentParser, name: str) -> Command:
    """Return the command of a name; an unknown one ends the program with the nearest one."""
    known = {each.name: each for each in commands()}
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        parser.exit(2, f"crowdcount: there is no command {name}; {hint}\n")
    return known[name]


def _load(command: Command) -> Callable[[Sequence[str]], int]:
    if command.clone:
        sys.path.insert(0, str(CLONE))
    main: Callable[[Sequence[str]], int] = import_module(command.module).main
    return main


def _versions() -> str:
    try:
        torch = version("torch")  # importing it takes seconds
    except PackageNotFoundError:
        torch = "not installed"
    return f"crowdcount {__version__}, torch {torch}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
