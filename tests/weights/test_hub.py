"""Files of the Hugging Face hub: addresses, revisions, hashes, access, and what is there without a network."""

import re
from pathlib import Path

import pytest

from crowdcount.errors import InputError
from crowdcount.weights.hub import (
    HubAddress,
    commit_of,
    fetch,
    fetch_optional,
    fetch_weights,
    is_address,
    local_file,
    upload,
)
from tests.support.hub import TOKEN, hub

__all__ = ["hub"]
WEIGHTS = HubAddress("who/counter", path="model.safetensors")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:who/counter", ("who/counter", None, "")),
        ("hf:who/counter@v1.0", ("who/counter", "v1.0", "")),
        ("hf:who/counter@refs/pr/3/a/b.pth", ("who/counter", "refs/pr/3", "a/b.pth")),
        ("hf:who/counter@try%2Fthis/b.pth", ("who/counter", "try/this", "b.pth")),
        ("hf:who/counter/checkpoints/sha", ("who/counter", None, "checkpoints/sha")),
    ],
)
def test_addresses(text, parts):
    address = HubAddress.parse(text)
    assert (address.repository, address.revision, address.path) == parts
    assert str(address) == text and is_address(text)
    assert HubAddress.parse(text.replace("hf:", "hf://")) == address  # as the hub itself writes it


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:counter",
        "hf:a/b@",
        "hf:a/b@x y",
        "hf:a/b/../../c",
        "hf:a b/c",
        "hf:a/b@c@d",
        "hf:../..",
        "hf:a/b/c//d",
        "hf:a/b@..%2F..%2Fc",
        "hf:a/b@%2Fetc",
        "hf:a/b/./c",
    ],
)
def test_what_is_no_address(text):
    with pytest.raises(InputError, match="an address of the hub is hf:OWNER/NAME"):
        HubAddress.parse(text)


def test_names_of_files_of_weights():
    assert HubAddress("a/b", path="c/best.pth").file("model.safetensors").path == "c/best.pth"
    assert HubAddress("a/b", path="c").file("model.safetensors").path == "c/model.safetensors"
    assert HubAddress("a/b").file("model.safetensors").beside("config.json").path == "config.json"
    assert not is_address("ebc/vgg19ae_sha") and not is_address(None)


def test_a_revision_is_pinned(hub):
    first = hub.commit("who/counter", {"model.safetensors": b"one", "config.json": b"{}"})
    hub.refs["who/counter", "v1"] = first
    second = hub.commit("who/counter", {"model.safetensors": b"two"})
    for revision, content, commit in ((None, b"two", second), ("v1", b"one", first), (first, b"one", first)):
        address = HubAddress("who/counter", revision, "model.safetensors")
        path = fetch_weights(address, "config.json", "model.intervals.json")
        assert (path.read_bytes(), commit_of(path, address)) == (content, commit)
        assert path.with_name("config.json").read_bytes() == b"{}"
    asked = len(hub.requests)
    fetch_weights(HubAddress("who/counter", first, "model.safetensors"), "config.json", "model.intervals.json")
    assert len(hub.requests) == asked  # a commit does not change, nor what it lacks
    hub.commit("who/counter", {"model.safetensors": b"three"})
    assert fetch(WEIGHTS).read_bytes() == b"three"


def test_what_is_not_there(hub):
    hub.commit("who/counter", {"checkpoints/best.pth": b"x", "README.md": b"#"})
    with pytest.raises(
        InputError, match=r"no file model\.safetensors; its files of weights: hf:who/counter/checkpoints"
    ):
        fetch_weights(WEIGHTS)
    with pytest.raises(InputError, match=r"hf:who/counter@v9/model\.safetensors: the repository has no revision v9"):
        fetch(HubAddress("who/counter", "v9", "model.safetensors"))
    with pytest.raises(InputError, match=r"hf:who/else/x\.pth: there is no such repository, or it is private"):
        fetch(HubAddress("who/else", path="x.pth"))
    with pytest.raises(InputError, match=r"hf:who/a--b/x\.pth: is no name of a repository \(HFValidationError: "):
        fetch(HubAddress("who/a--b", path="x.pth"))
    hub.commit("who/empty", {"README.md": b"#"})
    with pytest.raises(InputError, match="it has no file of weights"):
        fetch_weights(HubAddress("who/empty", path="model.safetensors"))


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_other_bytes_than_stated(hub, path):
    hub.commit("who/counter", {path: b"right"})
    hub.damaged[path] = b"wrong"
    address = HubAddress("who/counter", path=path)
    with pytest.raises(InputError, match=r"arrived damaged .* \(5 bytes\) instead of [0-9a-f]+; it is removed"):
        fetch(address)
    hub.damaged.clear()
    stored = fetch(address)
    assert stored.read_bytes() == b"right"
    stored.resolve().write_bytes(b"wrong")  # a disk that fails
    with pytest.raises(InputError, match="was damaged since"):
        fetch(address)
    assert fetch(address).read_bytes() == b"right"


