"""What the command lines of the tools share."""

import argparse
from typing import Any


def make_parser(doc: str | None, prog: str, **options: Any) -> argparse.ArgumentParser:
    """Return a parser whose help says what the tool's file says of itself.

    Args:
        doc: docstring of the tool: a summary on its first line, then examples and what else one should know.
        prog: name of the tool.
        **options: further arguments of `argparse.ArgumentParser`.
    """
    summary, rest = (doc or "").split("\n", 1)
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog=prog, description=summary, epilog=f"examples:\n{rest}", formatter_class=formatter, **options
    )
