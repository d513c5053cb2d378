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
from crowdcount.files import atomic_write
from crowdcount.inference.model import CrowdModel

_ABSOLUTE = re.compile(r"""(?:^|(?<=["'=\s]))/[^"',}\]]+""")


def data_name(source: CrowdSource, split: str) -> str:
    """Return the short name of a split, such as "sha/test": the data set's as in the names of configurations."""
    return f"{source.key}/{split}"


def require_published(source: CrowdSource) -> None:
    """Refuse data of which the index could not say what they are.

    Raises:
        InputError: they are somebody's own, generated, divided here, or several data sets together.
    """
    if not source.published:
        raise InputError(f"--update-index: the index is for published data sets, not for {type(source).__name__}")


def commit(root: Path = Path(__file__).parents[2]) -> str | None:
    """Return `git describe` of the code that runs, None outside a clone.

    Behind it stands "-dirty" where other files than the index of weights differ.

    Args:
        root: folder above the package. It must be the clone's own: an installed package may lie inside another one.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def ask(*words: str) -> str | None:
        done = subprocess.run([git, *words], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    name = ask("describe", "--always", "--tags")
    changed = ask("status", "--porcelain", "--untracked-files=no", "--", ".", ":!weights_index.json")
    return f"{name}-dirty" if name and changed else name


def public_command(words: Sequence[str]) -> str:
    """Return a command line without what belongs to one machine.

    Left out is where files were written; the folder of a data set becomes ROOT, any other absolute path its last part.
    """
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, _ = word.partition("=")
        value = [] if equals or not left or left[0].startswith("--") else [left[0]]
        if re.fullmatch(r"--(output|submission|localisation-submission|device|update-index)", flag):
            left = left[len(value) :]
            kept += [flag] * (flag == "--update-index")
        elif re.fullmatch(r"--data\.\S*\broot", flag):
            left = left[len(value) :]
            kept += [flag, "ROOT"]
        else:
            kept.append(_ABSOLUTE.sub(lambda path: Path(path[0]).name, word))
    return shlex.join(["crowdcount", "evaluate", *kept])


def head_of(model: CrowdModel, name: str, data: str) -> dict[str, Any]:
    """Return what identifies an evaluation: model and data by name, protocol, weights by hash, code, day."""
    return {
        "model": name,
        "data": data,
        "protocol": model.protocol,
        "weights": model.origin.get("sha256"),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def measurement(summary: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return what the index of weights keeps of an evaluation.

    Args:
        summary: of `summarise`, with `head_of` beside it.
        words: arguments of the command.

    Raises:
        InputError: no image has a public annotation.
    """
    if not summary["images"]:
        raise InputError(f"{summary['data']}: no image has a public annotation, so there is no figure for the index")
    return {
        "data": summary["data"],
        **{key: summary[key] for key in ("images", "mae", "rmse", "nae")},
        "protocol": summary["protocol"],
        "command": public_command(words),
        "commit": summary["commit"],
        "date": summary["date"],
    }


def index_key(path: Path, model: CrowdModel) -> str:
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
    atomic_write(path, json.dumps(index, indent=2, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as an index of weights ({error})") from error
    if not isinstance(index, dict) or not isinstance(index.get("weights"), dict):
        raise InputError(f"{path}: has no object 'weights'; it is no index of weights")
    return index