def test_a_store_that_repositories_share(hub, tmp_path):
    """The library keeps files that came by its protocol Xet once, under their hash of Xet."""
    hub.commit("who/counter", {"model.safetensors": b"right"})
    blob = fetch(WEIGHTS).resolve()
    store = tmp_path / "hf" / "blobs" / "ab" / ("ab" * 32)
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(Path("../../blobs/ab") / store.name)
    assert fetch(WEIGHTS).read_bytes() == b"right" and fetch(WEIGHTS).resolve() == store
    store.write_bytes(b"wrong")
    with pytest.raises(InputError, match="was damaged since"):
        fetch(WEIGHTS)
    assert not store.exists() and fetch(WEIGHTS).read_bytes() == b"right"


def test_a_file_that_breaks_off(hub, tmp_path):
    hub.commit("who/counter", {"model.safetensors": b"0123456789"})
    hub.cut.add("model.safetensors")
    with pytest.raises(InputError, match=r"hf:who/counter/model\.safetensors: the (transfer|hub) failed"):
        fetch(WEIGHTS)
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and "blobs" in path.parts]
    hub.cut.clear()
    assert fetch(WEIGHTS).read_bytes() == b"0123456789"


def test_private_and_gated_repositories(hub, monkeypatch):
    hub.commit("who/counter", {"model.safetensors": b"secret"})
    hub.private.add("who/counter")
    with pytest.raises(InputError, match=r"or it is private; check the name, or log in with `hf auth login`"):
        fetch(WEIGHTS)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(WEIGHTS).read_bytes() == b"secret"
    hub.commit("who/agreed", {"model.safetensors": b"x"})
    hub.gated.add("who/agreed")
    with pytest.raises(InputError, match="is gated; accept its terms at its page"):
        fetch(HubAddress("who/agreed", path="model.safetensors"))


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "CROWDCOUNT_OFFLINE"])
def test_offline(hub, monkeypatch, variable):
    hub.commit("who/counter", {"model.safetensors": b"one"})
    fetch_weights(WEIGHTS, "config.json")
    monkeypatch.setenv(variable, "1")
    asked = len(hub.requests)
    assert fetch_weights(WEIGHTS, "config.json").read_bytes() == b"one"
    with pytest.raises(InputError, match=r"is not in the cache, and downloads are forbidden \(offline\)"):
        fetch(HubAddress("who/counter", path="other.pth"))
    with pytest.raises(InputError, match="uploads are forbidden"):
        upload(fetch(WEIGHTS).parent, HubAddress("who/counter"), "x")
    assert len(hub.requests) == asked


def test_no_network(hub, monkeypatch, caplog):
    commit = hub.commit("who/counter", {"model.safetensors": b"one"})
    fetch(WEIGHTS)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(WEIGHTS).read_bytes() == b"one"
    with pytest.raises(InputError, match=r"is not in the cache, and the hub cannot be reached \(ConnectError: "):
        fetch(HubAddress("who/counter", path="other.pth"))
    assert fetch_optional(HubAddress("who/counter", commit, "model.intervals.json")) is None
    assert "it is left out" in caplog.text
    monkeypatch.setenv("HF_ENDPOINT", "nowhere")
    with pytest.raises(InputError, match="HF_ENDPOINT: 'nowhere' is no address"):
        fetch(WEIGHTS)


def test_uploads(hub, tmp_path, monkeypatch):
    folder = tmp_path / "release"
    folder.mkdir()
    for name, content in {"model.safetensors": b"large", "README.md": b"---\nlicense: mit\n---\n"}.items():
        (folder / name).write_bytes(content)
    page = upload(folder, HubAddress("who/new"), "first")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/who/new/commit/[0-9a-f]{40}", page)
    assert hub.files("who/new") == {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "model.safetensors").write_bytes(b"larger")
    upload(folder, HubAddress("who/new", "next"), "on a branch")
    assert hub.files("who/new")["model.safetensors"] == b"large"
    assert hub.files("who/new", "next")["model.safetensors"] == b"larger"
    assert upload(folder, HubAddress("who/new"), "proposed", create_pr=True).endswith("/who/new/discussions/1")
    assert hub.files("who/new")["model.safetensors"] == b"large"
    with pytest.raises(InputError, match="a pull request is made against the main branch"):
        upload(folder, HubAddress("who/new", "next"), "x", create_pr=True)
    upload(folder, HubAddress("who/hidden"), "x", private=True, token=TOKEN)
    assert "who/hidden" in hub.private
    before = hub.files("who/new")
    with pytest.raises(InputError, match="hf:who/new: exists and is public"):
        upload(folder, HubAddress("who/new"), "x", private=True)
    assert hub.files("who/new") == before
    with pytest.raises(InputError) as refused:
        upload(folder, HubAddress("who/new"), "x", token="hf_secret\nof mine")
    assert "hf_secret" not in str(refused.value) and "of mine" not in str(refused.value)
    hub.forbidden.add("who/new")
    with pytest.raises(InputError, match="hf:who/new: access is forbidden; log in"):
        upload(folder, HubAddress("who/new"), "x")


def test_a_file_to_start_from(hub, tmp_path):
    hub.commit("who/backbone", {"pytorch_model.bin": b"x"})
    assert local_file("hf:who/backbone/pytorch_model.bin").read_bytes() == b"x"
    assert local_file(tmp_path / "own.pth") == tmp_path / "own.pth"
    with pytest.raises(InputError, match="name the file in the repository"):
        local_file("hf:who/backbone")
