"""Cache of resized images on disk."""

import hashlib
from pathlib import Path

import cv2
import PIL
import simplejpeg

from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.geometry import Points
from crowdcount.images.read import Image, read_image
from crowdcount.images.resize import SizeRule, decoded, encode_jpeg, moved


class ImageCache:
    """Folder of images resized by a size rule; cached pixels are identical to newly resized ones.

    An image is stored as JPEG if the rule compresses it, otherwise uncompressed (BMP, 3 bytes per pixel): a PNG needs
    half the disk space, but takes longer to decode than the image takes to resize. The file name is a hash of the
    rule, the path, size and modification time of the original and the library versions, so a change of any of them
    creates a new file. Files are written atomically, so processes can share a folder. Nothing is deleted: remove the
    folder to free the space. Generated images, and images that keep their size and pixels, are not cached. Do not use
    the cache for small images that a rule enlarges several times: resizing is faster than reading.

    Args:
        folder: folder of the cache, created if necessary.
        rule: size rule.
    """

    def __init__(self, folder: Path | str, rule: SizeRule) -> None:
        self.folder = Path(folder)
        self.rule = rule

    def read(self, record: Record) -> tuple[Image, Points]:
        """Return the image and the points of a record after the size rule.

        Raises:
            InputError: if the image is missing or damaged, or the folder cannot be written to.
        """
        points = record.require_points()
        if not isinstance(record.image, Path) or not record.image.is_file():
            return self.rule(record.read(), points)
        start = self._start(record.image)
        for kept in start.parent.glob(f"{start.name}.*"):
            return _kept(kept, points)
        return self._made(record, points, start)

    def _start(self, path: Path) -> Path:
        """Return the prefix of the file name of a cached image."""
        stat = path.stat()
        versions = (cv2.__version__, PIL.__version__, simplejpeg.__version__)
        key = repr((self.rule, str(path.resolve()), stat.st_size, stat.st_mtime_ns, versions))
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:40]
        return self.folder / digest[:2] / digest[2:]

    def _made(self, record: Record, points: Points, start: Path) -> tuple[Image, Points]:
        original = record.read()
        image = self.rule.scaled(original)
        (height, width), (rows, columns) = original.shape[:2], image.shape[:2]
        points = moved(points, (width, height), (columns, rows))
        if self.rule.jpeg_quality is not None:
            data, suffix = encode_jpeg(image, self.rule.jpeg_quality), "jpg"
            image = decoded(data)
        elif image is original:
            return image, points
        else:
            data, suffix = _encode_bmp(image), "bmp"
        name = f"{start.name}.{width}x{height}.{suffix}"  # the size of the original scales the points
        try:
            atomic_write(start.with_name(name), data)
        except OSError as error:
            raise InputError(f"data.cache: {start.with_name(name)} cannot be written ({error}); make room") from error
        return image, points


def _kept(path: Path, points: Points) -> tuple[Image, Points]:
    width, height = map(int, path.suffixes[-2][1:].split("x"))
    try:
        image = read_image(path)
    except InputError as error:
        raise InputError(f"{error}; or delete this file of data.cache, which makes it again") from error
    return image, moved(points, (width, height), (image.shape[1], image.shape[0]))


def _encode_bmp(image: Image) -> bytes:
    done, data = cv2.imencode(".bmp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV writes every uint8 image as BMP"
    return data.tobytes()
