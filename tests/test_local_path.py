"""Names as users write them: addresses are told from files, and accents have two forms."""

import json
from pathlib import Path

import numpy as np
import pytest

import crowdcount
from crowdcount.cli.sources import find_sources
from crowdcount.data.annotations.name_matching import match_points_to_images
from crowdcount.data.annotations.point_file import find_annotation, read_points
from crowdcount.data.annotations.point_table import read_table, table_points
from crowdcount.data.importers.image_matching import ImageFolder
from crowdcount.errors import InputError
from crowdcount.images.convert import as_image
from crowdcount.local_path import local_path, spelled_as
from crowdcount.video.read import read_frames, video_info
from crowdcount.visualize import image_bytes
from crowdcount.zones import read_zones

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("https://host/photo.jpg", "download it"),
        ("HTTP://host/photo.jpg", "download it"),
        ("s3://bucket/photo.jpg", "download it"),
        ("rtsp://user:secret@camera/1", "record the stream"),
        ("https:/host/photo.jpg", "download it"),
    ],
)
@pytest.mark.parametrize("use", [local_path, read_frames, video_info, read_zones, as_image, crowdcount.count])
def test_addresses_are_named_as_they_were_given(name, remedy, use):
    with pytest.raises(InputError) as error:
        use(name)
    assert str(error.value).startswith(f"{name}: is an address") and remedy in str(error.value)


@pytest.mark.parametrize("word", ["rtsp://camera/1", "https://host/a.jpg", "0", "12", "/dev/video0"])
def test_the_command_says_what_a_word_is(word):
    found = find_sources([word])
    assert found.files == [] and len(found.missing) == 1
    assert found.missing[0].startswith(f"{word}: is a")


def test_files_that_look_like_addresses_or_cameras(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    for name in ("http:/a.jpg", "0", "C:x.jpg"):
        Path(name).touch()
        assert local_path(name) == Path(name)
    assert find_sources(["0", "http://a.jpg"]).files == [Path("0"), Path("http:/a.jpg")]
    assert local_path("C:/x.jpg") == Path("C:/x.jpg")


@pytest.mark.parametrize(("stored", "named"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_both_forms_of_an_accent_name_a_file(tmp_path, stored, named):
    folder = tmp_path / stored
    folder.mkdir()
    (folder / f"{stored}.jpg").touch()
    for path in (tmp_path / named / f"{named}.jpg", tmp_path / stored / f"{named}.jpg"):
        assert local_path(path).exists() and find_sources([str(path)]).files[0].exists()
    (folder / f"{named}.jpg").touch()  # then each is its own
    assert local_path(folder / f"{named}.jpg").name == f"{named}.jpg"


def test_names_that_are_alike_in_several_ways(tmp_path):
    for stem in ("\u1e69", "s\u0323\u0307"):
        (tmp_path / f"{stem}.jpg").touch()
    with pytest.raises(InputError, match="2 entries of the folder look like this name"):
        local_path(tmp_path / "s\u0307\u0323.jpg")


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\0b.jpg", "missing.jpg", "fehlt-\u00e9.jpg", "no/such/f\u00f6lder/x.jpg"]
)
def test_what_is_missing_stays_as_it_was_named(name):
    assert local_path(name) == Path(name)


def test_a_zone_file_in_the_other_form(tmp_path):
    (tmp_path / f"{DECOMPOSED}.json").write_text('{"gate": [[0, 0], [9, 0], [9, 9]]}')
    assert [zone.name for zone in read_zones(tmp_path / f"{COMPOSED}.json")] == ["gate"]


@pytest.mark.parametrize(("stored", "named"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_annotations_name_images_in_either_form(tmp_path, stored, named):
    image, known = tmp_path / f"{stored}.png", [f"{stored}.png", "other.png"]
    assert spelled_as(f"{named}.png", known) == f"{stored}.png"
    assert spelled_as("missing-\u00e9.png", known) == "missing-\u00e9.png"
    image.write_bytes(image_bytes(np.zeros((8, 8, 3), np.uint8)))
    assert ImageFolder(tmp_path).find("export.json", f"{named}.png") == image
    (tmp_path / f"{named}.txt").write_text("1 2\n")
    assert len(read_points(find_annotation(image, tmp_path))) == 1
    table = tmp_path / "points.json"
    table.write_text(json.dumps({f"{named}.png": [[1, 2], [3, 4]]}))
    assert len(table_points(image, table, read_table(table))) == 2
    assert len(match_points_to_images(table, read_table(table), [image], [image])[image]) == 2
    assert as_image(tmp_path / f"{named}.png").shape == (8, 8, 3)


def test_a_missing_image_is_still_named():
    with pytest.raises(InputError, match=r"missing\.jpg: no such image"):
        crowdcount.count("missing.jpg")
