"""Files of the Hugging Face hub by address: `hf:OWNER/NAME[@REVISION][/PATH]`, the hub's own URI without its slashes.

Downloads are `huggingface_hub`'s, with its cache (HF_HOME) and its tokens (`hf auth login`, HF_TOKEN). HF_ENDPOINT
replaces huggingface.co; CROWDCOUNT_OFFLINE and HF_HUB_OFFLINE forbid the network. The hub states a hash of each file,
which is checked at every use.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from crowdcount.errors import InputError
from crowdcount.weights.cache import offline
from crowdcount.weights.download import file_sha256, mirror

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

SCHEME: Final = "hf:"
_ADDRESS: Final = re.compile(
    r"hf:(?://)?(?P<repository>[\w.-]{1,96}/[\w.-]{1,96})"
    r"(?:@(?P<revision>refs/(?:pr/\d+|convert/[\w.-]+)|[^/@\s]{1,200}))?(?:/(?P<path>[^@\s]{1,500}))?"
)
_COMMIT: Final = re.compile("[0-9a-f]{40}")
_WEIGHTS: Final = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class HubAddress:
    """A file or folder of a repository of models.

    Attributes:
        repository: OWNER/NAME.
        revision: branch, tag or commit; None for the default branch.
        path: path in the repository; empty for its root.
    """

    repository: str
    revision: str | None = None
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """Read an address; a slash in a revision is written %2F, except in those of pull requests (refs/pr/1).

        Raises:
            InputError: it has another form.

        Example:
            >>> HubAddress.parse("hf:owner/name@v1.0/folder/model.safetensors")
            HubAddress(repository='owner/name', revision='v1.0', path='folder/model.safetensors')
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise _no_address(text)
        revision, path = match["revision"] and unquote(match["revision"]), (match["path"] or "").strip("/")
        for part in (match["repository"], revision, path):  # they become folders of the cache
            if part and not {"", ".", ".."}.isdisjoint(part.split("/")):
                raise _no_address(text)
        return cls(match["repository"], revision, path)

    def __str__(self) -> str:
        special = self.revision is not None and self.revision.startswith("refs/")
        revision = "" if self.revision is None else f"@{quote(self.revision, safe='/' if special else '')}"
        return f"{SCHEME}{self.repository}{revision}" + (f"/{self.path}" if self.path else "")

    def file(self, default: str) -> "HubAddress":
        """Return the address of a file of weights: this one, or the file of a default name in this folder."""
        if self.path.endswith(_WEIGHTS):
            return self
        return replace(self, path=f"{self.path}/{default}".lstrip("/"))

    def beside(self, name: str) -> "HubAddress":
        """Return the address of another file in the same folder."""
        return replace(self, path=str(PurePosixPath(self.path).with_name(name)))


def _no_address(text: str) -> InputError:
    return InputError(f"{text[:120]!r}: an address of the hub is hf:OWNER/NAME, hf:OWNER/NAME@REVISION/PATH")


def is_address(source: object) -> bool:
    """Return whether a text is meant as an address of the hub."""
    return isinstance(source, str) and source.startswith(SCHEME)


def fetch(address: HubAddress) -> Path:
    """Return a file of the hub, from the cache or downloaded, with the bytes that the hub states.

    Raises:
        InputError: there is no such repository, revision or file, or no access to it; it is not in the cache and there
            is no connection; or it arrived damaged. The message says what to do.
    """
    from huggingface_hub import hf_hub_download

    with _explained(address):
        path = hf_hub_download(
            address.repository,
            address.path,
            revision=address.revision,
            endpoint=mirror(),
            local_files_only=offline(),
            library_name="crowdcount",
        )
    _verify(Path(path), address)
    return Path(path)


def fetch_optional(address: HubAddress) -> Path | None:
    """Return a file of a commit as `fetch` does, None if the repository does not have it.

    Where that cannot be known, without a connection and an earlier answer, a warning says so.

    Raises:
        InputError: as `fetch`.
    """
    from huggingface_hub import errors, try_to_load_from_cache

    known = try_to_load_from_cache(address.repository, address.path, revision=address.revision)
    if known is not None and not isinstance(known, str):  # the library's mark of a file that is not there
        return None
    try:
        return fetch(address)
    except InputError as error:
        if isinstance(error.__cause__, errors.LocalEntryNotFoundError):
            logger.warning("%s; it is left out", error)
        elif not isinstance(error.__cause__, errors.EntryNotFoundError):
            raise
    return None


def fetch_weights(address: HubAddress, *beside: str) -> Path:
    """Return a file of weights, and fetch those of the files beside it that the repository has.

    All are of one commit, although the address may be of a branch that moves between two requests.

    Raises:
        InputError: as `fetch`; if the repository has no such file, the message names its files of weights.
    """
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        path = fetch(address)
    except InputError as error:
        if isinstance(error.__cause__, RemoteEntryNotFoundError):
            raise InputError(f"{error}; {_listed(address)}") from error
        raise
    pinned = replace(address, revision=commit_of(path, address))
    if pinned.revision != address.revision:
        logger.info("%s is %s", address, pinned)
    for name in beside:
        fetch_optional(pinned.beside(name))
    return path


