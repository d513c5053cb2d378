"""Files that are complete or absent, and files that grow by whole lines."""

import os

import pytest

from crowdcount.csv_cells import escaped_cell, plain_cell
from crowdcount.errors import InputError
from crowdcount.files import LineFile, atomic_folder, atomic_write, check_new_folder, temporary_path

resource = pytest.importorskip("resource")


@pytest.fixture
def limited():
    """A function that sets how large files may become; the limit of before holds again at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_are_there_at_once(tmp_path):
    table = LineFile(tmp_path / "t.csv", "head\n")
    assert not (tmp_path / "t.csv").exists()
    for number in range(3):
        table.append(f"{number}\n")
        assert (tmp_path / "t.csv").read_text() == "head\n" + "".join(f"{n}\n" for n in range(number + 1))
    table.close()


def test_an_older_file_stays_until_the_first_line(tmp_path):
    (tmp_path / "t.csv").write_text("older")
    with LineFile(tmp_path / "t.csv", "head\n"):
        pass
    assert (tmp_path / "t.csv").read_text() == "older"
    with LineFile(tmp_path / "t.csv", "head\n") as table:
        table.append()
        assert (tmp_path / "t.csv").read_text() == "head\n"


def test_a_full_disk_leaves_whole_lines_and_loses_none(tmp_path, limited):
    path = tmp_path / "t.csv"
    with LineFile(path, "head\n") as table:
        table.append("first\n")
        limited(16)
        for line in ("second line\n", "third line\n"):
            with pytest.raises(OSError, match="File too large"):
                table.append(line)
            assert path.read_text() == "head\nfirst\n"
        limited(None)
        table.append("fourth\n")
        assert path.read_text() == "head\nfirst\nsecond line\nthird line\nfourth\n"


def test_lines_that_cannot_be_written_in_the_end_are_an_error(tmp_path, limited):
    table = LineFile(tmp_path / "t.csv", "head\n")
    table.append("first\n")
    limited(12)
    with pytest.raises(OSError, match="File too large"):
        table.append("second\n")
    with pytest.raises(OSError, match="File too large"):
        table.close()
    limited(None)
    assert (tmp_path / "t.csv").read_text() == "head\nfirst\n"


def test_a_file_that_does_not_fit_leaves_the_older_one(tmp_path, limited):
    atomic_write(tmp_path / "a.txt", "older")
    limited(20)
    with pytest.raises(OSError, match="File too large"):
        atomic_write(tmp_path / "a.txt", "x" * 100)
    limited(None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "older"


def test_half_surrogates_are_escaped(tmp_path):
    atomic_write(tmp_path / "a.txt", "caf\udce9, café\n")
    with LineFile(tmp_path / "b.txt") as table:
        table.append("caf\udce9, café\n")
    for name in ("a.txt", "b.txt"):
        assert (tmp_path / name).read_text(encoding="utf-8") == "caf\\udce9, café\n"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "人" * 85, "a.csv", os.fsdecode(b"\xe9" * 255)])
def test_names_as_long_as_the_disk_allows(tmp_path, name):
    atomic_write(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208
    assert temporary_path(tmp_path / name) != temporary_path(tmp_path / f"{name[:-1]}b")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"),
        ("+a", "'+a"),
        ("-a", "'-a"),
        ("@a", "'@a"),
        ("\ta", "'\ta"),
        ("\ra", "'\ra"),
        ("'=1", "''=1"),
        ("''@", "'''@"),
        ("'a", "'a"),
        ("a=1", "a=1"),
        ("", ""),
        ("1.5", "1.5"),
    ],
)
def test_cells_come_back(text, cell):
    assert escaped_cell(text) == cell and plain_cell(cell) == text


def test_a_folder_is_there_completely_or_not_at_all(tmp_path):
    target = tmp_path / "above" / "new"
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    check_new_folder(target)
    with atomic_folder(target) as folder:
        assert folder.name == "new" and list(target.iterdir()) == []
        (folder / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"] and list(target.parent.iterdir()) == [target]
    with pytest.raises(InputError, match="new exists"):
        check_new_folder(target)
    with pytest.raises(InputError, match="whole exists"):
        check_new_folder(target / "whole")
