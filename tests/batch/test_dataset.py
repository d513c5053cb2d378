"""Counting in data sets: sources, errors, going on after a crash."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import crowdcount
from crowdcount.cli import predict
from crowdcount.errors import InputError
from crowdcount.visualize.drawing_mark import drawing_bytes
from crowdcount.zoo import load_model
from tests.support.counter import save_counter, write_images

pytest.importorskip("pyarrow")
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from crowdcount.batch import count_dataset


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_counter(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png", "e.png"])


def rows(output):
    """Return the rows of a table by image; an image with several rows fails."""
    found = pq.read_table(str(output)).to_pylist()
    assert len({row["image"] for row in found}) == len(found)
    return {row["image"]: row for row in found}


def counts(output):
    return {image: row["count"] for image, row in rows(output).items()}


@pytest.fixture
def expected(model, images):
    return {str(path): crowdcount.count(path, model) for path in images}


def test_counts_are_those_of_a_predictor(tmp_path, model, images, expected):
    report = count_dataset(tmp_path / "in", tmp_path / "out", model, partition=2)
    assert counts(tmp_path / "out") == expected and (report.images, report.kept, report.errors) == (5, 0, 0)
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 3
    row = rows(tmp_path / "out")[str(images[0])]
    assert (row["width"], row["height"], row["exact"], row["error"]) == (90, 60, True, None)
    assert (row["bytes"], row["modified"]) == (images[0].stat().st_size, images[0].stat().st_mtime_ns)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if "part-" not in path.name) == ["_settings.json"]


def test_a_batch_changes_rounding_alone(tmp_path, model, images, expected):
    write_images(tmp_path / "in", ["f.png"])
    (tmp_path / "in/c.png").write_bytes(b"no image")
    count_dataset(tmp_path / "in", tmp_path / "out", model, batch=3)
    found = counts(tmp_path / "out")
    assert list(found) == sorted(found) and found.pop(str(images[2])) is None
    for image, count in expected.items():
        assert image == str(images[2]) or found[image] == pytest.approx(count, rel=1e-5)


def test_sources_of_every_kind_have_the_same_counts(tmp_path, model, images, expected):
    inside = tmp_path / "in"
    names = [path.name for path in images]
    (inside / "list.txt").write_text("\n".join([*names, names[0], ""]))
    paths = pa.table({"image": names, "camera": [1] * 5})
    pq.write_table(paths, inside / "paths.parquet")
    data = [path.read_bytes() for path in images]
    pq.write_table(pa.table({"photo": data}), inside / "bytes.parquet", row_group_size=2)
    structures = [{"bytes": each, "path": name} for each, name in zip(data, names, strict=True)]
    pq.write_table(pa.table({"image": structures}), inside / "hub.parquet")
    for number, (source, column) in enumerate(
        [
            (images, "image"),
            (str(inside / "*.png"), "image"),
            (inside / "list.txt", "image"),
            (inside / "paths.parquet", "image"),
            (inside / "bytes.parquet", "photo"),
            (inside / "hub.parquet", "image"),
            (f"file://{inside}/paths.parquet", "image"),
        ]
    ):
        count_dataset(source, tmp_path / f"out{number}", model, column=column, partition=3)
        found = counts(tmp_path / f"out{number}")
        assert sorted(found.values()) == sorted(expected.values()), source
    assert str(inside / "hub.parquet") + "#4" in counts(tmp_path / "out5")
    assert f"file://{inside}/a.png" in found


def test_prefixes_of_stores_are_searched_and_written(tmp_path, model, images, expected):
    store = fsspec.filesystem("memory")
    for path in images:
        store.pipe(f"/bucket/day/{path.name}", path.read_bytes())
    store.pipe("/bucket/notes.md", b"")
    report = count_dataset("memory://bucket", "memory://counts", model, partition=2)
    assert report.left_out == ["memory://bucket: 1 files left out, not images by their names"]
    files = store.glob("/counts/part-*")
    found = {row["image"]: row["count"] for file in files for row in pq.read_table(store.open(file)).to_pylist()}
    assert found == {f"memory://bucket/day/{path.name}": expected[str(path)] for path in images}
    assert count_dataset("memory://bucket", "memory://counts", model, resume=True).kept == 5
    count_dataset(f"file://{tmp_path}/in", f"file://{tmp_path}/out", model)
    assert list(counts(tmp_path / "out").values()) == list(expected.values())


def test_the_output_may_be_inside_the_source(tmp_path, monkeypatch, model, images, expected):
    """Its partitions are no source of images, however the folder is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for source, output in {"in/**/*": "in/below", f"file://{tmp_path}/in": "link/other"}.items():
        assert count_dataset(source, output, model, partition=2).images == 5
        report = count_dataset(source, output, model, partition=2, resume=True)
        assert (report.images, report.kept, len(rows(output))) == (5, 5, 5)
        assert f"{output}: 3 partitions of the output left out, not images" in report.left_out
        for part in (tmp_path / output).glob("part-*"):
            part.unlink()
    store = fsspec.filesystem("memory")
    store.pipe("/inside/a.png", images[0].read_bytes())
    for resume in (False, True):
        report = count_dataset("memory://inside/", "memory://inside/counts/", model, resume=resume)
        assert (report.images, report.kept) == (1, resume)
    count_dataset(images, "out", model)
    with pytest.raises(InputError, match=r"holds no image to count in; .*out: 1 partition of the output left out"):
        count_dataset("out", "out", model, resume=True)
    with pytest.raises(InputError, match=r"in: holds a\.png, which is no partition, .* give a folder of its own"):
        count_dataset("in", "in", model)


