"""Positions of the people in a generated scene.

The scene is a ground plane seen from a raised camera: a person at image row y has a head of half-height
`slope * (y - horizon)` pixels, the "unit" of everything on that row. People stand on a jittered lattice in that
perspective, so that no head hides another one entirely, thinned by a smooth field of groups and gaps.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crowdcount.geometry import Points, as_points

Floats = NDArray[np.float64]

_STEP: Final = (3.0, 1.9)
"""Distance of neighbours in a packed crowd, in units."""

_SHAPES: Final = {"tree": (8.0, 11.0), "bush": (6.0, -4.0), "stall": (9.0, 5.0), "post": (0.8, 12.0)}
"""Half-width, and height above the heads, in units."""


@dataclass(frozen=True)
class Thing:
    """An object that is not a person, at the position of a head of the same scale at (x, y).

    Attributes:
        kind: tree, bush, stall or post.
        x: middle, in pixels.
        y: row of a head at the same depth, in pixels.
        half_width: half of its width, in units.
        top: height above that head, in units.
    """

    kind: str
    x: float
    y: float
    half_width: float
    top: float


@dataclass(frozen=True)
class Layout:
    """Layout of a scene: everything but its colours.

    Attributes:
        width: image width in pixels.
        height: image height in pixels.
        horizon: row of the horizon in pixels; negative if it is above the image.
        slope: growth of the head's half-height per pixel below the horizon.
        tall: visible share of the height of a standing body; steep views shorten it.
        points: (N, 2) head centres, from back to front.
        things: objects, from back to front.
    """

    width: int
    height: int
    horizon: float
    slope: float
    tall: float
    points: Points
    things: tuple[Thing, ...]

    def unit(self, y: float) -> float:
        """Return the half-height in pixels of a head at row y."""
        return self.slope * (y - self.horizon)

    @property
    def feet(self) -> float:
        """Distance from the centre of a head to the feet, in units."""
        return 1.0 + 11.0 * self.tall


def arrange(rng: Generator, count: int, width: int, height: int) -> Layout:
    """Place `count` people and a few objects.

    Heads get smaller until the people fit with the drawn share of free places.
    """
    horizon = height * rng.uniform(-0.7, 0.26)
    slope = height * rng.uniform(0.015, 0.04) / (height - horizon)
    tall = float(np.clip(0.95 + 0.55 * horizon / height, 0.5, 0.95))
    empty, fill = Layout(width, height, horizon, slope, tall, as_points([]), ()), rng.uniform(0.25, 0.9)
    draws, state = rng.random((int(rng.integers(0, 5)), 4)), rng.bit_generator.state
    while True:
        rng.bit_generator.state = state  # the same jitter in every attempt
        layout = replace(empty, slope=slope, things=_things(draws, replace(empty, slope=slope)))
        places = _lattice(rng, layout)
        if len(places) * fill >= count:
            break
        slope *= 0.92
    chosen = _choose(rng, places, count, layout)
    return replace(layout, points=as_points(chosen[np.argsort(chosen[:, 1], kind="stable")]))


def _things(draws: Floats, layout: Layout) -> tuple[Thing, ...]:
    """Convert draws (n, 4) in [0, 1) to objects of at most a fifth of the image width."""
    things, top = [], max(0.0, layout.horizon)
    for kind, x, y, size in draws:
        name = tuple(_SHAPES)[int(kind * len(_SHAPES))]
        row = top + (0.12 + 0.8 * y) * (layout.height - top)
        shrink = min(1.0, 0.1 * layout.width / (8 * layout.unit(row)))
        half, rise = _SHAPES[name]
        things.append(Thing(name, x * layout.width, row, half * (0.6 + 0.5 * size) * shrink, rise * shrink))
    return tuple(sorted(things, key=lambda thing: thing.y))


def _lattice(rng: Generator, layout: Layout) -> Floats:
    """Return (n, 2) possible head centres in rows of geometrically increasing distance, every other one shifted."""
    span = layout.height - layout.horizon
    first = max(min(1.4 / layout.slope, 0.3 * span), 0.08 * span, 2.0 - layout.horizon)
    growth = 1 + _STEP[1] * layout.slope
    depth = first * growth ** np.arange(max(1, int(np.log(span / first) / np.log(growth)) + 1))
    columns = (layout.width / (_STEP[0] * layout.slope * depth)).astype(int) + 1
    row = np.repeat(np.arange(len(depth)), columns)
    column = np.arange(len(row)) - np.repeat(np.cumsum(columns) - columns, columns)
    unit = layout.slope * depth[row]
    jitter = rng.uniform(-0.3, 0.3, (2, len(row)))
    x = (column + 0.5 * (row % 2) + jitter[0]) * _STEP[0] * unit
    y = layout.horizon + depth[row] + jitter[1] * _STEP[1] * unit
    return np.stack([x, y], axis=1)[_free(x, y, layout)]


def _free(x: Floats, y: Floats, layout: Layout) -> NDArray[np.bool_]:
    """Return which places are well inside the image and neither in nor behind an object."""
    unit = layout.slope * (y - layout.horizon)
    free = (x >= 1) & (x < layout.width - 1) & (y >= 1) & (y < layout.height - 1)
    for thing in layout.things:
        own = layout.unit(thing.y)
        beside = np.abs(x - thing.x) > thing.half_width * own + 1.2 * unit
        free &= beside | (y < thing.y - thing.top * own - unit) | (y > thing.y + layout.feet * own)
    return free


def _choose(rng: Generator, places: Floats, count: int, layout: Layout) -> Floats:
    """Draw `count` places without replacement; Gaussian bumps make groups and the space between them."""
    size = np.array([layout.width, layout.height])
    field = np.full(len(places), rng.choice([0.02, 0.15, 1.0]))
    for _ in range(int(rng.integers(1, 6))):
        centre, spread = rng.random(2) * size, rng.uniform(0.06, 0.35, 2) * size
        field += np.exp(-0.5 * np.sum(((places - centre) / spread) ** 2, axis=1))
    # The largest values of log weight + Gumbel noise: sampling without replacement in proportion to the weights.
    keys = np.log(field) + rng.gumbel(size=len(places))
    return places[np.argsort(-keys, kind="stable")[:count]]
