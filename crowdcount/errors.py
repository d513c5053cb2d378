"""The one exception for what a user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Bad input: names the file or key, the value, and what to do.

    The commands print its message and exit with status 2; everything else is a bug and keeps
    its traceback.

    Attributes:
        path: the file or folder at fault, where the error is about one; see `error_path`.
    """

    def __init__(self, message: str = "", path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


def input_error(error: BaseException | None) -> InputError | None:
    """Return the user's mistake behind an exception, if there is one: jsonargparse wraps those of constructors."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def error_path(error: BaseException | None) -> Path | None:
    """Return the path that an error is about, its own or that of the errors it was raised from."""
    while error is not None:
        if isinstance(error, InputError) and error.path is not None:
            return error.path
        error = error.__cause__
    return None


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Let the errors from inside that carry no path carry this one: for readers that know their text alone."""
    try:
        yield
    except InputError as error:
        error.path = error_path(error) or path
        raise