def test_files_of_a_store_without_a_state_are_warned_of(tmp_path, monkeypatch, caplog, model, images, expected):
    """One that spoils the answer about all is counted, and counted anew; the states of the others are known."""
    store, original = fsspec.filesystem("memory"), fsspec.implementations.memory.MemoryFileSystem.info
    names = [f"memory://silent/{path.name}" for path in images[:3]]
    for name, path in zip(names, images, strict=False):
        store.pipe(name.removeprefix("memory:/"), path.read_bytes())

    def info(self, path, **options):
        if path.endswith("silent/b.png"):
            raise PermissionError("403 Forbidden")
        return original(self, path, **options)

    monkeypatch.setattr(type(store), "info", info)
    (tmp_path / "list.txt").write_text("\n".join(names))
    count_dataset(tmp_path / "list.txt", tmp_path / "out", model)
    found = rows(tmp_path / "out")
    assert [found[name]["bytes"] is None for name in names] == [False, True, False]
    assert "1 files of a store do not tell their size and time, such as memory://silent/b.png (" in caplog.text
    assert "403 Forbidden" in caplog.text
    report = count_dataset(tmp_path / "list.txt", tmp_path / "out", model, resume=True)
    right = {name: expected[str(path)] for name, path in zip(names, images, strict=False)}
    assert report.kept == 2 and counts(tmp_path / "out") == right


def test_what_cannot_be_counted_is_a_row_with_an_error(tmp_path, model, images, expected):
    images[1].write_bytes(images[1].read_bytes()[:200])
    missing, table, store = tmp_path / "in/none.png", tmp_path / "t.parquet", fsspec.filesystem("memory")
    pq.write_table(pa.table({"image": [images[2].read_bytes(), None, b"no image"]}), table)
    store.pipe("/bad/x.jpg", b"\xff\xd8\xff")
    images[3].write_bytes(drawing_bytes(np.zeros((8, 8, 3), np.uint8)))
    report = count_dataset([tmp_path / "in", missing, table, "memory://bad/x.jpg"], tmp_path / "out", model)
    errors = {image: row["error"] for image, row in rows(tmp_path / "out").items() if row["error"]}
    bad = [str(images[1]), str(images[3]), "memory://bad/x.jpg", str(missing), f"{table}#1", f"{table}#2"]
    assert sorted(errors) == sorted(bad) and report.errors == 6 and report.images == 10
    assert all(error.startswith(image) for image, error in errors.items())
    assert "no such image" in errors[str(missing)] and "empty in this row" in errors[f"{table}#1"]
    assert "is a drawing of crowdcount" in errors[str(images[3])]


