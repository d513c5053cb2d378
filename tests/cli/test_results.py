"""Results on disk as soon as they are made, whatever ends a call; calls that go on; folders that calls share."""

import csv
import io
import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from crowdcount.cli import count_run, predict
from crowdcount.cli.output_folder import OutputFolder, shortened
from crowdcount.cli.tables import CountResult, counts_csv, json_entry, read_entry
from crowdcount.errors import InputError
from crowdcount.folder_lock import LOCK
from crowdcount.predictor import Predictor
from crowdcount.visualize.drawing_mark import drawing_bytes, is_drawing
from tests.support.counter import noise_image, save_counter, write_images
from tests.support.video import frame_image, write_video

NAMES = ("a.png", "b.png", "c.png", "d.png")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return save_counter(tmp_path_factory.mktemp("release") / "tiny")


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "images", NAMES)
    return tmp_path / "images"


def run(*arguments, model):
    return predict.main([*map(str, arguments), "--device", "cpu", "--model", model])


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def counted(folder):
    return [(Path(row["image"]).name, row["count"]) for row in rows(folder / "counts.csv")]


def record(folder):
    return [json.loads(line) for line in (folder / "counts.jsonl").read_text().splitlines()]


def at_call(monkeypatch, act):
    """Call `act` with the number of images counted so far before each is counted."""
    together, calls = Predictor.predict_batch, []

    def each(self, shown):
        act(len(calls))
        calls.append(len(shown))
        return together(self, shown)

    monkeypatch.setattr(Predictor, "predict_batch", each)
    return calls


# As they are made


