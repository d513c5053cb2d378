import numpy as np
import PIL.Image
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcount.data import Record, Resize, ResizePreset, ShanghaiTech, read_image
from crowdcount.doctor.count_bins import add_up, histogram, propose, single_counts, truncation_for
from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.models.blockwise.bins import Bins
from tests.support.published_bins import published_bins


def slow_histogram(points, width, height, side, once):
    """Visit every block and count the points, or the pixels that hold some, one by one."""
    pixels = [(int(x), int(y)) for x, y in points if 0 <= x < width and 0 <= y < height]
    pixels = sorted(set(pixels)) if once else pixels
    counts = [
        sum(left <= x < left + side and top <= y < top + side for x, y in pixels)
        for top in range(height - side + 1)
        for left in range(width - side + 1)
    ]
    return np.bincount(counts) if counts else np.zeros(0, int)


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(-2, 14, width=32), st.floats(-2, 11, width=32)), max_size=12),
    side=st.sampled_from([1, 3, 8]),
    once=st.booleans(),
)
def test_every_block_is_counted(points, side, once):
    points = np.array(points * 2, np.float32).reshape(-1, 2)  # each twice in its pixel
    counts = histogram(points, 12, 9, side, once_per_pixel=once)
    np.testing.assert_array_equal(counts, slow_histogram(points, 12, 9, side, once))


def test_an_image_smaller_than_a_block_has_none():
    assert len(histogram(np.array([[1, 1]], np.float32), 7, 20, 8)) == 0


def image(width, height, points):
    return Record("a", lambda: np.zeros((height, width, 3), np.uint8), as_points(points))


def test_images_are_added_up_at_the_size_of_training():
    records = [image(20, 16, [[1, 1], [18, 15]]), image(10, 10, [])]
    # 20 x 16 has 5 x 1 blocks of 16: the first two hold one point, the last two the other, the middle one none.
    np.testing.assert_array_equal(add_up(records, 16), [1, 4])
    enlarged = Resize(16, 64, 2)  # the smaller image to 16 x 16
    np.testing.assert_array_equal(add_up(records, 16, enlarged), [1 + 1, 4])
    paper = ResizePreset("bayesian")  # short side 512: 640 x 512, and 512 x 512 without people
    counts = add_up(records, 256, paper)
    assert counts.sum() == (640 - 255) * (512 - 255) + (512 - 255) ** 2
    assert len(counts) == 2


def test_upright_size_counts(tmp_path, write_shanghaitech):
    import PIL.Image

    record = ShanghaiTech(write_shanghaitech(tmp_path), "A").records("train")[0]
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture = PIL.Image.open(record.image)
    picture.load()
    picture.resize((40, 20)).save(record.image, exif=exif)
    assert record.read().shape == (40, 20, 3)
    turned = Record("a", record.image, np.array([[10, 39]], np.float32))
    assert add_up([turned], 8)[1] == 8  # upright it is 20 wide: outside the picture as stored


def test_what_can_not_be_counted_is_refused(tmp_path):
    with pytest.raises(InputError, match="no block of 8 pixels of these images holds anyone"):
        add_up([image(20, 20, [])], 8)
    with pytest.raises(InputError, match="reduction: 0"):
        add_up([image(20, 20, [[1, 1]])], 0)
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.jpg: not a readable image"):
        add_up([Record("a", tmp_path / "a.jpg", np.array([[1, 1]], np.float32))], 8)
    with pytest.raises(InputError, match="no public annotation"):
        add_up([Record("a", tmp_path / "a.jpg", None)], 8)


COUNTS = np.array([9000, 900, 80, 15, 4, 1])


def test_truncation_follows_the_share():
    assert truncation_for(COUNTS, 0.02) == 3  # of 1000 blocks with people 20 hold 3 or more
    assert truncation_for(COUNTS, 0.0201) == 2
    assert truncation_for(COUNTS, 0.001) == 5
    assert truncation_for(COUNTS, 1) == 1
    assert truncation_for(np.array([10, 5, 0, 5]), 0.1) == 2  # a class of 2 alone would have no block
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(InputError, match="share"):
            truncation_for(COUNTS, share)


def test_anchors_are_means():
    proposal = propose(COUNTS, single_counts(3))
    assert proposal.bins.intervals == [0, 1, 2, "3+"]
    assert proposal.bins.values == [0, 1, 2, (3 * 15 + 4 * 4 + 5) / 20]
    assert proposal.blocks == [9000, 900, 80, 20]
    ranges = propose(COUNTS, [0, "1-2", "3-4", "5+"])
    assert ranges.bins.values == pytest.approx([0, (900 + 160) / 980, (45 + 16) / 19, 5])
    assert ranges.blocks == [9000, 980, 19, 1]
    assert propose(np.array([9, 3]), [0, "1+"]).bins.values == [0, 1]


def test_impossible_bins_are_refused():
    with pytest.raises(InputError, match=r"no block holds 6\+ people \(the fullest 5\); use a lower truncation"):
        propose(COUNTS, single_counts(6))
    with pytest.raises(InputError, match="truncation: 0"):
        single_counts(0)
    with pytest.raises(InputError, match=r"intervals: .* should start at 1"):
        propose(COUNTS, [0, "2+"])


def test_the_fragment_is_a_configuration():
    proposal = propose(COUNTS, [0, "1-2", "3+"])
    bins = yaml.safe_load(proposal.yaml())["model"]["init_args"]["network"]["init_args"]["bins"]
    read = Bins(**bins)
    assert len(read) == 3
    assert read.values == pytest.approx(proposal.bins.values, abs=5e-6)
    assert proposal.table().splitlines()[1].split() == ["0", "0.00000", "9,000", "90.00000%"]


@pytest.mark.parametrize(
    ("part", "blocks", "means"),
    [("A", 169_581_420, {2: 2.24479, 4: 4.29992}), ("B", 309_574_800, {2: 2.15171, 4: 4.41009})],
)
def test_the_means_of_shanghaitech_are_the_published_ones(shared, part, blocks, means):
    records = ShanghaiTech(shared / "data" / "ShanghaiTech", part).records("train")
    counts = add_up(records, 8, Resize(448, 4096), once_per_pixel=True)
    assert counts.sum() == blocks
    for truncation, mean in means.items():
        proposal = propose(counts, single_counts(truncation))
        assert proposal.bins.values[-1] == pytest.approx(mean, abs=5e-6)
        assert published_bins(f"sh{part.lower()}", 8, truncation).values == pytest.approx(
            proposal.bins.values, abs=5e-6
        )
    assert truncation_for(counts) == {"A": 4, "B": 3}[part]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8, 9])
def test_sides_are_those_that_training_sees(tmp_path, suffix, orientation):
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    PIL.Image.new("RGB", (60, 100)).save(path, exif=exif)
    height, width = read_image(path).shape[:2]
    counts = add_up([Record("a", path, as_points([[5, 5]]))], 8)
    assert counts.sum() == (width - 7) * (height - 7)
    far = add_up([Record("a", path, as_points([[width - 1, height - 1]]))], 8)  # inside the upright image
    assert far[1] == 1
