"""Charts of an evaluation as SVG: scalable, without a plotting library, and with the names of the images."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_INK: Final = "#1e1e1e"
_GRID: Final = "#dddddd"
_BLUE: Final = "#2166ac"
_SIDE: Final = 480
_LEFT: Final = 60
_BELOW: Final = 46
_FEWEST: Final = 3  # ticks on an axis


def scatter(names: Sequence[str], true: Sequence[float], predicted: Sequence[float]) -> str:
    """Draw predicted against true counts on axes of log(1 + count), with the diagonal of correct counts.

    Returns:
        An SVG element; hovering over a dot shows the name of its image.
    """
    low, high = _range([*true, *predicted])

    def place(value: float) -> float:
        return (_scaled(value) - low) / (high - low) * _SIDE

    body = _axes([(tick, place(tick)) for tick in _ticks(low, high)])
    body += f'<line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0" stroke="{_INK}" stroke-dasharray="5 4"/>'
    for name, t, p in zip(names, true, predicted, strict=True):
        body += (
            f'<circle cx="{place(t):.1f}" cy="{_SIDE - place(p):.1f}" r="3.5" fill="{_BLUE}" fill-opacity="0.55">'
            f"<title>{escape(name)}: true {t:g}, predicted {p:.1f}</title></circle>"
        )
    body += _text(_SIDE / 2, _SIDE + 40, "true count", "middle")
    body += f'<g transform="translate(-44 {_SIDE / 2}) rotate(-90)">{_text(0, 0, "predicted count", "middle")}</g>'
    return _svg(_LEFT + _SIDE + 20, _SIDE + _BELOW + 12, f'<g transform="translate({_LEFT} 12)">{body}</g>')


def bars(title: str, table: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the MAE of each part of a data set as a bar, with its number of images and its bias.

    Args:
        title: attribute that defines the parts.
        table: errors by name of the part, as returned by `errors_by`.

    Returns:
        An SVG element.
    """
    longest = max([1e-9, *(row["mae"] for row in table.values())])
    label = 20 + 11 * max(map(len, table))
    body = _text(4, 14, f"MAE by {title}")
    for number, (name, row) in enumerate(table.items()):
        y, length = 30 + 30 * number, row["mae"] / longest * 260
        body += _text(label - 8, y + 15, name, "end")
        body += f'<rect x="{label}" y="{y}" width="{max(1.0, length):.1f}" height="20" fill="{_BLUE}"/>'
        images = "1 image" if row["images"] == 1 else f"{row['images']} images"
        words = f"{row['mae']:.1f}   ({images}, bias {row['bias']:+.1f})"
        body += _text(label + length + 8, y + 15, words)
    return _svg(label + 500, 40 + 30 * len(table), body)


def _scaled(value: float) -> float:
    return math.log10(1 + max(0.0, value))


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the scaled ends of an axis, slightly beyond the values."""
    scaled = [_scaled(value) for value in values]
    margin = 0.04 * max(max(scaled) - min(scaled), 0.5)
    return min(scaled) - margin, max(scaled) + margin


def _ticks(low: float, high: float) -> list[int]:
    """Return round counts on an axis: powers of ten on a long one, equal steps on a short one."""
    for steps in ((1,), (1, 2, 5)):
        ticks = [0, *(step * 10**power for power in range(7) for step in steps)]
        inside = [tick for tick in ticks if low <= _scaled(tick) <= high]
        if len(inside) >= _FEWEST:
            return inside
    first, last = 10**low - 1, 10**high - 1
    rough = (last - first) / _FEWEST
    unit = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = max(unit * factor for factor in (1, 2, 5) if factor == 1 or unit * factor <= rough)
    return list(range(math.ceil(first / step) * step, math.floor(last) + 1, step))


def _axes(ticks: Sequence[tuple[int, float]]) -> str:
    body = f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="{_INK}"/>'
    for tick, at in ticks:
        body += f'<line x1="{at:.1f}" y1="0" x2="{at:.1f}" y2="{_SIDE}" stroke="{_GRID}"/>'
        body += f'<line x1="0" y1="{_SIDE - at:.1f}" x2="{_SIDE}" y2="{_SIDE - at:.1f}" stroke="{_GRID}"/>'
        body += _text(at, _SIDE + 18, str(tick), "middle") + _text(-6, _SIDE - at + 4, str(tick), "end")
    return body


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(words)}</text>'


def _svg(width: float, height: float, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>{body}</svg>'
    )
