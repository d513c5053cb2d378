"""Checks of the doctor and their severity."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

Level = Literal["error", "warning", "note"]

LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""Severities, worst first.

error: training or testing would fail, or data is missing. warning: it would run, but with wrong results. note:
information.
"""


class Check(NamedTuple):
    """One check.

    Attributes:
        level: severity of a finding.
        title: title in the report.
        lines: whether each finding has its own line; otherwise only names are listed.
    """

    level: Level
    title: str
    lines: bool = False


CHECKS: Final = {
    "split": Check("error", "splits that cannot be read", lines=True),
    "file": Check("error", "files that are missing, without their partner or damaged", lines=True),
    "frame": Check("error", "coordinates that are not in pixels of their images", lines=True),
    "decode": Check("error", "images that cannot be decoded completely", lines=True),
    "total": Check("warning", "numbers that differ from those of the published files", lines=True),
    "left out": Check("warning", "files that no record uses", lines=True),
    "doubt": Check("warning", "coordinates that may not be in pixels of their images", lines=True),
    "leak": Check("warning", "photographs that stand in several splits", lines=True),
    "rotation": Check("warning", "images with an EXIF rotation, for which tools disagree about points", lines=True),
    "outside": Check("warning", "points outside their image (how many)"),
    "double": Check("warning", "points at exactly the place of another in the same image (how many too many)"),
    "depth": Check("warning", "images of more than 8 bits, which reading cuts down"),
    "alpha": Check("warning", "images with transparency, which reading drops"),
    "cmyk": Check("warning", "CMYK images, whose colours programs convert differently"),
    "repeat": Check("note", "photographs that a split has several times", lines=True),
    "camera": Check("note", "images of one fixed camera, which share their background", lines=True),
    "grey": Check("note", "greyscale images, read as RGB with three equal channels"),
    "palette": Check("note", "images with a palette, read as RGB"),
    "size": Check("note", "images of an unusual size (width x height)"),
    "empty": Check("note", "images without people"),
}
"""All checks by name, in the order of the report."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        check: name of the check.
        split: split, or empty for several splits.
        name: name of the image or file.
        detail: description or amount.
        file: path of the file, if the finding concerns one.
        count: number of occurrences in the image.
    """

    check: str
    split: str
    name: str
    detail: str = ""
    file: str = ""
    count: int = 1

    @property
    def level(self) -> Level:
        """Severity of the finding."""
        return CHECKS[self.check].level
