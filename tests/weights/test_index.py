"""The index of weights: what it must say, and that the shipped one is true where that can be looked at here."""

import copy
import importlib
import json
import re
from pathlib import Path

import open_clip
import pytest
import torch

import crowdcount
from crowdcount.errors import InputError
from crowdcount.models.base import CrowdNetwork
from crowdcount.models.clip.towers import CLIP_BACKBONES
from crowdcount.models.rec.network import ReferringDetector
from crowdcount.weights.index import find_entry, index_file, list_weights, read_index

ROOT = Path(__file__).resolve().parents[2]
INDEX = json.loads(index_file().read_text())
ENTRIES = list(read_index().values())
MODELS = [entry for entry in ENTRIES if entry.config]
STARTS = [entry for entry in ENTRIES if not entry.config]


def names(entries):
    return [entry.name for entry in entries]


# --- the shipped index


def test_the_index_is_the_one_of_the_clone():
    assert index_file() == ROOT / "weights_index.json"
    assert list_weights() == list(INDEX["weights"]) and len(ENTRIES) == len(INDEX["weights"]) > 30


def test_every_family_has_published_weights():
    assert {entry.name.split("/")[0] for entry in MODELS} == {"clip_ebc", "ebc", "hmode", "rec", "zip"}
    for family, expected in {"clip_ebc": 17, "ebc": 4, "hmode": 2, "rec": 1, "zip": 20}.items():
        assert len(list_weights(f"{family}/*_*.*")) >= expected


@pytest.mark.parametrize("entry", MODELS, ids=names(MODELS))
def test_every_model_builds_with_the_arguments_of_its_entry(entry):
    with torch.device("meta"):
        network = crowdcount.create_model(entry.config, **entry.arguments)
    numbers = sum(value.nbytes for value in network.state_dict().values())
    if entry.packaged:  # 16-bit numbers, names and the configuration
        assert numbers / 2 < entry.bytes < numbers / 2 + 40_000
        return
    assert type(network).load_published is not CrowdNetwork.load_published
    if entry.bytes:  # 32-bit numbers and some names
        assert numbers < entry.bytes < 1.002 * numbers


@pytest.mark.parametrize("entry", ENTRIES, ids=names(ENTRIES))
def test_every_address_gives_the_same_bytes_tomorrow_or_says_that_it_may_not(entry):
    for url in entry.urls:
        if entry.packaged:
            assert entry.packaged.is_file() and entry.sha256 and len(entry.urls) == 1
            continue
        assert url.startswith("https://") and "drive.google" not in url
        pinned = re.search(r"/(resolve|raw)/[0-9a-f]{40}/|/releases/download/|/models/[0-9a-f]{64}/", url)
        assert pinned or entry.sha256 or "may change" in entry.notes
    if not entry.urls:
        assert entry.page and entry.sha256 is None
    if entry.sha256:
        assert sum(other.sha256 == entry.sha256 for other in ENTRIES) == 1
    assert (entry.member is not None) == any(url.endswith(".tgz") for url in entry.urls)


def test_figures_have_a_source_and_measured_ones_a_command():
    for entry in ENTRIES:
        for figure in entry.reported:
            assert figure.source and re.fullmatch(r"\w+/(test|val)", figure.data) and figure.mae
            assert figure.data.split("/")[0] == entry.model.rsplit("_", 1)[1]
        for figure in entry.measured:
            assert re.match("python tools/|crowdcount ", figure.command)
            assert re.fullmatch(r"\d{4}-\d\d-\d\d", figure.date)


@pytest.mark.parametrize("backbone", CLIP_BACKBONES)
def test_openai_s_towers_are_those_that_open_clip_names(backbone):
    model = backbone.removesuffix("-quickgelu")
    slug = {"ViT-B-16": "vit_b16", "ViT-B-32": "vit_b32", "ViT-L-14": "vit_l14"}.get(model, model.lower())
    entry = find_entry(f"clip_ebc/{slug}.openai")
    assert entry.urls == (open_clip.get_pretrained_cfg(model, "openai")["url"],)
    assert entry.urls[0].split("/")[-2] == entry.sha256


