"""Numbers in words, spelled as in the published text prompts."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_words(number: int) -> str:
    """Spell out 0 to 99, full hundreds and one thousand; other numbers are written in digits, as published."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    if number < 1000 and number % 100 == 0:
        return f"{_ONES[number // 100]} hundred"
    return "one thousand" if number == 1000 else str(number)
