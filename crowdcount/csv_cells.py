"""Text in cells of CSV tables: spreadsheets calculate a cell that begins like a formula."""

import re
from typing import Final

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
"""Begins like a formula, or like one with the quote before it."""


def escaped_cell(text: str) -> str:
    """Return a text with a quote before it where a spreadsheet would take it for a formula; see `plain_cell`.

    Numbers are not texts: a negative one stays as it is.

    Example:
        >>> escaped_cell("=1+1.png"), escaped_cell("a=b.png")
        ("'=1+1.png", 'a=b.png')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(text: str) -> str:
    """Return the text that `escaped_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
