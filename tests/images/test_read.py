"""One decoder for every format: good files give their pixels, damaged ones an error that names the file."""

import io
import logging
import sys
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crowdcount.data.sample import Record
from crowdcount.doctor.inspect_image import inspect_image
from crowdcount.errors import InputError
from crowdcount.images.convert import as_image
from crowdcount.images.read import decode, read_image

LOSSLESS = {
    "png": {},
    "bmp": {},
    "tiff": {},
    "webp": {"lossless": True},
    "jpeg2000": {},
    "ppm": {},
}
TIFFS = ("tiff_lzw", "tiff_adobe_deflate", "packbits")


def encoded(image, kind, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def scene(height=120, width=160, seed=0):
    """A smooth image with some noise, of which JPEG keeps a few thousand bytes."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return (image + random.integers(-12, 13, image.shape)).clip(0, 255).astype(np.uint8)


IMAGES = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda size: st.one_of(
        arrays(np.uint8, (*size, 3)),
        st.tuples(*[st.integers(0, 255)] * 3).map(lambda colour: np.full((*size, 3), colour, np.uint8)),
    )
)


@settings(max_examples=25, deadline=None)
@given(IMAGES)
def test_good_files_of_every_format_are_read_and_never_refused(image):
    for kind, options in LOSSLESS.items():
        np.testing.assert_array_equal(decode(encoded(image, kind, **options), kind), image, err_msg=kind)
    for compression in TIFFS:
        np.testing.assert_array_equal(decode(encoded(image, "tiff", compression=compression), compression), image)
    for options in ({}, {"progressive": True}, {"quality": 100, "subsampling": 0}, {"optimize": True, "quality": 1}):
        data = encoded(image, "jpeg", **options)
        plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(decode(data, "jpeg"), plain)
    few = PIL.Image.fromarray(image).quantize(200)
    np.testing.assert_array_equal(decode(encoded(np.asarray(few.convert("RGB")), "png"), "png"), few.convert("RGB"))


@pytest.mark.parametrize("colour", [(0, 0, 0), (3, 141, 59)])
def test_images_of_one_colour_are_small_and_no_bombs(colour):
    image = np.full((300, 500, 3), colour, np.uint8)
    for kind, options in (*LOSSLESS.items(), ("gif", {})):
        assert decode(encoded(image, kind, **options), kind).shape == image.shape, kind
    for compression in TIFFS:
        assert decode(encoded(image, "tiff", compression=compression), compression).shape == image.shape
    for options in ({}, {"optimize": True, "quality": 1}, {"progressive": True, "optimize": True}):
        assert decode(encoded(image, "jpeg", **options), "jpeg").shape == image.shape
    assert decode(large_png(4000), "png").shape == (4000, 4000, 3)


# Damage


def flipped(data, start, number=10, seed=0):
    data = bytearray(data)
    for place in np.random.default_rng(seed).integers(start, len(data) - 2, number):
        data[place] ^= 0x10
    return bytes(data)


def jpeg_damages(data):
    start = data.find(b"\xff\xda") + 14
    for part in (0.3, 0.6, 0.98):
        place = start + int((len(data) - start) * part)
        yield "cut", data[:place]
        yield "cut, with an end", data[:place] + b"\xff\xd9"
        yield "zeros to the end", data[:place] + bytes(len(data) - place)
        yield "zeros to the end, with an end", data[:place] + bytes(len(data) - place - 2) + b"\xff\xd9"
    place = start + (len(data) - start) // 2
    yield "zeros within", data[: place - 400] + bytes(800) + data[place + 400 :]
    yield "a piece is missing", data[: place - 400] + data[place + 400 :]
    yield "extraneous bytes", data[:-2] + b"\x55" * 40 + b"\xff\xd9"
    yield "no end", data[:-2]
    yield "flipped bits", flipped(data, start, 40)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 30}])
def test_damage_of_a_jpeg_that_libjpeg_notices_is_refused(options):
    data = encoded(scene(), "jpeg", **options)
    assert decode(data, "a.jpg").shape == (120, 160, 3)
    for what, damaged in jpeg_damages(data):
        with pytest.raises(InputError, match=r"^a\.jpg: is damaged \(.*\); copy it again from where it came from$"):
            raise AssertionError(f"{what}: {decode(damaged, 'a.jpg').shape}")


def unusual_headers(data):
    """A JPEG file of one scan with headers of which libjpeg warns, and which change no pixel."""
    scan = data.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    profile = b"\xff\xe2\0\x14ICC_PROFILE\0\2\5abcd"  # part 2 of 5
    return {
        "scan of progressive files": data[: end - 3] + bytes(3) + data[end:],
        "JFIF 3": data.replace(b"JFIF\0\1", b"JFIF\0\3", 1),
        "part of a profile": data[:2] + profile + data[2:],
        "all": data[:2] + profile + data[2 : end - 3].replace(b"JFIF\0\1", b"JFIF\0\3", 1) + bytes(3) + data[end:],
    }


@pytest.mark.parametrize("options", [{}, {"quality": 60, "restart_marker_rows": 1}])
def test_unusual_headers_of_a_jpeg_are_no_damage_and_hide_none(options):
    data = encoded(scene(), "jpeg", **options)
    image = decode(data, "a.jpg")
    for name, unusual in unusual_headers(data).items():
        np.testing.assert_array_equal(decode(unusual, "a.jpg"), image, err_msg=name)
        with pytest.raises(
            InputError, match=r"a\.jpg: is damaged \((?!Invalid SOS|Warning|Corrupt JPEG data: bad ICC)"
        ):
            decode(unusual[: len(unusual) // 2], "a.jpg")


def test_bytes_after_the_end_of_a_jpeg_are_no_damage():
    """Phones append previews and videos, cameras fill blocks."""
    data = encoded(scene(), "jpeg")
    for tail in (bytes(5000), b"MotionPhoto" * 500, data):
        np.testing.assert_array_equal(decode(data + tail, "a.jpg"), decode(data, "a.jpg"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("png", {}), ("gif", {}), ("bmp", {}), ("webp", {}), ("jpeg2000", {}), ("avif", {}), ("ppm", {})]
    + [("tiff", {"compression": each}) for each in ("raw", *TIFFS, "jpeg")],
)
def test_files_cut_short_are_refused(kind, options):
    data = encoded(scene(), kind, **options)
    assert decode(data, "a").shape == (120, 160, 3)
    for part in (0.02, 0.3, 0.6, 0.97):
        with pytest.raises(InputError, match=r"^a: "):
            decode(data[: int(len(data) * part)], "a")


@pytest.mark.parametrize("kind", ["png", "avif"])
@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits_are_refused_where_the_format_has_checks(kind, seed):
    data = encoded(scene(), kind)
    with pytest.raises(InputError, match=r"^a: "):
        decode(flipped(data, len(data) // 3, 10, seed), "a")


def test_a_checksum_of_a_png_names_its_place():
    data = encoded(scene(), "png")
    place = data.index(b"IDAT") + 4
    with pytest.raises(InputError, match=rf"^a\.png: is damaged \(checksum of 'IDAT' at byte {place}\); copy it again"):
        decode(flipped(data, place + 10, 1), "a.png")


def test_notes_in_a_png_are_not_its_pixels():
    """A wrong checksum of what only describes the image costs no pixel."""
    data = encoded(scene(), "png")
    note = len(b"k\0v").to_bytes(4, "big") + b"tEXtk\0v" + (zlib.crc32(b"tEXtk\0v") ^ 1).to_bytes(4, "big")
    np.testing.assert_array_equal(decode(data[:33] + note + data[33:], "a.png"), scene())


@pytest.mark.parametrize("kind", ["bmp", "webp", "tiff"])
def test_zeros_that_no_decoder_notices_are_named(kind, caplog, tmp_path):
    path = tmp_path / f"zeros.{kind}"
    data = encoded(scene(), kind, **({"lossless": True} if kind == "webp" else {}))
    path.write_bytes(data)
    read_image(path)
    assert not caplog.records
    path.write_bytes(data[: len(data) // 3] + bytes(len(data) - len(data) // 3))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            try:
                read_image(path)
            except InputError as error:  # what is noticed is refused
                assert str(error).startswith(f"{path}: is damaged")
                return
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [
        f"{path}: its last {len(data) - len(data) // 3}"
    ]


def test_predictions_training_and_doctor_agree(tmp_path):
    data = encoded(scene(), "jpeg")
    for number, (what, damaged) in enumerate([("good", data), *jpeg_damages(data)]):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(damaged)
        found = []
        for read in (as_image, lambda path: as_image(PIL.Image.open(path)), Record("a", path, None).read):
            try:
                found.append(read() if getattr(read, "__self__", None) else read(path))
            except InputError as error:
                found.append(str(error))
        if what == "good":
            assert all(np.array_equal(each, found[0]) for each in found) and not inspect_image(path).problem
        else:
            assert len(set(found)) == 1, what
            assert found[0] == f"{path}: {inspect_image(path).problem}"


# Headers


def test_more_pixels_than_a_file_can_hold_are_refused_before_decoding():
    jpeg, png = encoded(scene(), "jpeg"), encoded(scene(), "png")
    frame = jpeg.index(b"\xff\xc0")
    large = jpeg[: frame + 5] + (16000).to_bytes(2, "big") * 2 + jpeg[frame + 9 :]
    with pytest.raises(InputError, match=rf"promises 16000 x 16000 pixels, more than its {len(jpeg)} bytes can hold"):
        decode(large, "a.jpg")
    sizes = (30000).to_bytes(4, "big") * 2
    header = b"IHDR" + sizes + png[24:29]
    bomb = png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]
    with pytest.raises(InputError, match="promises 30000 x 30000 pixels, more than its"):
        decode(bomb, "a.png")
    bmp = bytearray(encoded(scene(), "bmp"))
    bmp[18:26] = (20000).to_bytes(4, "little") * 2
    with pytest.raises(InputError, match="promises 20000 x 20000 pixels, more than its"):
        decode(bytes(bmp), "a.bmp")
    gif = bytearray(encoded(scene(), "gif"))
    gif[6:10] = (60000).to_bytes(2, "little") * 2
    with pytest.raises(InputError, match="promises 60000 x 60000 pixels, more than its"):
        decode(bytes(gif), "a.gif")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "gif", "bmp", "jpeg2000", "avif"])
def test_memory_limits_decoding(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(scene(), kind))
    assert read_image(path, max_memory=1).shape == (120, 160, 3)
    with pytest.raises(InputError, match=r"160 x 120 pixels; decoding takes .* more than max_memory 5e-05: cut or"):
        read_image(path, max_memory=5e-5)


def test_more_pixels_than_are_ever_read_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(large_png(40000))
    with pytest.raises(InputError, match="40000 x 40000 pixels, which is too large to be decoded"):
        read_image(path)


def large_png(side):
    """A black PNG of one bit per pixel, which can be as small as it is."""

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    size = side.to_bytes(4, "big") * 2
    lines = zlib.compress(bytes((side // 8 + 1) * side), 1)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([1, 0, 0, 0, 0]))
    return start + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


# Formats


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".jfif", ".avif"])
def test_every_format_is_upright(tmp_path, suffix, orientation):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(scene()).save(path, "AVIF" if suffix == ".avif" else "JPEG", exif=exif)
    image = read_image(path)
    upright = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB"))
    np.testing.assert_array_equal(image, upright)
    assert image.shape == ((120, 160, 3) if orientation < 5 else (160, 120, 3))


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    for orientation, shape in ((1, (120, 160, 3)), (6, (160, 120, 3))):
        exif = PIL.Image.Exif()
        exif[0x112] = orientation
        pillow_heif.from_pillow(PIL.Image.fromarray(scene())).save(path, exif=exif.tobytes(), quality=90)
        image = read_image(path)
        assert image.shape == shape
        turned = image if orientation == 1 else np.rot90(image)
        assert np.abs(turned.astype(int) - scene()).mean() < 8
    data = path.read_bytes()
    for part in (0.3, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(InputError, match=r"a\.heic: is damaged \(.*\); copy it again"):
            read_image(path)
    with pytest.raises(InputError, match="more than max_memory"):
        decode(data, "a.heic", max_memory=5e-5)


def test_heic_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a\.heic: is a HEIC image, .*crowdcount-zoo\[heif\]"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a.heic")


def test_the_first_frame_of_an_animation_is_read_and_said_so(caplog):
    frames = [PIL.Image.fromarray(scene(seed=seed)) for seed in range(3)]
    for kind in ("gif", "webp", "png"):
        file = io.BytesIO()
        frames[0].save(
            file, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "webp" else {})
        )
        image = decode(file.getvalue(), f"moving.{kind}")
        assert np.abs(image.astype(int) - scene()).mean() < (20 if kind == "gif" else 1)
        assert f"moving.{kind}: holds 3 frames, of which the first alone is read" in caplog.text


def test_jpegs_of_four_inks_and_of_one():
    four = PIL.Image.fromarray(scene()).convert("CMYK")
    for image in (four, PIL.Image.fromarray(scene()).convert("L")):
        file = io.BytesIO()
        image.save(file, "jpeg")
        data = file.getvalue()
        plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(decode(data, "a"), plain)
        with pytest.raises(InputError, match="damaged"):
            decode(data[:-400] + b"\xff\xd9", "a")
