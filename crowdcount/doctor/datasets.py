"""Data sets by their names on the command line."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import jsonargparse

from crowdcount.data import sources
from crowdcount.data.sample import CrowdSource
from crowdcount.errors import InputError


def known() -> dict[str, type[CrowdSource]]:
    """Return the adapters that read a folder `root`, by name: ours and those of imported packages.

    Of several with one name it has one; `find_adapter` refuses to choose among them.
    """
    return {name: adapters[-1] for name, adapters in sorted(_by_name().items())}


def find_adapter(name: str) -> type[CrowdSource]:
    """Return the adapter of a name.

    Raises:
        InputError: if there is no adapter of this name, or several.
    """
    adapters = _by_name().get(name, [])
    if not adapters:
        raise InputError(f"--dataset: {name!r} is not one of {', '.join(known())}; --import PACKAGE adds those of it")
    if len(adapters) > 1:
        both = " and ".join(map(_path, adapters))
        raise InputError(f"{name}: {both} have this name; give one of them another `name`")
    return adapters[0]


def _by_name() -> dict[str, list[type[CrowdSource]]]:
    """Return the adapters by name; a class defined again, as by a notebook's cell run twice, replaces itself."""
    for module in iter_modules(sources.__path__):
        import_module(f"{sources.__name__}.{module.name}")
    found: dict[str, dict[str, type[CrowdSource]]] = {}
    for adapter in _subclasses(CrowdSource):
        if not inspect.isabstract(adapter) and "root" in _parameters(adapter):
            found.setdefault(adapter.name, {})[_path(adapter)] = adapter
    return {name: list(adapters.values()) for name, adapters in found.items()}


def _path(adapter: type) -> str:
    return f"{adapter.__module__}.{adapter.__qualname__}"


def _subclasses(base: type) -> Iterator[type[CrowdSource]]:
    children: Sequence[type[CrowdSource]] = base.__subclasses__()
    for each in children:
        yield each
        yield from _subclasses(each)


def _parameters(adapter: type[CrowdSource]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(adapter).parameters


def option_names(adapter: type[CrowdSource]) -> list[str]:
    """Return the command line options of an adapter besides `root`."""
    return [f"--{name}" for name in _parameters(adapter) if name != "root"]


@dataclass(frozen=True)
class DataSet:
    """A data set on disk: its adapter, folder and options.

    Attributes:
        name: name of the adapter.
        root: folder of the data set.
        options: other arguments of the adapter.
    """

    name: str
    root: Path
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, name: str, root: Path, words: list[str]) -> "DataSet":
        """Return the data set that a command line describes.

        Args:
            name: name from `known()`.
            root: folder of the data set.
            words: options of the adapter, such as `["--part", "A"]`.

        Raises:
            InputError: if there is no such adapter (or several), folder or option, or the adapter rejects a value.
        """
        adapter = find_adapter(name)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give the one that holds the data set")
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
        """Return the adapter, for another root if one is given."""
        made: CrowdSource = find_adapter(self.name)(self.root if root is None else root, **self.options)  # type: ignore[call-arg]
        return made

    @property
    def key(self) -> str:
        """Key of the adapter with these options, such as "sha"."""
        return self.source().key
