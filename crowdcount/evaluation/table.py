"""CSV file of the results of images."""

import csv
import io
from collections.abc import Sequence

from crowdcount.csv_cells import escaped_cell
from crowdcount.evaluation.harness import ImageResult


def results_csv(results: Sequence[ImageResult]) -> str:
    """Return a line for each image: name, true, predicted, error, GAME, hits of each rule, attributes.

    If the model is calibrated, the last columns are the ends and the state of the interval.

    Numbers have all their digits; unknown values are empty. Texts that a spreadsheet would take for a formula begin
    with a quote, see `escaped_cell`.
    """
    rules = list(dict.fromkeys(rule for result in results for rule in result.hits))
    keys = sorted({key for result in results for key in result.attributes})
    levels = max((len(result.game) for result in results), default=0)
    calibrated = any(result.interval is not None for result in results)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["name", "true", "predicted", "error", "points", "outside", *(f"game{level}" for level in range(levels))]
    ends = ["low", "high", "interval"] if calibrated else []
    parts = [f"{part} {rule}" for rule in rules for part in ("TP", "FP", "FN")]
    writer.writerow([*head, *parts, *map(_cell, keys), *ends])
    for result in results:
        error = "" if result.true is None else result.error
        outside = "" if result.true is None else result.outside
        known = [_cell(result.name), result.true, result.predicted, error, len(result.points), outside]
        hits = [value for rule in rules for value in result.hits.get(rule, ("", "", ""))]
        games = [*result.game, *[""] * (levels - len(result.game))]
        attributes = [_cell(result.attributes.get(key, "")) for key in keys]
        writer.writerow([*known, *games, *hits, *attributes, *(result.interval or ())])
    return file.getvalue()


def _cell(value: object) -> object:
    return escaped_cell(value) if isinstance(value, str) else value
