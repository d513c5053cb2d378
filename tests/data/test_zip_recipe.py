"""The augmentation, targets and sizes of ZIP's recipe against the recorded ones; read from the shared folder."""

import json

import albumentations
import numpy as np
import pytest
import torch
from torch.nn import functional

from crowdcount.data.augment import Augment, blurred, mirrored, resized, zoom_crop
from crowdcount.geometry import as_points, block_counts
from crowdcount.images.resize_presets import ResizePreset
from crowdcount.metrics.count import count_errors
from crowdcount.models.base import CLIP_MEAN, CLIP_STD
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.clip.towers import resize_positions
from tests.golden.fill import det_image, det_tensor

COLOURS = {"sha": (0.15, 0.15, 0.1), "shb": (0.15, 0.15, 0.1), "nwpu": (0.2, 0.2, 0.15)}
SCALES = {"sha": (0.75, 2.0), "shb": (0.75, 2.5), "nwpu": (0.75, 2.0)}


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden" / "zip"


@pytest.fixture(scope="module")
def transforms(folder):
    return np.load(folder / "zip_transforms.npz")


@pytest.fixture(scope="module")
def augmented(folder):
    return np.load(folder / "zip_augment.npz")


def rows(planes):
    """(3, H, W) as recorded -> (H, W, 3)."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def drawn_crop(image, points, scales, size):
    """Draw scale, top and left as the published code does, from torch's generator; it enlarges small images first."""
    height, width = image.shape[:2]
    side = int(size * torch.empty(1).uniform_(*scales).item())
    if side > min(height, width):
        ratio = max(side / height, side / width)
        larger = int(height * ratio) + 1, int(width * ratio) + 1
        image, points = resized(image, *larger), points * np.array([larger[1] / width, larger[0] / height], np.float32)
        height, width = larger
    top = int(torch.randint(0, height - side + 1, (1,)))
    left = int(torch.randint(0, width - side + 1, (1,)))
    image, points = zoom_crop(image, points, top, left, side, size)
    return image, points if side == size else np.minimum(points, size - 1)  # it clamps where it has resized


def drawn_colours(image, ranges):
    """Draw order, brightness, contrast and saturation as the published code does."""
    order = torch.randperm(4).tolist()
    factors = [float(torch.empty(1).uniform_(1 - part, 1 + part)) for part in ranges]
    return albumentations.ColorJitter(p=1).apply(image, *factors, 0, order)


def drawn_noise(image, salt=1e-3, pepper=1e-3):
    noise = rows(torch.rand(3, *image.shape[:2]).numpy())
    return np.where(noise < salt, np.float32(1), np.where(noise > 1 - pepper, np.float32(0), image))


@pytest.mark.parametrize("case", [f"rrc_{index}_{turn}" for index in range(5) for turn in (0, 1)])
def test_random_crops(case, transforms):
    torch.manual_seed(int(transforms[f"{case}/seed"]))
    size = int(transforms[f"{case}/drawn"][-1])
    large = case.startswith("rrc_4") and size == 40
    assert large or size in (24, 32, 48)
    image, points = drawn_crop(rows(transforms["img"]), transforms["lab"], transforms[f"{case}/range"].tolist(), size)
    np.testing.assert_allclose(image, rows(transforms[f"{case}/img"]), atol=1e-5)
    np.testing.assert_allclose(points, transforms[f"{case}/lab"], atol=1e-4)


def test_blur_flip_and_normalisation(transforms):
    image = rows(transforms["img"])
    np.testing.assert_allclose(blurred(image, 0.1, 2.0), rows(transforms["blur_k5_s0.1_2/img"]), atol=1e-6)
    inner = np.clip(transforms["lab"], 0, [55, 39])  # published; no crop has points outside
    np.testing.assert_allclose(mirrored(inner, 56, "pixel"), np.clip(transforms["flip/lab"], 0, [55, 39]), atol=1e-5)
    np.testing.assert_array_equal(transforms["mean_std"], np.array([CLIP_MEAN, CLIP_STD], np.float64))
    np.testing.assert_allclose((image - CLIP_MEAN) / CLIP_STD, rows(transforms["normalised"]), atol=1e-5)


@pytest.mark.parametrize("case", [f"jitter_{index}_{turn}" for index in (0, 1) for turn in range(3)])
def test_jitter(case, transforms, augmented):
    torch.manual_seed(int(augmented[f"{case}/seed"]))
    image = drawn_colours(rows(transforms["img"]), augmented[f"{case}/args"][:3])
    np.testing.assert_allclose(image, rows(augmented[f"{case}/img"]), atol=1e-3)


def test_noise(transforms, augmented):
    torch.manual_seed(int(augmented["noise/seed"]))
    image = drawn_noise(rows(transforms["img"]), 0.02, 0.03)  # recorded with more of it
    np.testing.assert_array_equal(image, rows(augmented["noise/img"]))


