"""HTML report of an evaluation: figures, predicted against true counts, errors by level, worst images."""

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from crowdcount.data.sample import Record
from crowdcount.evaluation.chart import bars, scatter
from crowdcount.evaluation.harness import ImageResult
from crowdcount.evaluation.summary import Summary
from crowdcount.evaluation.text import summary_text
from crowdcount.images.read import Image
from crowdcount.inference.model import CrowdModel
from crowdcount.inference.plotting import comparison
from crowdcount.visualize import count_text, image_bytes

_WIDEST = 1400
"""Maximum width of an image in the report, in pixels."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 1400px; margin: 24px auto; padding: 0 24px; color: #1e1e1e }}
pre {{ font-size: 13px; line-height: 1.35; overflow-x: auto }}
figure {{ margin: 24px 0 }} figcaption {{ margin-bottom: 6px }} img {{ max-width: 100% }}
</style></head><body>
<h1>{title}</h1>
<p>{protocol}</p>
<p>{origin}</p>
<h2>Figures</h2><pre>{text}</pre>
{charts}
{worst}
</body></html>
"""


def report_html(
    model: CrowdModel,
    records: Sequence[Record],
    results: Sequence[ImageResult],
    summary: Summary,
    worst: int,
) -> str:
    """Return the report; the worst images are predicted again to draw them.

    Args:
        model: the evaluated model.
        records: records of the split.
        results: results of `evaluate` for these records.
        summary: summary by `summarise`, together with `evaluation_header`.
        worst: number of images to draw, in order of absolute error.
    """
    known = [result for result in results if result.true is not None]
    charts = "".join(f"<h2>{title}</h2>\n{chart}\n" for title, chart in _charts(known, summary))
    return _PAGE.format(
        title=escape(f"{summary['model']} on {summary['data']}"),
        protocol=escape(summary["protocol"]),
        origin=escape(f"{summary['date']}; code: {summary['commit']}; SHA-256 of the weights: {summary['weights']}"),
        text=escape(summary_text(summary)),
        charts=charts,
        worst=_worst(model, records, known, worst),
    )


def _charts(known: Sequence[ImageResult], summary: Summary) -> list[tuple[str, str]]:
    if not known:
        return []
    counts = [float(result.true or 0) for result in known], [result.predicted for result in known]
    charts = [
        ("Predicted against true", scatter([result.name for result in known], *counts)),
        ("Error by crowd level", bars("true count", summary["crowd_levels"])),
    ]
    return charts + [(f"Error by {key}", bars(key, table)) for key, table in summary["attributes"].items()]


def _worst(model: CrowdModel, records: Sequence[Record], known: Sequence[ImageResult], number: int) -> str:
    figures: dict[int, str] = {}
    for result in sorted(known, key=lambda result: -abs(result.error)):
        if len(figures) == number:
            break
        if result.index not in figures:  # an image may have several expressions
            drawing = base64.b64encode(_jpeg(_drawing(model, records[result.index]))).decode()
            words = escape(f"{result.name}: {count_text(result.predicted, result.true)}")
            source = f"data:image/jpeg;base64,{drawing}"
            figures[result.index] = f'<figure><figcaption>{words}</figcaption><img alt="" src="{source}"></figure>'
    return "\n".join(["<h2>Worst images</h2>", *figures.values()]) if figures else ""


def _drawing(model: CrowdModel, record: Record) -> Image:
    """Draw an image with its annotation beside the prediction."""
    record, image = record.outside(model.ignored), record.read()
    texts = record.texts if model.reads_text else ()
    truths = [each.points for each in record.expressions] if model.reads_text else [record.require_points()]
    return comparison(image, model.predict_each(image, texts), truths)


def _jpeg(drawing: Image) -> bytes:
    height, width = drawing.shape[:2]
    if width > _WIDEST:
        size = _WIDEST, round(height * _WIDEST / width)
        drawing = np.asarray(cv2.resize(drawing, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image_bytes(drawing, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 85])
