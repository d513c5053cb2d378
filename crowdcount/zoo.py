"""Names -> configuration files -> networks.

A name is a path: `clip_ebc/vit_b16_sha` is `zoo_configs/clip_ebc/vit_b16_sha.yaml`. There is no other registry.
"""

import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from safetensors.torch import load_file
from torch import Tensor

from crowdcount.checkpoint import load_plain, why
from crowdcount.config_errors import explain
from crowdcount.data.paper_size import PaperSize
from crowdcount.data.resize import Resize, ShortSide, SizeRule
from crowdcount.data.sample import Image
from crowdcount.errors import InputError, input_error
from crowdcount.inference import Inference, Prediction
from crowdcount.models.base import Counter, Network
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.point_inference import PointInference, PointPrediction

_SIZE_RULES: Final[dict[str, type]] = {"resize": Resize, "short_side": ShortSide, "paper_size": PaperSize}


@dataclass
class Model:
    """A network together with the protocol it is evaluated by.

    Attributes:
        network: in evaluation mode.
        inference: how a whole image is counted.
        resize: the size rule applied to an image before.
        name: where it comes from.
    """

    network: Counter
    inference: Inference = field(default_factory=Inference)
    resize: SizeRule | None = None
    name: str = ""

    def predict(self, image: Image) -> Prediction:
        """Count in an image (H, W, 3) uint8 RGB, on the device of the network.

        Raises:
            InputError: the array is no such image.
        """
        return self.inference(self.network, _pixels(image, self.resize, self.network))


@dataclass
class ReferringModel:
    """A detector of what expressions name, together with the protocol it is evaluated by.

    Attributes:
        network: in evaluation mode.
        inference: how a query becomes a point.
        resize: the size rule applied to an image before.
        name: where it comes from.
    """

    network: ReferringDetector
    inference: PointInference = field(default_factory=PointInference)
    resize: SizeRule | None = None
    name: str = ""

    def predict(self, image: Image, texts: Sequence[str]) -> list[PointPrediction]:
        """Find what each expression names in an image (H, W, 3) uint8 RGB, on the device of the network.

        Returns:
            For each expression its points, in pixels of `image`.

        Raises:
            InputError: the array is no such image, or an expression is empty or too long.
        """
        found = self.inference(self.network, _pixels(image, self.resize, self.network), texts)
        height, width = image.shape[:2]
        return [each.resized(height, width) for each in found]


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the zoo that match a shell pattern such as "clip_ebc/*", sorted."""
    names = (path.relative_to(_configs()).with_suffix("").as_posix() for path in _configs().glob("*/*.yaml"))
    return sorted(name for name in names if fnmatch(name, pattern))


def create_model(name: str, weights: str | Path | None = None, **overrides: Any) -> Network:
    """Build the network of a zoo configuration, in evaluation mode.

    Args:
        name: one of `list_models()`.
        weights: a local file: a checkpoint of `tools/train.py`, a safetensors file, or a published checkpoint of the
            family (read with weights_only=True and converted). None leaves the network untrained; nothing is fetched.
        **overrides: arguments of the network that replace those of the configuration.

    Raises:
        InputError: no such name or argument, or the file does not hold this network's weights.
    """
    config = _read_config(name)
    config["model"]["init_args"]["network"]["init_args"].update(overrides)
    network = _build(config, name).network
    if weights is not None:
        _load_weights(network, Path(weights))
    return network


def load_model(source: str | Path, weights: str | Path | None = None) -> Model | ReferringModel:
    """Return a trained model, ready to count: a `ReferringModel` of the family rec, otherwise a `Model`.

    Args:
        source: a checkpoint of `tools/train.py`, which holds its own configuration; or a name of `list_models()`,
            which needs `weights`.
        weights: see `create_model`.

    Raises:
        InputError: the source is neither, its weights are missing or do not fit.
    """
    if Path(source).is_file():
        checkpoint = read_checkpoint(Path(source))
        if "config" not in checkpoint:
            raise InputError(
                f"{source}: holds no configuration; call load_model(NAME, weights={source!s}), NAME from list_models()"
            )
        model = _build(_stored_config(checkpoint["config"], source), str(source))
        _load_state(model.network, _network_state(checkpoint), Path(source))
        return model
    config = _read_config(str(source))
    if weights is None:
        raise InputError(f"{source}: no weights of it can be fetched yet; give a local checkpoint as weights")
    model = _build(config, str(source))
    _load_weights(model.network, Path(weights))
    return model


def _pixels(image: Image, resize: SizeRule | None, network: Network) -> Tensor:
    """Return an image as the network sees it, (3, H, W) uint8 on its device."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"an image is (H, W, 3) uint8 RGB; got {image.shape} {image.dtype}")
    if resize is not None:
        image, _ = resize(image, np.empty((0, 2), np.float32))
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return pixels.to(next(network.parameters()).device)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = load_plain(path)
    except Exception as error:  # whatever the two formats raise: pickle, zip, header, key and runtime errors
        raise InputError(f"{path}: cannot be read as a checkpoint ({why(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path}: holds no state dict, but {type(content).__name__}")
    return content


