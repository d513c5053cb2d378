"""Text form of a summary."""

from collections.abc import Mapping, Sequence
from typing import Any

from crowdcount.metrics.breakdown import NWPU_CATEGORIES


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return a summary as text for a terminal."""
    lines = [f"images {summary['images']}"]
    if "expressions" in summary:
        lines[0] += f", expressions {summary['expressions']}: figures and tables are of expressions"
    if summary["without_annotation"]:
        lines[0] += f", and {summary['without_annotation']} without public annotation, which were counted only"
    if summary["images"]:
        lines += _count_lines(summary)
        lines += _table_lines("crowd level (true count)", summary["crowd_levels"])
        for key, table in summary["attributes"].items():
            lines += _table_lines(key, table)
        lines += _nwpu_lines(summary.get("nwpu", {}))
        lines += _localisation_lines(summary)
        lines += _coverage_lines(summary.get("calibrated_intervals", {}))
    return "\n".join(lines)


def _count_lines(summary: Mapping[str, Any]) -> list[str]:
    ends = summary.get("intervals", {})
    lines = [f"{name.upper():5}{_number(summary[name])}{_interval(ends.get(name))}" for name in ("mae", "rmse", "nae")]
    if ends:
        lines.append("     in brackets: 95 % bootstrap intervals over the images")
    lines.append("GAME " + "  ".join(f"({level}) {_number(value)}" for level, value in enumerate(summary["game"])))
    if summary["points_outside"]:
        lines.append(f"     {summary['points_outside']} annotated points lie outside their image; they are counted")
    return lines


def _table_lines(title: str, table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = ("images", "mae", "rmse", "nae", "bias")
    rows = [[title, *(column.upper() if len(column) < 5 else column for column in columns)]]
    rows += [[name, *(_number(row[column]) for column in columns)] for name, row in table.items()]
    return ["", *_aligned(rows)]


def _nwpu_lines(nwpu: Mapping[str, Any]) -> list[str]:
    if not nwpu:
        return []
    lines = ["", "as the server of NWPU-Crowd counts (an empty category is -1 and enters the mean)"]
    for category in NWPU_CATEGORIES:
        parts = "  ".join(f"{name}: {_number(value)}" for name, value in nwpu[category].items())
        lines.append(f"MAE by {category:10}{parts}")
    return lines


def _localisation_lines(summary: Mapping[str, Any]) -> list[str]:
    columns = ("precision", "recall", "f1")
    rows = [["localisation", "TP", "FP", "FN", *columns]]
    for rule, row in summary["localisation"].items():
        sums = [str(row[key]) for key in ("true_positives", "false_positives", "false_negatives")]
        ends = row.get("intervals", {})
        rows.append([rule, *sums, *(f"{row[key]:.4f}{_interval(ends.get(key), 3)}" for key in columns)])
    lines = ["", *_aligned(rows)]
    if "box_levels" in summary:
        lines.append("recall with sigma_l by level of box area, over all largest matchings:")
        lines += [
            f"  {level}: {row['recall_lowest']:.4f} to {row['recall_highest']:.4f} of {row['heads']} heads"
            for level, row in summary["box_levels"].items()
        ]
    return lines


def _coverage_lines(found: Mapping[str, Any]) -> list[str]:
    if not found:
        return []
    columns = ("images", "coverage", "mean_width", "median_width", "median_relative_width", "interval_score")
    titles = ("images", "coverage", "mean width", "median width", "median width / count", "interval score")
    rows = [["crowd level (true count)", *titles]]
    parts = {**found["crowd_levels"], "all": found}
    rows += [[name, *(_number(row[column]) for column in columns)] for name, row in parts.items()]
    other = {state: number for state, number in found["states"].items() if state != "calibrated"}
    lines = ["", f"{100 * found['level']:g} % intervals, calibrated on {found['data']}: {found['about']}"]
    lines += [*_aligned(rows), f"coverage of all {_number(found['coverage'])}{_interval(found['coverage_interval'])}"]
    lines += [f"{number} images are in the state {state}" for state, number in other.items()]
    if found["same_images"]:
        lines.append("these are the images of the calibration: the coverage is no test")
    return [*lines, "nothing is guaranteed for images of another kind than those of the calibration"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _interval(ends: Sequence[float | None] | None, digits: int | None = None) -> str:
    if ends is None or None in ends:
        return ""
    texts = [_number(end) if digits is None else f"{end:.{digits}f}" for end in ends]
    return f" [{texts[0]}, {texts[1]}]"
