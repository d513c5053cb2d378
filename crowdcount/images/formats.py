"""Formats of image files: their first bytes, and the suffixes that are read, written, or known but not read."""

from typing import Final

IMAGE_SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".ppm", ".pgm"),
)
"""File name suffixes of images, in lower case."""

WRITTEN_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""File name suffixes of the formats in which drawings are written, in lower case."""

UNREAD_SUFFIXES: Final = (
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw"),
    *(".jxl", ".jxr", ".jpx", ".psd", ".xcf", ".svg", ".ico", ".tga", ".exr", ".hdr", ".eps", ".pcx"),
)
"""File name suffixes of image formats that folders may hold and that are not read, in lower case."""

_STARTS: Final = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "BMP": b"BM",
    "GIF": b"GIF8",
}
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are BigTIFF
_JPEG_2000: Final = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def image_format(data: bytes) -> str:
    """Return the format that the first bytes of a file state, such as "JPEG"; empty if it is none of those known."""
    for name, start in _STARTS.items():
        if data.startswith(start):
            return name
    if data.startswith(_TIFF):
        return "TIFF"
    if data.startswith(_JPEG_2000):
        return "JPEG 2000"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return _bmff_format(data) if data[4:8] == b"ftyp" else ""


def _bmff_format(data: bytes) -> str:
    """Return AVIF or HEIC by the brands of an ISO base media file (ISO/IEC 14496-12); empty for others, as videos."""
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, size, 4))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIC" if any(brand in _HEIF_BRANDS for brand in brands) else ""
