"""Short forms of jsonargparse's error messages: the key, the value and the closest valid key."""

import difflib
import inspect
import re
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from crowdcount.class_paths import denied_advice, find_class

_WRONG_KEY = re.compile(
    r"(?:Group '(?P<group>[^']+)' does not accept option|does not accept option|Option) '(?P<key>[^']+)'"
)
_WRONG_ARGUMENT = re.compile(r"(?:unrecognized arguments|ambiguous option): --(?P<key>[\w.+]+)")
_DENIED = re.compile(r"Importing '([\w.]+)' is not allowed, denied by the")
_NOISE = re.compile(r"[\s-]*(Does not validate against|Subtypes:|Errors:|Given value type:|Expected a path but)")
_PLAIN = (
    (r"^[\s-]+", ""),
    (r"\. Got value: Namespace.*", ""),
    (r"Given value: ", "got "),
    (r"Expected a dot import path string: (\S+)", r"\1 is not a class of this kind; give its import path"),
    (r"Expected (?:an? )?", "expected "),
    (r"<class 'NoneType'>", "null"),
    (r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1"),
    (r"typing\.", ""),
)


def explain(message: str, options: Sequence[str]) -> str:
    """Return one or two lines that name the key, the problem and the closest valid key.

    Args:
        message: the message of a jsonargparse error.
        options: dotted names that the top-level parser accepts.
    """
    path = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    denied = _DENIED.search(message)
    if denied:
        return f"{path}: {denied_advice(denied[1])}" if path else denied_advice(denied[1])
    classes = re.findall(r"Problem with given class_path '([^']+)'", message)
    wrong = _WRONG_KEY.search(message) or _WRONG_ARGUMENT.search(message)
    if wrong:
        key = ".".join(part for part in (wrong.groupdict().get("group"), wrong["key"]) if part)
        owner = _class_with_key(message, classes)
        return _unknown_key(path, key.replace(".init_args", ""), class_options(owner) if owner else options)
    missing = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    if missing:
        module = sys.modules.get(missing[1])
        public = [name for name in getattr(module, "__all__", dir(module)) if name[0].isupper()]
        return f"{path}: {missing[1]} has no {missing[2]}" + _hint(missing[2], public)
    return _innermost(message, path)


def class_options(class_path: str) -> list[str]:
    """Return the dotted names of the options of a class, such as `bins.intervals`."""
    owner = find_class(class_path)  # the message may quote a name that must not be imported
    if not inspect.isclass(owner):
        return []
    parser = ArgumentParser()
    parser.add_class_arguments(owner)
    return [action.dest for action in parser._actions if action.dest != "help"]


def _class_with_key(message: str, classes: list[str]) -> str | None:
    """Return the class with the invalid option: the innermost, or the one given for a callable type (an optimizer)."""
    given = re.search(r"is not accepted\. Got value: Namespace\(class_path='([^']+)'", message)
    return given[1] if given else classes[-1] if classes else None


def _unknown_key(path: str, key: str, known: Sequence[str]) -> str:
    full = f"{path}.{key}" if path else key
    return f"{full}: no such key" + _hint(key, known)


def _hint(key: str, known: Sequence[str]) -> str:
    """Suggest the closest known key: by the whole dotted name, or by its first part."""
    names = [name.replace(".init_args", "") for name in known]
    heads = {name.split(".")[0] for name in names}
    if not names:
        return ""
    close = difflib.get_close_matches(key, names, 1) or difflib.get_close_matches(key.split(".")[0], heads, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(heads))}"


def _innermost(message: str, path: str) -> str:
    """Keep only the lines of the innermost problem."""
    lines = message.split("\n")
    last = max((number for number, line in enumerate(lines) if 'Parser key "' in line), default=None)
    if last is None:
        return "; ".join(line.strip() for line in lines)
    depth = len(lines[last]) - len(lines[last].lstrip())
    inner = [re.sub(r'.*Parser key "[^"]+":', "", lines[last])]
    for line in lines[last + 1 :]:
        if line and len(line) - len(line.lstrip()) <= depth:
            break
        if not _NOISE.match(line):
            inner.append(line)
    text = "; ".join(dict.fromkeys(reason for reason in map(_plain, inner) if reason))
    return f"{path}: {text}" if path else text


def _plain(reason: str) -> str:
    for pattern, plain in _PLAIN:
        reason = re.sub(pattern, plain, reason)
    return reason
