"""Images to rows of counts, the same for every engine."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from crowdcount.batch.filesystems import read_bytes
from crowdcount.batch.items import Item
from crowdcount.batch.tables import Column
from crowdcount.errors import InputError
from crowdcount.files import printable
from crowdcount.images.read import Image, decode
from crowdcount.inference.prediction import Prediction
from crowdcount.local_path import is_address
from crowdcount.predictor import Predictor
from crowdcount.prefetch import ahead
from crowdcount.visualize.drawing_mark import is_drawing, is_drawn

Row = dict[str, Any]
"""A row of the table of counts; see `crowdcount.batch.partitions.schema`."""

_BATCHES_WAITING: Final = 4
"""Batches whose images are held in memory until others of their size come."""


@dataclass(frozen=True)
class _Read:
    """An image that was read, or why it cannot be counted."""

    item: Item
    image: Image | None = None
    error: str = ""


class Reader:
    """Reading of the images of a data set, as a predictor reads files.

    Args:
        predictor: with its limits of memory and size.
        column: of tables.
    """

    def __init__(self, predictor: Predictor, column: str) -> None:
        self._predictor = predictor
        self._table = lru_cache(maxsize=1)(lambda table: Column(table, column))

    def read(self, item: Item) -> Image:
        """Return an image.

        Raises:
            InputError: it cannot be read.
        """
        if item.row is None and not is_address(item.name):
            if is_drawing(Path(item.name)):
                raise _drawing(item)
            return self._predictor.read(item.name)
        data = read_bytes(item.name) if item.row is None else self._table(item.table).image(item.row)
        if is_drawn(data):
            raise _drawing(item)
        return decode(data, item.name, max_memory=self._predictor.max_memory, value_range=self._predictor.value_range)


def _drawing(item: Item) -> InputError:
    return InputError(f"{item.name}: is a drawing of crowdcount, not an image to count in; leave it out")


def count_items(predictor: Predictor, items: Sequence[Item], batch: int, column: str) -> Generator[Row, None, None]:
    """Yield a row for each image; the next one is read while one is counted.

    The batches depend on the images alone, so that the numbers do not depend on who counts.

    Args:
        predictor: a model of density.
        items: the images.
        batch: images of one size counted together; with 1 in the order given.
        column: of tables.
    """
    reader = Reader(predictor, column)

    def read(item: Item) -> _Read:
        return _Read(item, reader.read(item))

    for alike in _batches(_sources(items, ahead(read, items)), batch):
        yield from _counted(predictor, alike)


def _sources(items: Iterable[Item], futures: Iterable[Any]) -> Iterator[_Read]:
    for item, future in zip(items, futures, strict=True):
        try:
            yield future.result()
        except (InputError, OSError) as error:
            yield _Read(item, error=_about(item, error))


def _about(item: Item, error: Exception) -> str:
    text = str(error)
    return text if text.startswith(item.name) else f"{item.name}: {text}"


def _batches(sources: Iterable[_Read], batch: int) -> Iterator[list[_Read]]:
    """Yield images of one size together; those of rare sizes wait a while for others."""
    waiting: dict[tuple[int, ...], list[_Read]] = {}
    for source in sources:
        shape = () if source.image is None else source.image.shape
        waiting.setdefault(shape, []).append(source)
        if len(waiting[shape]) == batch or not shape:
            yield waiting.pop(shape)
        elif sum(map(len, waiting.values())) >= _BATCHES_WAITING * batch:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def _counted(predictor: Predictor, alike: list[_Read]) -> Iterator[Row]:
    images = [source.image for source in alike if source.image is not None]
    try:
        found: Sequence[Prediction | None] = predictor.predict_batch(images) if images else [None]
    except InputError as error:
        if len(alike) > 1:  # what is too much together may do one by one
            yield from (row for source in alike for row in _counted(predictor, [source]))
            return
        found, alike = [None], [replace(alike[0], error=_about(alike[0].item, error))]
    for source, prediction in zip(alike, found, strict=True):
        yield _row(source, prediction)


def _row(source: _Read, prediction: Prediction | None) -> Row:
    row: Row = {"image": printable(source.item.name)}
    if source.item.state is not None:
        row |= {"bytes": source.item.state.size, "modified": source.item.state.modified}
    if source.image is not None:
        row |= {"width": source.image.shape[1], "height": source.image.shape[0]}
    if prediction is not None:
        return row | {"count": prediction.count, "exact": prediction.exact, "doubt": prediction.doubt}
    return row | {"error": printable(source.error)}
