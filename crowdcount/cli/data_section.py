"""Data of a command that takes --data CONFIG: a configuration's section `data`, and words that override its keys."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from crowdcount.class_paths import check_classes, closed_set
from crowdcount.cli.outside import add_current_folder, import_named
from crowdcount.config_errors import explain
from crowdcount.data import Record
from crowdcount.data.datamodule import CrowdData
from crowdcount.errors import InputError, input_error
from crowdcount.zoo.config import read_config_file


def parse_words(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Parse the words of a command, by default those of the process, and return the options --data.KEY beside the rest.

    Raises:
        InputError: an option --data.KEY has no value.
    """
    add_current_folder()  # a configuration may name classes of the user's own
    own, overrides = split_overrides(list(sys.argv[1:] if argv is None else argv))
    return parser.parse_args(own), overrides


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the command's own words, and the options --data.KEY with their values."""
    own: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("--data."):
            own.append(word)
            continue
        overrides.append(word)
        if "=" not in word:
            value = next(rest, "--")
            if value.startswith("--"):
                raise InputError(f"{word}: has no value")
            overrides.append(value)
    return own, overrides


def read_data(config: Path, overrides: Sequence[str], packages: Sequence[str] = ()) -> CrowdData:
    """Return the data that a configuration's section `data` and overrides of its keys describe.

    Args:
        config: the file.
        overrides: words such as --data.KEY VALUE.
        packages: packages named by the user, beside those of the file.

    Raises:
        InputError: the file is missing or no configuration, or a key or value is wrong.
    """
    content = read_config_file(config)
    kept = ("--data.source", "--data.val_fraction", "--data.seed")
    for word in overrides:
        if word.startswith("--data.") and not word.startswith(kept):
            raise InputError(f"{word}: has no effect here; size rule and all else that decides are the model's own")
    section = content.get("data")
    if not isinstance(section, dict):
        raise InputError(f"{config}: has no section 'data:' with the key source")
    packages = [*import_named(content, config), *packages]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CrowdData, "data")
    text = yaml.safe_dump({"augment": None, **section})
    try:
        with closed_set(packages):
            parsed = parser.parse_args(["--data", text, *overrides])
            check_classes(parsed.as_dict())
            data: CrowdData = parser.instantiate(parsed).data
    except (ArgumentError, ValueError) as error:
        options = [action.dest for action in parser._actions]
        raise InputError(f"{config}: {input_error(error) or explain(str(error), options)}") from error
    return data


def split_records(data: CrowdData, split: str) -> list[Record]:
    """Return the records of a split; where there is no official validation split, those that a training holds out.

    Raises:
        InputError: there are none.
    """
    records = data.source.records("test") if split == "test" else data.source.records("val") or data.splits[1]
    if not records:
        other = "val, which holds out a part of the training images" if split == "test" else "test"
        raise InputError(f"--split {split}: {type(data.source).__name__} has no such images here; try --split {other}")
    return records
