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
from crowdcount.inference.release import RELEASE, check_name, check_release
from crowdcount.models.base import CrowdNetwork
from crowdcount.weights.cache import ensure_downloaded
from crowdcount.weights.checkpoint import read_checkpoint, read_metadata
from crowdcount.weights.file_kind import EXPORTED_SUFFIXES
from crowdcount.weights.hub import HubAddress, is_address
from crowdcount.weights.index import WeightEntry, entries_for, list_weights, read_index, terms
from crowdcount.weights.provenance import WeightsFile, stored_object, training_origin
from crowdcount.weights.state_dict import difference, find_state, unwrapped
from crowdcount.zoo.config import build, list_models, network_class, read_config, stored_config
from crowdcount.zoo.hub import hub_weights
from crowdcount.zoo.intervals import with_intervals

__all__ = ["Model", "ReferringModel", "create_model", "list_models", "list_weights", "load_model"]

logger = logging.getLogger(__name__)


def create_model(
    name: str, weights: str | Path | None = None, allow_unverified: bool = False, **overrides: Any
) -> CrowdNetwork:
    """Build the network of a zoo configuration, in evaluation mode.

    Args:
        name: one of `list_models()`.
        weights: the tag of an entry of the index, such as "authors" (`list_weights(name + "*")` shows them), which is
            downloaded once; or a local file or an address on the Hugging Face hub (see `load_model`): a checkpoint of
            `crowdcount train`, a safetensors file, or a published checkpoint of the family. None leaves the network
            untrained; nothing is fetched.
        allow_unverified: also download files without a SHA-256 in the index.
        **overrides: arguments of the network that replace those of the configuration.

    Raises:
        InputError: there is no such name, argument or tag, or the weights cannot be obtained or do not fit.
    """
    config = read_config(name)
    found = None
    if weights is not None:
        found = _weights_file(weights, None if is_address(weights) else _resolve(name, weights), allow_unverified)
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
        source: a checkpoint of `crowdcount train`, or a file or folder of `crowdcount convert` or `save_pretrained`,
            which contain their configuration; the same on the Hugging Face hub, `hf:OWNER/NAME[@REVISION][/PATH]`,
            or a published file there that the index knows; or a name of `list_models()` or `list_weights()`.
        weights: weights for a name, see `create_model`; by default its first entry in the index. "pretrained" takes
            those that a training starts from, with which the family image_text counts.
        allow_unverified: see `create_model`.
        intervals: file that `crowdcount calibrate` wrote; by default the one beside the weights, if there is one.

    Raises:
        InputError: the source is none of these, or its weights or intervals cannot be obtained or do not fit.
    """
    if is_address(source):
        if weights is not None:
            raise InputError(f"{source}: has weights of its own; leave weights out, or name its model instead")
        return _load_hub(HubAddress.parse(str(source)), intervals)
    file = Path(source) / RELEASE if is_dir(Path(source)) else Path(source)
    if is_file(file):
        if file.suffix.lower() in EXPORTED_SUFFIXES:
            raise InputError(
                f"{file}: is an exported model, which counts without torch: crowdcount predict --model {file}, or "
                f"crowdcount.runtimes.RuntimePredictor({str(file)!r}) in Python"
            )
        if weights is not None:
            raise InputError(f"{file}: is a file with weights of its own; leave weights out, or name its model instead")
        check_release(file)
        return with_intervals(_load_file(file), file, intervals)
    if weights == "pretrained":
        if intervals is not None:
            raise InputError(f"intervals: {intervals} belongs to weights in a file; leave it out")
        return _zero_shot(str(source))
    entry = None if is_address(weights) else _resolve(str(source), weights)
    if entry is not None:
        logger.info("%s: %s", entry.name, terms(entry))
    name = entry.model if entry else str(source)
    found = _weights_file(weights, entry, allow_unverified)
    return with_intervals(_load_named(name, entry.name if entry else name, found), found.path, intervals)


def _load_hub(address: HubAddress, intervals: str | Path | None) -> CrowdModel:
    found = hub_weights(address)
    entry = found.entry
    if entry is None:
        return with_intervals(_load_file(found.path, found.hub), found.path, intervals)
    if entry.config is None:
        raise _starting_point(entry)
    logger.info("%s is %s: %s", address, entry.name, terms(entry))
    return with_intervals(_load_named(entry.config, entry.name, found), found.path, intervals)


def _load_named(config_name: str, name: str, found: WeightsFile) -> CrowdModel:
    """Load weights into the model of a configuration of the zoo, and call it `name`."""
    config, checkpoint = read_config(config_name), read_checkpoint(found.path)
    arguments = _stated_arguments(config, checkpoint, found, config_name)
    config["model"]["init_args"]["network"]["init_args"].update(arguments)
    model = build(config, name, found.origin(), _source(config_name, found, arguments))
    model.network.to(memory_format=model.memory_format)
    _load_weights(model.network, checkpoint, found.path)
    return model


def _weights_file(weights: str | Path | None, entry: WeightEntry | None, allow_unverified: bool) -> WeightsFile:
    """Return weights of a configuration: of an entry of the index, on the hub, or a local file."""
    if entry is not None:
        return WeightsFile.inspect(ensure_downloaded(entry, allow_unverified), entry)
    return (
        hub_weights(HubAddress.parse(str(weights))) if is_address(weights) else WeightsFile.inspect(Path(str(weights)))
    )


def _zero_shot(name: str) -> CrowdModel:
    model = build(read_config(name), name)
    if not model.zero_shot:
        raise InputError(f"weights: {name} does not count with pretrained weights alone; train it, or give a file")
    model.network.load_pretrained()
    return model


def _load_file(path: Path, hub: str | None = None) -> CrowdModel:
    """Load a file that contains its configuration; `hub` is its address on the hub, if it came from there."""
    checkpoint, about = read_checkpoint(path), read_metadata(path)
    text = about.get("config", checkpoint.get("config"))
    if not isinstance(text, str):  # published files may contain another kind of configuration
        raise InputError(
            f"{hub or path}: holds no configuration; name its model in the zoo: load_model(NAME, weights="
            f"{hub or str(path)!r}), or --model NAME on the command line"
        )
    config = stored_config(text, path)
    if "origin" in about:
        origin = stored_object(about, "origin", path)
    else:
        origin = WeightsFile.inspect(path).origin() | training_origin(checkpoint, config)
    origin |= {"hub": hub} if hub else {}
    name = hub or str(path)
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
        raise _starting_point(entry)
    return entry


def _starting_point(entry: WeightEntry) -> InputError:
    return InputError(f"{entry.name}: is a starting point for training, not a model that counts")


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