@pytest.mark.parametrize("case", [f"{data}_{turn}" for data in COLOURS for turn in (0, 1)])
def test_order_of_operations(case, transforms, augmented):
    data = case.rpartition("_")[0]
    torch.manual_seed(int(augmented[f"pipeline_{case}/seed"]))
    image, points = drawn_crop(rows(transforms["img"]), transforms["lab"], SCALES[data], 32)
    if torch.rand(1) < 0.5:
        image, points = image[:, ::-1].copy(), mirrored(points, 32, "pixel")
    image = drawn_colours(image, COLOURS[data])
    if data == "nwpu" and torch.rand(1) < 0.2:
        image = blurred(image, 0.1, 2.0)
    image = drawn_noise(image)
    normalised = (image - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    np.testing.assert_allclose(points, augmented[f"pipeline_{case}/lab"], atol=1e-4)
    np.testing.assert_allclose(normalised, rows(augmented[f"pipeline_{case}/img"]), atol=5e-3)
    pixels = block_counts(points, 32, 32, 1, once_per_pixel=True)
    np.testing.assert_array_equal(pixels, augmented[f"pipeline_{case}/pixels"][0])


@pytest.mark.parametrize("case", ["target0", "target1"])
def test_blocks(case, transforms):
    sides = transforms[f"{case}/size"].tolist()
    limit = np.array(sides[::-1]) - 1
    points = np.clip(np.trunc(transforms[f"{case}/points"]), 0, limit)  # published; no crop has points outside
    for block in (8, 16, 32):
        found = block_counts(as_points(points), *sides, block, once_per_pixel=True)
        np.testing.assert_array_equal(found, transforms[f"{case}/blocks{block}"])


def test_classes(transforms, folder):
    tables = json.loads((folder / "zip_bins.json").read_text())
    counts = torch.arange(60, dtype=torch.float32)
    for name in (key.removeprefix("classes/") for key in transforms if key.startswith("classes/")):
        intervals = [
            f"{low}+" if high == "inf" else low if low == high else f"{low}-{high}"
            for low, high in tables[name]["bins"]
        ]
        np.testing.assert_array_equal(Bins(intervals).classes(counts), transforms[f"classes/{name}"])


def test_sides_of_enlarged_images_and_their_pixels(folder):
    recorded = np.load(folder / "zip_eval.npz")
    assert len(recorded["upsize/table"]) == 54
    for least, height, width, *expected in recorded["upsize/table"].tolist():
        assert ResizePreset(f"zip/{least}").target(width, height) == tuple(expected[::-1])
    for index in (0, 3):  # enlarged in one step: what is left is that ours rounds to bytes
        image = det_image(tuple(recorded[f"upsize/{index}/shape"]), int(recorded[f"upsize/{index}/x_seed"]))
        size = recorded[f"upsize/{index}/out"].shape[-2:]
        plain = functional.interpolate(torch.from_numpy(image), size=size, mode="bicubic", align_corners=False)
        np.testing.assert_allclose(plain, recorded[f"upsize/{index}/out"], atol=1e-5)


def test_position_tables_and_relative_errors(folder):
    recorded = np.load(folder / "zip_eval.npz")
    for index in range(6):
        *old, height, width = (int(side) // 16 for side in recorded[f"positions/{index}/args"])
        table = det_tensor("positional_embedding", (1 + old[0] * old[1], 8), int(recorded[f"positions/{index}/seed"]))
        ours = resize_positions(torch.from_numpy(np.asarray(table)), height, width, antialias=True)
        np.testing.assert_allclose(ours, recorded[f"positions/{index}/out"], atol=1e-6)
    errors = count_errors(recorded["errors/pred"].tolist(), recorded["errors/gt"].tolist())
    np.testing.assert_allclose([errors["mae"], errors["rmse"], errors["nae"]], recorded["errors/out"], rtol=1e-12)


def test_ranges_of_colour_and_blur_are_options():
    grey = np.full((32, 32, 3), 100, np.uint8)
    still = {"crop": 32, "min_scale": 1, "max_scale": 1, "flip": 0, "noise": 0}
    jitter = Augment(**still, jitter=1, jitter_range=(0.4, 0, 0), blur=0)
    means = [jitter(grey, as_points([]), np.random.default_rng(seed))[0].mean() for seed in range(60)]
    assert 58 < min(means) < 75 and 125 < max(means) < 142
    lines = np.zeros((32, 32, 3), np.uint8)
    lines[::2] = 255
    spread = [
        Augment(**still, jitter=0, blur=1, blur_kind="vertical", blur_range=(0.1, sigma))(
            lines, as_points([]), np.random.default_rng(0)
        )[0].std()
        for sigma in (0.2, 2.0)
    ]
    assert spread[0] > 120 and spread[1] < 20
