"""The record of a measurement in the index of weights."""

import datetime
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crowdcount.data.sample import CrowdSource
from crowdcount.errors import InputError
from crowdcount.files import write_whole
from crowdcount.zoo import Model, ReferringModel

_SHORT = {"ucfqnrf": "qnrf", "jhucrowd": "jhu"}


def data_name(source: CrowdSource, split: str) -> str:
    """Return the short name of a split, such as "sha/test": the data set's as in the names of configurations."""
    word = type(source).__name__.lower()
    if word == "shanghaitech":
        word = f"sh{getattr(source, 'part', '').lower()}"
    return f"{_SHORT.get(word, word)}/{split}"


def protocol(model: Model | ReferringModel) -> str:
    """Return in words how a whole image is counted: size rule, then one pass or windows, or thresholds of points."""
    rule = "images as they are" if model.resize is None else f"size rule {model.resize}"
    if isinstance(model, ReferringModel):
        return f"{rule}; {model.inference}"
    if model.inference.window is None:
        return f"{rule}; in one pass"
    return f"{rule}; windows of {model.inference.window} px every {model.inference.step} px, overlaps averaged"


def commit(root: Path = Path(__file__).parents[2]) -> str | None:
    """Return `git describe` of the code that runs, "-dirty" behind it where files differ; None outside a clone.

    Args:
        root: folder above the package. It must be the clone's own: an installed package may lie inside another one.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "describe", "--always", "--dirty", "--tags"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def public_command(words: Sequence[str]) -> str:
    """Return a command line without what belongs to one machine: roots of data sets, and where files were written."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equals, _ = word.partition("=")
        if re.fullmatch(r"--(output|submission|localisation-submission|device)", flag):
            if not equals:
                next(rest, None)
        elif re.fullmatch(r"--data\.\S*root\w*", flag):
            if not equals:
                next(rest, None)
            kept += [flag, "ROOT"]
        else:
            kept.append(word)
    return shlex.join(["python", "tools/evaluate.py", *kept])


def measurement(
    summary: Mapping[str, Any], model: Model | ReferringModel, data: str, words: Sequence[str]
) -> dict[str, Any]:
    """Return what the index of weights keeps of an evaluation.

    Args:
        summary: of `summarise`.
        model: what was evaluated.
        data: see `data_name`.
        words: arguments of the command.

    Raises:
        InputError: no image has a public annotation.
    """
    if not summary["images"]:
        raise InputError(f"{data}: no image has a public annotation, so there is no figure for the index")
    return {
        "data": data,
        **{key: summary[key] for key in ("images", "mae", "rmse", "nae")},
        "protocol": protocol(model),
        "command": public_command(words),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def index_key(path: Path, model: Model | ReferringModel) -> str:
    """Return the entry of the index that the weights of a model are of, wherever their file lies.

    Raises:
        InputError: they are of none.
    """
    key = model.origin.get("name")
    if key is None:
        raise InputError(f"--update-index: the index holds released weights, and {model.name} has others")
    if key not in _read(path)["weights"]:
        raise InputError(f"{path}: has no {key}, which the weights are of")
    return str(key)


def update_index(path: Path, key: str, measured: Mapping[str, Any]) -> None:
    """Put a measurement into an entry's list `measured`, in place of an older one of the same data and protocol.

    The rest of the file keeps its order and form (JSON, indented by two). It is complete or unchanged.

    Raises:
        InputError: the file is missing or damaged, or has no such entry.
    """
    index = _read(path)
    entry = index["weights"].get(key)
    if not isinstance(entry, dict) or not isinstance(entry.get("measured", []), list):
        raise InputError(f"{path}: {key} is no entry with a list 'measured'")
    same = ("data", "protocol")
    older = entry.get("measured", [])
    places = [i for i, other in enumerate(older) if all(other.get(word) == measured[word] for word in same)]
    kept = [other for i, other in enumerate(older) if i not in places]
    kept.insert(places[0] if places else len(kept), dict(measured))
    entry["measured"] = kept
    write_whole(path, json.dumps(index, indent=2, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as an index of weights ({error})") from error
    if not isinstance(index, dict) or not isinstance(index.get("weights"), dict):
        raise InputError(f"{path}: has no object 'weights'; it is no index of weights")
    return index
