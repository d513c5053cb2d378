"""Metadata in the file of an exported model: pre- and postprocessing, and the way to count with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.images.resize import SizeRule
from crowdcount.images.size_rules import rule_as_json, rule_from_json
from crowdcount.intervals.file import Intervals
from crowdcount.json_fields import as_number, as_numbers, as_object, as_text, get

OUTPUTS: Final = {
    "density": "(N, 1, H / stride, W / stride) people per block of stride x stride pixels; its sum is the count",
    "variance": "(N, 1, H / stride, W / stride) variance of the count of each block",
    "size_difference": "(N, 1, H / stride, W / stride) people per block in the image less those at half its size",
    "probabilities": "(N, K, H / stride, W / stride) probabilities of the classes of each block",
}
"""Outputs of a graph, in this order; density is always there."""

INPUT: Final = "image"
"""The input of a graph: (N, 3, H, W) float32, normalised RGB, sides multiples of the size divisor."""

_PADDING: Final = "at the right and bottom to multiples of size_divisor, with 0 after normalisation"
_COUNT: Final = "sum of density over the blocks that begin inside the image: ceil(side / stride) of them"
_PLAIN: Final = ("name", "crowdcount", "weights_sha256", "precision")


@dataclass(frozen=True)
class Description:
    """An exported model in words and numbers; the metadata of its file.

    Attributes:
        name: of the model.
        crowdcount: version that exported it.
        weights_sha256: SHA-256 of names and values of its weights.
        source_sha256: SHA-256 of the file of weights that it was exported from, whose intervals hold for its counts; ""
            if there was none, or if its counts are others.
        precision: "float32", or "int8" for quantised weights.
        mean: per-channel mean of images, RGB in [0, 1].
        std: per-channel standard deviation.
        size_rule: size rule of whole images, None without.
        stride: side of a density cell in pixels.
        size_divisor: of the sides of the input.
        outputs: names of the outputs of the graph; see `OUTPUTS`.
        division: description of one pass or of the windows; see `Inference.protocol`.
        window: side of the windows in pixels; None counts in one pass.
        step: distance of the windows in pixels.
        window_batch: windows in one pass, None as the runtime likes.
        max_memory: memory limit in GiB of the model's configuration, None without.
        bytes_per_pixel: memory of a pass per pixel, as measured in torch.
        tile_margin: margin of exact tiles in pixels; None if there are none.
        inexact_reason: why there are none; "" if there are.
        classes: intervals and anchors of the classes of a blockwise classifier, otherwise empty.
        origin: facts about the weights, such as licences and figures.
        intervals: calibrations of its counts, if there are any.
    """

    name: str
    crowdcount: str
    weights_sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stride: int
    size_divisor: int
    outputs: tuple[str, ...]
    division: str
    bytes_per_pixel: float
    tile_margin: int | None
    inexact_reason: str = ""
    source_sha256: str = ""
    precision: str = "float32"
    size_rule: SizeRule | None = None
    window: int | None = None
    step: int | None = None
    window_batch: int | None = None
    max_memory: float | None = None
    classes: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    intervals: Intervals | None = None

    @property
    def predicts_variance(self) -> bool:
        """Whether the maps have a variance."""
        return "variance" in self.outputs

    @property
    def compares_sizes(self) -> bool:
        """Whether they have a size difference."""
        return "size_difference" in self.outputs

    def metadata(self) -> dict[str, str]:
        """Return the texts that a file stores, by key; `preprocessing` and the following are JSON."""
        parts = {
            "preprocessing": {
                "input": f"(N, 3, H, W) float32 named {INPUT}: RGB / 255, minus mean, divided by std",
                "mean": self.mean,
                "std": self.std,
                "size_rule": rule_as_json(self.size_rule),
                "size_divisor": self.size_divisor,
                "padding": _PADDING,
            },
            "postprocessing": {
                "stride": self.stride,
                "outputs": {name: OUTPUTS[name] for name in self.outputs},
                "count": _COUNT,
                "classes": dict(self.classes),
            },
            "inference": {
                "division": self.division,
                "window": self.window,
                "step": self.step,
                "window_batch": self.window_batch,
                "max_memory": self.max_memory,
                "bytes_per_pixel": self.bytes_per_pixel,
                "tile_margin": self.tile_margin,
                "inexact_reason": self.inexact_reason,
            },
            "origin": dict(self.origin),
            "intervals": None if self.intervals is None else self.intervals.as_json(),
        }
        plain = {key: getattr(self, key) for key in (*_PLAIN, "source_sha256")}
        return plain | {key: json.dumps(value, ensure_ascii=False) for key, value in parts.items()}

    @classmethod
    def from_metadata(cls, stored: Mapping[str, str], file: str) -> "Description":
        """Return the description that a file stores.

        Raises:
            InputError: the file was not exported by crowdcount, or its metadata are damaged.
        """
        if "preprocessing" not in stored or "crowdcount" not in stored:
            raise InputError(
                f"{file}: does not say how it counts; export the model with crowdcount export, which writes that down"
            )
        before, after, inference, origin = (
            as_object(f"{file}: {key}", _parsed(file, key, stored))
            for key in ("preprocessing", "postprocessing", "inference", "origin")
        )
        intervals = _parsed(file, "intervals", stored)
        before_place, after_place, place = (
            f"{file}: {key}" for key in ("preprocessing", "postprocessing", "inference")
        )
        outputs = as_object(f"{after_place}.outputs", get(after_place, after, "outputs"))
        if "density" not in outputs or not outputs.keys() <= OUTPUTS.keys():
            raise InputError(f"{after_place}.outputs: {list(outputs)} should be density and more of {list(OUTPUTS)}")
        return cls(
            **{key: as_text(f"{file}: {key}", stored.get(key)) for key in _PLAIN},
            source_sha256=stored.get("source_sha256", ""),
            mean=tuple(as_numbers(f"{before_place}.mean", get(before_place, before, "mean"), 3)),
            std=_deviations(f"{before_place}.std", get(before_place, before, "std")),
            size_rule=rule_from_json(f"{before_place}.size_rule", before.get("size_rule")),
            size_divisor=_natural(before_place, before, "size_divisor"),
            stride=_natural(after_place, after, "stride"),
            outputs=tuple(name for name in OUTPUTS if name in outputs),
            classes=as_object(f"{after_place}.classes", get(after_place, after, "classes")),
            division=as_text(f"{place}.division", get(place, inference, "division")),
            bytes_per_pixel=as_number(f"{place}.bytes_per_pixel", get(place, inference, "bytes_per_pixel")),
            inexact_reason=str(inference.get("inexact_reason", "")),
            max_memory=None
            if (limit := inference.get("max_memory")) is None
            else as_number(f"{place}.max_memory", limit),
            tile_margin=_optional(place, inference, "tile_margin", least=0),
            window=_optional(place, inference, "window"),
            step=_optional(place, inference, "step"),
            window_batch=_optional(place, inference, "window_batch"),
            origin=origin,
            intervals=None if intervals is None else Intervals.from_json(f"{file}: intervals", intervals),
        )


def _parsed(file: str, key: str, stored: Mapping[str, str]) -> object:
    try:
        return json.loads(stored[key])
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file}: its metadata {key} is missing or damaged ({error}); export the model again"
        ) from error


def _deviations(place: str, value: object) -> tuple[float, ...]:
    numbers = as_numbers(place, value, 3)
    for number in numbers:
        check_number(place, number, 0, above=True)
    return tuple(numbers)


def _natural(place: str, values: dict[str, Any], key: str, least: int = 1) -> int:
    value = get(place, values, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{place}.{key} is {value!r}, expected a whole number of {least} or more")
    return value


def _optional(place: str, values: dict[str, Any], key: str, least: int = 1) -> int | None:
    return None if values.get(key) is None else _natural(place, values, key, least)