def commit_of(path: Path, address: HubAddress) -> str:
    """Return the commit that a file from `fetch` belongs to: the cache keeps it at snapshots/COMMIT/PATH."""
    return path.parents[address.path.count("/")].name


def local_file(source: str | Path) -> Path:
    """Return the path of a file that is given by its path or by its address on the hub.

    Raises:
        InputError: as `fetch`, or the address names no file.
    """
    if not is_address(source):
        return Path(source)
    address = HubAddress.parse(str(source))
    if not address.path:
        raise InputError(f"{address}: name the file in the repository, such as {address}/model.safetensors")
    return fetch(address)


def upload(
    folder: Path,
    address: HubAddress,
    message: str,
    private: bool | None = None,
    token: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload the files of a folder in one commit, and return the address of its page.

    Args:
        folder: the folder.
        address: where to; a missing repository is created, a missing revision (a branch) as well.
        message: message of the commit.
        private: whether a new repository is private; a public one is refused. None takes the default of its owner.
        token: token of a user; None takes that of `hf auth login` or HF_TOKEN.
        create_pr: whether to propose the commit as a pull request.

    Raises:
        InputError: it is not allowed, there is no connection, or `private` is asked for and the repository is public.
    """
    if offline():
        raise InputError(f"{address}: uploads are forbidden (offline)")
    if create_pr and address.revision is not None:
        raise InputError(f"{address}: a pull request is made against the main branch; leave the revision out")
    with _explained(address):
        api = _api(token)
        api.create_repo(address.repository, private=private, exist_ok=True)
        if private and not api.model_info(address.repository).private:  # one that exists stays what it is
            raise InputError(f"{address}: exists and is public; make it private in its settings, or name another")
        if address.revision is not None and not create_pr:
            api.create_branch(address.repository, branch=address.revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=address.repository,
            folder_path=folder,
            path_in_repo=address.path or None,
            commit_message=message,
            revision=address.revision,
            create_pr=create_pr,
        )
    return str(done.pr_url or done.commit_url)


def _api(token: str | None = None) -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(endpoint=mirror(), token=token, library_name="crowdcount")


def _listed(address: HubAddress) -> str:
    """Return the files of weights of a repository in words."""
    with _explained(address):
        files = _api().list_repo_files(address.repository, revision=address.revision)
    found = [name for name in files if name.endswith(_WEIGHTS)]
    shown = [str(replace(address, path=name)) for name in found[:8]]
    more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return f"its files of weights: {', '.join(shown)}{more}" if found else "it has no file of weights"


def _verify(path: Path, address: HubAddress) -> None:
    """Check a file against the hash that the hub states, which the cache has as the name that it links to.

    Large files have their SHA-256, others their id in git. That name may be a link itself, into a store for all
    repositories, under a hash of another kind. Where the system has no links, only `config.json` states a hash.

    Raises:
        InputError: the bytes are others; the file is removed from the cache.
    """
    if not path.is_symlink():
        return
    blob = path.parent / path.readlink()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        found = file_sha256(blob)
    elif _COMMIT.fullmatch(blob.name):
        content = blob.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        return
    if found != blob.name:
        size = blob.stat().st_size
        for each in (path.resolve(), blob, path):
            each.unlink(missing_ok=True)
        raise InputError(
            f"{address}: arrived damaged or was damaged since: its hash is {found} ({size} bytes) instead of "
            f"{blob.name}; it is removed from the cache, try again"
        )


@contextmanager
def _explained(address: HubAddress) -> Iterator[None]:
    """Convert the errors of `huggingface_hub` into messages that say what to do."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except InputError:
        raise
    except (HfHubHTTPError, HFValidationError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{address}: {_reason(error, address)}") from error
    except Exception as error:  # the HTTP client behind it, httpx or httpx2, has exceptions of its own
        if not type(error).__module__.startswith("httpx"):
            raise
        raise InputError(f"{address}: the transfer failed ({_line(error)}); try again") from error


def _reason(error: Exception, address: HubAddress) -> str:
    from huggingface_hub import errors

    login = "log in with `hf auth login`, or set HF_TOKEN to a token that may"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return f"is no name of a repository ({_line(error)})"
    if isinstance(error, errors.GatedRepoError):
        return f"is gated; accept its terms at its page, and {login} read it"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        return f"there is no such repository, or it is private; check the name, or {login} read it"
    if status == 403:
        return f"access is forbidden; {login} do this ({_line(error)})"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {address.revision}"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"the repository has no file {address.path}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            return _reason(error.__cause__, address)
        why = "downloads are forbidden (offline)" if offline() else f"the hub cannot be reached ({_line(error)})"
        return f"is not in the cache, and {why}"
    return f"the hub failed ({_line(error)}); try again"


def _line(error: BaseException) -> str:
    """Return the innermost cause of an error in one line, without tokens, passwords and signatures of addresses."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"Bearer [^\s'\"]+|(?<=://)[^\s/@]+@|\?[^\s'\"]+", "", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
