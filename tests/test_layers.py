"""Who may import what, and what no file of the package does."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "crowdcount"
FILES = sorted(PACKAGE.rglob("*.py"))
THIRD_PARTY = {  # what may be imported only in these places
    "albumentations": ("data/augment.py",),
    "lightning": ("data/datamodule.py", "module.py", "callbacks.py"),  # a family's module.py takes it from module.py
    "timm": ("models/",),
    "open_clip": ("models/",),
}
LEVELS = (  # a file imports from its own level and those before it
    (
        "errors",
        "ahead",
        "files",
        "geometry",
        "config_errors",
        "command_line",
        "download",
        "weights",
        "unpack",
        "weight_cache",
        "provenance",
        "torchscript",
        "checkpoint",
    ),
    (
        "models.base",
        "models.bins",
        "models.blocks",
        "models.blockwise",
        "models.placement",
        "models.prompted",
        "models.backbones",
        "models.timm_features",
        "losses",
        "metrics",
        "schedule",
    ),
    ("models.", "data."),
    (
        "tiles",
        "receptive",
        "inference",
        "predictor",
        "point_inference",
        "visualize",
        "captions",
        "lettering",
        "zones",
        "counted",
        "output_folder",
        "video",
        "configuration",
        "zoo",
        "release",
        "evaluation",
        "block_bins",
        "doctor",
    ),
    ("module", "data.datamodule", "callbacks"),
)


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def level(module):
    if module == "data.datamodule" or module.endswith(".module"):
        return len(LEVELS) - 1
    return next(
        i
        for i, names in enumerate(LEVELS)
        if any(module == n.strip(".") or module.startswith(n.rstrip(".") + ".") for n in names)
    )


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"crowdcount.{a.name}" for a in node.names) if node.module == "crowdcount" else [node.module]


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py"], ids=module_name)
def test_imports_follow_the_layers(path):
    own = module_name(path)
    for name in imports(path):
        if name.startswith("crowdcount."):
            other = name.removeprefix("crowdcount.")
            assert level(other) <= level(own), f"{own} imports {other}, which stands above it"
            family, other_family = (
                m.split(".")[1] if m.count(".") == 2 and m.startswith("models.") else None for m in (own, other)
            )
            assert other_family is None or family in (None, other_family), f"{own} imports the family {other_family}"
            assert not (own.startswith("data.") and other.startswith("models.")), f"{own} imports {other}"
        allowed = THIRD_PARTY.get(name.split(".")[0])
        where = path.relative_to(PACKAGE).as_posix()
        assert allowed is None or where.startswith(allowed), f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_unsafe_or_windowed(path):
    text = path.read_text()
    for forbidden in ("weights_only=False", "imshow", "waitKey", "namedWindow", "print("):
        assert forbidden not in text, f"{path}: {forbidden}"


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "tools").rglob("*.py")), ids=lambda path: path.stem)
def test_no_tool_loads_unsafely(path):
    assert not re.search(r"weights_only\s*=\s*False|pickle\.loads?\(|jit\.load\(", path.read_text())


def test_importing_the_package_is_light():
    heavy = "torch", "lightning", "albumentations", "torchmetrics", "timm", "open_clip", "cv2", "scipy"
    code = f"import sys, crowdcount; sys.exit(' '.join(m for m in {heavy} if m in sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.strip() == ""
    )


def test_adapters_need_no_torch():
    code = (
        "import sys, crowdcount.data; sys.exit(' '.join(m for m in ('torch', 'lightning', 'timm') if m in sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.strip() == ""
    )
