"""Report of the doctor as text and JSON."""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from crowdcount.data.sample import Split
from crowdcount.doctor.checks import SAME, Item
from crowdcount.doctor.datasets import DataSet
from crowdcount.doctor.finding import CHECKS, LEVELS, Finding, Level
from crowdcount.doctor.published_totals import TOTALS

_WIDTH: Final = 110
_SHOWN: Final = 40
_GROUP: Final = 8


@dataclass(frozen=True)
class SplitFacts:
    """Summary of a split.

    Attributes:
        split: its name.
        images: number of images with a record.
        heads: number of points, including those outside their image; None if the annotation is withheld.
        inside: number of points inside their image, over the images that could be decoded.
        undecoded: number of images that could not be decoded.
        fewest: lowest number of points in an image.
        most: highest number of points in an image.
        smallest: (width, height) of the image with the fewest pixels; None if none could be decoded.
        largest: (width, height) of the image with the most pixels.
    """

    split: Split
    images: int
    heads: int | None
    inside: int | None
    undecoded: int
    fewest: int | None
    most: int | None
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None

    @classmethod
    def of(cls, split: Split, items: Sequence[Item]) -> "SplitFacts":
        """Return the summary of a list of images."""
        counts = [item.record.count for item in items if item.record.points is not None]
        sizes = sorted(
            (item.image.size for item in items if not item.image.problem), key=lambda size: size[0] * size[1]
        )
        heads = sum(counts) if len(counts) == len(items) else None
        return cls(
            split,
            len(items),
            heads,
            None if heads is None else sum(item.record.count - item.outside for item in items if item.decodes),
            sum(not item.decodes for item in items),
            min(counts, default=None),
            max(counts, default=None),
            sizes[0] if sizes else None,
            sizes[-1] if sizes else None,
        )

    def line(self) -> str:
        """Return the summary as a line."""
        parts = [f"{self.split:<6}{self.images:>7,} image{'s' * (self.images != 1)}"]
        if self.heads is None:
            parts.append("annotation withheld")
        elif self.images:
            parts += [
                f"{self.heads:,} head{'s' * (self.heads != 1)} ({self.fewest:,} to {self.most:,} each)",
                self._inside(),
            ]
        if self.smallest and self.largest:
            parts.append(f"{self.smallest[0]} x {self.smallest[1]} to {self.largest[0]} x {self.largest[1]} pixels")
        return ", ".join(parts)

    def _inside(self) -> str:
        left_out = f" (of {self.images - self.undecoded:,} images: {self.undecoded:,} cannot be decoded)"
        return f"{self.inside:,} inside their images{left_out * (self.undecoded > 0)}"


@dataclass(frozen=True)
class Report:
    """Result of an examination.

    Attributes:
        data: the examined data set.
        splits: summaries of the splits that were read.
        findings: findings, worst first.
    """

    data: DataSet
    splits: Sequence[SplitFacts]
    findings: Sequence[Finding]

    def level_counts(self) -> dict[Level, int]:
        """Return the number of findings of each level."""
        found = Counter(finding.level for finding in self.findings)
        return {level: found[level] for level in LEVELS}

    def fails(self, level: Level) -> bool:
        """Return whether there are findings of severity `level` or worse."""
        return any(LEVELS.index(finding.level) <= LEVELS.index(level) for finding in self.findings)

    def json(self) -> str:
        """Return the report as JSON."""
        table = {
            "dataset": self.data.name,
            "root": str(self.data.root),
            "options": {key: _plain(value) for key, value in self.data.options.items()},
            "splits": [asdict(each) for each in self.splits],
            "summary": self.level_counts(),
            "findings": [{"level": each.level, **asdict(each)} for each in self.findings],
        }
        return json.dumps(table, indent=2) + "\n"  # escaped: names of files need not be text

    def text(self) -> str:
        """Return the report as text: the splits, then the findings by check, worst first."""
        options = "".join(f" {key} {value}" for key, value in self.data.options.items() if value is not None)
        lines = [f"{self.data.name}{options} in {self.data.root}", *(f"  {each.line()}" for each in self.splits)]
        if self.data.key not in TOTALS:
            lines.append("  (no published totals to compare with)")
        for check in CHECKS:
            found = [finding for finding in self.findings if finding.check == check]
            if found:
                lines += ["", *_section(check, found)]
        summary = ", ".join(f"{number} {level}{'s' * (number != 1)}" for level, number in self.level_counts().items())
        return "\n".join([*lines, "", summary, ""])


def _section(check: str, found: Sequence[Finding]) -> list[str]:
    level, title, in_lines = CHECKS[check]
    total = sum(finding.count for finding in found)
    number = f"{total:,}" if total == len(found) else f"{total:,} in {len(found):,} image{'s' * (len(found) != 1)}"
    return [f"{level}: {title}: {number}", *(_lines(found) if in_lines else _names(found))]


def _lines(found: Sequence[Finding]) -> list[str]:
    """Return a line for each finding, without limit for errors."""
    shown = found if found[0].level == "error" else found[:_SHOWN]
    lines = [f"    {_location(each)}: {each.detail}" for each in shown]
    return lines + _more(len(found) - len(shown))


def _location(finding: Finding) -> str:
    if finding.check == "split":
        return finding.split
    if finding.level == "error" or finding.check in ("left out", "doubt"):
        return f"{finding.split}: {finding.file}"
    if finding.check == "rotation":
        return f"{finding.split}/{finding.name}"
    names = finding.name.split(SAME)
    more = [f"and {len(names) - _GROUP:,} more, which --json lists"] if len(names) > _GROUP + 1 else names[_GROUP:]
    return SAME.join([*names[:_GROUP], *more])


def _names(found: Sequence[Finding]) -> list[str]:
    """Return the names by split, with details in parentheses."""
    lines: list[str] = []
    for split in dict.fromkeys(finding.split for finding in found):
        here = [finding for finding in found if finding.split == split]
        words = [finding.name + (f" ({finding.detail})" if finding.detail else "") for finding in here[:_SHOWN]]
        lines += textwrap.wrap(
            f"{split}: {', '.join(words)}", _WIDTH, initial_indent="    ", subsequent_indent="      "
        )
        lines += _more(len(here) - len(words))
    return lines


def _more(number: int) -> list[str]:
    return [f"      and {number:,} more, which --json lists"] * (number > 0)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
