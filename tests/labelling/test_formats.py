"""Proposed points come back through the importers, and the tools' own parsers open them."""

import json
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from crowdcount.data import importers
from crowdcount.data.importers.annotated import Choice
from crowdcount.data.importers.image_matching import ImageFolder, checked
from crowdcount.errors import InputError
from crowdcount.labelling import FORMATS, label_studio
from crowdcount.labelling.proposal import Proposal

SIZES = {"wide frame.png": (64, 40), "tall-2.jpg": (33, 57), "empty_000025.png": (16, 16)}


@pytest.fixture
def proposals(tmp_path):
    """Points all over images of a folder, also on their borders, and none on one of them."""
    rng = np.random.default_rng(0)
    made = []
    for name, (width, height) in SIZES.items():
        assert cv2.imwrite(str(tmp_path / name), np.full((height, width, 3), 99, np.uint8))
        points = rng.uniform(0, [width, height], (0 if name.startswith("empty") else 9, 2)).astype(np.float32)
        if len(points):
            points[:2] = [[0, 0], np.nextafter(np.float32([width, height]), np.float32(0))]
        made.append(Proposal(name, points, width, height, "my counter"))
    return made


def exported(folder, name):
    """Return what the tool would export: for Label Studio, each prediction accepted as the annotation."""
    if name != "label-studio":
        return folder
    file = folder / label_studio.FOLDER / "tasks.json"
    tasks = json.loads(file.read_text())
    accepted = folder / "label-studio" / "export.json"
    entries = [{**task, "annotations": [{"result": task["predictions"][0]["result"]}]} for task in tasks]
    accepted.write_text(json.dumps(entries))
    return accepted


@pytest.mark.parametrize("name", FORMATS)
def test_points_come_back_through_the_importer(name, proposals, tmp_path):
    files = FORMATS[name](tmp_path, proposals, "head")
    assert all(file.is_file() for file in files)
    choice = Choice(frozenset(["head"]))
    found = list(checked(importers.FORMATS[name](exported(tmp_path, name), choice), ImageFolder(tmp_path)))
    choice.check(name)
    assert not choice.left_out and choice.taken["point"] == 18
    assert {each.path.name: each.size for each in found} == SIZES
    for each in found:
        (proposal,) = [proposal for proposal in proposals if proposal.image == each.path.name]
        np.testing.assert_array_equal(each.points, proposal.points)


def test_every_format_has_an_importer_of_its_name():
    assert set(FORMATS) <= set(importers.FORMATS)


def test_uncorrected_predictions_are_no_annotations(proposals, tmp_path):
    tasks, _ = FORMATS["label-studio"](tmp_path, proposals, "head")
    with pytest.raises(InputError, match="annotations"):
        importers.FORMATS["label-studio"](tasks, Choice())


def test_labels_and_names_with_signs_of_xml_and_json(tmp_path):
    proposal = Proposal('a & "b" <c>.png', np.float32([[1.5, 2.25]]), 8, 8, "m")
    (xml,) = FORMATS["cvat"](tmp_path, [proposal], 'head & "<more>"')
    image = ElementTree.parse(xml).getroot().find("image")
    assert image.get("name") == proposal.image and image.find("points").get("label") == 'head & "<more>"'
    _, labels = FORMATS["label-studio"](tmp_path, [proposal], 'head & "<more>"')
    assert ElementTree.parse(labels).getroot().find(".//Label").get("value") == 'head & "<more>"'


def test_label_studio_accepts_the_predictions(proposals, tmp_path):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    tasks, labels = FORMATS["label-studio"](tmp_path, proposals, "head")
    config = interface.LabelInterface(labels.read_text())
    config.validate()
    loaded = json.loads(tasks.read_text())
    for task in loaded:
        assert task["data"]["image"].startswith(f"/data/local-files/?d={tmp_path.name}/")
        assert config.validate_prediction(task["predictions"][0])
    broken = loaded[0]["predictions"][0]
    broken["result"][0]["type"] = "rectanglelabels"
    assert not config.validate_prediction(broken)


def test_labelme_opens_the_files(proposals, tmp_path):
    labelme = pytest.importorskip("labelme", exc_type=ImportError)  # without a display its Qt may be missing
    files = FORMATS["labelme"](tmp_path, proposals, "head")
    for file, proposal in zip(files, proposals, strict=True):
        opened = labelme.LabelFile(str(file))
        image = opened.image_path if hasattr(opened, "image_path") else opened.imagePath  # before version 6
        assert image == proposal.image
        assert [shape["points"] for shape in opened.shapes] == [[list(place)] for place in proposal.decimals]
        assert {shape["label"] for shape in opened.shapes} <= {"head"}
