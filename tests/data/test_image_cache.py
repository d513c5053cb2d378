import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from crowdcount.data import CrowdData, Record, Resize, ResizePreset, ShanghaiTech, ShortSide, Synthetic
from crowdcount.data.dataset import CrowdDataset
from crowdcount.data.image_cache import ImageCache
from crowdcount.errors import InputError
from crowdcount.geometry import as_points

RULES = [
    (Resize(96, 128), ".bmp"),
    (Resize(96, 128, jpeg_quality=95), ".jpg"),
    (ShortSide(90, 200), ".bmp"),
    (ResizePreset("nwpu_sample", "area"), ".bmp"),
    (ResizePreset("pet/qnrf", jpeg_quality=75), ".jpg"),
]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def records(tmp_path, write_shanghaitech):
    return ShanghaiTech(write_shanghaitech(tmp_path / "data"), "A").records("train")


@pytest.mark.parametrize(("rule", "suffix"), RULES)
def test_kept_images_equal_those_made_afresh(tmp_path, records, rule, suffix):
    cache = ImageCache(tmp_path / "cache", rule)
    for turn in range(3):
        for record in records:
            image, points = cache.read(record)
            expected, moved = rule(record.read(), record.points)
            np.testing.assert_array_equal(image, expected)
            np.testing.assert_array_equal(points, moved)
            assert (image.dtype, points.dtype) == (np.uint8, np.float32) and image.flags.writeable
        assert [path.suffix for path in files(tmp_path / "cache")] == [suffix] * 4, turn


def test_an_original_is_decoded_once(tmp_path, records, monkeypatch):
    rule = Resize(96, 128)
    reads = []
    read = Record.read
    monkeypatch.setattr(Record, "read", lambda record: reads.append(record.name) or read(record))
    for _ in range(3):
        data = CrowdDataset(records, rule, cache=tmp_path / "cache")
        images = [data[index].images[0] for index in range(4)]
    assert reads == [record.name for record in records]
    assert all(image.shape == (96, 128, 3) for image in images)


def test_another_rule_or_a_changed_original_makes_another_file(tmp_path, records):
    cache, record = tmp_path / "cache", records[0]
    first, _ = ImageCache(cache, Resize(96, 128)).read(record)
    ImageCache(cache, Resize(96, 128, multiple=16)).read(record)
    ImageCache(cache, ResizePreset("nwpu_sample", "area")).read(record)
    ImageCache(cache, ResizePreset("nwpu_sample", "linear")).read(record)
    assert len(files(cache)) == 4
    record.image.write_bytes(records[1].image.read_bytes())
    os.utime(record.image, ns=(1, 1))
    second, points = ImageCache(cache, Resize(96, 128)).read(record)
    assert len(files(cache)) == 5 and (first != second).any()
    np.testing.assert_array_equal(second, Resize(96, 128)(records[1].read(), record.points)[0])
    np.testing.assert_allclose(points, record.points * np.float32([128 / 160, 96 / 128]), rtol=1e-6)


