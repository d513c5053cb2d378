"""The data sets that the doctor knows: the adapters, by the names of their modules."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse

import crowdcount.data
from crowdcount.data.sample import CrowdSource
from crowdcount.errors import InputError

_HEAVY = ("Augment", "CrowdData")  # they import torch


def known() -> dict[str, type[CrowdSource]]:
    """Return the adapters that read a folder `root`, by the name of their module, such as `ucf_qnrf`."""
    objects = [getattr(crowdcount.data, name) for name in crowdcount.data.__all__ if name not in _HEAVY]
    adapters = [each for each in objects if isinstance(each, type) and issubclass(each, CrowdSource)]
    found = {each.__module__.rpartition(".")[2]: each for each in adapters if "root" in _parameters(each)}
    return dict(sorted(found.items()))


def _parameters(adapter: type[CrowdSource]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(adapter).parameters


def option_names(adapter: type[CrowdSource]) -> list[str]:
    """Return the options of an adapter besides `root`, as a command line has them."""
    return [f"--{name}" for name in _parameters(adapter) if name != "root"]


@dataclass(frozen=True)
class DataSet:
    """A data set on disk: which adapter reads it, from where, with which options.

    Attributes:
        name: that of the adapter's module.
        root: its folder.
        options: the further arguments of the adapter.
    """

    name: str
    root: Path
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, name: str, root: Path, words: list[str]) -> "DataSet":
        """Return the data set that a command line describes.

        Args:
            name: one of `known()`.
            root: its folder.
            words: the options of the adapter, such as `["--part", "A"]`.

        Raises:
            InputError: no such folder or option, or a value that the adapter does not take.
        """
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give the one that holds the data set")
        adapter = known()[name]
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(adapter, skip={"root"})
        try:
            options = parser.parse_args(words).as_dict()
        except jsonargparse.ArgumentError as error:
            takes = ", ".join(option_names(adapter)) or "none"
            raise InputError(f"{name}: {' '.join(str(error).split())} (its options: {takes})") from error
        data = cls(name, root, options)
        data.source()  # refuses impossible values at once
        return data

    def source(self, root: Path | None = None) -> CrowdSource:
        """Return the adapter, for another root where one is given."""
        made: CrowdSource = known()[self.name](self.root if root is None else root, **self.options)  # type: ignore[call-arg]
        return made

    @property
    def key(self) -> str:
        """Name and part, such as `shanghaitech/A`: what the published totals are filed under."""
        return f"{self.name}/{self.options['part']}" if "part" in self.options else self.name