def test_going_on_counts_the_rest_the_errors_and_the_changed(tmp_path, model, images, expected, monkeypatch):
    good = images[1].read_bytes()
    images[1].write_bytes(b"no image")
    count_dataset(images[:3], tmp_path / "out", model, partition=2)
    images[1].write_bytes(good)
    images[0].write_bytes(images[4].read_bytes())  # another content and time
    seen = []
    original = crowdcount.Predictor.predict_batch
    monkeypatch.setattr(
        crowdcount.Predictor, "predict_batch", lambda self, batch: (seen.append(1), original(self, batch))[1]
    )
    report = count_dataset(images, tmp_path / "out", model, partition=2, resume=True)
    assert (report.images, report.kept, len(seen)) == (5, 1, 4)
    assert counts(tmp_path / "out") == {**expected, str(images[0]): expected[str(images[4])]}
    assert count_dataset(images[:1], tmp_path / "out", model, resume=True).kept == 1
    assert len(rows(tmp_path / "out")) == 5  # those of earlier calls stay


def test_another_table_is_not_gone_on_with(tmp_path, model, images):
    output = tmp_path / "out"
    count_dataset(images, output, model)
    with pytest.raises(InputError, match="holds 1 partitions of an earlier call"):
        count_dataset(images, output, model)
    with pytest.raises(InputError, match=r"another protocol .*now 'size rule LongSide"):
        count_dataset(images, output, model, resume=True, long_side=64)
    with pytest.raises(InputError, match=r"another batch \(1, now 2\)"):
        count_dataset(images, output, model, resume=True, batch=2)
    (part,) = output.glob("part-*")
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{part.name}: is damaged .* counted anew"):
        count_dataset(images, output, model, resume=True)
    part.unlink()
    assert count_dataset(images, output, model, resume=True).kept == 0


def test_another_column_of_a_table_is_not_gone_on_with(tmp_path, model, images):
    table, data = tmp_path / "t.parquet", [path.read_bytes() for path in images]
    pq.write_table(pa.table({"left": data, "right": data[::-1]}), table)
    count_dataset(table, tmp_path / "out", model, column="left")
    with pytest.raises(InputError, match=r"another column \('left', now 'right'\)"):
        count_dataset(table, tmp_path / "out", model, column="right", resume=True)


def test_a_damaged_part_of_a_table_is_rows_with_errors(tmp_path, model, images, expected):
    table, data = tmp_path / "t.parquet", [path.read_bytes() for path in images for _ in range(8)]
    pq.write_table(pa.table({"image": data}), table, row_group_size=16, compression="none", use_dictionary=False)
    start = pq.ParquetFile(table).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(table.read_bytes())
    content[start : start + 64] = b"\xff" * 64
    table.write_bytes(content)
    report = count_dataset(table, tmp_path / "out", model)
    found = list(rows(tmp_path / "out").values())
    assert (report.images, report.errors) == (40, 24) and len(found) == 40
    assert [row["count"] for row in found[:16]] == [expected[str(path)] for path in images[:2] for _ in range(8)]
    assert all("is no readable Parquet table" in row["error"] for row in found[16:])


