"""Limits of YAML texts, and that within them they are read as PyYAML reads them."""

from pathlib import Path

import pytest
import yaml

from crowdcount.bounded_yaml import MAX_CHARACTERS, MAX_DEPTH, parse_yaml

CONFIGS = sorted((Path(__file__).parents[1] / "zoo_configs").glob("*/*_sha.yaml"))


@pytest.mark.parametrize("path", CONFIGS[:4], ids=lambda path: path.stem)
def test_configurations_are_read_as_they_are(path):
    assert parse_yaml(path.read_text()) == yaml.safe_load(path.read_text())


def test_aliases_are_read_as_they_are():
    text = "a: &a {x: 1, y: [2, 3]}\nb: *a\nc: {<<: *a, x: 4}\nd: [*a, *a]"
    assert parse_yaml(text) == yaml.safe_load(text)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "more than 100000 values, aliases included"),
        (MERGES, "more than 100000 values, aliases included"),
        ("[" * 3000, f"nested deeper than {MAX_DEPTH} levels"),
        ("{a: " * 50 + "1" + "}" * 50, f"nested deeper than {MAX_DEPTH} levels"),
        ("&a [*a]", "an alias stands for what contains it"),
        ("x" * (MAX_CHARACTERS + 1), "1048577 characters; at most"),
        ("a: " + "1:" * 60 + "1", "a number of 121 characters; at most 100 are read"),
        ('!!float "' + "1:" * 60 + '1"', "a number of 121 characters"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable"),
    ],
    ids=range(11),
)
def test_limits(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(text)
