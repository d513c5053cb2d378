"""Names of earlier versions: imports, configurations and checkpoints made with them keep working.

Each use of an old module or name gives a `DeprecationWarning` that says what to write instead.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

NAMES: Final = {
    "Counted": "CountResult",
    "Counter": "DensityNetwork",
    "Joined": "Concat",
    "Network": "CrowdNetwork",
    "PaperSize": "ResizePreset",
    "alignment": "tile_multiple",
    "halo": "receptive_margin",
    "local_file": "ensure_downloaded",
    "png_bytes": "image_bytes",
}
"""Public names that changed, whatever module they are in."""

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "crowdcount.callbacks": ("training.callbacks", "training.checkpoints"),
    "crowdcount.checkpoint": ("weights.checkpoint",),
    "crowdcount.configuration": ("zoo.config",),
    "crowdcount.data.annotation": ("data.annotations.common_formats",),
    "crowdcount.data.folder": ("data.sources.folder",),
    "crowdcount.data.fsc147": ("data.sources.fsc147",),
    "crowdcount.data.jhu_crowd": ("data.sources.jhu_crowd",),
    "crowdcount.data.joined": ("data.sources.concat",),
    "crowdcount.data.json_annotation": ("data.annotations.json_tables",),
    "crowdcount.data.mall": ("data.sources.mall",),
    "crowdcount.data.nwpu": ("data.sources.nwpu",),
    "crowdcount.data.paper_size": ("images.resize_presets",),
    "crowdcount.data.photo": ("images.convert",),
    "crowdcount.data.photo_file": ("images.files",),
    "crowdcount.data.point_file": ("data.annotations.point_file", "files"),
    "crowdcount.data.point_table": ("data.annotations.point_table",),
    "crowdcount.data.rec8k": ("data.sources.rec8k",),
    "crowdcount.data.referring_scenes": ("data.synthetic.referring",),
    "crowdcount.data.resize": ("images.resize",),
    "crowdcount.data.shanghaitech": ("data.sources.shanghaitech",),
    "crowdcount.data.ucf_cc_50": ("data.sources.ucf_cc_50",),
    "crowdcount.data.ucf_qnrf": ("data.sources.ucf_qnrf",),
    "crowdcount.losses.dace": ("models.blockwise.loss",),
    "crowdcount.models.bins": ("models.blockwise.bins",),
    "crowdcount.models.ebc.backbone": ("models.ebc.backbone_base",),
    "crowdcount.models.hmode.module": ("training.hmode",),
    "crowdcount.models.rec.module": ("training.referring",),
    "crowdcount.module": ("training.base", "training.blockwise"),
    "crowdcount.point_inference": ("inference.points",),
    "crowdcount.receptive": ("inference.receptive_field",),
    "crowdcount.release": ("inference.release", "inference.card"),
    "crowdcount.schedule": ("training.schedule",),
    "crowdcount.tiles": ("inference.tiling",),
    "crowdcount.weight_cache": ("weights.cache",),
    "crowdcount.zoo.release": ("inference.release", "inference.card"),
}
"""Modules that moved, and where below `crowdcount` their names are now."""

KEYS: Final = {
    "inference": {"full": "crowded_fraction", "depth": "max_tiling_depth"},
    "data": {"paper_size": "resize_preset"},
}
"""Keys of configurations that changed, by the section they are in."""


class LegacyFinder:
    """A finder for `sys.meta_path` that gives the modules of `MODULES`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the specification of a module that moved, None for any other."""
        return ModuleSpec(name, LegacyLoader()) if name in MODULES else None


class LegacyLoader(Loader):
    """Loads a module whose names are looked up where they are now."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the creation to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Give the module the names of its successors."""
        homes = [f"crowdcount.{home}" for home in MODULES[module.__name__]]
        warn_renamed(module.__name__, " and ".join(homes))
        module.__getattr__ = _lookup(module.__name__, homes)  # type: ignore[method-assign]


def install() -> None:
    """Let the names of `MODULES` be imported, once however often it is called."""
    if LegacyFinder not in sys.meta_path:
        sys.meta_path.append(LegacyFinder)


def renamed(module: str, *homes: str) -> Callable[[str], object]:
    """Return a `__getattr__` (PEP 562) for a module that still exists, but some of whose names changed or moved.

    Args:
        module: its full name.
        homes: modules below `crowdcount` to look in beside itself.
    """
    return _lookup(module, [module, *(f"crowdcount.{home}" for home in homes)])


def _lookup(module: str, homes: Sequence[str]) -> Callable[[str], object]:
    def __getattr__(name: str) -> object:
        new = NAMES.get(name, name)
        for home in [] if name.startswith("__") else homes:
            # not getattr: it would ask this function again for a name that its own module lacks
            found = vars(import_module(home)).get(new)
            if found is not None:
                if new != name or home != module:
                    warn_renamed(f"{module}.{name}", f"{home}.{new}")
                return found
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__


def warn_renamed(old: str, new: str) -> None:
    """Say that a name changed, at the line that uses it."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)


def upgrade_config(config: Any) -> Any:
    """Return a configuration with its keys (`KEYS`) and class paths under their present names.

    Anything but dicts and lists is returned as it is.
    """
    if isinstance(config, list):
        return [upgrade_config(each) for each in config]
    if not isinstance(config, dict):
        return config
    new = {key: _upgrade_section(KEYS.get(key, {}), upgrade_config(value)) for key, value in config.items()}
    if isinstance(new.get("class_path"), str):
        new["class_path"] = public_path(new["class_path"])
    return new


def public_path(path: str) -> str:
    """Return the stable public path of a class of this package, such as `crowdcount.models.Ebc`.

    Where the file lies that defines a class may change; a class without a public path keeps its own.
    """
    module, _, name = path.rpartition(".")
    if not module.startswith("crowdcount."):
        return path
    room = MODULES.get(module, (module.removeprefix("crowdcount."),))[0].split(".")[0]
    new = NAMES.get(name, name)
    try:
        package = import_module(f"crowdcount.{room}")
    except ModuleNotFoundError:  # misspelt: whoever builds the class says so
        return path
    return f"crowdcount.{room}.{new}" if new in getattr(package, "__all__", ()) else path


def _upgrade_section(keys: dict[str, str], section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    section = {keys.get(key, key): value for key, value in section.items()}
    if isinstance(section.get("init_args"), dict):
        section["init_args"] = {keys.get(key, key): value for key, value in section["init_args"].items()}
    return section


def upgrade_option(word: str) -> str:
    """Return an option of a command line, such as `--data.paper_size.rule`, with the present names of its keys."""
    if not word.startswith("--"):
        return word
    option, equals, value = word.partition("=")
    parts = option.split(".")
    for index, section in enumerate(parts[:-1]):
        parts[index + 1] = KEYS.get(section.removeprefix("--"), {}).get(parts[index + 1], parts[index + 1])
    return ".".join(parts) + equals + value