@pytest.mark.parametrize("detector", ["swin_t", "swin_b"])
def test_detectors_have_the_size_of_their_files(detector):
    with torch.device("meta"):
        network = ReferringDetector(detector).detector
    numbers = sum(value.nbytes for value in network.parameters())
    for entry in (find_entry(f"rec/{detector}.hub"), find_entry(f"rec/{detector}.authors")):
        assert entry.bytes == pytest.approx(numbers, rel=0.01)


def test_the_docs_have_the_present_table():
    tool = importlib.import_module("crowdcount.cli.weights")
    text = (ROOT / "docs/weights.md").read_text()
    assert tool.with_table(text) == text, "run: crowdcount weights table --write docs/weights.md"
    assert tool.zoo_table().count("\n") == 2 + len({entry.model for entry in MODELS})


# --- finding an entry


def test_names_tags_and_patterns():
    assert find_entry("clip_ebc/rn50_sha").name == "clip_ebc/rn50_sha.v1"
    assert find_entry("clip_ebc/rn50_sha.v1_number").arguments == {"prompt_style": "number"}
    assert set(crowdcount.list_weights("hmode/*")) == {
        "hmode/vgg16bn_sha_released.authors",
        "hmode/vgg16bn_sha_released.authors_2022",
    }
    assert (find_entry("rec/swin_t.hub").model, find_entry("rec/swin_t.hub").tag) == ("rec/swin_t", "hub")
    with pytest.raises(InputError, match=r"'clip_ebc/rn50_shaa': the index has no such weights; near it: clip_ebc/rn"):
        find_entry("clip_ebc/rn50_shaa")
    with pytest.raises(InputError, match=r"crowdcount weights list shows all there are"):
        find_entry("?")


# --- an index with mistakes

GOOD = INDEX["weights"]["clip_ebc/rn50_sha.v1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, "sha256 is 'abc', not 64 hexadecimal digits"),
        ({"bytes": 0}, "bytes is 0"),
        ({"bytes": "many"}, "bytes: .*got many"),
        ({"format": "onnx"}, "format: .*onnx"),
        ({"urls": ["ftp://host/file"]}, "urls are addresses that begin with https://; got .'ftp://host/file'"),
        ({"urls": [], "page": None}, "without urls there must be a page"),
        ({"config": "clip_ebc/rn50_shb"}, "config is null or NAME; got 'clip_ebc/rn50_shb'"),
        ({"mirror": "x"}, "mirror: no such key"),
        ({"notes": ...}, "notes is missing"),
        ({"reported": [{"data": "sha/test", "mae": 1.0, "rmse": 2.0}]}, "source"),
        ({"reported": [{"data": "sha/test", "mae": "low", "rmse": 2.0, "source": "x"}]}, "mae.*got low"),
        ({"measured": [{"data": "sha/test", "mae": 1.0}]}, "images"),
    ],
)
def test_a_wrong_entry_names_the_field(tmp_path, change, message):
    entry = {key: value for key, value in {**copy.deepcopy(GOOD), **change}.items() if value is not ...}
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"schema": 1, "weights": {"clip_ebc/rn50_sha.v1": entry}}))
    with pytest.raises(InputError, match=f"(?s){re.escape(str(path))}: clip_ebc/rn50_sha.v1: .*{message}"):
        read_index(path)


def test_an_index_of_an_earlier_version_is_read(tmp_path):
    """Entries named the function that converts their weights, which nothing read."""
    for name, more in (("old", {"converter": "crowdcount.models.clip_ebc.convert:from_authors"}), ("new", {})):
        entries = {"clip_ebc/rn50_sha.v1": {**GOOD, **more}}
        (tmp_path / name).write_text(json.dumps({"schema": 1, "weights": entries}))
    assert read_index(tmp_path / "old") == read_index(tmp_path / "new") != {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no index of weights"),
        ("[]", "no index of weights"),
        ('{"schema": 9, "weights": {}}', "has schema 9, and this version reads schema 1"),
        ('{"schema": 1, "weights": {"a": 1}}', "a: everything is missing"),
        (json.dumps({"schema": 1, "weights": {"no slash": GOOD}}), r"no slash: a name is NAME\.TAG"),
    ],
)
def test_what_is_no_index(tmp_path, text, message):
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_index(path)
