"""Pascal VOC: one XML file per image, as LabelImg, makesense.ai, CVAT and SCUT-HEAD have them."""

from pathlib import Path
from xml.etree import ElementTree

from crowdcount.data.importers.annotated import Annotated, Choice
from crowdcount.data.importers.xml_file import read_xml
from crowdcount.errors import InputError
from crowdcount.json_fields import as_number, image_size


def read(path: Path, choice: Choice) -> list[Annotated]:
    """Read the box centres of Pascal VOC files.

    Args:
        path: file, or folder of `.xml` files, including subfolders.
        choice: selection of the shapes.

    Raises:
        InputError: if there is no file, or one is damaged; the message names file, object and value.
    """
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise InputError(f"{path}: no .xml file of Pascal VOC, nor a folder with some")
    return [_read_file(file, choice) for file in files]


def _read_file(file: Path, choice: Choice) -> Annotated:
    top = read_xml(file)
    if top.tag != "annotation":
        raise InputError(f"{file}: begins with {top.tag!r}, expected 'annotation' of Pascal VOC; is this the format?")
    heads = [
        head for i, each in enumerate(top.findall("object")) for head in _heads(f"{file}: object {i}", each, choice)
    ]
    name = (top.findtext("filename") or "").strip().replace("\\", "/") or file.stem
    width, height = top.findtext("size/width"), top.findtext("size/height")
    # Some tools write 0 x 0 where they do not know the size.
    known = width is not None and height is not None and (width.strip(), height.strip()) != ("0", "0")
    return Annotated(name, heads, str(file), image_size(str(file), width, height) if known else None)


def _heads(place: str, shape: ElementTree.Element, choice: Choice) -> list[tuple[float, float]]:
    if not choice.wants((shape.findtext("name") or "").strip()):
        return []
    if shape.find("bndbox") is None:
        return choice.leave("object without a box")
    left, top, right, bottom = (
        as_number(f"{place}: {key}", shape.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")
    )
    if left > right or top > bottom:
        raise InputError(
            f"{place}: its box ends at {right:g}, {bottom:g} before its start {left:g}, {top:g}; correct it"
        )
    return choice.take("box centre", [((left + right) / 2, (top + bottom) / 2)])
