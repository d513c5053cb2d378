"""Provenance of weights: from the index, a release or a training run."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from crowdcount.errors import InputError
from crowdcount.files import is_file
from crowdcount.weights.cache import known_as
from crowdcount.weights.download import file_sha256
from crowdcount.weights.index import WeightEntry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        path: the file.
        sha256: its SHA-256.
        entry: its entry in the index, if any.
        hub: its address on the Hugging Face hub with the commit, if it came from there.
    """

    path: Path
    sha256: str
    entry: WeightEntry | None
    hub: str | None = None

    @classmethod
    def inspect(cls, path: Path, entry: WeightEntry | None = None) -> "WeightsFile":
        """Return a file with its hash and entry.

        Args:
            path: the file.
            entry: its entry, if the file is from `ensure_downloaded`; by default the entry with its hash.

        Raises:
            InputError: if there is no such file.
        """
        if not is_file(path):
            raise InputError(f"{path}: no such checkpoint")
        # one that the index knows by its hash has just been checked by `local_file`
        checked = entry.sha256 if entry is not None and entry.member is None else None
        digest = checked or file_sha256(path)
        try:
            return cls(path, digest, entry or known_as(digest))
        except InputError as error:  # a file of the user's own needs no cache
            logger.warning("%s", error)
            return cls(path, digest, None)

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments of the network that the index gives for these weights, empty for another model.

        Prompts, for example, are not part of the weights: another style would load as well, and count wrongly.
        """
        return self.entry.arguments if self.entry and self.entry.config == name else {}

    def origin(self) -> dict[str, Any]:
        """Return the known facts about the weights, including those of the index."""
        own = {"file": self.path.name, "sha256": self.sha256, **({"hub": self.hub} if self.hub else {})}
        if self.entry is None:
            return own
        left_out = ("config", "arguments", "sha256", "bytes", "format")
        facts = {key: value for key, value in asdict(self.entry).items() if key not in left_out}
        return {**own, **facts, "download_sha256": self.entry.sha256}


def stored_object(metadata: dict[str, str], key: str, path: Path) -> dict[str, Any]:
    """Return a JSON object from the metadata of a release, such as `origin`, the provenance of its weights.

    Raises:
        InputError: if the text is not a JSON object.
    """
    try:
        found = json.loads(metadata[key])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: its metadata `{key}` is no JSON object; convert the weights again")
    return found


def training_origin(checkpoint: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about a training run in its checkpoint, without paths."""
    data, callbacks = config.get("data"), checkpoint.get("callbacks")
    source = data.get("source") if isinstance(data, dict) else None
    progress: dict[str, Any] = {key: checkpoint[key] for key in ("epoch", "global_step") if key in checkpoint}
    scores = {}
    for state in callbacks.values() if isinstance(callbacks, dict) else ():
        monitor, score = (state.get(key) if isinstance(state, dict) else None for key in ("monitor", "current_score"))
        if isinstance(monitor, str) and isinstance(score, Tensor) and score.numel() == 1:
            scores[monitor] = score.item()
    return {"trained_on": _data_sets(source), **progress, "validation": scores}


def _data_sets(source: Any) -> str | None:
    """Return the class path of a data set; for `Concat` those of all, for `HoldOut` that of the whole."""
    if not isinstance(source, dict):
        return None
    arguments = source.get("init_args")
    within = arguments if isinstance(arguments, dict) else {}
    if isinstance(within.get("sources"), dict):
        return ", ".join(f"{name}: {_data_sets(each)}" for name, each in within["sources"].items())
    path = source.get("class_path") if within.get("source") is None else _data_sets(within["source"])
    return path if isinstance(path, str) else None
