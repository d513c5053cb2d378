"""Records of measurements in the index of weights."""

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
    """Return the short name of a split, such as "sha/test", with the data set as in names of configurations."""
    return f"{source.key}/{split}"


def require_published(source: CrowdSource) -> None:
    """Check that a data set is published, as required for the index.

    Raises:
        InputError: if it is the user's own, generated, divided by `HoldOut`, or a combination of data sets.
    """
    if not source.published:
        raise InputError(f"--update-index: the index is for published data sets, not for {type(source).__name__}")


def commit(root: Path = Path(__file__).parents[2]) -> str | None:
    """Return `git describe` of the running code, None outside a clone.

    "-dirty" is appended if files other than the index of weights differ.

    Args:
        root: folder above the package, which must be the clone: an installed package may lie inside another one.
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
    """Return a command line without details of the machine.

    Options for output files are removed; the folder of a data set becomes ROOT, other absolute paths their last part.
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


def evaluation_header(model: CrowdModel, name: str, data: str) -> dict[str, Any]:
    """Return the identification of an evaluation: model, data, protocol, SHA-256 of the weights, commit and date."""
    return {
        "model": name,
        "data": data,
        "protocol": model.protocol,
        "weights": model.origin.get("sha256"),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def measurement(summary: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the record of an evaluation for the index of weights.

    Args:
        summary: summary by `summarise`, together with `evaluation_header`.
        words: arguments of the command.

    Raises:
        InputError: if no image has a public annotation.
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
    """Return the name of the index entry to which the weights of a model belong, by their hash.

    Raises:
        InputError: if there is none.
    """
    key = model.origin.get("name")
    if key is None:
        raise InputError(f"--update-index: the index holds released weights, and {model.name} has others")
    if key not in _read(path)["weights"]:
        raise InputError(f"{path}: has no {key}, which the weights are of")
    return str(key)


def update_index(path: Path, key: str, measured: Mapping[str, Any]) -> None:
    """Add a measurement to the list `measured` of an entry, replacing one of the same data and protocol.

    The rest of the file keeps its order and format (JSON, indented by two). The file is written atomically.

    Raises:
        InputError: if the file is missing or damaged, or has no such entry.
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
