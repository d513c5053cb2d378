"""Shared parts of the commands: a parser, the options that mean the same everywhere, the exit status."""

import argparse
import functools
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec

from crowdcount.cli.outside import import_package
from crowdcount.cli.word_order import Values, sort_words
from crowdcount.errors import InputError

Parameters = ParamSpec("Parameters")

Options = argparse.ArgumentParser | argparse._ArgumentGroup
"""A parser, or a group of one, that options are added to."""

MODEL: Final = (
    "a checkpoint of `crowdcount train`, what `crowdcount convert` wrote, a name in the zoo (NAME or NAME.TAG), or "
    "hf:OWNER/NAME[@REVISION] on the Hugging Face hub"
)
"""Help of --model."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line, and that knows --import wherever it stands.

    Files may stand before, between and behind the options, see `sort_words`.

    Attributes:
        pass_on: whether unknown options have a value each; they are another parser's.
    """

    pass_on = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})
        self.add_argument_group("code of your own").add_argument(
            "--import",
            dest="packages",
            action=ImportPackage,
            default=argparse.SUPPRESS,
            metavar="PACKAGE",
            help="import this package, or module in the current folder, for its models, data sets and losses; may be "
            "repeated",
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the words, by default those of the process."""
        words = list(sys.argv[1:] if args is None else args)
        if any(not action.option_strings for action in self._actions):  # without files the order is another parser's
            words = sort_words(words, self._actions, pass_on=self.pass_on)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the command line and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help shows what there is\n")


class ImportPackage(argparse.Action):
    """Import a package as soon as it is named, and append it to the list of packages."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        """Import `values`.

        Raises:
            SystemExit: it cannot be imported.
        """
        try:
            import_package(values)
        except InputError as error:
            parser.exit(2, f"{parser.prog}: --import {error}\n")
        namespace.packages = [*getattr(namespace, "packages", ()), values]


def make_parser(doc: str | None, name: str, words: str | None = None, **options: Any) -> Parser:
    """Return the parser of a command, with the docstring of its module as the help.

    Args:
        doc: the docstring: a summary on its first line, then examples and remarks.
        name: of the command.
        words: the words after it that the first line of the help shows; None for all options.
        **options: further arguments of `argparse.ArgumentParser`.
    """
    usage = None if words is None else f"crowdcount {name} {words}"
    return Parser(**help_options(doc, name), usage=usage, **options)


def help_options(doc: str | None, name: str) -> dict[str, str]:
    """Return the arguments of a parser that make the docstring of a command's module its help."""
    summary, rest = (doc or "").split("\n", 1)
    return {"prog": f"crowdcount {name}", "description": summary, "epilog": "examples:\n" + rest.strip("\n")}


def add_weights(parser: Options) -> None:
    """Add --weights, for a model that another argument names."""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights for a model of the zoo: a file, hf:OWNER/NAME/FILE, or a tag (default: its first tag)",
    )


def add_zones(parser: Options, help_text: str) -> None:
    """Add --zones, a list of files."""
    parser.add_argument(
        "--zones", action="append", type=Path, default=[], metavar="FILE", help=f"{help_text}; may be repeated"
    )


def add_camera(parser: Options, several: bool = False) -> None:
    """Add --ignore, --image-scale and --long-side, which tell a model what is known of a camera's images.

    Args:
        parser: takes them.
        several: whether there may be several cameras, with a mask each.
    """
    add = parser.add_argument
    text = "count nobody under the pixels of this mask that are not black; of the size of the images, PNG"
    if several:
        add("--ignore", action="append", default=[], metavar="[NAME=]MASK", help=f"{text}; once for each source")
    else:
        add("--ignore", type=Path, metavar="MASK", help=text)
    add(
        "--image-scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="resize images before counting: 0.5 where people are twice as large as in the training, 2 where they are "
        "half as large; results remain in pixels of the image (default: %(default)s)",
    )
    add("--long-side", type=int, metavar="PIXELS", help="shrink larger images to this side; for close-ups try 1024")


def add_expression(parser: Options) -> None:
    """Add --expression, for models that count what a text names."""
    parser.add_argument(
        "--expression",
        action=Values,
        metavar="TEXT",
        help="what to count, with a model of the family rec; may be repeated",
    )


def add_device(parser: Options) -> None:
    """Add --device."""
    parser.add_argument("--device", default="auto", help="such as cpu or cuda:1 (default: a GPU where there is one)")


def add_unverified(parser: Options) -> None:
    """Add --allow-unverified."""
    parser.add_argument(
        "--allow-unverified", action="store_true", help="download weights also where no SHA-256 is published"
    )


def escape_unknown_letters() -> None:
    """Let the terminal show letters that its encoding lacks, and names that are not UTF-8, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reports_errors(name: str) -> Callable[[Callable[Parameters, int]], Callable[Parameters, int]]:
    """Return a decorator for the main function of a command: bad input is one line on stderr and exit status 2.

    Args:
        name: of the command.
    """

    def decorate(main: Callable[Parameters, int]) -> Callable[Parameters, int]:
        @functools.wraps(main)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
            escape_unknown_letters()
            try:
                return main(*args, **kwargs)
            except (InputError, OSError) as error:
                print(f"crowdcount {name}: {error}", file=sys.stderr)
                return 2

        return checked

    return decorate