def test_a_finished_image_is_in_the_tables_at_once(release, images, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []
    at_call(monkeypatch, lambda number: seen.append((number, len(rows(out / "counts.csv")), len(record(out)) - 1)))
    assert run(images, "--output", out, "--save", "csv", model=release) == 0
    assert seen == [(0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3)]


def test_sigterm_ends_a_call_that_can_go_on(release, images, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    before = signal.getsignal(signal.SIGTERM)
    at_call(monkeypatch, lambda number: signal.raise_signal(signal.SIGTERM) if number == 2 else None)
    assert run(images, "--output", out, "--save", "csv", "json", model=release) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "interrupted after 2 of 4 files; --resume goes on" in capsys.readouterr().err
    assert [name for name, _ in counted(out)] == ["a.png", "b.png"]
    assert len(json.loads((out / "counts.json").read_text())["images"]) == 2
    monkeypatch.undo()
    calls = at_call(monkeypatch, lambda number: None)
    assert run(images, "--output", out, "--save", "csv", "json", "--resume", model=release) == 0
    assert len(calls) == 2 and "2 files were counted before, 2 are to be counted" in capsys.readouterr().err
    assert run(images, "--output", tmp_path / "whole", "--save", "csv", "json", model=release) == 0
    for name in ("counts.csv", "counts.json"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_frames_of_a_video_are_in_their_table_at_once(release, tmp_path, monkeypatch):
    film = write_video(tmp_path / "walk.avi", [frame_image(index) for index in range(4)], "mjpeg")
    out, seen = tmp_path / "out", []
    table = out / "walk_counts.csv"
    at_call(monkeypatch, lambda number: seen.append(len(rows(table)) if table.exists() else 0))
    assert run(film, "--every", "1", "--output", out, "--save", "csv", model=release) == 0
    assert seen == [0, 1, 2, 3] and len(rows(table)) == 4


def test_an_overlay_that_cannot_be_written_costs_only_itself(release, images, tmp_path, monkeypatch, capsys):
    film = write_video(tmp_path / "walk.avi", [frame_image(index) for index in range(4)], "mjpeg")
    out = tmp_path / "out"
    for name in ("b_overlay.png", "walk_counted.mp4"):
        (out / name).mkdir(parents=True)  # a folder in its place
        (out / name / "kept").touch()
    assert run(images, film, "--every", "1", "--output", out, model=release) == 2
    found = {Path(row["image"]).name: row for row in rows(out / "counts.csv")}
    assert all(float(row["count"]) > 0 for row in found.values())
    assert [name for name, row in found.items() if row["error"]] == ["b.png", "walk.avi"]
    shown = capsys.readouterr()
    for name, end in (("b.png", "b_overlay.png"), ("walk.avi", "walk_counted.mp4")):
        assert f"{out / end}: not written (" in found[name]["error"] and found[name]["error"] in shown.err
    assert "2 of 5 files have errors" in shown.err
    assert len(rows(out / "walk_counts.csv")) == 4
    assert {"a_overlay.png", "c_overlay.png", "d_overlay.png"} < {path.name for path in out.iterdir()}
    assert not [path for path in out.iterdir() if ".part" in path.name]


# Going on


def test_errors_changed_files_and_new_ones_are_counted_again(release, images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    good = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(b"no image")
    assert run(images, "--output", out, model=release) == 2
    first = dict(counted(out))
    (images / "b.png").write_bytes(good)
    write_images(images, ["c.png", "x.png", "y.png"])  # c is another image now
    calls = at_call(monkeypatch, lambda number: None)
    assert run(images, "--output", out, "--resume", model=release) == 0
    assert len(calls) == 4
    again = dict(counted(out))
    assert sorted(again) == sorted([*NAMES, "x.png", "y.png"]) and len(counted(out)) == 6
    assert again["a.png"] == first["a.png"] and again["d.png"] == first["d.png"]
    assert again["c.png"] != first["c.png"] and again["b.png"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--long-side", 64], "long_side"),
        (["--save", "csv", "npz"], "save"),
        (["--zones", "zones.json"], "zones"),
        (["--model", "other"], "weights"),
        (["--every", 3], "every"),
    ],
)
def test_other_settings_are_refused(release, images, tmp_path, monkeypatch, capsys, arguments, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zones.json").write_text('{"left": [[0, 0], [30, 0], [30, 60], [0, 60]]}')
    if name == "weights":
        arguments = ["--model", save_counter(tmp_path / "other", seed=1)]
    assert run(images, "--output", "out", model=release) == 0
    table = (tmp_path / "out" / "counts.csv").read_text()
    words = [*map(str, [images, "--output", "out", "--resume", "--device", "cpu", "--model", release, *arguments])]
    assert predict.main(words) == 2
    assert f"--resume: out/counts.jsonl was made with another {name}" in capsys.readouterr().err
    assert (tmp_path / "out" / "counts.csv").read_text() == table


def test_zones_that_were_drawn_anew_are_other_settings(release, images, tmp_path, capsys):
    zones, out = tmp_path / "zones.json", tmp_path / "out"
    zones.write_text('{"left": [[0, 0], [30, 0], [30, 60], [0, 60]]}')
    assert run(images, "--zones", zones, "--output", out, model=release) == 0
    zones.write_text('{"left": [[0, 0], [40, 0], [40, 60], [0, 60]]}')
    assert run(images, "--zones", zones, "--output", out, "--resume", model=release) == 2
    assert "was made with another zones" in capsys.readouterr().err


def test_what_changes_no_number_may_change(release, images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(images, "--output", out, model=release) == 0
    calls = at_call(monkeypatch, lambda number: None)
    assert run(images / "a.png", images / "b.png", "--batch", 2, "--output", out, "--resume", model=release) == 0
    assert calls == []


def test_a_line_that_was_being_written_is_counted_again(release, images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(images, "--output", out, model=release) == 0
    whole = counted(out)
    data = (out / "counts.jsonl").read_bytes()
    (out / "counts.jsonl").write_bytes(data[:-20])
    calls = at_call(monkeypatch, lambda number: None)
    assert run(images, "--output", out, "--resume", model=release) == 0
    assert len(calls) == 1 and counted(out) == whole


@pytest.mark.parametrize("content", [b"", b"x\n", b"[]\n", b'{"settings": {}}\n{"image": "a"}\n', b"\xff\xfe\n"])
def test_a_damaged_record_is_refused(release, images, tmp_path, capsys, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / "counts.jsonl").write_bytes(content)
    assert run(images, "--output", out, "--resume", model=release) == 2
    shown = capsys.readouterr().err
    assert "counts.jsonl" in shown and shown.count("\n") == 1


def test_resume_without_an_earlier_call_counts_everything(release, images, tmp_path, capsys):
    assert run(images, "--output", tmp_path / "out", "--resume", model=release) == 0
    assert len(counted(tmp_path / "out")) == 4
    with pytest.raises(SystemExit):
        run(images, "--resume", model=release)
    assert "--resume needs --output" in capsys.readouterr().err


def test_entries_come_back():
    points = np.array([[1.5, 2.25]], np.float32)
    result = CountResult("a", 1.5, {"z": 0.5}, points, (4, 3), False, "e", ("a_overlay.png",), doubt=0.25)
    for each in (result, CountResult("b", error="damaged")):
        again = read_entry(json.loads(json.dumps(json_entry(each))))
        np.testing.assert_array_equal(again.points, each.points)
        assert counts_csv([again], ["z"]) == counts_csv([each], ["z"])
        assert (again.outputs, again.doubt) == (each.outputs, each.doubt)


# The folder


def test_a_second_call_in_a_folder_is_refused(release, images, tmp_path, monkeypatch, capsys):
    out, second = tmp_path / "out", []
    words = [images / "a.png", "--output", out]
    at_call(monkeypatch, lambda number: second.append(run(*words, model=release)) if number == 0 else None)
    assert run(images, "--output", out, model=release) == 0
    assert second == [2] and f"--output: another call writes to {out}; wait" in capsys.readouterr().err
    assert len(counted(out)) == 4
    assert run(*words, model=release) == 0 and len(counted(out)) == 1  # the folder is free again


def test_the_lock_of_another_process_and_its_end(tmp_path):
    with ExitStack() as other:
        other.enter_context(FileLock(tmp_path / LOCK))
        with pytest.raises(InputError, match="another call writes to"), OutputFolder(tmp_path, []):
            pass
    with OutputFolder(tmp_path, []):
        pass


def test_drawings_of_an_earlier_call_are_not_counted(release, images, tmp_path, capsys):
    film = write_video(images / "walk.avi", [frame_image(index) for index in range(4)], "mjpeg")
    arguments = (images, "--every", 1, "--output", images)
    assert run(*arguments, model=release) == 0
    first = counted(images)
    assert len(first) == 5 and film.exists() and (images / "walk_counted.mp4").exists()
    capsys.readouterr()
    assert run(*arguments, model=release) == 0
    assert counted(images) == first
    assert f"5 drawings of crowdcount are left out, such as {images / 'a_overlay.png'}" in capsys.readouterr().err
    assert run(images / "a_overlay.png", model=release) == 2


def test_marks_of_drawings(tmp_path):
    image = noise_image()
    (tmp_path / "drawn.png").write_bytes(drawing_bytes(image))
    assert is_drawing(tmp_path / "drawn.png")
    import PIL.Image

    with PIL.Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.text == {"Software": "drawn by crowdcount"}
        np.testing.assert_array_equal(np.asarray(drawn), image)
        drawn.convert("RGB").save(tmp_path / "saved.png")
    (tmp_path / "short.png").write_bytes(b"\x89PNG")
    for name in ("saved.png", "short.png", "missing.png", "drawn.jpg"):
        assert not is_drawing(tmp_path / name)


@pytest.mark.parametrize("letter", ["x", "é", "人", "\udce9"])
def test_long_names_are_cut_and_can_be_told_apart(release, tmp_path, letter):
    size = len(os.fsencode(letter))
    stems = [letter * (250 // size), letter * (250 // size - 2) + "yz"]
    paths = write_images(tmp_path / "in", [f"{stem}.png" for stem in stems])
    out = tmp_path / "out"
    assert run(*paths, "--output", out, "--save", "csv", "npz", "overlay", model=release) == 0
    entries = record(out)[1:]
    outputs = [name for entry in entries for name in entry["outputs"]]
    assert len(set(outputs)) == 4 and all((out / name).is_file() for name in outputs)
    assert all(len(os.fsencode(name)) <= 255 for name in outputs)
    assert [entry["image"] for entry in entries] == list(map(str, paths))  # the way back


def test_what_fits_is_not_cut():
    assert shortened("x" * 243, "_overlay.png") == "x" * 243
    cut = shortened("x" * 244, "_overlay.png")
    assert len(cut) == 243 and cut.startswith("x" * 234 + "~") and cut != shortened("x" * 245, "_overlay.png")
    assert shortened("é" * 200, ".npz").encode()  # no half letter


def test_names_that_differ_in_the_form_of_accents_have_outputs_of_their_own(tmp_path):
    folder = OutputFolder(tmp_path, [])
    names = {folder.beside(tmp_path / f"{stem}.png", ".npz").name for stem in ("caf\u00e9", "cafe\u0301")}
    assert names == {"caf\u00e9.npz", "cafe\u0301.png.npz"}


# Spreadsheets


def test_cells_that_look_like_formulas_are_texts(release, tmp_path, monkeypatch):
    names = ["=1+1.png", "+a.png", "-b.png", "@c.png", "'=d.png", "plain.png", "\te.png"]
    write_images(tmp_path, names)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zones.json").write_text(json.dumps({"=cmd": [[0, 0], [30, 0], [30, 60], [0, 60]]}))
    options = ["--zones", "zones.json", "--output", "out", "--device", "cpu", "--model", release]
    assert predict.main([*options, "--", *names]) == 0
    found = rows(tmp_path / "out" / "counts.csv")
    assert [row["image"] for row in found] == [
        "'=1+1.png",
        "'+a.png",
        "'-b.png",
        "'@c.png",
        "''=d.png",
        "plain.png",
        "'\te.png",
    ]
    assert list(found[0])[5] == "'=cmd"
    assert [entry["image"] for entry in record(tmp_path / "out")[1:]] == names


def test_the_run_is_told_of_tables_that_cannot_grow(release, images, tmp_path, monkeypatch, capsys):
    """A full disk in the middle: the counts are shown, the table has whole lines, and the rest when there is room."""
    out, append = tmp_path / "out", count_run.Results.add
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(self, path, result):
        size = (out / "counts.csv").stat().st_size
        limit = size + 10 if path.name in ("b.png", "c.png") else soft
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            append(self, path, result)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            text = (out / "counts.csv").read_text()
            assert text.endswith("\n") and len(rows(out / "counts.csv")) == (4 if path.name == "d.png" else 1)

    monkeypatch.setattr(count_run.Results, "add", full)
    assert run(images, "--output", out, "--save", "csv", model=release) == 0
    shown = capsys.readouterr()
    assert shown.err.count("no line can be written now (File too large)") == 2
    assert [name for name, _ in counted(out)] == list(NAMES) and len(record(out)) == 5
