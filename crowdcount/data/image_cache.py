"""Resized images on disk, so that each is made once."""

import hashlib
from pathlib import Path

import cv2
import PIL

from crowdcount.data.sample import Record
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.geometry import Points
from crowdcount.images.read import Image, read_image
from crowdcount.images.resize import SizeRule, decoded, encode_jpeg, moved


class ImageCache:
    """A folder with the images of a data set as a size rule makes them; pixels equal those made afresh bit for bit.

    An image is kept as the JPEG file that the rule asks for, otherwise uncompressed (BMP, 3 bytes for each pixel): a
    PNG takes half of the disk, but longer to decode than the image takes to be made. Its name is made of the rule, the
    path, the size and the time of change of the original and the versions of the libraries: whatever changes one of
    these makes a new file. Files are complete or absent, so that processes share a folder. Nothing is deleted: remove
    the folder to be rid of what is no longer used. Images that keep their size and pixels, and generated ones, are not
    kept. Small images that a rule enlarges several times over are made faster than read: do without for those.

    Args:
        folder: made where it is missing.
        rule: the size rule.
    """

    def __init__(self, folder: Path | str, rule: SizeRule) -> None:
        self.folder = Path(folder)
        self.rule = rule

    def read(self, record: Record) -> tuple[Image, Points]:
        """Return the image of a record and its points as the rule makes them.

        Raises:
            InputError: the image is missing or damaged, or the folder cannot be written to.
        """
        points = record.require_points()
        if not isinstance(record.image, Path) or not record.image.is_file():
            return self.rule(record.read(), points)
        start = self._start(record.image)
        for kept in start.parent.glob(f"{start.name}.*"):
            return _kept(kept, points)
        return self._made(record, points, start)

    def _start(self, path: Path) -> Path:
        """Return the beginning of the name under which an image is kept."""
        stat = path.stat()
        versions = (cv2.__version__, PIL.__version__)
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
