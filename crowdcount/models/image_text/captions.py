"""Numbers in captions, spelled as words from two to ten, and captions with another number.

Source: Paiss et al., "Teaching CLIP to Count to Ten", arXiv 2302.12066.
"""

import re
from typing import Final

from crowdcount.models.clip.number_words import number_words

NUMBERS: Final = range(2, 11)
"""Numbers that captions are compared for."""

_VALUES: Final = {number_words(number): number for number in NUMBERS}

# whole words; not the end of "twenty-two", nor the beginning of "two hundred", which are other numbers
_NUMBER: Final = re.compile(
    rf"(?<!\w)(?<!ty-)({'|'.join(_VALUES)})(?!\w)(?!\s+(?:dozens?|hundreds?|thousands?|millions?)\b)", re.IGNORECASE
)


def find_number(caption: str) -> int | None:
    """Return the number from two to ten that a caption says; None if it says none, or several.

    Example:
        >>> find_number("Three kittens, often seen"), find_number("twenty-two kittens")
        (3, None)
    """
    found = numbers_in(caption)
    return next(iter(found)) if len(found) == 1 else None


def numbers_in(caption: str) -> set[int]:
    """Return the numbers from two to ten that a caption says."""
    return {_VALUES[word.lower()] for word in _NUMBER.findall(caption)}


def replace_number(caption: str, old: int, new: int) -> str:
    """Return a caption with one number in place of another, in the same letter case.

    Example:
        >>> replace_number("Three kittens", 3, 10)
        'Ten kittens'
    """

    def replaced(match: re.Match[str]) -> str:
        word = match[0]
        if _VALUES[word.lower()] != old:
            return word
        other = number_words(new)
        if word.isupper():
            return other.upper()
        return other.capitalize() if word[0].isupper() else other

    return _NUMBER.sub(replaced, caption)
