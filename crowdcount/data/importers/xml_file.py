"""Reading of XML exports."""

from pathlib import Path
from xml.etree import ElementTree

from crowdcount.errors import InputError


def read_xml(file: Path) -> ElementTree.Element:
    """Return the top element of an XML file.

    Raises:
        InputError: if the file is damaged, or of an unknown encoding.
    """
    try:
        return ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: of an unknown encoding
        raise InputError(f"{file}: not readable as XML ({error}); export it again") from error
