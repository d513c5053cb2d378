"""Downloading the images of a table of captions."""

from pathlib import Path, PurePosixPath
from typing import get_args
from urllib.parse import urlparse

from tqdm import tqdm

from crowdcount.data.sample import Split
from crowdcount.data.sources.captions import Caption, Captions
from crowdcount.errors import InputError
from crowdcount.images.read import IMAGE_SUFFIXES, read_image
from crowdcount.weights.download import download


def download_images(source: Captions) -> dict[str, str]:
    """Download the images that are not there yet, and return the reason for each that cannot be had, by its name.

    A file that is no image, such as the page that a host shows in place of a lost one, is removed.
    """
    absent = {name for split in get_args(Split) for name in source.missing(split)}
    wanted = [caption for caption in source.captions if caption.url and caption.name in absent]
    folder = source.root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    failed = {}
    for caption in tqdm(wanted, unit="image", disable=None):
        try:
            _download(caption, folder)
        except InputError as error:
            failed[caption.name] = " ".join(str(error).split())
    return failed


def _download(caption: Caption, folder: Path) -> None:
    """Download one image under its name.

    Raises:
        InputError: no server sends it, or it is no image.
    """
    suffix = PurePosixPath(urlparse(caption.url).path).suffix.lower()
    target = folder / f"{caption.name}{suffix if suffix in IMAGE_SUFFIXES else '.jpg'}"
    unchecked = folder / f".{target.name}"
    try:
        download([caption.url], unchecked, None, None)
        read_image(unchecked)
        unchecked.replace(target)
    finally:
        unchecked.unlink(missing_ok=True)
