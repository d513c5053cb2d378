"""The exception for errors that a user can fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Invalid input; the message names the file or key, the value, and what to do.

    The commands print the message and exit with status 2; any other exception is a bug and keeps its traceback.

    Attributes:
        path: the invalid file or folder, if the error concerns one; see `error_path`.
    """

    def __init__(self, message: str = "", path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


def input_error(error: BaseException | None) -> InputError | None:
    """Return the `InputError` that caused an exception, if any: jsonargparse wraps those raised by constructors."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def error_path(error: BaseException | None) -> Path | None:
    """Return the path that an error concerns, from the error itself or from its causes."""
    while error is not None:
        if isinstance(error, InputError) and error.path is not None:
            return error.path
        error = error.__cause__
    return None


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Add a path to the errors raised inside that have none, for readers that only know the text."""
    try:
        yield
    except InputError as error:
        error.path = error_path(error) or path
        raise
