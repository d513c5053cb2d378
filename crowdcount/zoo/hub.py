"""Weights on the Hugging Face hub: releases of this project, and published files that the index knows by address."""

import logging
from dataclasses import replace
from typing import Final

from crowdcount.errors import InputError
from crowdcount.inference.release import CONFIG, RELEASE, check_release
from crowdcount.intervals.file import SUFFIX
from crowdcount.weights.download import HUB
from crowdcount.weights.hub import HubAddress, commit_of, fetch_weights
from crowdcount.weights.index import WeightEntry, read_index
from crowdcount.weights.provenance import WeightsFile

logger = logging.getLogger(__name__)

_INTERVALS: Final = RELEASE.removesuffix(".safetensors") + SUFFIX


def hub_weights(address: HubAddress) -> WeightsFile:
    """Return the weights at an address, downloaded once, with their entry in the index if it names the same file.

    An address without a path is that of a release of `save_pretrained`, or of the only file of the repository in the
    index.

    Raises:
        InputError: see `crowdcount.weights.hub.fetch`; or the repository has several models, which the message names.
    """
    known = _published(address.repository)
    file = _chosen(address, known)
    path = fetch_weights(file, CONFIG, _INTERVALS)
    check_release(path)
    found = WeightsFile.inspect(path)
    pinned = replace(file, revision=commit_of(path, file))
    entry = found.entry or _same_address(known.get(file.path), found.sha256)
    return replace(found, entry=entry, hub=str(pinned))


def _published(repository: str) -> dict[str, WeightEntry]:
    """Return the entries of the index in a repository, by path."""
    entries = {}
    for entry in read_index().values():
        for url in entry.urls:
            if url.startswith(f"{HUB}{repository}/resolve/"):
                _, _, path = url.removeprefix(f"{HUB}{repository}/resolve/").partition("/")
                entries[path] = entry
    return entries


def _chosen(address: HubAddress, known: dict[str, WeightEntry]) -> HubAddress:
    """Return the address of a file of weights.

    Raises:
        InputError: the index knows several in the repository, and the address names none.
    """
    if address.path or not known:
        return address.file(RELEASE)
    files = {replace(address, path=path): entry for path, entry in known.items()}
    if len(files) > 1:
        each = "".join(f"\n  {file} ({entry.model})" for file, entry in files.items())
        raise InputError(f"{address}: has several models; name one of them:{each}")
    return next(iter(files))


def _same_address(entry: WeightEntry | None, sha256: str) -> WeightEntry | None:
    """Return an entry for the file at its address; another version of the file has neither its name nor its figures."""
    if entry is None or entry.sha256 in (None, sha256):
        return entry
    logger.warning("%s: the file on the hub is another than the index knows; its figures are left out", entry.name)
    return replace(entry, name=f"{entry.model}.other", reported=(), measured=())
