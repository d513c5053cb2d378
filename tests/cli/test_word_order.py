"""Options of every command take their own values, never the files beside them."""

import argparse
import os
from importlib import import_module

import pytest

from crowdcount.cli.parser import Parser, make_parser
from crowdcount.cli.word_order import Values

COMMANDS = ("predict", "visualize", "evaluate", "calibrate", "dataset", "weights", "convert")
CANDIDATES = ("1", "1.5", "cpu", "x.json")


def leaves(parser):
    """Yield a parser, or those of its subcommands."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for each in action.choices.values():
            yield from leaves(each)


def cases():
    for command in COMMANDS:
        for parser in leaves(import_module(f"crowdcount.cli.{command}")._parser()):
            for action in parser._actions:
                if action.option_strings and action.dest not in ("help", "packages"):
                    yield pytest.param(parser, action, id=f"{parser.prog[11:]} {action.option_strings[0]}")


def valid(action):
    """Return words that are values of an option."""
    convert = action.type or str
    for word in action.choices or CANDIDATES:
        try:
            convert(word)
        except (ValueError, argparse.ArgumentTypeError):
            continue
        number = action.nargs if isinstance(action.nargs, int) else 1
        return [str(word)] * number
    raise AssertionError(f"no value is known for {action.option_strings}")


def required(parser, but):
    """Return the words of a parser's required options."""
    needed = [action for action in parser._actions if action.option_strings and action.required and action is not but]
    groups = [group._group_actions for group in parser._mutually_exclusive_groups if group.required]
    needed += [actions[0] for actions in groups if but not in actions]
    return [word for action in needed for word in (action.option_strings[0], *valid(action))]


@pytest.mark.parametrize(("parser", "action"), list(cases()))
def test_files_are_never_values(parser, action):
    """An option before, between and behind the files leaves all of them."""
    assert action.nargs not in ("+", "*"), "use the action Values"
    positional = [each for each in parser._actions if not each.option_strings]
    many = any(each.nargs in ("+", "*") for each in positional)
    choices = [next(iter(each.choices)) for each in positional if each.choices]
    files = [*choices, *["photo.jpg", "more.png"][: len(positional) - len(choices) + many]]
    option = [action.option_strings[0], *valid(action), *required(parser, action)]
    orders = [[*option, *files], [*files, *option], [*files[:1], *option, *files[1:]]]
    parsed = [parser.parse_args(words) for words in orders]
    for args in parsed:
        assert vars(args) == vars(parsed[0])
        found = [getattr(args, each.dest) for each in positional]
        flat = [str(word) for value in found for word in (value if isinstance(value, list) else [value])]
        assert flat == files


@pytest.fixture
def parser():
    made = make_parser("A test.\n", "test")
    made.add_argument("files", nargs="+")
    made.add_argument("--save", action=Values, choices=("csv", "json"), default=("csv",))
    made.add_argument("--text", action=Values, default=[])
    made.add_argument("--radii", action=Values, type=float, default=[4, 8])
    made.add_argument("--index", nargs="?", const="known", type=number)
    made.add_argument("--pair", nargs=2)
    made.add_argument("--flag", action="store_true")
    return made


def number(text):
    if not text.isdecimal() and text != "known":
        raise argparse.ArgumentTypeError("no number")
    return text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--save csv json a.jpg b.jpg", {"save": ["csv", "json"], "files": ["a.jpg", "b.jpg"]}),
        ("a.jpg --save json --flag b.jpg --save csv", {"save": ["json", "csv"], "flag": True}),
        ("--save=json a.jpg b.jpg", {"save": ["json"]}),
        ("--sav json a.jpg b.jpg", {"save": ["json"]}),
        ("--text red a.jpg b.jpg", {"text": ["red"]}),
        ("--text red --text blue a.jpg b.jpg", {"text": ["red", "blue"]}),
        ("a.jpg --radii 3 -1 0.5 b.jpg", {"radii": [3, -1, 0.5]}),
        ("a.jpg b.jpg", {"radii": [4, 8], "save": ("csv",), "text": [], "index": None}),
        ("--index a.jpg b.jpg", {"index": "known"}),
        ("--index 7 a.jpg b.jpg", {"index": "7"}),
        ("a.jpg b.jpg --index", {"index": "known"}),
        ("--pair x y a.jpg b.jpg", {"pair": ["x", "y"]}),
        ("--flag a.jpg -- b.jpg", {"flag": True}),
    ],
)
def test_values(parser, words, expected):
    args = vars(parser.parse_args(words.split()))
    assert args["files"] == ["a.jpg", "b.jpg"]
    assert {name: args[name] for name in expected} == expected


def test_a_default_is_replaced_and_not_changed(parser):
    assert parser.parse_args(["a.jpg", "--radii", "1"]).radii == [1]
    assert parser.parse_args(["a.jpg"]).radii == [4, 8]


@pytest.mark.parametrize("words", [["-", "--flag"], ["--flag", "-"], ["--flag", "--", "-"]])
def test_a_dash_alone_is_a_file(parser, words):
    assert parser.parse_args(words).files == ["-"]


def test_files_that_begin_with_a_dash(parser):
    assert parser.parse_args(["--save", "csv", "--", "-a.jpg", "--flag"]).files == ["-a.jpg", "--flag"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a.jpg --save xml", "invalid choice: 'xml'"),
        ("a.jpg --text", "--text: expected one argument"),
        ("a.jpg --text --flag", "--text: expected one argument"),
        ("--pair x --flag a.jpg", "--pair: expected 2 arguments"),
        ("a.jpg --unknown b.jpg", "unrecognized arguments: --unknown"),
        ("--text a.jpg", "the following arguments are required: files"),
    ],
)
def test_mistakes_are_named(parser, words, message, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(words.split())
    assert message in capsys.readouterr().err


def test_options_of_another_parser_keep_their_values():
    parser = Parser(allow_abbrev=False)
    parser.pass_on = True
    parser.add_argument("root")
    parser.add_argument("--jobs", type=int)
    for words in ("--part A root --jobs 2", "root --part A --jobs 2", "--jobs 2 --part=A root"):
        args, rest = parser.parse_known_args(words.split())
        assert (args.root, args.jobs, rest) == ("root", 2, ["--part=A"])


def test_a_zone_file_leaves_the_next_image():
    """An image behind --zones is counted; it is no mask."""
    from crowdcount.cli.predict import _parser

    args = _parser().parse_args(["--zones", "plain.json", "first.jpg", "--zones", "mask.png", "second.jpg"])
    assert [os.fspath(path) for path in args.zones] == ["plain.json", "mask.png"]
    assert args.sources == ["first.jpg", "second.jpg"]
