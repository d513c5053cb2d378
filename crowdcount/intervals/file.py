"""The file of intervals beside weights: what they hold for, and the scores of the calibration images."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from crowdcount.errors import InputError
from crowdcount.files import atomic_write, read_json
from crowdcount.intervals.calibration import Calibration
from crowdcount.intervals.scale import Scale
from crowdcount.json_fields import as_list, as_number, as_numbers, as_object, as_text, get

SUFFIX: Final = ".intervals.json"
"""End of the name of the file beside weights, in place of their suffix: best.ckpt has best.intervals.json."""

_SCHEMA: Final = 1
_FACTS: Final = ("sha256", "protocol", "data", "about", "fingerprint")


@dataclass(frozen=True, eq=False)
class Intervals:
    """Calibrations of a model, and the model and images that they hold for.

    Attributes:
        sha256: SHA-256 of the file of weights.
        protocol: size rule and windows with which the images were counted, see `CrowdModel.protocol`.
        data: name of the images, such as "sha/val".
        about: the kind of images in words.
        fingerprint: see `hash_counts`.
        choosing: number of further images that only chose the scale.
        image: calibration of the count of an image; None if there is none.
        zones: calibration of the counts of the zones of an image together; None if there is none.
        areas: fingerprint of the area of each of those zones, by name.
        window: calibration of the mean count over a window of frames of a video; None if there is none.
        frames: number of frames of such a window.
    """

    sha256: str
    protocol: str
    data: str
    about: str
    fingerprint: str
    choosing: int = 0
    image: Calibration | None = None
    zones: Calibration | None = None
    areas: Mapping[str, str] = field(default_factory=dict)
    window: Calibration | None = None
    frames: int = 0

    def save(self, path: Path) -> None:
        """Write the file atomically: JSON, numbers with all their digits."""
        atomic_write(path, json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def as_json(self) -> dict[str, Any]:
        """Return the object that a file holds."""
        parts = {key: _encoded(part) for key in ("image", "zones", "window") if (part := getattr(self, key))}
        return {
            "schema": _SCHEMA,
            **{key: getattr(self, key) for key in _FACTS},
            "choosing": self.choosing,
            **parts,
            **({"areas": dict(self.areas)} if self.areas else {}),
            **({"frames": self.frames} if self.frames else {}),
        }

    @classmethod
    def read(cls, path: Path) -> "Intervals":
        """Read a file.

        Raises:
            InputError: it is missing, damaged or of another schema; the message names the key.
        """
        return cls.from_json(str(path), read_json(path, unique=True))

    @classmethod
    def from_json(cls, place: str, value: object) -> "Intervals":
        """Return the intervals of such an object as `as_json` gives.

        Raises:
            InputError: it is damaged or of another schema; the message begins with `place` and names the key.
        """
        content = as_object(place, value)
        schema = get(place, content, "schema")
        if schema != _SCHEMA:
            raise InputError(
                f"{place}: has schema {schema!r}, and this version reads schema {_SCHEMA}; calibrate again"
            )
        facts = {key: as_text(f"{place}: {key}", get(place, content, key)) for key in _FACTS}
        numbers = {key: _natural(f"{place}: {key}", content.get(key, 0)) for key in ("choosing", "frames")}
        parts = {
            key: _decoded(f"{place}: {key}", content[key]) for key in ("image", "zones", "window") if key in content
        }
        areas = as_object(f"{place}: areas", content.get("areas", {}))
        named = {name: as_text(f"{place}: areas.{name}", area) for name, area in areas.items()}
        return cls(**cast("dict[str, Any]", {**facts, **numbers, **parts, "areas": named}))


def intervals_file(weights: Path) -> Path:
    """Return the path of the intervals beside weights.

    Example:
        >>> intervals_file(Path("checkpoints/best.ckpt")).name
        'best.intervals.json'
    """
    return weights.with_suffix(SUFFIX)


def hash_counts(images: Iterable[tuple[str, float]]) -> str:
    """Return the SHA-256 of names and true counts of images, in any order."""
    lines = sorted(f"{name}\t{float(count)!r}\n" for name, count in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _encoded(part: Calibration) -> dict[str, Any]:
    return {
        "images": part.images,
        "scale": {"form": part.scale.form, "offset": part.scale.offset},
        "counts": list(part.counts),
        "edges": list(part.edges),
        "scores": [group.tolist() for group in part.scores],
        **({"approximate": True} if part.approximate else {}),
    }


def _decoded(place: str, value: object) -> Calibration:
    part = as_object(place, value)
    scale = as_object(f"{place}.scale", get(place, part, "scale"))
    groups = as_list(f"{place}.scores", get(place, part, "scores"))
    scores = [as_list(f"{place}.scores[{number}]", group) for number, group in enumerate(groups)]
    edges = as_list(f"{place}.edges", get(place, part, "edges"))
    low, high = as_numbers(f"{place}.counts", get(place, part, "counts"), 2)
    try:
        return Calibration(
            Scale(
                as_text(f"{place}.scale.form", get(place, scale, "form")),
                as_number(f"{place}.scale.offset", get(place, scale, "offset")),
            ),
            tuple(np.array(as_numbers(f"{place}.scores", group, len(group)), np.float64) for group in scores),
            tuple(as_numbers(f"{place}.edges", edges, len(edges))),
            (low, high),
            _truth(f"{place}.approximate", part.get("approximate", False)),
        )
    except InputError as error:
        raise error if str(error).startswith(place) else InputError(f"{place}: {error}") from error


def _truth(place: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{place} is {value!r}, expected true or false")
    return value


def _natural(place: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{place} is {value!r}, expected a whole number of 0 or more")
    return value
