"""Configurations from the zoo and from checkpoints, and the models they build.

A name is a path: `clip_ebc/vit_b16_sha` is `zoo_configs/clip_ebc/vit_b16_sha.yaml`. There is no other registry.
"""

import difflib
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from crowdcount.bounded_yaml import parse_yaml
from crowdcount.config_errors import explain
from crowdcount.errors import InputError, input_error
from crowdcount.files import is_file, read_text
from crowdcount.images.size_rules import SIZE_RULES
from crowdcount.inference.model import KINDS, CrowdModel
from crowdcount.legacy import upgrade_config
from crowdcount.models.base import CrowdNetwork


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the zoo that match a shell pattern such as "clip_ebc/*", sorted."""
    folder = configs_folder()
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))
    return sorted(name for name in names if fnmatch(name, pattern))


def configs_folder() -> Path:
    """Return the folder of the configurations: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "zoo_configs"
    return inside if inside.is_dir() else package.parent / "zoo_configs"


def read_config(name: str) -> dict[str, Any]:
    """Read the configuration of a model of the zoo, reduced to its `counting_part`.

    Raises:
        InputError: there is no such model (the message lists similar names), or its file is invalid.
    """
    path = configs_folder() / f"{name}.yaml"
    if name not in list_models():
        raise InputError(f"{_shown(name)} is neither a file nor a model of the zoo; {_near(name, list_models())}")
    return counting_part(_parse_yaml(read_text(path), path), str(path))


def find_config(word: str) -> Path:
    """Return the file of a path, or of a name in the zoo such as `ebc/vgg19ae_sha`.

    The paths of a clone, `zoo_configs/ebc/vgg19ae_sha.yaml`, are found from any folder.

    Raises:
        InputError: there is no such file; the message lists similar names.
    """
    folder = configs_folder()
    name = word.removeprefix("zoo_configs/").removesuffix(".yaml")
    for path in (Path(word), folder / f"{name}.yaml"):
        if is_file(path):
            return path
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    raise InputError(f"{_short(word)}: no such file, nor a name in the zoo; {_near(name, names)}")