def _configs() -> Path:
    """Folder of the configurations: in the package when installed, beside it in a clone."""
    package = Path(__file__).parent
    inside = package / "zoo_configs"
    return inside if inside.is_dir() else package.parent / "zoo_configs"


def _read_config(name: str) -> dict[str, Any]:
    path = _configs() / f"{name}.yaml"
    if name not in list_models():
        close = difflib.get_close_matches(name, list_models(), 3, 0.4)
        raise InputError(f"{name!r} is neither a file nor a model of the zoo; near it: {', '.join(close) or 'nothing'}")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def _stored_config(text: str, source: str | Path) -> dict[str, Any]:
    """Read the configuration in a checkpoint; it may name only classes whose package is already imported."""
    try:
        config: dict[str, Any] = yaml.safe_load(text)
        arguments = config["model"]["init_args"]
        data = config.get("data") or {}
        built = [arguments["network"], arguments.get("inference"), *(data.get(key) for key in _SIZE_RULES)]
        classes = [arguments["network"]["class_path"], *_class_paths(built)]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: its configuration names no network ({type(error).__name__}: {error})") from error
    for name in classes:
        package = str(name).split(".")[0]
        if package not in sys.modules:
            raise InputError(f"{source}: is made of {name}; import {package} first if you trust the file")
    return config


def _class_paths(value: Any) -> list[Any]:
    """Return every `class_path` in nested dicts and lists."""
    if isinstance(value, list):
        return [name for item in value for name in _class_paths(item)]
    if not isinstance(value, dict):
        return []
    own = [value["class_path"]] if "class_path" in value else []
    return own + [name for item in value.values() for name in _class_paths(item)]


def _build(config: dict[str, Any], name: str) -> Model | ReferringModel:
    """Build the network and protocol of a training configuration; the module, optimizer and data are not touched."""
    arguments = config["model"]["init_args"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Network, "network", required=True)
    parser.add_argument("--inference", type=Inference | PointInference | None, default=None)
    for key, rule in _SIZE_RULES.items():
        parser.add_argument(f"--{key}", type=rule | None, default=None)
    data = config.get("data") or {}
    values = {"network": arguments["network"], **{key: data.get(key) for key in _SIZE_RULES}}
    if arguments.get("inference"):
        values["inference"] = arguments["inference"]
    try:
        parsed = parser.parse_object(values)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"{name}: {explain(str(error), [])}") from error
    try:
        built = parser.instantiate_classes(parsed)
    except ValueError as error:
        mistake = input_error(error)
        if mistake is None:
            raise
        raise mistake from error
    network, resize = built.network.eval(), next((built[key] for key in _SIZE_RULES if built[key]), None)
    if isinstance(network, ReferringDetector):
        return ReferringModel(network, built.inference or PointInference(), resize, name)
    return Model(network, built.inference or Inference(), resize, name)


def _load_weights(network: Network, path: Path) -> None:
    checkpoint = read_checkpoint(path)
    state = _network_state(checkpoint)
    ours = any(key.startswith("network.") for key in checkpoint.get("state_dict", {}))
    if ours or state.keys() == network.state_dict().keys():
        _load_state(network, state, path)
    else:  # published under the authors' names
        with _fitting(network, path):
            network.load_published(checkpoint.get("state_dict", checkpoint))


def _network_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's part of one of our checkpoints, or a bare state dict as it is."""
    state = checkpoint.get("state_dict", checkpoint)
    return {key.removeprefix("network."): value for key, value in state.items() if isinstance(value, Tensor)}


def _load_state(network: Network, state: dict[str, Tensor], path: Path) -> None:
    with _fitting(network, path):
        network.load_state_dict(state, strict=True)


@contextmanager
def _fitting(network: Network, path: Path) -> Iterator[None]:
    """Name the file in whatever is said of weights that do not fit."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except RuntimeError as error:
        lines = " ".join(str(error).split("\n")[1:3]).replace("\t", "")
        raise InputError(f"{path}: does not fit {type(network).__name__}: {lines[:400]}") from error
