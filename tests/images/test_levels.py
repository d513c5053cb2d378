"""Values of more than 8 bits: their range is the type's or the one given, and a suspicious one is not believed."""

import logging

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crowdcount.errors import InputError
from crowdcount.images.convert import as_image
from crowdcount.images.levels import check_value_range, to_uint8
from crowdcount.images.read import read_image

GREY = np.linspace(0, 255, 24 * 36).reshape(24, 36).astype(np.uint8)
THREE = np.dstack([GREY] * 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (GREY.astype(np.uint16) * 16, r"4080 of 65535, which would be .*value_range=\(0, 4095\).*--range 0 4095"),
        (GREY.astype(np.uint16), r"255 of 65535.*value_range=\(0, 255\)"),
        (torch.from_numpy(GREY.astype(np.uint16))[None], r"value_range=\(0, 255\)"),
        (PIL.Image.fromarray(GREY.astype(np.int32)), r"the Pillow image: .* 255 of 65535.*value_range=\(0, 255\)"),
        (PIL.Image.fromarray(GREY.astype(np.uint16) * 4), r"1020 of 65535.*value_range=\(0, 1023\)"),
        (PIL.Image.fromarray(GREY.astype(np.int32) * 1000), "from 0 to 255000, beyond 16 bits"),
        (GREY / 255 / 255, r"0.00392157 of 1, as if scaled twice"),
        ((GREY / 255 / 255).astype(np.float32), "as if scaled twice"),
        (GREY / 255 / 20, r"0.05 of 1, which would be counted as a black image"),
        (GREY.astype(np.float32), "from 0 to 255: give uint8, or the values"),
    ],
)
def test_a_small_part_of_the_range_is_not_believed(image, words):
    with pytest.raises(InputError, match=words):
        as_image(image)


@pytest.mark.parametrize(
    ("image", "value_range"),
    [
        (GREY.astype(np.uint16) * 16, (0, 4095)),
        (GREY.astype(np.uint16), (0, 255)),
        (GREY.astype(np.uint16) * 257, (0, 65535)),
        (GREY.astype(np.int32) + 1000, (1000, 1255)),
        (PIL.Image.fromarray(GREY.astype(np.int32)), [0, 255]),
        (GREY / 255 / 255, (0, 1 / 255)),
        (GREY.astype(np.float32), (0, 255)),
        (GREY.astype(">u2") * 16, (0, 4095)),
        (GREY, (0, 4095)),  # 8 bits are left alone: a folder may hold both
    ],
)
def test_a_range_given_holds(image, value_range):
    np.testing.assert_array_equal(as_image(image, value_range=value_range), THREE)


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2"])
def test_files_of_twelve_bits(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray(GREY.astype(np.uint16) * 16).save(path)
    with pytest.raises(InputError, match=rf"^{path}: .*4080 of 65535.*--range 0 4095"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, value_range=(0, 4095)), THREE)


def test_files_of_floats(tmp_path):
    path = tmp_path / "a.tif"
    PIL.Image.fromarray((GREY / 255).astype(np.float32)).save(path)
    np.testing.assert_array_equal(read_image(path), THREE)
    PIL.Image.fromarray(GREY.astype(np.float32)).save(path)
    with pytest.raises(InputError, match="from 0 to 255"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, value_range=(0, 255)), THREE)


def test_dark_and_black_images_are_read(caplog):
    """A night is dark, a cap on the lens black: only what no exposure explains is refused."""
    with caplog.at_level(logging.WARNING):
        assert as_image(np.zeros((4, 5), np.uint16)).max() == 0 and as_image(np.zeros((4, 5))).max() == 0
        assert as_image(np.full((4, 5), 0.3)).max() == 76
        assert not caplog.records
        assert as_image(GREY.astype(np.uint16) * 64).max() == 63  # 14 bits, or dusk
        assert "16320 of 65535, a dark image; if it is not, give" in caplog.text and "--range 0 16383" in caplog.text
        caplog.clear()
        as_image((GREY > 128).astype(np.uint8))
        assert "no uint8 value is above 1" in caplog.text


@given(st.integers(1, 16), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_every_depth_keeps_its_upper_bits(bits, low, high):
    values = np.array([[low % 2**bits, high % 2**bits]], np.uint16)
    found = to_uint8(values, "a", (0, 2**bits - 1))
    np.testing.assert_array_equal(found, (values.astype(int) * 256 // 2**bits).astype(np.uint8))


@pytest.mark.parametrize("value_range", [(0, 0), (5, 1), (0, np.nan), (0, np.inf), (0,), (0, 1, 2)])
def test_a_range_rises(value_range):
    with pytest.raises(InputError, match=r"value_range: .* should be two numbers that rise, such as 0 4095"):
        check_value_range(value_range)


def test_values_that_are_no_brightness():
    for values in (np.full((4, 5), None), np.zeros((4, 5), complex), np.zeros((4, 5), bool)):
        with pytest.raises(InputError, match="no brightnesses"):
            as_image(values, value_range=(0, 1))
    with pytest.raises(InputError, match="not finite"):
        as_image(np.array([[0.5, np.nan]]), value_range=(0, 1))