def _near(name: str, names: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: similar names, or how to see all."""
    close = difflib.get_close_matches(name, names, 3, 0.4)
    return f"near it: {', '.join(close)}" if close else "crowdcount.list_models() shows the models"


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the content of a configuration file, with keys of earlier versions renamed to the current ones.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds no keys.
    """
    content = _parse_yaml(read_text(path), path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no configuration, that is, no keys and values")
    return content


def _parse_yaml(text: str, source: str | Path) -> Any:
    """Return the content of a YAML text, with keys of earlier versions renamed to the current ones.

    Raises:
        InputError: it is not YAML, or a value in it is impossible, such as the date 2024-13-45.
    """
    try:
        return upgrade_config(parse_yaml(text))
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not a YAML file; {' '.join(str(error).split())}") from error


def stored_config(text: str, source: str | Path) -> dict[str, Any]:
    """Return the configuration stored in a checkpoint; it may only name classes of packages already imported.

    Raises:
        InputError: it names no network, or a class of a package that is not imported.
    """
    try:
        config: dict[str, Any] = _parse_yaml(text, "")
    except InputError as error:
        raise InputError(f"{source}: its configuration is not YAML ({error.__cause__})") from error
    part = counting_part(config, str(source))
    classes, texts = _class_paths(part), _texts(part)
    for name in [*classes, *filter(_names_a_class, texts)]:
        package = str(name).split(".")[0]
        if package not in sys.modules:
            raise InputError(f"{source}: is made of {_short(str(name))}; {_advice(package)}")
    return config


def _advice(package: str) -> str:
    if not package.isidentifier() or len(package) > 80:
        return "objects written as text are not built; remove it"
    return f"give --import {package} (or import it in Python) if you trust the file"


def _class_paths(value: Any) -> list[Any]:
    """Return every `class_path` in nested dicts and lists."""
    if isinstance(value, list):
        return [name for item in value for name in _class_paths(item)]
    if not isinstance(value, dict):
        return []
    own = [value["class_path"]] if "class_path" in value else []
    return own + [name for item in value.values() for name in _class_paths(item)]


def _texts(value: Any) -> list[str]:
    """Return every string in nested dicts and lists."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _names_a_class(text: str) -> bool:
    """Return whether jsonargparse would import something for a string where it expects an object.

    It reads `package.Class` as a class, and a string in braces as a whole object.
    """
    if "{" in text or "class_path" in text:
        return True
    package = re.match(r"([A-Za-z_]\w*)\.", text)
    return package is not None and (package[1] in sys.modules or find_spec(package[1]) is not None)


def counting_part(config: Any, source: str) -> dict[str, Any]:
    """Return the part of a training configuration that concerns counting: network, inference and size rule.

    Args:
        config: as read from YAML.
        source: its origin, for messages.

    Returns:
        `model.init_args.network` with `class_path` and `init_args`; and, if given, `inference` beside it and the size
        rule in `data`.

    Raises:
        InputError: the configuration names no network.
    """
    arguments = _section(_section(config, "model", source), "init_args", f"{source}: model")
    data = _section(config, "data", source, required=False)
    model = {"network": _network(arguments.get("network"), f"{source}: model.network")}
    if arguments.get("inference"):
        model["inference"] = arguments["inference"]
    sizes = {key: data[key] for key in SIZE_RULES if data.get(key)}
    return {"model": {"init_args": model}, "data": sizes}


def _section(config: Any, key: str, where: str, required: bool = True) -> dict[str, Any]:
    """Return a section of a configuration, checked to hold keys and values."""
    if not isinstance(config, dict):
        raise InputError(f"{where}: holds no keys and values, but {_shown(config)}")
    section = config.get(key)
    if section is None and not required:
        return {}
    if not isinstance(section, dict):
        raise InputError(f"{where}: {key} should hold keys and values; got {_shown(section)}")
    return section


def _network(value: Any, where: str) -> dict[str, Any]:
    """Return class and arguments of a network; a class without arguments may be given by its import path alone."""
    network = {"class_path": value} if isinstance(value, str) else value
    if not isinstance(network, dict) or not isinstance(network.get("class_path"), str):
        raise InputError(f"{where}: give class_path, such as crowdcount.models.Ebc, and init_args; got {_shown(value)}")
    arguments = {} if network.get("init_args") is None else _section(network, "init_args", where)
    return {**network, "init_args": dict(arguments)}


def _shown(value: Any) -> str:
    return "nothing" if value is None else _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def network_class(config: dict[str, Any], name: str) -> type[CrowdNetwork]:
    """Return the class of the network of a `counting_part`.

    Args:
        config: the part.
        name: its origin, for messages.

    Raises:
        InputError: there is no such class, or it is not a network.
    """
    path = config["model"]["init_args"]["network"]["class_path"]
    module, _, kind = path.rpartition(".")
    try:
        found = getattr(import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: network: {path} cannot be imported ({error})") from error
    if not isinstance(found, type) or not issubclass(found, CrowdNetwork):
        raise InputError(f"{name}: network: {path} is not a subclass of CrowdNetwork")
    return found


def build(
    config: dict[str, Any], name: str, origin: dict[str, Any] | None = None, source: str | Path | None = None
) -> CrowdModel:
    """Build the model of a configuration with random weights; module, optimizer and data are ignored.

    Args:
        config: configuration as in a file of the zoo.
        name: name of the model.
        origin: facts about the weights to be loaded into it.
        source: file of the configuration, for messages; by default, the name stands for it.

    Raises:
        InputError: a key or a value is invalid, or no kind of model accepts the network.
    """
    where = name if source is None else str(source)
    part = counting_part(config, where)
    values = part["model"]["init_args"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(CrowdNetwork, "network", required=True)
    network = _instantiated(parser, {"network": values["network"]}, where)["network"].eval()
    kind = _kind(network, where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--inference", type=kind.inference_type)
    for key, rule in SIZE_RULES.items():
        parser.add_argument(f"--{key}", type=rule | None, default=None)
    inference = {key: value for key, value in values.items() if key == "inference"}
    built = _instantiated(parser, {**inference, **part["data"]}, where)
    resize = next((built[key] for key in SIZE_RULES if built[key]), None)
    return kind(network, built.get("inference") or kind.inference_type(), resize, name, part, origin or {})


def _kind(network: CrowdNetwork, name: str) -> type[CrowdModel]:
    for kind in KINDS:
        if isinstance(network, kind.network_type):
            return kind
    names = " nor ".join(kind.network_type.__name__ for kind in KINDS)
    raise InputError(f"{name}: network: {type(network).__name__} is neither {names}; no model accepts it")


def _instantiated(parser: ArgumentParser, values: dict[str, Any], name: str) -> Any:
    """Instantiate the objects of a parser from YAML values."""
    try:
        parsed = parser.parse_object(values)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"{name}: {explain(str(error), [])}") from error
    try:
        return parser.instantiate(parsed)
    except ValueError as error:
        mistake = input_error(error)
        if mistake is None:
            raise
        raise InputError(f"{name}: {mistake}", mistake.path) from error
