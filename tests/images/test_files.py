"""Files of a folder that are not read are counted and named."""

import PIL.Image
import pytest

from crowdcount.errors import InputError
from crowdcount.images.files import find_files, list_folder


@pytest.fixture
def phone(tmp_path):
    folder = tmp_path / "phone"
    for name in ("a.jpg", "b.JPEG", "c.jfif", "d.gif", "e.jp2", "f.avif", "g.HEIC", "h.dng", "i.jxl", "j.dng", "k.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    PIL.Image.new("RGB", (4, 4)).save(folder / "IMG_1", "JPEG")
    (folder / ".hidden.dng").touch()
    (folder / "sub" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "deep/notes.txt", ".c.png"):
        (folder / "sub" / name).touch()
    return folder


def test_what_is_left_out_is_counted_and_named(phone):
    found = list_folder(phone)
    assert [path.name[0] for path in found.files] == list("abcdefg")
    assert [path.name for path in found.unread] == ["IMG_1", "h.dng", "i.jxl", "j.dng"]
    assert [path.name for path in found.other] == ["k.txt"] and found.below == 2
    assert found.left_out() == (
        "7 files left out: 1 without suffix (IMG_1), 2 .dng (h.dng, ...), 1 .jxl (i.jxl), images that are not read by "
        "format or name: save them as JPEG; 1 .txt (k.txt), not images by their names; 2 in subfolders (not searched; "
        "a pattern such as 'FOLDER/**/*.jpg' does)"
    )
    assert find_files(phone / "a.jpg").left_out() == "" == find_files(phone / "none.dng").left_out()


def test_patterns_count_what_they_leave_out(phone):
    assert find_files(f"{phone}/*.[dj]*g").left_out().startswith("2 files left out: 2 .dng (h.dng, ...), images")
    assert find_files(f"{phone}/*.jpg").left_out() == ""


def test_links_to_missing_images_are_not_passed_over(phone):
    (phone / "0.jpg").symlink_to("not_fetched.jpg")
    (phone / "folder.jpg").symlink_to(phone.parent)
    assert [path.name[0] for path in list_folder(phone).files] == list("0abcdefg")


def test_a_folder_without_images_says_what_it_holds(phone):
    for path in list_folder(phone).files:
        path.unlink()
    with pytest.raises(InputError, match=r"phone: no \.jpg, .* files in this folder; 7 files left out: 1 without suff"):
        find_files(phone)
