"""Reading of YAML whose size, depth and aliases are bounded: a configuration may come from a stranger.

Aliases make a text of a few hundred bytes stand for billions of values ("billion laughs"); PyYAML keeps them shared,
but whoever walks through the result does not.
"""

from typing import Any, Final

import yaml
from yaml.nodes import Node, ScalarNode

MAX_CHARACTERS: Final = 1 << 20
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 100_000
"""Number of keys and values, those of an alias counted each time it is used."""
MAX_DIGITS: Final = 100
"""Characters of a number: PyYAML reads 1:2:3 in base 60, and takes a minute for half a million digits of it."""
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML text.

    Raises:
        yaml.YAMLError: the text is not YAML, exceeds a limit, or holds an impossible value (the date 2024-13-45).
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"{len(text)} characters; at most {MAX_CHARACTERS} are read")
    try:
        return yaml.load(text, _BoundedLoader)  # a subclass of the safe loader
    except (ValueError, TypeError, AttributeError) as error:  # PyYAML's constructors raise whatever Python raises
        raise yaml.YAMLError(str(error)) from error


class _BoundedLoader(yaml.SafeLoader):
    """Safe loader that counts values while it composes nodes, before anything is built of them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[int] = [0]  # number of values in each node that is being composed
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose a node and add its values to those of its parent."""
        if len(self._open) > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        alias = self.check_event(yaml.AliasEvent)
        self._open.append(1)
        node = super().compose_node(parent, index)
        if isinstance(node, ScalarNode) and node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            raise yaml.YAMLError(f"a number of {len(node.value)} characters; at most {MAX_DIGITS} are read")
        size = self._open.pop()
        if alias:
            if id(node) not in self._sizes:
                raise yaml.YAMLError("an alias stands for what contains it")
            size = self._sizes[id(node)]
        self._sizes[id(node)] = size
        self._open[-1] += size
        if self._open[-1] > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES} values, aliases included")
        return node
