"""The order of the package: imports go downwards only, and no file of it does what none should."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "crowdcount"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (  # a package imports itself and those on earlier floors; single files not named here are the ground floor
    {"images", "intervals", "weights", "losses", "metrics"},
    {"models", "visualize"},
    {"data", "inference"},
    {"zoo"},
    {"zones"},
    {"ground"},
    {"predictor", "runtimes"},
    {"batch"},
    {"evaluation", "video", "doctor", "training", "export"},
    {"live", "labelling"},
    {"service"},
    {"cli"},
    {"__main__"},
)
APART = {  # imports that the floors would allow
    "models": {"training", "lightning"},
    "losses": {"models", "data"},
    "zones": {"data"},
    "predictor": {"data", "evaluation"},
    "batch": {"data"},
    "video": {"data"},
    "runtimes": {"models", "losses", "data"},
}
ONLY_IN = {  # third-party packages with a home
    "albumentations": ("data/augment.py",),
    "lightning": ("data/datamodule.py", "training/", "cli/train.py"),
    "timm": ("models/",),
    "open_clip": ("models/",),
    "av": ("video/", "live/connection.py"),
    "fastapi": ("service/",),
    "prometheus_client": ("service/",),
    "starlette": ("service/",),
    "uvicorn": ("service/",),
    "huggingface_hub": ("weights/hub.py",),
    "pyarrow": ("batch/",),
    "fsspec": ("batch/",),
    "ray": ("batch/",),
    "onnxruntime": ("runtimes/",),
    "openvino": ("runtimes/", "export/"),
    "nncf": ("export/",),
}


def room(module):
    """Return the first part of a module's name below `crowdcount`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def floor(name):
    return next((number for number, names in enumerate(FLOORS, 1) if name in names), 0)


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    """Yield every module that a file imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"crowdcount.{a.name}" for a in node.names) if node.module == "crowdcount" else [node.module]


def refused(own, other):
    """Return whether the module `own` may not import `other`."""
    mine, theirs = room(own), room(other)
    if mine == theirs or not mine:
        return False
    if floor(mine) == floor(theirs) == 0:
        return False
    return floor(theirs) >= floor(mine) or theirs in APART.get(mine, ())


def family(module):
    """Return the family of a module below `crowdcount.models`, None for what the families share."""
    parts = module.split(".")
    inside = parts[:2] == ["crowdcount", "models"] and len(parts) == 4
    return parts[2] if inside and (PACKAGE / "models" / parts[2] / "network.py").is_file() else None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_downwards(path):
    own = module_name(path)
    for name in imports(path):
        where = path.relative_to(PACKAGE).as_posix()
        homes = ONLY_IN.get(name.split(".")[0])
        assert homes is None or where.startswith(homes), f"{own} imports {name}"
        if name.startswith("crowdcount."):
            assert not refused(own, name), f"{own} imports {name}, which is above it"
            families = family(own), family(name)
            assert None in families or len(set(families)) == 1, f"{own} imports the family {families[1]}"


def test_the_order_can_be_violated():
    assert refused("crowdcount.models.base", "crowdcount.inference.density")
    assert refused("crowdcount.images.read", "crowdcount.data.sample")
    assert refused("crowdcount.zones.read", "crowdcount.data.sample")
    assert refused("crowdcount.errors", "crowdcount.cli.main")
    assert not refused("crowdcount.cli.main", "crowdcount.errors")
    assert family("crowdcount.models.hmode.loss") == "hmode" and family("crowdcount.models.base") is None


def test_every_package_has_a_floor():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == {name for names in FLOORS for name in names} - {"predictor", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_unsafe_or_windowed(path):
    text = path.read_text()
    forbidden = ["weights_only=False", "imshow", "waitKey", "namedWindow"]
    if room(module_name(path)) != "cli":
        forbidden.append("print(")
    for each in forbidden:
        assert each not in text, f"{path}: {each}"
    assert not re.search(r"pickle\.loads?\(|jit\.load\(", text)


def opening(text):
    """Return the first words of the docstrings of a source text."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return {each.split()[0] for each in found if each}


def test_docstrings_open_with_a_noun_phrase_or_an_imperative():
    assert opening('"""What it is."""\ndef f():\n    """Return it."""') == {"What", "Return"}
    folders = [PACKAGE.parent / name for name in ("crowdcount", "benchmarks", "tools", "tests")]
    for path in [path for folder in folders for path in folder.rglob("*.py")]:
        assert not opening(path.read_text()) & {"What", "Where", "Which"}, path


def test_tests_do_not_import_each_other():
    for path in Path(__file__).parent.rglob("test_*.py"):
        for name in imports(path):
            assert not re.match(r"tests\.(.*\.)?test_", name), f"{path} imports {name}"


@pytest.mark.parametrize("module", ["crowdcount", "crowdcount.data", "crowdcount.cli", "crowdcount.models"])
def test_importing_a_package_is_light(module):
    heavy = "torch", "lightning", "albumentations", "torchmetrics", "timm", "open_clip", "transformers"
    code = f"import sys, {module}; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_adapters_need_no_torch():
    code = (
        "import sys, crowdcount.data as d; d.ShanghaiTech, d.Folder, d.Synthetic;"
        "sys.exit(' '.join(m for m in ('torch', 'lightning', 'timm') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
