"""Text prompts for count bins, with the wording of the published CLIP-EBC (arXiv 2403.09281)."""

import math
from typing import Literal

from crowdcount.models.clip.number_words import number_words

PromptStyle = Literal["word", "number"]


def prompt(low: int, high: float, style: PromptStyle) -> str:
    """Return the sentence for a bin of the counts `low` to `high`.

    The open bin "`low` or more" reads "more than `low`": an error in the published prompts with which its checkpoints
    were trained. Ranges, for which the published code raises an exception, are worded as its authors intended.
    """
    say = number_words if style == "word" else str
    if high == math.inf:
        return f"There are more than {say(low)} people."
    if low != high:
        return f"There are between {say(low)} and {say(int(high))} people."
    if low == 0:
        return "There is no person." if style == "word" else "There is 0 person."
    return f"There is {say(1)} person." if low == 1 else f"There are {say(low)} people."
