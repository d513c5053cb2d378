"""Every form of a picture becomes the same image, or an error that says what is wrong with it."""

import logging
import threading
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.images.convert import as_image
from crowdcount.images.files import find_images
from crowdcount.images.read import read_image
from crowdcount.prefetch import ahead


def smooth(height=24, width=36, seed=0):
    """Return a picture whose neighbours are alike, as JPEG likes it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def turned(image, path, orientation):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    PIL.Image.fromarray(image).save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


# Arrays, tensors and Pillow images


@pytest.mark.parametrize(
    "form",
    [
        lambda image: image,
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image.astype(np.uint16) * 256 + 255,
        lambda image: image / 255,
        lambda image: (image / 255).astype(np.float32),
        lambda image: (image / 255).astype(np.float16),
        lambda image: np.dstack([image, np.arange(image[..., 0].size).reshape(image.shape[:2]).astype(np.uint8)]),
        lambda image: np.asfortranarray(image),
        lambda image: image[::-1][::-1],
        lambda image: torch.from_numpy(image).permute(2, 0, 1),
        lambda image: (torch.from_numpy(image).permute(2, 0, 1) / 255).requires_grad_(),
        lambda image: (torch.from_numpy(image).permute(2, 0, 1) / 255).half(),
        lambda image: torch.from_numpy(image.astype(np.uint16) * 257).permute(2, 0, 1),
        lambda image: PIL.Image.fromarray(image),
        lambda image: PIL.Image.fromarray(np.dstack([image, image[..., :1] // 2]), "RGBA"),
    ],
)
def test_every_form_of_a_picture_is_the_same_image(form):
    image = smooth()
    found = as_image(form(image))
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, image)


def test_bfloat16_is_as_near_as_it_can():
    image = smooth()
    found = as_image((torch.from_numpy(image).permute(2, 0, 1) / 255).bfloat16())
    assert np.abs(found.astype(int) - image).max() <= 1


@pytest.mark.parametrize(
    "form",
    [
        lambda grey: grey,
        lambda grey: grey[..., None],
        lambda grey: grey.astype(np.uint16) * 257,
        lambda grey: grey / 255,
        lambda grey: torch.from_numpy(grey)[None],
        lambda grey: PIL.Image.fromarray(grey),
        lambda grey: PIL.Image.fromarray(grey.astype(np.uint16) * 257),
        lambda grey: PIL.Image.fromarray((grey.astype(np.int32)) * 257),
        lambda grey: PIL.Image.fromarray((grey / 255).astype(np.float32)),
        lambda grey: PIL.Image.fromarray(np.dstack([grey, 255 - grey]), "LA"),
    ],
)
def test_grey_pictures(form):
    grey = smooth()[..., 0]
    np.testing.assert_array_equal(as_image(form(grey)), grey[..., None].repeat(3, axis=2))


def test_pillow_s_own_modes():
    image = smooth()
    few = PIL.Image.fromarray(image).quantize(16)
    np.testing.assert_array_equal(as_image(few), np.asarray(few.convert("RGB")))
    one = PIL.Image.fromarray(image).convert("1")
    assert set(np.unique(as_image(one))) == {0, 255} and as_image(one).shape == image.shape
    for mode in ("CMYK", "YCbCr", "HSV"):
        assert np.abs(as_image(PIL.Image.fromarray(image).convert(mode)).astype(int) - image).max() < 12


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"got \(0, 5, 3\)"),
        (np.zeros((5, 0), np.uint8), r"got \(5, 0, 1\)"),
        (np.zeros(5, np.uint8), r"got \(5,\)"),
        (np.zeros((3, 20, 30), np.uint8), r"\(H, W, 3\) or \(H, W, 4\); got \(3, 20, 30\)"),
        (np.zeros((1, 20, 30, 3), np.uint8), r"got \(1, 20, 30, 3\)"),
        (np.zeros((4, 5, 2), np.uint8), r"got \(4, 5, 2\)"),
        (np.zeros((4, 5, 3), np.int64), "floats in \\[0, 1\\]; got int64"),
        (np.zeros((4, 5, 3), bool), "got bool"),
        (np.full((4, 5, 3), None), "got object"),
        (np.full((4, 5, 3), 255.0), "from 255 to 255: give uint8"),
        (np.full((4, 5, 3), -0.01), "from -0.01 to"),
        (np.array([[0.5, np.nan]]), "from nan to nan"),
        (np.array([[0.5, np.inf]]), "from 0.5 to inf"),
        (torch.zeros(20, 30), r"a tensor is \(3, H, W\), or with 1 or 4 channels; got \(20, 30\)"),
        (torch.zeros(20, 30, 3), r"got \(20, 30, 3\)"),
        (torch.zeros(1, 3, 20, 30), r"got \(1, 3, 20, 30\)"),
        (torch.zeros(3, 0, 5), r"got \(0, 5, 3\)"),
        (torch.full((3, 4, 5), 7.0), "from 7 to 7"),
        (PIL.Image.new("RGB", (0, 0)), r"got \(0, 0, 3\)"),
        (PIL.Image.new("F", (4, 4), 9), "from 9 to 9"),
        ([[1, 2], [3, 4]], "a Pillow image; got list"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(photo, words):
    with pytest.raises(InputError, match=words):
        as_image(photo)


# Files


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_files_are_upright_and_equal_to_what_pillow_opens(tmp_path, suffix, orientation):
    path = turned(smooth(), tmp_path / f"a{suffix}", orientation)
    image = read_image(path)
    assert image.shape == ((24, 36, 3) if orientation < 5 else (36, 24, 3))
    np.testing.assert_array_equal(as_image(PIL.Image.open(path)), image)
    np.testing.assert_array_equal(as_image(str(path)), image)
    if suffix != ".jpg":
        turn = {1: 0, 3: 2, 6: 3, 8: 1}.get(orientation)
        if turn is not None:
            np.testing.assert_array_equal(image, np.rot90(smooth(), turn))


def test_sixteen_bits_palettes_and_four_inks(tmp_path):
    image, grey = smooth(), smooth()[..., 0]
    deep = image.astype(np.uint16) * 256 + 255  # 255 does not round up
    for name, content in (("grey.png", deep[..., 0]), ("colour.png", deep[..., ::-1]), ("colour.tif", deep[..., ::-1])):
        assert cv2.imwrite(str(tmp_path / name), content)
    np.testing.assert_array_equal(read_image(tmp_path / "colour.png"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "colour.tif"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), grey[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(as_image(PIL.Image.open(tmp_path / "grey.png")), read_image(tmp_path / "grey.png"))
    for mode in ("L", "LA", "P", "1", "RGBA", "CMYK"):
        path = tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        PIL.Image.fromarray(image).convert(mode).save(path)
        np.testing.assert_allclose(read_image(path), as_image(PIL.Image.open(path)), atol=2)
    alpha = np.dstack([image, np.arange(image[..., 0].size).reshape(24, 36).astype(np.uint8)])
    PIL.Image.fromarray(alpha, "RGBA").save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "alpha.png"), image
    )  # what is transparent is there all the same


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif", "a.webp"])
def test_a_file_cut_short_is_refused_whatever_is_missing(tmp_path, name):
    path, noise = tmp_path / name, np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    PIL.Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for part in (0.3, 0.6, 0.9, 0.97):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError) as error:
            read_image(path)
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    path.write_bytes(whole)
    assert read_image(path).shape == (40, 60, 3)


def test_a_pillow_image_cut_short_is_the_user_s_mistake(tmp_path):
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(smooth(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"a\.jpg: is damaged \(.*[Pp]remature end"):
        as_image(PIL.Image.open(path))
    with pytest.raises(InputError, match=r"a\.jpg: is damaged \(.*[Pp]remature end"):
        as_image(path)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name, words in (
        ("empty.jpg", r"not a readable image \(0 bytes\)"),
        ("text.jpg", r"not a readable image \(10 bytes\)"),
        ("none.jpg", "no such image"),
        ("loop.jpg", "no such image"),
        ("", "no such image"),
    ):
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / name)


def test_a_forbidden_file_is_not_called_damaged(tmp_path, monkeypatch):
    path = turned(smooth(), tmp_path / "a.png", 1)

    def forbidden(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(Permission denied\)"):
        read_image(path)


def test_large_pictures_are_no_bombs(tmp_path, monkeypatch, recwarn):
    path = turned(smooth(), tmp_path / "a.webp", 1)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(path).shape == (24, 36, 3) and not recwarn.list
    assert PIL.Image.MAX_IMAGE_PIXELS == 10


# Folders and patterns


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.jpg",
        "deep/d.png",
        "deep/er/e.jpeg",
        "walk.mp4",
        "s.png/f.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(files, folder):
    return [path.relative_to(folder).as_posix() for path in files]


def test_files_folders_and_patterns(folder):
    assert names(find_images([folder]), folder) == ["a.png", "b.JPG"]
    assert names(find_images([folder], (".mp4",)), folder) == ["walk.mp4"]
    assert names(find_images([f"{folder}/*"]), folder) == ["a.png", "b.JPG"]
    assert names(find_images([f"{folder}/**/*.*"]), folder) == [
        "a.png",
        "b.JPG",
        "deep/d.png",
        "deep/er/e.jpeg",
        "s.png/f.png",
    ]
    assert names(find_images([f"{folder}/[ab].*g"]), folder) == ["a.png"]
    assert names(find_images([folder / "notes.txt", folder / "none.jpg"]), folder) == ["notes.txt", "none.jpg"]
    assert find_images([]) == []


def test_each_file_once_in_the_order_given(folder, monkeypatch):
    (folder / "link.png").symlink_to(folder / "a.png")
    monkeypatch.chdir(folder)
    found = find_images(
        ["deep/d.png", "b.JPG", folder, "./deep/../a.png", "link.png", "deep/d.png", "none.jpg", "none.jpg"]
    )
    assert [str(path) for path in found] == ["deep/d.png", "b.JPG", str(folder / "a.png"), "none.jpg"]


def test_a_name_with_the_letters_of_a_pattern_is_a_name(folder):
    (folder / "day [1]").mkdir()
    (folder / "day [1]" / "a*[2].png").touch()
    assert names(find_images([folder / "day [1]"]), folder) == ["day [1]/a*[2].png"]
    assert names(find_images([folder / "day [1]" / "a*[2].png"]), folder) == ["day [1]/a*[2].png"]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("deep/er/../er/*.png", "match this pattern"),
        ("~nobody-of-this-name/*.png", "match this pattern"),
        ("bare", r"no \.jpg.* in this folder; 1 file left out: 1 in subfolders \(not searched; a pattern"),
    ],
)
def test_nothing_found_is_an_error(folder, monkeypatch, word, words):
    (folder / "bare" / "deeper").mkdir(parents=True)
    (folder / "bare" / "deeper" / "a.png").touch()
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=words) as error:
        find_images(["a.png", word])
    assert str(error.value).startswith(word)


def test_names_of_no_file_wait_for_their_turn(folder):
    (folder / "loop.png").symlink_to(folder / "loop.png")
    strange = ["x" * 5000, "a\0b", str(folder / "loop.png")]
    assert [str(path) for path in find_images(strange)] == strange


# One step ahead


def test_ahead_keeps_the_order_and_the_errors_of_each_item():
    def inverse(number):
        return 1 / number

    futures = list(ahead(inverse, [1, 0, 4]))
    assert futures[0].result() == 1 and futures[2].result() == 0.25
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    assert list(ahead(inverse, [])) == []


def test_ahead_is_one_step_ahead_and_not_two():
    taken, made = [], []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    results = ahead(lambda number: made.append(number) or threading.get_ident(), items())
    assert taken == []  # nothing is done before anybody asks
    first = next(results)
    assert first.result() != threading.get_ident() and taken == [0, 1]
    next(results).result()
    assert taken == [0, 1, 2]
    results.close()
    assert made in ([0, 1], [0, 1, 2]) and taken == [0, 1, 2]


def test_ahead_works_while_one_is_looked_at():
    second = threading.Event()

    def wait(number):
        if number == 1:
            second.set()
        return number

    results = ahead(wait, range(3))
    assert next(results).result() == 0
    assert second.wait(60)  # made without anybody asking for it
    assert [future.result() for future in results] == [1, 2]


def test_nothing_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        read_image(turned(smooth(), tmp_path / "a.png", 1))
    assert not caplog.records


def test_what_opencv_gives_up_on_names_its_file(tmp_path, monkeypatch):
    def refuse(*_):
        return cv2.resize(np.zeros((0, 0, 3), np.uint8), (4, 4))  # an error of OpenCV's own making

    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(InputError, match=r"a\.png: cannot be decoded \(.*empty.*\); make it smaller"):
        read_image(path)
