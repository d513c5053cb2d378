"""Classes that a configuration may name: those of a closed set of packages, and of packages that the user names.

Configurations are passed on, so that reading one may run nothing but the constructors of these classes.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings

from crowdcount.errors import InputError
from crowdcount.legacy import MODULES

PACKAGES: Final = (
    *(f"crowdcount.{room}" for room in ("data", "geometry", "images", "inference", "losses", "models", "training")),
    *MODULES,
    "torch.optim",
    *(
        f"lightning.pytorch.{part}"
        for part in ("accelerators", "callbacks", "loggers", "plugins", "profilers", "strategies")
    ),
    "lightning.fabric.plugins",
)
"""Packages whose classes every configuration may name."""


@contextmanager
def closed_set(outside: Iterable[str] = ()) -> Iterator[None]:
    """Refuse, before anything is imported, every import path that is of neither `PACKAGES` nor `outside`.

    The settings of jsonargparse hold for the whole process; they are put back at the end.

    Args:
        outside: packages, or modules of them, that the user has named.
    """
    before = dict(parsing_settings)
    named = sorted({name.split(".")[0] for name in outside} - {"crowdcount", "jsonargparse"})
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*PACKAGES, *named])
    try:
        yield
    finally:
        parsing_settings.update(before)


def check_classes(config: Any, key: str = "") -> None:
    """Refuse a function where a configuration that has been parsed names a class: building it would call it.

    Args:
        config: nested dicts and lists.
        key: where `config` stands in the whole.

    Raises:
        InputError: names key and value.
    """
    if isinstance(config, list | tuple):
        for item in config:
            check_classes(item, key)
    if not isinstance(config, dict):
        return
    path = config.get("class_path")
    if isinstance(path, str) and not inspect.isclass(find_class(path)):
        raise InputError(f"{key}: {path} is no class; name one that {key.split('.')[-1]} takes")
    for name, value in config.items():
        check_classes(value, key if name == "init_args" else f"{key}.{name}".lstrip("."))


def find_class(class_path: str) -> Any:
    """Return what a dotted name means in a module that has been imported, None where there is none: imports nothing."""
    module, _, name = class_path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def denied_advice(class_path: str) -> str:
    """Return the message for an import path outside the closed set."""
    package = class_path.split(".")[0]
    if package in sys.stdlib_module_names or package in ("crowdcount", "jsonargparse", "torch", "lightning"):
        remedy = "name a class of crowdcount, torch.optim or Lightning's callbacks, loggers, plugins and strategies"
    else:
        remedy = f"give --import {package} if you trust the configuration"
    return f"{class_path} is not among the classes that a configuration may name; {remedy}"
