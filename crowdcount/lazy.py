"""Names of a package whose modules are imported on first use, so that importing the package stays light."""

from collections.abc import Callable, Mapping
from importlib import import_module

from crowdcount.legacy import NAMES, warn_renamed


def lazy_names(package: str, modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """Return a `__getattr__` for a package (PEP 562).

    Args:
        package: its full name.
        modules: the public names by the module that defines them: a submodule, or an absolute name that starts with
            `crowdcount.`. Their names in earlier versions serve as well.
    """
    homes = {
        name: module if module.startswith("crowdcount.") else f"{package}.{module}"
        for module, names in modules.items()
        for name in names
    }

    def __getattr__(name: str) -> object:
        new = name if name in homes else NAMES.get(name, name)
        if new not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if new != name:
            warn_renamed(f"{package}.{name}", f"{package}.{new}")
        return getattr(import_module(homes[new]), new)

    return __getattr__
