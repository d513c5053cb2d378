"""makesense.ai: the export "Single CSV file" of points or rectangles."""

import csv
from collections.abc import Iterator
from pathlib import Path

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.errors import InputError
from crowdcount.files import read_text
from crowdcount.json_fields import as_number, image_size

_POINT, _BOX = 6, 8  # columns: label, x, y (, width, height), image, its width and height


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the points and rectangle centres of a CSV file of makesense.ai.

    A line is `label,x,y,image,width,height` of a point or `label,x,y,w,h,image,width,height` of a rectangle, with its
    upper left corner. A header, which later versions write, is skipped. Images without heads are not in the file. Its
    exports in the formats YOLO, VOC and COCO are those of the importers of these names.

    Args:
        path: the file.
        choice: selection of the shapes.

    Raises:
        InputError: if the file is missing or damaged, or states two sizes of an image; the message names the line.
    """
    if not path.is_file() or path.suffix.lower() != ".csv":
        raise InputError(f'{path}: no .csv file; export "Single CSV file", or import yolo, voc or coco')
    heads: dict[str, list[tuple[float, float]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for place, words in _rows(path):
        name, size = words[-3], image_size(place, *words[-2:])
        if sizes.setdefault(name, size) != size:
            raise InputError(f"{place}: {name!r} has {size[0]} x {size[1]} pixels, before {sizes[name]}; correct it")
        heads.setdefault(name, []).extend(_heads(place, words, choice))
    return [Annotated(name, heads[name], f"{path}: image {name!r}", sizes[name]) for name in heads]


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the location and the words of each line that is not a header."""
    reader = csv.reader(read_text(path).splitlines())
    try:
        for words in reader:
            place = f"{path}: line {reader.line_num}"
            if words and words[0] != "label_name":
                if len(words) not in (_POINT, _BOX):
                    raise InputError(
                        f"{place} has {len(words)} columns, expected {_POINT} of a point or {_BOX} of a rectangle; is "
                        "this the right format?"
                    )
                yield place, words
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is not readable as CSV ({error}); correct it") from error


def _heads(place: str, words: list[str], choice: Choice) -> list[tuple[float, float]]:
    if not choice.wants(words[0]):
        return []
    numbers = [as_number(f"{place}: column {i}", word) for i, word in enumerate(words[1:-3], 2)]
    if len(words) == _POINT:
        return choice.take("point", [(numbers[0], numbers[1])])
    x, y, width, height = numbers
    return choice.take("box centre", [(x + width / 2, y + height / 2)])
