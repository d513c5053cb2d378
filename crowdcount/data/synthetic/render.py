"""Rendering of a generated scene: ground, backdrop, people and objects, light and noise."""

from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crowdcount.data.synthetic.layout import Floats, Layout, Thing
from crowdcount.images.read import Image

Colour = tuple[float, ...]
"""RGB, 0 to 255."""


def _palette(*colours: str) -> Floats:
    return np.array([[int(colour[at : at + 2], 16) for at in (0, 2, 4)] for colour in colours], float)


_SKIN: Final = _palette("e8c4aa", "d8ae90", "be8e6e", "92664c", "624434")
_HAIR: Final = _palette("181414", "201a18", "2e221c", "583e2a", "a0825a", "969492")
_HAT: Final = _palette("d6bc50", "e8e8e4", "b0342e", "30467e", "c6a878")
_DARK: Final = _palette("1e1e22", "282a32", "363842", "54565c", "28365a", "76604c")
_LIGHT: Final = _palette("7a7a7c", "babab6", "deded6", "70889f", "b88a8e", "c6aa62")
_VIVID: Final = _palette("48628c", "96302e", "b26248", "426248", "684262", "5c5c42")
_CLOTH: Final = np.concatenate([_DARK, _LIGHT, _VIVID])
_GROUND: Final = _palette("767472", "a0988c", "907a64", "607246", "8a8e94")
_WALL: Final = _palette("a89a8a", "845e4e", "bcbcb8", "68707a", "ccbc9c")

# Half outlines from the top: x in units, y down from the neck in units shortened by the view.
_TORSO: Final = np.array([[0.45, 0], [1.3, 0.35], [1.75, 0.9], [1.8, 2], [1.4, 4.2], [1.5, 5.7]])
_LEGS: Final = np.array([[1.45, 5.3], [1.2, 11], [0.3, 11], [0.1, 6.4]])
_ARM: Final = np.array([[1.5, 0.5], [2.0, 1.2], [2.25, 4.9], [1.8, 5.1], [1.45, 2.2]])
_SHADE: Final = np.array([[1.3, 0.35], [1.75, 0.9], [1.8, 2], [1.4, 4.2], [1.5, 5.7], [0.7, 5.7], [0.8, 2]])
_PACK: Final = np.array([[0.8, 0.8], [1.1, 1.2], [1.15, 4.1], [0.9, 4.4]])


def paint(rng: Generator, layout: Layout) -> Image:
    """Draw a scene: (height, width, 3) uint8, RGB."""
    image = ground(rng, layout)
    _backdrop(rng, image, layout)
    _shadows(rng, image, layout)
    people, things = People(rng, layout), list(layout.things)
    for number, y in enumerate(layout.points[:, 1].tolist()):
        while things and things[0].y < y:
            _thing(rng, image, layout, things.pop(0))
        people.draw(image, number)
    for thing in things:
        _thing(rng, image, layout, thing)
    return _expose(rng, image)


def ground(rng: Generator, layout: Layout) -> Image:
    """Paint the ground in one colour with patches, streaks and grain, and often slabs."""
    base = _GROUND[rng.integers(len(_GROUND))] * rng.uniform(0.7, 1.15) + rng.normal(0, 5, 3)
    texture = np.full((layout.height, layout.width), 128, np.float32)
    for columns, rows, strength in ((3, 6, 10), (8, 22, 5), (40, 90, 4), (150, 160, 4)):
        noise = strength * rng.standard_normal((rows, columns), np.float32)
        texture += cv2.resize(noise, (layout.width, layout.height), interpolation=cv2.INTER_CUBIC)
    shades = np.clip(base + np.arange(256)[:, None] - 128, 0, 255).astype(np.uint8)
    image: Image = shades[np.clip(texture, 0, 255, out=texture).astype(np.uint8)]
    if rng.random() < 0.6:
        _slabs(rng, image, layout)
    return image


def _slabs(rng: Generator, image: Image, layout: Layout) -> None:
    """Draw joints that converge to a vanishing point, where they are some pixels apart."""
    colour = tuple((image.reshape(-1, 3).mean(axis=0) * rng.choice([0.87, 1.09])).tolist())
    centre, gap = layout.width * rng.uniform(0.1, 0.9), rng.uniform(6, 18)
    span = layout.height - layout.horizon
    near, far = layout.unit(layout.height) * gap, 7 / (layout.slope * gap)
    number = int(2 * layout.width * max(1.0, span / far) / near) + 1
    for across in np.arange(-number, number + 1) * near:
        start = (centre + across * far / span, layout.horizon + far)
        _line(image, start, (centre + across, layout.height), colour)
    depth = span
    while depth > far:
        _line(image, (0, layout.horizon + depth), (layout.width, layout.horizon + depth), colour)
        depth /= 1 + layout.slope * gap


