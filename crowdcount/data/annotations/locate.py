"""Search for the folder of a data set by its content, below the folder that the user names."""

from collections.abc import Callable
from pathlib import Path

from crowdcount.errors import InputError


def locate(root: Path, holds: Callable[[Path], bool], depth: int = 2) -> Path:
    """Return the folder that holds a data set: `root` itself, or else the nearest folder below it.

    Names do not matter, and links are not resolved: any folder with the right content serves.

    Args:
        root: folder to start from.
        holds: whether a folder holds the data set.
        depth: levels of subfolders to search.

    Returns:
        The folder; `root` if there is none, so that the adapter says what it misses.

    Raises:
        InputError: if several folders of one level hold the data set.
    """
    level = [root]
    for _ in range(depth + 1):
        found = [folder for folder in level if holds(folder)]
        if len(found) > 1:
            raise InputError(f"{root}: found {found[0]} and {found[1]}; set root to the one you mean", root)
        if found:
            return found[0]
        level = [path for folder in level for path in _subfolders(folder)]
    return root


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir())
    except OSError:  # it is missing or must not be listed, which the adapter says
        return []