@pytest.mark.parametrize("change", ["time", "size", "cv2", "PIL"])
def test_each_part_of_the_name_alone_makes_another_file(tmp_path, records, change, monkeypatch):
    record, folder = records[0], tmp_path / "cache"
    before = record.image.stat()
    ImageCache(folder, Resize(96, 128)).read(record)
    if change == "time":
        os.utime(record.image, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    elif change == "size":
        record.image.write_bytes(record.image.read_bytes() + b"\0")
        os.utime(record.image, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        monkeypatch.setattr(f"{change}.__version__", "another")
    ImageCache(folder, Resize(96, 128)).read(record)
    assert len(files(folder)) == 2


def test_nothing_is_kept_where_nothing_changes_or_there_is_no_file(tmp_path, records):
    unchanged = ImageCache(tmp_path / "cache", Resize(128, 160))
    image, points = unchanged.read(records[0])
    np.testing.assert_array_equal(image, records[0].read())
    assert points is records[0].points
    generated = Synthetic(1, 0, 0, 64, 64).records("train")[0]
    image, _ = ImageCache(tmp_path / "cache", Resize(96, 128)).read(generated)
    np.testing.assert_array_equal(image, Resize(96, 128)(generated.read(), generated.points)[0])
    assert not files(tmp_path / "cache")


def test_a_rotated_original_keeps_its_points(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    exif = bytes.fromhex(
        "ffe10022457869660000 49492a0008000000 0100 1201 0300 01000000 06000000 00000000".replace(" ", "")
    )
    (tmp_path / "a.jpg").write_bytes(data[:2] + exif + data[2:])
    record = Record("a", tmp_path / "a.jpg", as_points([[10, 20], [39, 59]]))
    assert record.read().shape == (60, 40, 3)
    rule = Resize(64, 128)
    for _ in range(2):
        image, points = ImageCache(tmp_path / "cache", rule).read(record)
        np.testing.assert_array_equal(points, rule(record.read(), record.points)[1])
        assert image.shape == (96, 64, 3)


def read_all(folder, records):
    return [ImageCache(folder, Resize(96, 128, jpeg_quality=95)).read(record)[0] for record in records]


def test_processes_may_share_a_folder(tmp_path, records):
    expected = read_all(tmp_path / "other", records)
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(read_all, tmp_path / "cache", order) for order in (records, records[::-1], records)]
        results = [jobs[0].result(), jobs[1].result()[::-1], jobs[2].result()]
    for images in results:
        for image, right in zip(images, expected, strict=True):
            np.testing.assert_array_equal(image, right)
    assert len(files(tmp_path / "cache")) == 4  # nor a file of a temporary name


def test_machines_may_share_a_folder(tmp_path, records):
    """Threads stand for machines: they have the same number of the process."""
    expected = read_all(tmp_path / "other", records)
    with ThreadPoolExecutor(8) as pool:
        results = [job.result() for job in [pool.submit(read_all, tmp_path / "cache", records) for _ in range(8)]]
    assert all((image == right).all() for images in results for image, right in zip(images, expected, strict=True))
    assert len(files(tmp_path / "cache")) == 4


def test_a_failed_write_leaves_nothing_and_says_so(tmp_path, records, monkeypatch):
    def fail(self, target):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(InputError, match=r"data\.cache: .*cannot be written \(No space left"):
            ImageCache(tmp_path / "cache", Resize(96, 128)).read(records[0])
    assert not files(tmp_path / "cache")


def test_damaged_files_are_named(tmp_path, records):
    cache = ImageCache(tmp_path / "cache", Resize(96, 128))
    cache.read(records[0])
    (kept,) = files(tmp_path / "cache")
    kept.write_bytes(b"no picture")
    with pytest.raises(InputError, match=rf"{kept.name}: not a readable image .*delete this file of data\.cache"):
        cache.read(records[0])
    records[1].image.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"IMG_2\.jpg: not a readable image"):
        cache.read(records[1])
    records[1].image.unlink()
    with pytest.raises(InputError, match=r"IMG_2\.jpg: no such image"):
        cache.read(records[1])


def test_loaders_give_the_same_batches_with_a_cache(tmp_path, shanghaitech_root):
    source = ShanghaiTech(shanghaitech_root, "A")
    options = {"augment": None, "resize": Resize(96, 128, jpeg_quality=95), "batch_size": 2, "num_workers": 0}
    plain = CrowdData(source, **options)
    for _ in range(2):
        kept = CrowdData(source, **options, cache=tmp_path / "cache")
        for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
            for ours, right in zip(getattr(kept, loader)(), getattr(plain, loader)(), strict=True):
                assert ours.names == right.names and ours.counts == right.counts
                assert (ours.images == right.images).all()
                for points, expected in zip(ours.points, right.points, strict=True):
                    np.testing.assert_array_equal(points, expected)
    assert len(files(tmp_path / "cache")) == 7
    with pytest.raises(InputError, match=r"data\.cache: .* would keep resized images, but none is resized"):
        CrowdData(source, None, cache=tmp_path)
