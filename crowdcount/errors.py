"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Bad input: names the file or key, the value, and what to do.

    The command-line tools print its message and exit with status 2; everything else is a bug and keeps
    its traceback.
    """
