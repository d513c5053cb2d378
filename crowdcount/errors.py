"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Bad input: names the file or key, the value, and what to do.

    The command-line tools print its message and exit with status 2; everything else is a bug and keeps
    its traceback.
    """


def input_error(error: BaseException | None) -> InputError | None:
    """Return the user's mistake behind an exception, if there is one: jsonargparse wraps those of constructors."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error