def _backdrop(rng: Generator, image: Image, layout: Layout) -> None:
    """Paint sky, houses and a hedge above the horizon, if it is in the image."""
    line = int(layout.horizon + 0.06 * (layout.height - layout.horizon))
    if layout.horizon < 6 or line < 8:
        return
    sky = np.array([rng.uniform(120, 200), rng.uniform(150, 210), rng.uniform(190, 240)])
    image[:line] = sky + np.linspace(0, 0.8, line)[:, None, None] * (225 - sky)
    x = -rng.uniform(0, 0.1) * layout.width
    while x < layout.width:
        x += _house(rng, image, x, line)
    green = rng.uniform(0.7, 1.2) * np.array([62, 84, 48])
    for _ in range(int(rng.integers(0, layout.width // 8))):
        size = rng.uniform(0.01, 0.03) * layout.height
        _blob(image, rng.uniform(0, layout.width), line - rng.uniform(-0.3, 1) * size, size, size, _vary(rng, green, 8))


def _house(rng: Generator, image: Image, x: float, line: int) -> float:
    """Paint one house front with windows, or leave a gap; return its width."""
    wide, high = rng.uniform(0.08, 0.3) * image.shape[1], rng.uniform(0.3, 1.15) * line
    if rng.random() < 0.25:
        return float(wide / 2)
    wall = _vary(rng, _WALL[rng.integers(len(_WALL))] * rng.uniform(0.7, 1.05), 6)
    _box(image, x, line - high, x + wide, line, wall)
    step = max(5.0, rng.uniform(0.03, 0.05) * image.shape[0])
    pane = tuple(rng.uniform(0.5, 0.75) * value for value in wall)
    for top in np.arange(line - high + step / 2, line - step, 1.4 * step):
        for left in np.arange(x + step / 2, x + wide - step, 1.2 * step):
            _box(image, left, top, left + 0.6 * step, top + 0.8 * step, pane)
    return float(wide)


def _shadows(rng: Generator, image: Image, layout: Layout) -> None:
    """Darken the ground under people and, in sunshine, beside them."""
    mask = np.zeros(image.shape[:2], np.uint8)
    length, side = rng.uniform(0, 5) * (rng.random() < 0.6), rng.choice([-1, 1])
    for x, y in layout.points.tolist():
        unit = layout.unit(y)
        _blob(mask, x + side * length * unit / 2, y + layout.feet * unit, (1.8 + length) * unit, 0.8 * unit, (255.0,))
    soft = cv2.blur(mask, (max(3, int(layout.unit(layout.height))),) * 2)
    dark = 255 - cv2.convertScaleAbs(soft, alpha=rng.uniform(0.25, 0.5))
    cv2.multiply(image, cv2.merge([dark] * 3), dst=image, scale=1 / 255)


class People:
    """People of a scene: vectorised colours and outlines, drawn one by one.

    Args:
        rng: of their looks.
        layout: where they are.
    """

    def __init__(self, rng: Generator, layout: Layout) -> None:
        count, unit = len(layout.points), layout.slope * (layout.points[:, 1].astype(np.float64) - layout.horizon)
        self._air = (rng.uniform(150, 215), rng.uniform(0, 0.3) * (1 - unit / layout.unit(layout.height)))
        self._count, self._width, self._lean = count, rng.uniform(0.85, 1.15, count), rng.normal(0, 0.05, count)
        self.light = float(rng.choice([-1, 1]))
        facing = rng.uniform(0, 2 * np.pi) + rng.normal(0, rng.choice([0.5, 3.0]), count)
        self.turn, self.toward = np.sin(facing).tolist(), np.cos(facing).tolist()
        self.cover = rng.choice(5, size=count, p=rng.dirichlet([9, 0.6, 0.4, 0.4, 0.6])).tolist()
        self.pack = (rng.random(count) < 0.15).tolist()
        self._dress(rng)
        self.move(layout)

    def move(self, layout: Layout) -> None:
        """Let the same people, in the same order, stand elsewhere."""
        self._place, self._tall = layout.points.astype(np.float64), layout.tall
        self._unit = layout.slope * (self._place[:, 1] - layout.horizon)
        self._broad = self._width * self._unit
        self.heads = np.column_stack([self._place, self._unit]).tolist()
        self._cut()

    def _dress(self, rng: Generator) -> None:
        skin, hair = self._pick(rng, _SKIN, 5), self._pick(rng, _HAIR[: rng.integers(2, 7)], 4)
        hat = self._pick(rng, _HAT, 8)
        shirt = self._pick(rng, _CLOTH[rng.permutation(len(_CLOTH))[: rng.integers(6, 19)]], 7)
        self.skin, self.neck, self.hair, self.gloss = map(self._seen, (skin, skin * 0.8, hair, hair * 0.8 + 40))
        self.hat, self.brim, self.shine = map(self._seen, (hat, hat * 0.75, hat * 0.7 + 76))
        self.shirt, self.dark, self.sleeve = map(self._seen, (shirt, shirt * 0.8, shirt * 0.9))
        self.trousers = self._seen(self._pick(rng, _DARK, 6))
        self.bag = self._seen(self._pick(rng, _CLOTH * 0.8, 6))

    def _pick(self, rng: Generator, palette: Floats, spread: float) -> Floats:
        chosen = palette[rng.integers(len(palette), size=self._count)]
        return chosen + rng.normal(0, spread, (self._count, 3))

    def _seen(self, colour: Floats) -> list[Colour]:
        """Return colours (N, 3) with haze, which increases with distance."""
        grey, share = self._air
        mixed = colour * (1 - share[:, None]) + grey * share[:, None]
        return [tuple(row) for row in np.clip(mixed, 0, 255).tolist()]

    def _cut(self) -> None:
        self.torso, self.legs, self.backpack = (self._outline(_both(half)) for half in (_TORSO, _LEGS, _PACK))
        self.arms = (self._outline(_ARM), self._outline(_ARM * (-1, 1)))
        self.shade = self._outline(_SHADE * (-self.light, 1))
        self.hands = [self._spot(side * 2.05, 5.2) for side in (1, -1)]

    def _outline(self, shape: Floats) -> NDArray[np.int32]:
        """Return the shape (k, 2) of every person in fixed-point pixels: (N, k, 2)."""
        across = shape[:, 0] + self._lean[:, None] * shape[:, 1]
        x = self._place[:, :1] + across * self._broad[:, None]
        y = self._place[:, 1:] + (0.9 + self._tall * shape[:, 1]) * self._unit[:, None]
        return np.rint(np.stack([x, y], axis=2) * _ONE - _ONE / 2).astype(np.int32)

    def _spot(self, across: float, down: float) -> list[list[float]]:
        spots: list[list[float]] = ((self._outline(np.array([[across, down]]))[:, 0] + _ONE / 2) / _ONE).tolist()
        return spots

    def draw(self, image: Image, i: int) -> None:
        """Draw person `i` over those behind."""
        x, y, unit = self.heads[i]
        if self.legs[i, 0, 1] < image.shape[0] * _ONE:
            _fill(image, self.legs[i], self.trousers[i])
        _fill(image, self.torso[i], self.shirt[i])
        if unit > 2.2:
            self._details(image, i, unit)
        _blob(image, x, y + 0.85 * unit, 0.5 * unit, 0.6 * unit, self.neck[i])
        self._head(image, i, x, y, unit)
        if self.cover[i]:
            self._hat(image, i, x, y, unit)

    def _details(self, image: Image, i: int, unit: float) -> None:
        _fill(image, self.shade[i], self.dark[i])
        for arm, hand in zip(self.arms, self.hands, strict=True):
            _fill(image, arm[i], self.sleeve[i])
            _blob(image, hand[i][0], hand[i][1], 0.3 * unit, 0.4 * unit, self.neck[i])
        if self.pack[i] and self.toward[i] < 0:
            _fill(image, self.backpack[i], self.bag[i])

    def _head(self, image: Image, i: int, x: float, y: float, unit: float) -> None:
        half, toward = 0.82 * unit, self.toward[i]
        _blob(image, x, y, half, unit, self.hair[i])
        if toward > -0.3:
            across = x + 0.3 * half * self.turn[i]
            _blob(image, across, y + 0.28 * unit, (0.62 + 0.2 * toward) * half, 0.7 * unit, self.skin[i])
        if unit > 2.5:
            _blob(image, x + 0.3 * self.light * half, y - 0.55 * unit, 0.35 * half, 0.2 * unit, self.gloss[i])

    def _hat(self, image: Image, i: int, x: float, y: float, unit: float) -> None:
        half, kind = 0.82 * unit, ("", "cap", "helmet", "straw hat", "hood")[self.cover[i]]
        if kind == "cap":
            _blob(image, x, y - 0.4 * unit, 0.95 * half, 0.62 * unit, self.hat[i])
            low = y + (0.15 * self.toward[i] - 0.1) * unit
            _blob(image, x + 0.5 * half * self.turn[i], low, half, 0.22 * unit, self.brim[i])
        elif kind == "helmet":
            _blob(image, x, y - 0.3 * unit, 1.15 * half, 0.85 * unit, self.hat[i])
            _blob(image, x + 0.3 * self.light * half, y - 0.6 * unit, 0.4 * half, 0.2 * unit, self.shine[i])
        elif kind == "straw hat":
            _blob(image, x, y - 0.25 * unit, 1.7 * half, 0.6 * unit, self.brim[i])
            _blob(image, x, y - 0.5 * unit, 0.9 * half, 0.5 * unit, self.hat[i])
        elif self.toward[i] < 0.2:
            _blob(image, x, y + 0.1 * unit, 1.1 * half, 1.1 * unit, self.brim[i])


def _thing(rng: Generator, image: Image, layout: Layout, thing: Thing) -> None:
    """Draw a tree, bush, stall or post with its foot on the ground."""
    unit = layout.unit(thing.y)
    x, half = thing.x, thing.half_width * unit
    top, foot = thing.y - thing.top * unit, thing.y + layout.feet * unit
    if thing.kind == "stall":
        cloth = _CLOTH[rng.integers(len(_CLOTH))]
        _box(image, x - 0.9 * half, thing.y, x + 0.9 * half, foot, _vary(rng, cloth * 0.5 + 30, 8))
        roof = [(x - 0.6 * half, top), (x + 0.6 * half, top), (x + half, thing.y), (x - half, thing.y)]
        _shape(image, roof, _vary(rng, cloth, 10))
        return
    if thing.kind != "bush":
        trunk = 0.8 * unit if thing.kind == "tree" else 0.35 * unit
        _box(image, x - trunk, top, x + trunk, foot, _vary(rng, np.array([84, 74, 64]), 8))
    if thing.kind == "post":
        _blob(image, x, top, 1.2 * unit, 0.7 * unit, (230, 226, 208))
        return
    low = thing.y if thing.kind == "tree" else foot
    _leaves(rng, image, (x, (top + low) / 2), (half, (low - top) / 2))


def _leaves(rng: Generator, image: Image, centre: tuple[float, float], half: tuple[float, float]) -> None:
    green = rng.uniform(0.6, 1.2) * np.array([66, 92, 48])
    angles, reach = rng.uniform(0, 2 * np.pi, 80), 0.8 * np.sqrt(rng.random(80))
    sizes = half[0] * rng.uniform(0.1, 0.28, 80)
    for number, (angle, far, size) in enumerate(zip(angles, reach, sizes, strict=True)):
        across, down = far * np.cos(angle), far * np.sin(angle)
        colour = _vary(rng, green * (0.55 + 0.005 * number - 0.2 * down), 5)
        _blob(image, centre[0] + across * half[0], centre[1] + down * half[1], size, 0.8 * size, colour)


def _expose(rng: Generator, image: Image) -> Image:
    """Apply the effects of light, lens and sensor: gain, colour cast, saturation, uneven light, blur and noise."""
    height, width = image.shape[:2]
    vivid, gain = rng.uniform(0.5, 1.05), rng.uniform(0.78, 1.15) * (1 + rng.normal(0, 0.04, 3))
    matrix = (vivid * np.eye(3) + (1 - vivid) / 3) * gain[:, None]
    slant = np.linspace(-1, 1, width) * rng.normal(0, 0.1) + np.linspace(-1, 1, height)[:, None] * rng.normal(0, 0.1)
    soft = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.35, 0.8)).astype(np.float32)
    light = np.asarray(cv2.transform(soft, matrix.astype(np.float32)), np.float32)
    light *= (1 + slant[..., None]).astype(np.float32)
    light += np.float32(rng.uniform(1, 5)) * rng.standard_normal((height, width, 1), np.float32)
    return np.clip(light, 0, 255, out=light).astype(np.uint8)


def _vary(rng: Generator, colour: Floats, spread: float) -> Colour:
    return tuple(np.clip(colour + rng.normal(0, spread, 3), 0, 255).tolist())


def _both(half: Floats) -> Floats:
    """Return the closed outline of a symmetric shape."""
    return np.concatenate([half, half[::-1] * (-1, 1)])


_BITS: Final = 4
_ONE: Final = 1 << _BITS
"""One pixel in cv2's fixed point, in which pixel centres are integers: hence the half subtracted below."""


def _fixed(value: float) -> int:
    return round(value * _ONE - _ONE / 2)


def _blob(image: Image, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
    axes = (max(_ONE // 3, int(half_width * _ONE)), max(_ONE // 3, int(half_height * _ONE)))
    cv2.ellipse(image, (_fixed(x), _fixed(y)), axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _BITS)


def _fill(image: Image, outline: NDArray[np.int32], colour: Colour) -> None:
    cv2.fillPoly(image, [outline], colour, cv2.LINE_AA, _BITS)


def _shape(image: Image, corners: list[tuple[float, float]], colour: Colour) -> None:
    _fill(image, np.array([[_fixed(x), _fixed(y)] for x, y in corners], np.int32), colour)


def _box(image: Image, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    _shape(image, [(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def _line(image: Image, start: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
    ends = [(_fixed(x), _fixed(y)) for x, y in (start, end)]
    cv2.line(image, ends[0], ends[1], colour, 1, cv2.LINE_AA, _BITS)
