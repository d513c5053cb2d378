"""The pages of docs/extending.md: what they have a reader write and run."""

import re
from pathlib import Path

_TEXT = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text()
PAGES = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", _TEXT, flags=re.MULTILINE)[1:]}
"""Text of each page by its title."""


def files(page):
    """Return the files of a page by name; the first line of a block is a comment with the name."""
    blocks = re.findall(r"^```(?:python|yaml)\n(# (\S+)\n.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)
    return {name: code for code, name in blocks}


def commands(page):
    """Return the commands of a page, as they are printed."""
    return "".join(re.findall(r"^```bash\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL))
