"""Examples of docstrings as code: griffe knows the section by the name that has an s."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename the section `Example` of every docstring to `Examples`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of an object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
