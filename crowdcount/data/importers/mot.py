"""MOTChallenge: boxes of tracked heads or people, such as those of Head Tracking 21 (CroHD)."""

import configparser
from pathlib import Path

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.data.importers.number_lines import frame_name, read_lines
from crowdcount.errors import InputError
from crowdcount.files import read_text
from crowdcount.json_fields import as_number, image_size

_MOST_FRAMES = 1_000_000  # a frame is an entry in memory, before its image is looked for
_FIELDS = "frame,id,left,top,width,height,flag,class,visibility"


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the box centres of sequences of MOTChallenge.

    A sequence is a folder of `gt/gt.txt` and, with size and number of the frames, `seqinfo.ini`. Frames without a box
    are images without people if `seqinfo.ini` lists them. Boxes with the flag 0 are skipped. Positions are counted
    from 1, here from 0. The label of a box is its class, a number.

    Args:
        path: `gt.txt`, the folder of a sequence, or a folder of such folders.
        choice: selection of the shapes.

    Raises:
        InputError: if there is no file, or one is damaged; the message names file, line and value.
    """
    files = sorted(path.rglob("gt/gt.txt")) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise InputError(f"{path}: no gt.txt, nor a folder of sequences with gt/gt.txt")
    return [entry for file in files for entry in _read_sequence(file, choice)]


def _read_sequence(file: Path, choice: Choice) -> list[Annotated]:
    folder = file.parent.parent if file.parent.name == "gt" else file.parent
    images, length, size = _information(folder)
    frames: dict[int, list[tuple[float, float]]] = {n: [] for n in range(1, length + 1)}
    for place, values in read_lines(file, (7, 8, 9, 10), _FIELDS):
        frames.setdefault(int(values[0]), []).extend(_heads(values, choice))
        if values[0] < 1 or values[0] != int(values[0]):
            raise InputError(f"{place}: frame {values[0]:g} is no number from 1; correct it")
    start = f"{folder.absolute().name}/{images}/"
    return [
        Annotated(start + frame_name(n, choice.images, 6), heads, f"{file}: frame {n}", size)
        for n, heads in frames.items()
    ]


def _heads(values: list[float], choice: Choice) -> list[tuple[float, float]]:
    left, top, width, height, flag = values[2:7]
    if not choice.wants(f"{values[7]:g}" if len(values) > 7 else ""):
        return []
    if flag == 0:
        return choice.leave("box to be ignored (flag 0)")
    return choice.take("box centre", [(left - 1 + width / 2, top - 1 + height / 2)])


def _information(folder: Path) -> tuple[str, int, tuple[int, int] | None]:
    """Return the folder of the images, the number of frames and their size; the usual folder, 0 and None if unknown."""
    file = folder / "seqinfo.ini"
    if not file.is_file():
        return "img1", 0, None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(file))
        table = parser["Sequence"]
        images, length, *sides = (table[key] for key in ("imDir", "seqLength", "imWidth", "imHeight"))
    except (configparser.Error, KeyError) as error:
        raise InputError(f"{file}: not readable ({error}); copy it again from the original archive") from error
    number = int(as_number(f"{file}: seqLength", length))
    if number > _MOST_FRAMES:
        raise InputError(
            f"{file}: seqLength: {number} is more than {_MOST_FRAMES:,} frames; correct it, or split the sequence"
        )
    return images, number, image_size(str(file), *sides)
