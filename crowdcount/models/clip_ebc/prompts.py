"""Text prompts for count bins, worded as in the published CLIP-EBC (arXiv 2403.09281)."""

import math
from typing import Literal

PromptStyle = Literal["word", "number"]

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_words(number: int) -> str:
    """Spell out 0 to 99, the full hundreds and one thousand; other numbers stay digits, as published."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    if number < 1000 and number % 100 == 0:
        return f"{_ONES[number // 100]} hundred"
    return "one thousand" if number == 1000 else str(number)


def prompt(low: int, high: float, style: PromptStyle) -> str:
    """Return the sentence for a bin of the counts `low` to `high`.

    The open bin "`low` or more" reads "more than `low`": a slip of the published prompts that its checkpoints were
    trained with. Ranges, which the published code cannot word (it raises), read as its authors meant them.
    """
    say = number_words if style == "word" else str
    if high == math.inf:
        return f"There are more than {say(low)} people."
    if low != high:
        return f"There are between {say(low)} and {say(int(high))} people."
    if low == 0:
        return "There is no person." if style == "word" else "There is 0 person."
    return f"There is {say(1)} person." if low == 1 else f"There are {say(low)} people."
