"""The zoo in Python: names -> networks, weights -> models ready to count."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.images.resize import SizeRule
from crowdcount.inference.density import Inference, Prediction
from crowdcount.inference.points import PointInference, PointPrediction
from crowdcount.models.base import CrowdNetwork, DensityNetwork
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.weights.cache import ensure_downloaded
from crowdcount.weights.checkpoint import read_checkpoint, read_metadata
from crowdcount.weights.index import WeightEntry, entries_for, list_weights, read_index, terms
from crowdcount.weights.provenance import WeightsFile, stored_object, training_origin
from crowdcount.zoo.config import build, counting_part, list_models, read_config, stored_config

__all__ = ["Model", "ReferringModel", "create_model", "list_models", "list_weights", "load_model"]

logger = logging.getLogger(__name__)

RELEASE = "model.safetensors"
"""What the weights are called in the folder of a release."""


@dataclass
class Model:
    """A network together with the protocol it is evaluated by.

    Attributes:
        network: in evaluation mode.
        inference: how a whole image is counted.
        resize: the size rule applied to an image before.
        name: where it comes from.
        config: what it was built from: network, inference and size rule, in the form of the zoo's files.
        origin: what is known of the weights, such as file, SHA-256, licences and figures.
    """

    network: DensityNetwork
    inference: Inference = field(default_factory=Inference)
    resize: SizeRule | None = None
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    def predict(self, image: Image) -> Prediction:
        """Count in an image (H, W, 3) uint8 RGB, on the device of the network.

        Raises:
            InputError: the array is no such image.
        """
        return replace(self.predict_batch([image])[0], image=image)

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """Count in images (H, W, 3) uint8 RGB of one size, in one forward pass where each of them needs no more.

        Raises:
            InputError: an array is no such image, or of another size than the first.
        """
        pixels = [_pixels(image, self.resize, self.network) for image in images]
        if len({each.shape for each in pixels}) > 1:
            raise InputError("images of several sizes are no batch; give those of one size together")
        return self.inference.predict_batch(self.network, torch.stack(pixels) if len(pixels) > 1 else pixels[0][None])


@dataclass
class ReferringModel:
    """A detector of what expressions name, together with the protocol it is evaluated by.

    Attributes:
        network: in evaluation mode.
        inference: how a query becomes a point.
        resize: the size rule applied to an image before.
        name: where it comes from.
        config: what it was built from: network, inference and size rule, in the form of the zoo's files.
        origin: what is known of the weights, such as file, SHA-256, licences and figures.
    """

    network: ReferringDetector
    inference: PointInference = field(default_factory=PointInference)
    resize: SizeRule | None = None
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    def predict(self, image: Image, texts: Sequence[str]) -> list[PointPrediction]:
        """Find what each expression names in an image (H, W, 3) uint8 RGB, on the device of the network.

        Returns:
            For each expression its points, in pixels of `image`.

        Raises:
            InputError: the array is no such image, or an expression is empty or too long.
        """
        found = self.inference(self.network, _pixels(image, self.resize, self.network), texts)
        height, width = image.shape[:2]
        return [replace(each.resized(height, width), image=image) for each in found]


def create_model(
    name: str, weights: str | Path | None = None, allow_unverified: bool = False, **overrides: Any
) -> CrowdNetwork:
    """Build the network of a zoo configuration, in evaluation mode.

    Args:
        name: one of `list_models()`.
        weights: the tag of an entry of the index, such as "authors" (`list_weights(name + "*")` shows them), which is
            downloaded once; or a local file: a checkpoint of `crowdcount train`, a safetensors file, or a published
            checkpoint of the family. None leaves the network untrained; nothing is fetched.
        allow_unverified: download also what the index gives no SHA-256 for.
        **overrides: arguments of the network that replace those of the configuration.

    Raises:
        InputError: no such name, argument or tag, the weights cannot be had, or the file does not hold this network's.
    """
    config = read_config(name)
    found = None
    if weights is not None:
        entry = _resolve(name, weights)
        found = WeightsFile.inspect(ensure_downloaded(entry, allow_unverified) if entry else Path(weights), entry)
    checkpoint = read_checkpoint(found.path) if found else {}
    arguments = _stated_arguments(config, checkpoint, found, name) if found else {}
    config["model"]["init_args"]["network"]["init_args"].update({**arguments, **overrides})
    network = build(config, name).network
    if found is not None:
        _load_weights(network, checkpoint, found.path)
    return network


def load_model(
    source: str | Path, weights: str | Path | None = None, allow_unverified: bool = False
) -> Model | ReferringModel:
    """Return a trained model, ready to count: a `ReferringModel` of the family rec, otherwise a `Model`.

    Args:
        source: a checkpoint of `crowdcount train`, or a file or folder of `crowdcount convert`, which hold their
            own configuration; or a name of `list_models()` or `list_weights()`.
        weights: of a name, see `create_model`; by default the first entry of the index for it.
        allow_unverified: see `create_model`.

    Raises:
        InputError: the source is none of these, its weights cannot be had or do not fit.
    """
    file = Path(source) / RELEASE if Path(source).is_dir() else Path(source)
    if file.is_file():
        if weights is not None:
            raise InputError(
                f"{file}: is a file with weights of its own; leave weights out, or name the model it is of"
            )
        return _load_file(file)
    entry = _resolve(str(source), weights)
    name = entry.model if entry else str(source)
    config = read_config(name)
    if entry is not None:
        logger.info("%s: %s", entry.name, terms(entry))
    found = WeightsFile.inspect(ensure_downloaded(entry, allow_unverified) if entry else Path(str(weights)), entry)
    checkpoint = read_checkpoint(found.path)
    arguments = _stated_arguments(config, checkpoint, found, name)
    config["model"]["init_args"]["network"]["init_args"].update(arguments)
    model = _model(config, entry.name if entry else name, found.origin())
    _load_weights(model.network, checkpoint, found.path)
    return model


def _load_file(path: Path) -> Model | ReferringModel:
    checkpoint, about = read_checkpoint(path), read_metadata(path)
    text = about.get("config", checkpoint.get("config"))
    if not isinstance(text, str):  # published files may hold a configuration of another kind
        raise InputError(
            f"{path}: holds no configuration; say which model of the zoo it is of: load_model(NAME, weights="
            f"{str(path)!r}), or --model NAME on the command line"
        )
    config = stored_config(text, path)
    if "origin" in about:
        origin = stored_object(about, "origin", path)
    else:
        origin = WeightsFile.inspect(path).origin() | training_origin(checkpoint, config)
    model = _model(config, about.get("name", str(path)), origin)
    with _naming_file(type(model.network).__name__, path):
        model.network.load_state_dict(_network_state(checkpoint), strict=True)
        _restore_normalization(model.network, checkpoint, path)
    return model


def _model(config: dict[str, Any], name: str, origin: dict[str, Any]) -> Model | ReferringModel:
    built, part = build(config, name), counting_part(config, name)
    if isinstance(built.network, ReferringDetector):
        points = built.inference if isinstance(built.inference, PointInference) else PointInference()
        return ReferringModel(built.network, points, built.resize, name, part, origin)
    assert isinstance(built.network, DensityNetwork)
    built.network.to(memory_format=torch.channels_last)  # a third faster on processors
    whole = built.inference if isinstance(built.inference, Inference) else Inference()
    return Model(built.network, whole, built.resize, name, part, origin)


def _resolve(name: str, weights: str | Path | None) -> WeightEntry | None:
    """Return the entry of the index that a name and its weights mean; None where the weights are a local file.

    Raises:
        InputError: there is no such model, tag or file, or nothing that counts.
    """
    index = read_index()
    if weights is None and name not in index:
        read_config(name)  # names the models near a misspelt one
        if not entries_for(name):
            raise InputError(f"{name}: the index has no weights of it; train it, or give a file as weights")
    entry = index.get(name, next(iter(entries_for(name)), None)) if weights is None else index.get(f"{name}.{weights}")
    if entry is None and not Path(str(weights)).is_file():
        tags = ", ".join(each.tag for each in entries_for(name)) or "none"
        raise InputError(f"{weights}: no such checkpoint, nor a tag of {name} in the index; its tags: {tags}")
    if entry is not None and entry.config is None:
        raise InputError(f"{entry.name}: is where a training starts, not a model that counts")
    return entry


def _pixels(image: Image, resize: SizeRule | None, network: CrowdNetwork) -> Tensor:
    """Return an image as the network sees it, (3, H, W) uint8 on its device."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"an image is (H, W, 3) uint8 RGB; got {image.shape} {image.dtype}")
    if resize is not None:
        image, _ = resize(image, np.empty((0, 2), np.float32))
    # a view, no copy: channels come last in memory, as convolutions like it
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return pixels.to(next(network.parameters()).device)


