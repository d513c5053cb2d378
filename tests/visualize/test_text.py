import shutil

import numpy as np
import pytest

from crowdcount.visualize import text as module
from crowdcount.visualize.text import text_size, text_width, write


@pytest.fixture
def fonts(monkeypatch):
    """Forget which fonts have which characters, before and after; no font of the system is there."""
    monkeypatch.setattr(module, "_SYSTEM", ())
    for cached in (caches := (module._installed, module._font_name, module._runs)):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


def ink(line, height=40, x=8, text=12, width=400):
    paper = np.full((height, width, 3), 255, np.uint8)
    write(paper, line, x, height / 2, text)
    return (paper < 128).all(axis=2)


def shown(line):
    return "".join(letters for letters, _, _ in module._runs(line, 12))


@pytest.mark.parametrize("text", [9, 12.5, 20, 61])
def test_digits_are_as_tall_as_asked_and_centred(text):
    rows = np.flatnonzero(ink("0123456789", 200, 20, text, 900).any(axis=1))
    assert len(rows) == pytest.approx(text, abs=1.1)
    assert rows.mean() + 0.5 == pytest.approx(100, abs=1)


@pytest.mark.parametrize("line", ["count 123.4", "gate", "W", "площадь"])
def test_width_is_that_of_the_letters(line):
    columns = np.flatnonzero(ink(line).any(axis=0))
    assert 0 <= columns[0] - 8 <= 3
    assert 0 <= 8 + text_width(line, 12) - columns[-1] <= 4


def test_nothing_has_no_width():
    assert text_width("", 12) == 0 and not ink("").any()


@pytest.mark.parametrize("line", ["Café Größe Łódź İğne Việt", "площадь Україна", "Πλατεία", "“a” — b … €5 → ½ ²"])
def test_the_package_has_latin_greek_and_cyrillic(fonts, line):
    assert shown(line) == line


def test_a_letter_and_its_accent_are_one():
    assert shown("Cafe\u0301") == "Café"


@pytest.mark.parametrize(
    ("line", "escaped"),
    [
        ("广场", r"\u5e7f\u573a"),
        ("a\ud800b", r"a\ud800b"),
        ("\U0001f600", r"\U0001f600"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\uffff\ue000", r"\uffff\ue000"),
    ],
)
def test_what_no_font_has_is_escaped(fonts, line, escaped):
    assert shown(line) == escaped
    np.testing.assert_array_equal(ink(line), ink(escaped))
    assert text_width(line, 12) == text_width(escaped, 12)


def test_a_font_of_the_system_serves_for_what_ours_lacks(fonts, monkeypatch, tmp_path):
    own, other = module._OWN, str(tmp_path / "other.ttf")
    shutil.copy(own, other)
    has_glyph = module._has_glyph
    monkeypatch.setattr(module, "_SYSTEM", (str(tmp_path / "none.ttf"), other))
    monkeypatch.setattr(module, "_has_glyph", lambda name, x: has_glyph(name, x) and (name, x) != (own, "é"))
    assert [(letters, font.path) for letters, font, _ in module._runs("Café x", 12)] == [
        ("Caf", own),
        ("é", other),
        (" x", own),
    ]
    assert ink("Café x").sum() > ink("Caf x").sum()


@pytest.mark.parametrize(("x", "y"), [(-20, 10), (90, 10), (5, -3), (5, 27), (5, -90), (5, 900), (900, 10)])
def test_what_reaches_beyond_the_image_is_cut_off(x, y):
    paper, whole = np.zeros((25, 100, 3), np.uint8), np.zeros((2000, 2000, 3), np.uint8)
    write(paper, "count", x, y, 12, (255, 0, 0))
    write(whole, "count", x + 1000, y + 1000, 12, (255, 0, 0))
    np.testing.assert_array_equal(paper, whole[1000:1025, 1000:1100])


def test_part_of_an_image_is_written_in_place():
    paper = np.zeros((60, 200, 3), np.uint8)
    write(paper[10:50, 20:180], "count", 3, 20, 12, (0, 255, 0))
    assert paper[..., 1].any() and not paper[..., ::2].any()


def test_text_suits_the_image():
    assert text_size(10, 10) == module.LEAST_TEXT
    assert text_size(3000, 4000) == pytest.approx(0.018 * np.sqrt(12e6), abs=1)
