"""An image-text model of open_clip, trained and compared as a whole."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_choice
from crowdcount.models.base import CrowdNetwork
from crowdcount.models.clip.pretrained import build_clip, fetch_clip, from_openai, get_tokenizer, normalization

_MAX_LOG_SCALE = math.log(100)  # as in CLIP


class ImageText(CrowdNetwork):
    """Image and text tower of one of open_clip's models, both trained.

    Args:
        backbone: open_clip's name of the model. Those with a text tower or tokenizer from the Hugging Face hub need
            its files to be built.
        pretrained: "openai" for the weights in the index, another of open_clip's tags, or the path of a checkpoint;
            loaded when a training starts. null starts from random weights.
        fit: how an image of another shape becomes the square that the tower takes: "crop" cuts the middle of the longer
            side off, as CLIP does; "squash" keeps the whole image, as SigLIP does, and with it all objects.

    Raises:
        InputError: open_clip has no such model, or it cannot be built.
    """

    def __init__(
        self, backbone: str, pretrained: str | None = "openai", fit: Literal["crop", "squash"] = "crop"
    ) -> None:
        super().__init__()
        check_choice("fit", fit, ("crop", "squash"))
        self.backbone, self.pretrained, self.fit = backbone, pretrained, fit
        self.clip = build_clip(backbone)
        size = self.clip.visual.image_size
        self.side = int(size if isinstance(size, int) else size[0])
        self.mean, self.std = normalization(backbone, pretrained)
        self._freeze_idle()

    def _freeze_idle(self) -> None:
        """Freeze what no similarity depends on (CoCa's decoder, SigLIP's bias): it would stop distributed training."""
        for name in ("text_decoder", "logit_bias"):
            part = getattr(self.clip, name, None)
            if isinstance(part, nn.Module | nn.Parameter):
                part.requires_grad_(False)

    def prepare(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return normalised square images (B, 3, side, side) of padded images (B, 3, H, W) uint8.

        Args:
            images: the images, padded at the right and bottom.
            sizes: height and width of each without padding.
        """
        squares = [
            self._square(image[:, :height, :width]) for image, (height, width) in zip(images, sizes, strict=True)
        ]
        return self.normalize(torch.cat(squares))

    def _square(self, image: Tensor) -> Tensor:
        """Return an image (3, H, W) as (1, 3, side, side) in [0, 1]."""
        if self.fit == "crop":
            height, width = image.shape[-2:]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            image = image[:, top : top + side, left : left + side]
        resized = functional.interpolate(image[None].float(), (self.side, self.side), mode="bicubic", antialias=True)
        return resized.clamp(0, 255) / 255

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens (N, L) of texts, on the device of the network; texts too long are cut.

        Raises:
            InputError: the tokenizer could not be fetched.
        """
        tokens: Tensor = get_tokenizer(self.backbone)(list(texts))
        return tokens.to(next(self.parameters()).device)

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit-length features of images (B, 3, side, side) and texts (N, L), and the scale of similarities.

        In training the scale is at most 100.
        """
        if self.training:
            with torch.no_grad():  # of the parameter: limiting what is returned would leave it without a gradient
                self.clip.logit_scale.clamp_(max=_MAX_LOG_SCALE)
        image_features = self.clip.encode_image(images, normalize=True)
        text_features = self.clip.encode_text(tokens, normalize=True)
        return image_features, text_features, self.clip.logit_scale.exp()

    def load_pretrained(self) -> None:
        """Load the pretrained weights (see `pretrained`).

        Raises:
            InputError: the weights could not be fetched.
        """
        if self.pretrained is not None:
            self.clip.load_state_dict(fetch_clip(self.backbone, self.pretrained).state_dict())

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of OpenAI's CLIP, or one that open_clip saved with separate towers."""
        separate = state_dict.keys() == self.clip.state_dict().keys()
        self.clip.load_state_dict(state_dict if separate else from_openai(state_dict))