def _stated_arguments(
    config: dict[str, Any], checkpoint: dict[str, Any], found: WeightsFile, name: str
) -> dict[str, Any]:
    """Return the arguments of the network that weights ask for: as a published file states them, or by the index."""
    module, _, kind = config["model"]["init_args"]["network"]["class_path"].rpartition(".")
    with _naming_file(kind, found.path):
        stated: dict[str, Any] = getattr(import_module(module), kind).published_arguments(checkpoint)
    return stated | found.arguments(name)


def _load_weights(network: CrowdNetwork, checkpoint: dict[str, Any], path: Path) -> None:
    with _naming_file(type(network).__name__, path):
        state = _network_state(checkpoint)
        ours = any(key.startswith("network.") for key in checkpoint.get("state_dict", {}))
        if ours or state.keys() == network.state_dict().keys():
            network.load_state_dict(state, strict=True)
        else:  # published under the authors' names
            network.load_published(checkpoint.get("state_dict", checkpoint))
        _restore_normalization(network, checkpoint, path)


def _restore_normalization(network: CrowdNetwork, checkpoint: dict[str, Any], path: Path) -> None:
    """Normalise as the weights were trained; a bare or published state dict goes by the network's backbone."""
    about = read_metadata(path)
    if "preprocessing" in about:  # a release
        network.restore_normalization(stored_object(about, "preprocessing", path))
    elif any(key.startswith("network.") for key in checkpoint.get("state_dict", {})):  # a training's checkpoint
        network.restore_normalization(checkpoint.get("normalization", {}))


def _network_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's part of one of our checkpoints, or a bare state dict as it is."""
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise InputError(f"its state_dict holds {type(state).__name__}, not names and tensors")
    return {key.removeprefix("network."): value for key, value in state.items() if isinstance(value, Tensor)}


@contextmanager
def _naming_file(kind: str, path: Path) -> Iterator[None]:
    """Name the file in whatever is said of weights that do not fit."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except RuntimeError as error:
        lines = " ".join(str(error).split("\n")[1:3]).replace("\t", "")
        raise InputError(f"{path}: does not fit {kind}: {lines[:400]}") from error
