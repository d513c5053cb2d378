"""Evaluation of image-text models: the number of an image chosen among nine captions, as on CountBench."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from crowdcount.data.sample import CrowdSource, Record, Split
from crowdcount.data.sources.captions import Captions
from crowdcount.errors import InputError
from crowdcount.inference.model import ImageTextModel
from crowdcount.metrics.count import count_errors
from crowdcount.models.clip.number_words import number_words
from crowdcount.models.image_text.captions import NUMBERS
from crowdcount.prefetch import ahead

_VALUES = {number_words(number): number for number in NUMBERS}


@dataclass(frozen=True)
class CaptionResult:
    """Result of one image.

    Attributes:
        name: name of the record.
        text: its caption.
        true: number that the caption says.
        predicted: number of the most similar caption.
        similarities: cosine similarities with the captions of the numbers two to ten.
    """

    name: str
    text: str
    true: int
    predicted: int
    similarities: tuple[float, ...]


def evaluate_captions(model: ImageTextModel, records: Sequence[Record]) -> list[CaptionResult]:
    """Choose the number of every image whose caption says one, with a progress bar on stderr.

    Raises:
        InputError: an image cannot be read, a record has no caption, or no caption says a number.
    """
    counted = [(record, number) for record in records if (number := stated_number(record)) is not None]
    if not counted:
        raise InputError("data.source: no caption of these images says a number from two to ten, as a word")
    images = ahead(Record.read, [record for record, _ in counted])
    results = []
    for (record, true), image in tqdm(zip(counted, images, strict=True), total=len(counted), unit="image"):
        text = record.expressions[0].text
        found = model.choose(image.result(), [text], [true])[0]
        results.append(CaptionResult(record.name, text, true, found.count, found.similarities))
    return results


def stated_number(record: Record) -> int | None:
    """Return the number that the caption of a record says; None if it says none.

    Raises:
        InputError: the record has no caption.
    """
    if len(record.expressions) != 1:
        raise InputError(f"data.source: {record.name} has no caption; take a source such as crowdcount.data.Captions")
    return _VALUES.get(record.expressions[0].attribute)


def left_out(source: CrowdSource, split: Split, records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the names of images that are not evaluated, by the reason."""
    reasons = {
        "image missing": source.missing(split) if isinstance(source, Captions) else [],
        "caption without its number": [record.name for record in records if stated_number(record) is None],
    }
    return {reason: names for reason, names in reasons.items() if names}


def caption_summary(results: Sequence[CaptionResult], omitted: dict[str, list[str]]) -> dict[str, Any]:
    """Return accuracy, count errors, right choices of each number, and what was left out."""
    right = [result.predicted == result.true for result in results]
    numbers = {
        number_words(number): [sum(own), len(own)]
        for number in NUMBERS
        if (own := [hit for result, hit in zip(results, right, strict=True) if result.true == number])
    }
    errors = count_errors([result.predicted for result in results], [result.true for result in results])
    return {
        "images": len(results),
        "accuracy": sum(right) / len(right),
        **errors,
        "right_of_each_number": numbers,
        "left_out": omitted,
    }


def caption_text(summary: dict[str, Any]) -> str:
    """Return a summary as lines of text."""
    lines = [
        f"images      {summary['images']}",
        f"accuracy    {summary['accuracy']:.3f}  (1 of {len(NUMBERS)} by chance: {1 / len(NUMBERS):.3f})",
        f"MAE, RMSE   {summary['mae']:.2f}, {summary['rmse']:.2f}",
        "right       " + ", ".join(f"{word} {a}/{b}" for word, (a, b) in summary["right_of_each_number"].items()),
    ]
    omitted = summary["left_out"]
    lines.append(f"left out    {sum(map(len, omitted.values()))} images")
    lines += [f"  {reason}, {len(names)}: {' '.join(names)}" for reason, names in omitted.items()]
    return "\n".join(lines)


def captions_csv(results: Sequence[CaptionResult]) -> str:
    """Return a table with a line for each image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "caption", "true", "predicted", *(f"similarity_{number}" for number in NUMBERS)])
    for each in results:
        writer.writerow([each.name, each.text, each.true, each.predicted, *(f"{s:.6f}" for s in each.similarities)])
    return text.getvalue()
