"""Packages that are not ours: imported where the user names them, on the command line or in a configuration."""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from crowdcount.errors import InputError

KEY = "import"
"""The key at the top of a configuration."""


def import_package(name: str) -> None:
    """Import a package, or a module in the current folder.

    Args:
        name: as in Python's import statement, such as `mymodels` or `mymodels.mcnn`.

    Raises:
        InputError: there is no such package, or it fails while it is imported.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{name}: is no name of a package; write it as in Python, such as mymodels for mymodels.py")
    if name.split(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{name}: is a part of Python and has no models; name the package of your own")
    add_current_folder()
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if f"{name}.".startswith(f"{missing}."):
            raise InputError(f"{name}: there is no module {missing}, neither installed nor in {Path.cwd()}") from error
        reason = "this version does not have" if missing.startswith("crowdcount.") else "is not installed"
        raise InputError(f"{name}: needs {missing}, which {reason}") from error
    except (Exception, SystemExit) as error:  # whatever code of somebody else's raises
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: fails while it is imported ({type(error).__name__}: {reason})") from error


def import_named(config: Mapping[str, Any], path: Path) -> list[str]:
    """Import the packages under the key `import` of a configuration that the user named, and return their names.

    Configurations stored in checkpoints are never given to this function: a checkpoint imports nothing by itself.

    Args:
        config: the content of the file.
        path: the file, for messages.

    Raises:
        InputError: the key holds no names, or a package cannot be imported.
    """
    value = config.get(KEY) or []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: {KEY}: {value!r} is no name of a package, nor a list of them")
    for name in names:
        try:
            import_package(name)
        except InputError as error:
            raise InputError(f"{path}: {KEY}: {error}") from error
    return names


def add_current_folder() -> None:
    """Let modules in the current folder be imported, after all that is installed."""
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
