"""Choosing the number that an image shows among captions that differ in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.models.clip.number_words import number_words
from crowdcount.models.image_text.captions import NUMBERS, find_number, numbers_in, replace_number
from crowdcount.models.image_text.network import ImageText


@dataclass(frozen=True)
class CaptionPrediction:
    """The prediction for one image and caption.

    Attributes:
        text: the caption.
        count: number of the most similar of the captions.
        similarities: cosine similarities of the image with the captions of the numbers two to ten.
    """

    text: str
    count: int
    similarities: tuple[float, ...]


@dataclass(frozen=True)
class CaptionInference:
    """Comparison of an image with nine captions, one for each number from two to ten; CountBench's protocol."""

    @property
    def protocol(self) -> str:
        """Description of the protocol."""
        return f"the most similar of the captions with {number_words(NUMBERS[0])} to {number_words(NUMBERS[-1])}"

    @torch.inference_mode()
    def __call__(
        self, network: ImageText, image: Tensor, captions: Sequence[str], numbers: Sequence[int | None] = ()
    ) -> list[CaptionPrediction]:
        """Choose a number for each caption of an image.

        Args:
            network: in evaluation mode, on the device of the image.
            image: (3, H, W) uint8 RGB.
            captions: captions that say a number from two to ten.
            numbers: the number of each caption to replace; by default the only one that it says.

        Raises:
            InputError: a caption does not say the number.
        """
        stated = list(numbers) or [None] * len(captions)
        versions = [_versions(text, number) for text, number in zip(captions, stated, strict=True)]
        images = network.prepare(image[None], [(image.shape[1], image.shape[2])])
        texts = network.tokenize([version for each in versions for version in each])
        features, text_features, _ = network(images, texts)
        rows = (text_features @ features[0]).float().unflatten(0, (len(captions), len(NUMBERS))).cpu()
        return [
            CaptionPrediction(text, NUMBERS[int(row.argmax())], tuple(row.tolist()))
            for text, row in zip(captions, rows, strict=True)
        ]


def _versions(caption: str, number: int | None) -> list[str]:
    """Return a caption with each of the numbers."""
    number = find_number(caption) if number is None else number
    if number not in numbers_in(caption):
        raise InputError(f"{caption!r} says no number from two to ten, in words, or several")
    return [replace_number(caption, number, other) for other in NUMBERS]
