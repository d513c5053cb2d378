"""Words of a command line, sorted so that options never take files for their values."""

import argparse
import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

_NEGATIVE: Final = re.compile(r"-(\d+|\d*\.\d+)")
"""A value that begins like an option, as in argparse."""


class Values(argparse.Action):
    """An option that may be repeated, with one value each time; the first replaces the default.

    Where the values are of a closed kind, by `choices` or `type`, several may follow in a row: `--save csv json`.
    """

    @property
    def in_a_row(self) -> bool:
        """Whether a word behind a value can be told from a file."""
        return self.choices is not None or self.type is not None

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        """Append a value."""
        chosen = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(() if chosen is self.default else chosen), values])


def sort_words(words: Sequence[str], actions: Sequence[argparse.Action], *, pass_on: bool = False) -> list[str]:
    """Return the words with options and their values first, so that files may stand anywhere among them.

    Args:
        words: of the command line. Behind `--` there are files alone.
        actions: of the parser. The words of one with subcommands are not sorted: they are its subcommand's.
        pass_on: give options that are unknown here the word behind them as their value, for another parser.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> actions = [parser.add_argument("--save", action=Values, choices=("csv", "json"))]
        >>> sort_words(["--save", "csv", "json", "photo.jpg"], actions)
        ['--save', 'csv', '--save', 'json', '--', 'photo.jpg']
    """
    if any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in actions):
        return list(words)
    options: list[str] = []
    files: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if word == "--":
            files += rest
            break
        if _is_option(word):
            options += _with_values(word, rest, actions, pass_on)
        else:
            files.append(word)
    return [*options, *["--"] * bool(files), *files]  # an option without its value takes no file either


def _with_values(word: str, rest: deque[str], actions: Sequence[argparse.Action], pass_on: bool) -> list[str]:
    """Return an option with its values, which are taken from the rest."""
    action = None if "=" in word else _named(word, actions)
    if action is None:
        takes = pass_on and "=" not in word and rest and not _is_option(rest[0])
        return [f"{word}={rest.popleft()}"] if takes else [word]
    if isinstance(action, Values):
        taken = _taken(rest, 1)
        while taken and action.in_a_row and rest and _is_valid(action, rest[0]):
            taken += [word, rest.popleft()]
        return [word, *taken]
    if action.nargs == argparse.OPTIONAL:
        given = rest and _is_valid(action, rest[0])
        return [word, rest.popleft()] if given else [f"{word}={action.const}"]
    return [word, *_taken(rest, action.nargs if isinstance(action.nargs, int) else 1)]


def _named(word: str, actions: Sequence[argparse.Action]) -> argparse.Action | None:
    """Return the action of an option, which may be abbreviated."""
    exact = [action for action in actions if word in action.option_strings]
    begun = [action for action in actions if any(name.startswith(word) for name in action.option_strings)]
    found = exact or begun
    return found[0] if len(found) == 1 else None


def _taken(rest: deque[str], most: int) -> list[str]:
    taken: list[str] = []
    while rest and len(taken) < most and not _is_option(rest[0]):
        taken.append(rest.popleft())
    return taken


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and " " not in word and not _NEGATIVE.fullmatch(word)


def _is_valid(action: argparse.Action, word: str) -> bool:
    """Return whether a word is a value of an option, by its type and choices."""
    with suppress(ValueError, TypeError, argparse.ArgumentTypeError):
        convert = action.type if callable(action.type) else str
        value = convert(word)
        return not _is_option(word) and (action.choices is None or value in action.choices)
    return False
