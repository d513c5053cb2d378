"""Networks and models of the zoo by name or file."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.files import is_dir, is_file
from crowdcount.inference.model import CrowdModel, Model, ReferringModel
from crowdcount.models.base import CrowdNetwork
from crowdcount.weights.cache import ensure_downloaded
from crowdcount.weights.checkpoint import read_checkpoint, read_metadata
from crowdcount.weights.index import WeightEntry, entries_for, list_weights, read_index, terms
from crowdcount.weights.provenance import WeightsFile, stored_object, training_origin
from crowdcount.weights.state_dict import difference, find_state, unwrapped
from crowdcount.zoo.config import build, list_models, network_class, read_config, stored_config
from crowdcount.zoo.intervals import with_intervals

__all__ = ["Model", "ReferringModel", "create_model", "list_models", "list_weights", "load_model"]

logger = logging.getLogger(__name__)

RELEASE = "model.safetensors"
"""Name of the weights file in the folder of a release."""
_LONGEST_NAME = 200


def create_model(
    name: str, weights: str | Path | None = None, allow_unverified: bool = False, **overrides: Any
) -> CrowdNetwork:
    """Build the network of a zoo configuration, in evaluation mode.

    Args:
        name: one of `list_models()`.
        weights: the tag of an entry of the index, such as "authors" (`list_weights(name + "*")` shows them), which is
            downloaded once; or a local file: a checkpoint of `crowdcount train`, a safetensors file, or a published
            checkpoint of the family. None leaves the network untrained; nothing is fetched.
        allow_unverified: also download files without a SHA-256 in the index.
        **overrides: arguments of the network that replace those of the configuration.

    Raises:
        InputError: there is no such name, argument or tag, or the weights cannot be obtained or do not fit.
    """
    config = read_config(name)
    found = None
    if weights is not None:
        entry = _resolve(name, weights)
        found = WeightsFile.inspect(ensure_downloaded(entry, allow_unverified) if entry else Path(weights), entry)
    checkpoint = read_checkpoint(found.path) if found else {}
    arguments = _stated_arguments(config, checkpoint, found, name) if found else {}
    config["model"]["init_args"]["network"]["init_args"].update({**arguments, **overrides})
    network = build(config, name, source=_source(name, found, arguments)).network
    if found is not None:
        _load_weights(network, checkpoint, found.path)
    return network


def load_model(
    source: str | Path,
    weights: str | Path | None = None,
    allow_unverified: bool = False,
    intervals: str | Path | None = None,
) -> CrowdModel:
    """Load a trained model, ready to count: a `Model`, or a `ReferringModel` for the family rec.

    Args:
        source: a checkpoint of `crowdcount train`, or a file or folder of `crowdcount convert`, which contain their
            configuration; or a name of `list_models()` or `list_weights()`.
        weights: weights for a name, see `create_model`; by default its first entry in the index. "pretrained" takes
            those that a training starts from, with which the family image_text counts.
        allow_unverified: see `create_model`.
        intervals: file that `crowdcount calibrate` wrote; by default the one beside the weights, if there is one.

    Raises:
        InputError: the source is none of these, or its weights or intervals cannot be obtained or do not fit.
    """
    file = Path(source) / RELEASE if is_dir(Path(source)) else Path(source)
    if is_file(file):
        if weights is not None:
            raise InputError(f"{file}: is a file with weights of its own; leave weights out, or name its model instead")
        return with_intervals(_load_file(file), file, intervals)
    if weights == "pretrained":
        if intervals is not None:
            raise InputError(f"intervals: {intervals} belongs to weights in a file; leave it out")
        return _zero_shot(str(source))
    entry = _resolve(str(source), weights)
    name = entry.model if entry else str(source)
    config = read_config(name)
    if entry is not None:
        logger.info("%s: %s", entry.name, terms(entry))
    found = WeightsFile.inspect(ensure_downloaded(entry, allow_unverified) if entry else Path(str(weights)), entry)
    checkpoint = read_checkpoint(found.path)
    arguments = _stated_arguments(config, checkpoint, found, name)
    config["model"]["init_args"]["network"]["init_args"].update(arguments)
    model = build(config, entry.name if entry else name, found.origin(), _source(name, found, arguments))
    model.network.to(memory_format=model.memory_format)
    _load_weights(model.network, checkpoint, found.path)
    return with_intervals(model, found.path, intervals)


def _zero_shot(name: str) -> CrowdModel:
    model = build(read_config(name), name)
    if not model.zero_shot:
        raise InputError(f"weights: {name} does not count with pretrained weights alone; train it, or give a file")
    model.network.load_pretrained()
    return model


def _load_file(path: Path) -> CrowdModel:
    checkpoint, about = read_checkpoint(path), read_metadata(path)
    text = about.get("config", checkpoint.get("config"))
    if not isinstance(text, str):  # published files may contain another kind of configuration
        raise InputError(
            f"{path}: holds no configuration; name its model in the zoo: load_model(NAME, weights="
            f"{str(path)!r}), or --model NAME on the command line"
        )
    config = stored_config(text, path)
    if "origin" in about:
        origin = stored_object(about, "origin", path)
    else:
        origin = WeightsFile.inspect(path).origin() | training_origin(checkpoint, config)
    name = str(path)
    if "name" in about:
        name = about["name"]
        check_name(name, f"{path}: its metadata `name`")
    model = build(config, name, origin, path)
    model.network.to(memory_format=model.memory_format)
    with _naming_file(type(model.network).__name__, path):
        state = _network_part(find_state(checkpoint))
        _load_own(model.network, unwrapped(state, model.network.state_dict()))
        _restore_normalization(model.network, checkpoint, path)
    return model


def check_name(name: str, key: str) -> None:
    """Check that the name of a model is a line of text, as it stands in tables and messages.

    Raises:
        InputError: the name is too long, empty, or has characters that are not shown.
    """
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise InputError(f"{key}: {name[:40]!r} ({len(name)} characters) should be 1 to {_LONGEST_NAME} visible ones")


def _source(name: str, found: WeightsFile | None, arguments: dict[str, Any]) -> str | None:
    """Return the origin of a configuration of the zoo for messages: with the file that states some of its arguments."""
    return f"{found.path}: as {name}" if found and arguments else None


def _resolve(name: str, weights: str | Path | None) -> WeightEntry | None:
    """Return the index entry for a name and its weights; None if the weights are a local file.

    Raises:
        InputError: there is no such model, tag or file, or the entry is not a model that counts.
    """
    index = read_index()
    if weights is None and name not in index:
        read_config(name)  # raises for a misspelt name
        if not entries_for(name):
            raise InputError(f"{name}: the index has no weights for it; train it, or give a file as weights")
    entry = index.get(name, next(iter(entries_for(name)), None)) if weights is None else index.get(f"{name}.{weights}")
    if entry is None and not is_file(Path(str(weights))):
        tags = ", ".join(each.tag for each in entries_for(name)) or "none"
        raise InputError(f"{str(weights)[:80]}: no such checkpoint, nor a tag of {name} in the index; its tags: {tags}")
    if entry is not None and entry.config is None:
        raise InputError(f"{entry.name}: is a starting point for training, not a model that counts")
    return entry


def _stated_arguments(
    config: dict[str, Any], checkpoint: dict[str, Any], found: WeightsFile, name: str
) -> dict[str, Any]:
    """Return the network arguments that weights require, as stated by a published file or by the index."""
    network = network_class(config, name)
    with _naming_file(network.__name__, found.path):
        stated = network.published_arguments(checkpoint)
    return stated | found.arguments(name)


def _load_weights(network: CrowdNetwork, checkpoint: dict[str, Any], path: Path) -> None:
    with _naming_file(type(network).__name__, path):
        published, own = find_state(checkpoint), network.state_dict()
        state = unwrapped(_network_part(published), own)
        if _trained_here(published) or state.keys() == own.keys():
            _load_own(network, state)
        else:
            _load_published(network, published, state)
        _restore_normalization(network, checkpoint, path)


def _load_own(network: CrowdNetwork, state: dict[str, Tensor]) -> None:
    """Load weights under the network's own names.

    Raises:
        InputError: they differ from those of the network; the message names the difference.
    """
    if differing := difference(state, network.state_dict()):
        raise InputError(
            f"does not fit {type(network).__name__} ({differing}); choose the model that it was trained as"
        )
    network.load_state_dict(state, strict=True)


def _load_published(network: CrowdNetwork, published: Mapping[str, Any], state: dict[str, Tensor]) -> None:
    """Load weights under the authors' names; if most are the network's own, name what differs from those."""
    own = network.state_dict()
    try:
        network.load_published(published)
    except (InputError, RuntimeError):
        if 2 * len(own.keys() & state.keys()) > len(own):
            _load_own(network, state)
        raise


def _network_part(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the weights of the network of a training, beside which losses have states; of others, everything."""
    return {key: value for key, value in state.items() if key.startswith("network.")} if _trained_here(state) else state


def _trained_here(state: Mapping[str, Any]) -> bool:
    return any(key.startswith("network.") for key in state)


def _restore_normalization(network: CrowdNetwork, checkpoint: dict[str, Any], path: Path) -> None:
    """Restore the normalisation of the training; for a bare or published state dict the backbone's stays."""
    about = read_metadata(path)
    if "preprocessing" in about:  # a release
        network.restore_normalization(stored_object(about, "preprocessing", path))
    elif _trained_here(find_state(checkpoint)):
        network.restore_normalization(checkpoint.get("normalization", {}))


@contextmanager
def _naming_file(kind: str, path: Path) -> Iterator[None]:
    """Add the file name to errors about weights that do not fit."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except RuntimeError as error:
        lines = " ".join(str(error).split("\n")[1:3]).replace("\t", "")
        raise InputError(f"{path}: does not fit {kind}: {lines[:400]}") from error
