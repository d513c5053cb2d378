"""Files for the server of NWPU-Crowd: their form, and the rules that a wrong one breaks."""

from pathlib import Path

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.evaluation.harness import ImageResult
from crowdcount.evaluation.submission import (
    check_count_submission,
    check_localisation_submission,
    write_count_submission,
    write_localisation_submission,
)

IDS = ["3610", "3611", "3612"]
FILE = Path("file.txt")


def results():
    points = [[[3, 4], [0, 17]], [], [[1023, 767]]]
    counts = [220.21857, 0.1 + 0.2, 4129.0]
    return [
        ImageResult(name, count, np.array(places, np.int64).reshape(-1, 2))
        for name, count, places in zip(IDS, counts, points, strict=True)
    ]


def test_counts_have_all_their_digits_and_no_line_break_at_the_end(tmp_path):
    path = tmp_path / "new" / "counts.txt"
    write_count_submission(path, results())
    assert path.read_bytes() == b"3610 220.21857\n3611 0.30000000000000004\n3612 4129.0"
    assert [file.name for file in path.parent.iterdir()] == ["counts.txt"]


def test_points_are_whole_pixels_behind_their_number(tmp_path):
    path = tmp_path / "points.txt"
    write_localisation_submission(path, results())
    assert path.read_bytes() == b"3610 2 3 4 0 17\n3611 0\n3612 1 1023 767"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3610 1\n3611 2", r"no line of 3612 \(1 images are missing\)"),
        ("3610 1\n3611 2\n3612 3\n3613 4", "line 4 is of '3613', which is no image"),
        ("3610 1\n3610 2\n3612 3", "line 2 is of 3610 again"),
        ("id count\n3610 1\n3611 2\n3612 3", "line 1 is of 'id'"),
        ("3610 1\n\n3611 2\n3612 3", "line 2 is of ''"),
        ("3610 1\n3611 2\n3612", "line 3 has 1 fields"),
        ("3610 1\n3611  2\n3612 3", "line 2 has 3 fields"),
        ("3610 1\n3611 2 3\n3612 3", "line 2 has 3 fields"),
        ("3610 1\n3611\t2\n3612 3", "line 2 is of"),
        ("3610 1\n3611 nan\n3612 3", "line 2 gives 'nan'"),
        ("3610 1\n3611 inf\n3612 3", "line 2 gives 'inf'"),
        ("3610 1\n3611 many\n3612 3", "line 2 gives 'many'"),
        ("", "line 1 is of ''"),
    ],
)
def test_wrong_count_files(text, message):
    with pytest.raises(InputError, match=f"file.txt: .*{message}"):
        check_count_submission(FILE, text, IDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3610 0\n3611 0", "no line of 3612"),
        ("3610 2 3 4\n3611 0\n3612 0", "line 1 has 4 fields"),
        ("3610 1 3 4 5\n3611 0\n3612 0", "line 1 has 5 fields"),
        ("3610 0\n3611\n3612 0", "line 2 has 1 fields"),
        ("3610 0\n3611 1 2.5 3\n3612 0", "line 2 has '2.5'"),
        ("3610 0\n3611 1 -2 3\n3612 0", "line 2 has '-2'"),
        ("3610 0\n3611 1 02 3\n3612 0", "line 2 has '02'"),
        ("3610 0\n3611 1 2  3\n3612 0", "line 2 has ''"),
        ("3610 0\n3611 1 \u0663 3\n3612 0", "line 2 has"),
    ],
)
def test_wrong_localisation_files(text, message):
    with pytest.raises(InputError, match=f"file.txt: .*{message}"):
        check_localisation_submission(FILE, text, IDS)


def test_right_files_with_and_without_a_last_line_break():
    for end in ("", "\n"):
        check_count_submission(FILE, "3612 3\n3610 0.5\n3611 1e-05" + end, IDS)
        check_localisation_submission(FILE, "3612 1 5 6\n3610 0\n3611 2 0 0 1 1" + end, IDS)


@pytest.mark.parametrize("count", [float("nan"), float("inf")])
def test_a_model_that_fails_writes_nothing_and_spoils_no_older_file(tmp_path, count):
    path = tmp_path / "counts.txt"
    path.write_text("older")
    wrong = [*results()[:2], ImageResult("3612", count, np.zeros((0, 2), np.int64))]
    with pytest.raises(InputError, match="line 3"):
        write_count_submission(path, wrong)
    assert path.read_text() == "older" and len(list(tmp_path.iterdir())) == 1


def test_images_of_the_same_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="line 4 is of 3610 again"):
        write_localisation_submission(tmp_path / "points.txt", [*results(), results()[0]])
    assert not list(tmp_path.iterdir())