def test_an_interrupted_call_keeps_what_it_counted(tmp_path, model, images, expected, monkeypatch):
    original, calls = crowdcount.Predictor.predict_batch, []

    def interrupted(self, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(crowdcount.Predictor, "predict_batch", interrupted)
        count_dataset(images, tmp_path / "out", model, partition=2)
    assert len(rows(tmp_path / "out")) == 3
    assert count_dataset(images, tmp_path / "out", model, resume=True).kept == 3
    assert counts(tmp_path / "out") == expected


def test_a_row_too_few_or_too_many_is_an_error(tmp_path, model, images, monkeypatch):
    from crowdcount.batch.partitions import Partitions

    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"2 images have no row, such as .*a\.png"):
        patch.setattr(Partitions, "write", lambda *_: "")
        count_dataset(images[:2], tmp_path / "out", model)
    count_dataset(images[:2], tmp_path / "out", model)
    (part,) = (tmp_path / "out").glob("part-*")
    (tmp_path / "out/part-copy.parquet").write_bytes(part.read_bytes())
    report = count_dataset(images[:2], tmp_path / "out", model, resume=True)  # the second row is dropped
    assert report.kept == 2 and len(rows(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "spark"}, "engine: 'spark' is not one of local, ray"),
        ({"workers": 2}, "workers, cpus, gpus and address: are for the engine ray"),
        ({"batch": 0}, "batch: 0 must be at least 1"),
        ({"column": "photo", "source": "t.parquet"}, "t.parquet: has no column 'photo'; name one of image, camera"),
        ({"column": "camera", "source": "t.parquet"}, "t.parquet: column camera is int64"),
        ({"source": "none.parquet"}, "none.parquet: is no readable Parquet table"),
        ({"source": "none.txt"}, "none.txt: cannot be read"),
        ({"source": "empty.txt"}, "source: holds no image to count in"),
        ({"source": "memory://nothing"}, "memory://nothing: cannot be listed"),
        ({"source": "abc://nothing/x"}, "abc://nothing/x: cannot be opened"),
        ({"output": "t.parquet"}, "t.parquet: cannot be written"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path, monkeypatch, model, images, options, message):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"image": ["in/a.png"], "camera": [1]}), "t.parquet")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError) as error:
        count_dataset(**{"source": images, "output": "out", "model": model, **options})
    assert message in str(error.value)


def test_the_command_writes_the_same_table(tmp_path, images, expected, capsys):
    output, weights = tmp_path / "out", save_counter(tmp_path / "model")
    images[1].write_bytes(b"no image")
    line = [str(tmp_path / "in"), "--model", weights, "--engine", "local", "--output", str(output)]
    assert predict.main(line) == 2
    found, caught = counts(output), capsys.readouterr()
    assert found == {**expected, str(images[1]): None}
    assert (
        f"crowdcount predict: {images[1]}: not a" in caught.err and "5 images, 0 of them counted before" in caught.out
    )
    assert predict.main(line) == 2 and "go on with them" in capsys.readouterr().err
    assert (
        predict.main([*line, "--resume"]) == 2 and "4 of them counted before, 1 with errors" in capsys.readouterr().out
    )
    assert predict.main([*line[:-1], "memory://command"]) == 2
    assert len(fsspec.filesystem("memory").glob("/command/part-*.parquet")) == 1
    for wrong, message in [
        (line[:-2], "--engine needs --output"),
        ([*line, "--zones", "z.json"], "--zones: is not for --engine local"),
        ([*line, "--workers", "2"], "--workers: is not for --engine local"),
        (["a.jpg", "--column", "x"], "--column: needs --engine"),
        (["a.jpg", "--output", "memory://x"], "memory://x is an address, which needs --engine"),
    ]:
        with pytest.raises(SystemExit):
            predict.main(wrong)
        assert message in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_a_killed_call_loses_one_partition_at_most(tmp_path, model, images, expected):
    """The third partition is being counted when the process is killed."""
    code = (
        "import os, signal, sys, crowdcount\n"
        "original, calls = crowdcount.Predictor.predict_batch, []\n"
        "def killed(self, batch):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, batch)\n"
        "crowdcount.Predictor.predict_batch = killed\n"
        "crowdcount.count_dataset(sys.argv[1], sys.argv[2], sys.argv[3], partition=2)\n"
    )
    weights, output = save_counter(tmp_path / "model"), tmp_path / "out"
    line = [sys.executable, "-c", code, str(tmp_path / "in"), str(output), weights]
    assert subprocess.run(line, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == -signal.SIGKILL
    assert len(rows(output)) == 2
    report = count_dataset(tmp_path / "in", output, load_model(weights), partition=2, resume=True)
    assert report.kept == 2 and counts(output) == expected
    assert json.loads((output / "_settings.json").read_text())["model"] == "tiny" and np.isfinite(report.images)
