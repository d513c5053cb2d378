"""Image towers that open_clip takes from timm, such as SigLIP, EVA and ConvNeXt, as sources of feature maps."""

from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call

from crowdcount.errors import InputError
from crowdcount.models.timm_backbone import channels_first


class TimmTower(nn.Module):
    """Image tower from timm without pooling and projection, for images of any size.

    Convolutional towers return a map. Transformers return tokens: those before the patches are dropped, and the others
    laid out as a map; a remainder at the right or bottom that does not fill a patch is ignored.

    Args:
        vision: open_clip's configuration of the image tower.

    Attributes:
        channels: channels of the map.
        stride: its stride in pixels.

    Raises:
        InputError: the tower gives no feature map, or takes images of one size alone.
    """

    def __init__(self, vision: dict[str, Any]) -> None:
        super().__init__()
        self.trunk = _build(vision["timm_model_name"], vision)
        self.channels: int = self.trunk.num_features
        self.stride: int = self.trunk.feature_info[-1]["reduction"]
        if hasattr(self.trunk, "patch_embed"):  # convolutions take any size
            _require_map(self)

    def forward(self, image: Tensor) -> Tensor:
        """Encode (B, 3, H, W)."""
        if not hasattr(self.trunk, "patch_embed"):
            features: Tensor = self.trunk.forward_features(image)
            return features
        rows, columns = (side // self.stride for side in image.shape[-2:])
        tokens: Tensor = self.trunk.forward_features(image[..., : rows * self.stride, : columns * self.stride])
        if tokens.ndim != 3:
            return channels_first(self.trunk, [tokens])[0]
        patches = tokens[:, self.trunk.num_prefix_tokens :].transpose(1, 2)
        return patches.reshape(image.shape[0], self.channels, rows, columns)

    def load(self, tower: Any) -> None:
        """Copy the weights of a freshly fetched tower."""
        source = tower.trunk.state_dict()
        self.trunk.load_state_dict({key: source[key] for key in self.trunk.state_dict()})


@torch.no_grad()
def _require_map(tower: TimmTower) -> None:
    """Check, by shapes alone, that a transformer takes images of another size than its pretrained weights'.

    Raises:
        InputError: it does not, or gives no map.
    """
    tensors = {key: value.to("meta") for key, value in (*tower.named_parameters(), *tower.named_buffers())}
    image = torch.empty(1, 3, 5 * tower.stride, 7 * tower.stride, device="meta")
    try:
        found = str(tuple(functional_call(tower, tensors, (image,)).shape))
    except (RuntimeError, AssertionError) as error:
        found = str(error)
    if found != str((1, tower.channels, 5, 7)):
        raise InputError(
            f"backbone: the image tower of this model, timm's {type(tower.trunk).__name__}, gives no feature map of "
            f"images of any size ({found}); choose another model"
        )


def _build(name: str, vision: dict[str, Any]) -> Any:
    """Return the trunk as open_clip builds it, without its classifier, and for images of any size where timm can."""
    arguments: dict[str, Any] = {"pretrained": False, "num_classes": 0}
    if vision.get("timm_drop_path") is not None:
        arguments["drop_path_rate"] = vision["timm_drop_path"]
    if vision.get("timm_proj") not in ("linear", "mlp"):  # the pooling decides where the last normalisation is
        arguments["global_pool"] = vision.get("timm_pool", "avg")
    try:
        trunk = cast(Any, timm.create_model(name, dynamic_img_size=True, **arguments))
    except TypeError:  # a convolutional tower takes any size without the argument
        trunk = cast(Any, timm.create_model(name, **arguments))
    trunk.reset_classifier(0, "")
    trunk.head = trunk.fc_norm = nn.Identity()  # unused parameters would stop distributed training
    return trunk
