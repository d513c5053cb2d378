import pickle
import warnings

import albumentations
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from crowdcount.data.augment import Augment, blurred, mirrored, resized, salted, zoom_crop
from crowdcount.errors import InputError
from crowdcount.geometry import as_points, block_counts, inside
from crowdcount.models.base import DensityNetwork

STILL = {"flip": 0, "jitter": 0, "blur": 0, "noise": 0}
ALWAYS = {"flip": 1, "jitter": 1, "blur": 1, "noise": 1}


class Plain(DensityNetwork):
    stride = multiple = 1

    def forward(self, image):
        raise NotImplementedError


@pytest.fixture(scope="module")
def transforms(golden):
    return np.load(golden / "clip_ebc_transforms.npz")


@pytest.fixture(scope="module")
def all_transforms(shared):
    return np.load(shared / "golden" / "clip_ebc_transforms.npz")


def rows(planes):
    """(3, H, W) as recorded -> (H, W, 3)."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def as_float(data):
    return rows(data["img"]) / np.float32(255)


def noise_image(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- the published operations, number for number


@pytest.mark.parametrize(("height", "width"), [(64, 96), (120, 160)])
def test_resize_golden(request, height, width):
    data = request.getfixturevalue("transforms" if height == 64 else "all_transforms")
    expected = rows(data[f"resize_{height}x{width}/img"])
    np.testing.assert_allclose(resized(as_float(data), height, width), expected, atol=1e-5)


def test_uint8_resize_is_within_a_grey_level_where_nothing_is_clipped():
    rng = np.random.default_rng(0)
    for _ in range(20):
        side, size = rng.integers(30, 200, 2).tolist()
        image = rng.integers(80, 176, (side, side, 3), dtype=np.uint8)
        exact = resized(image.astype(np.float32), size, size)
        assert exact.min() > 0
        assert exact.max() < 255
        assert abs(resized(image, size, size) - exact).max() < 1.2


def test_uint8_resize_differs_at_clipped_edges_only_in_few_values():
    ramp = np.linspace(0, 255, 900)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp, 255 * (ramp % 9 > 4)), axis=2).astype(np.uint8)
    exact = resized(image.astype(np.float32), 448, 448).clip(0, 255)
    difference = abs(resized(image, 448, 448) - exact)
    assert difference.mean() < 0.6
    assert np.quantile(difference, 0.99) < 1.2


def test_blur_golden(transforms):
    expected = rows(transforms["blur_k5_s1.3/img"])
    np.testing.assert_allclose(blurred(as_float(transforms), 1.3, 1.3), expected, atol=1e-5)
    np.testing.assert_allclose(blurred(rows(transforms["img"]), 1.3, 1.3), expected * 255, atol=1.01)


@pytest.mark.parametrize(("sigma_x", "sigma_y"), [(0.1, 5.0), (0.7, 0.7), (5.0, 0.4)])
def test_blur_against_a_plain_sum(sigma_x, sigma_y):
    image = noise_image(1, 12, 15).astype(np.float32)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    expected, total = np.zeros(image.shape), 0.0
    for down in range(-2, 3):
        for across in range(-2, 3):
            weight = np.exp(-(across**2) / (2 * sigma_x**2) - down**2 / (2 * sigma_y**2))
            expected += weight * padded[2 + down : 14 + down, 2 + across : 17 + across]
            total += weight
    np.testing.assert_allclose(blurred(image, sigma_x, sigma_y), expected / total, atol=1e-3)


def test_flip_golden(transforms):
    np.testing.assert_allclose(mirrored(transforms["lab"], 128, "pixel"), transforms["hflip/lab"], atol=1e-5)


def test_normalize_golden(all_transforms):
    image = torch.from_numpy(all_transforms["img"])[None]
    ours = Plain().normalize(image)[0].numpy()
    np.testing.assert_allclose(ours, all_transforms["normalized"], atol=1e-5)
    plain = (all_transforms["img"] / 255 - np.reshape(DensityNetwork.mean, (3, 1, 1))) / np.reshape(
        DensityNetwork.std, (3, 1, 1)
    )
    np.testing.assert_allclose(ours, plain, atol=1e-5)


def published_square(image, points, size):
    """Draw as the published code does, from torch's generator: scale, top, left.

    Returns the image and points, enlarged first where the square does not fit, and the square's top, left and side.
    """
    height, width = image.shape[:2]
    side = int(size * torch.empty(1).uniform_(1, 2).item())
    if side > min(height, width):
        ratio = max(side / height, side / width)
        larger = int(height * ratio) + 1, int(width * ratio) + 1
        image = resized(image, *larger)
        points = points * np.array([larger[1] / width, larger[0] / height], np.float32)
        height, width = larger
    top = int(torch.randint(0, height - side + 1, (1,)))
    left = int(torch.randint(0, width - side + 1, (1,)))
    return image, points, top, left, side


def published_crop(data, size):
    image, points, top, left, side = published_square(as_float(data), data["lab"], size)
    image, points = zoom_crop(image, points, top, left, side, size)
    return image, points if side == size else np.minimum(points, size - 1)  # it clamps where it has resized


SEEDED_CROPS = [(f"rrc64_scale1-2_seed{seed}", 64, seed) for seed in range(4)]
SEEDED_CROPS.append(("rrc112_scale1-2_seed0_upscaled_first", 112, 0))


@pytest.mark.parametrize(("name", "size", "seed"), SEEDED_CROPS)
def test_crop_golden_points(transforms, name, size, seed):
    torch.manual_seed(seed)
    _, points = published_crop(transforms, size)
    np.testing.assert_allclose(points, transforms[f"{name}/lab"], atol=1e-4)


def check_crop_image(data, name, size, seed):
    torch.manual_seed(seed)
    image, _ = published_crop(data, size)
    np.testing.assert_allclose(image, rows(data[f"{name}/img"]), atol=1e-5)


def test_crop_golden_image(transforms):
    check_crop_image(transforms, *SEEDED_CROPS[0])


@pytest.mark.parametrize(("name", "size", "seed"), SEEDED_CROPS[1:])
def test_more_crop_golden_images(all_transforms, name, size, seed):
    check_crop_image(all_transforms, name, size, seed)


@pytest.mark.parametrize(("name", "size", "seed"), [SEEDED_CROPS[index] for index in (1, 2, 4)])
def test_one_resize_gives_what_enlarging_and_shrinking_gives(transforms, name, size, seed):
    # A square larger than the image: ours is cut from the whole short side. The published one rounds the enlarged
    # image up to whole pixels, so points differ by less than a pixel and a bit at a scale of 112 / 96.
    torch.manual_seed(seed)
    larger, _, top, left, side = published_square(as_float(transforms), transforms["lab"], size)
    assert side > 96
    back = 96 / larger.shape[0]
    _, points = zoom_crop(as_float(transforms), transforms["lab"], 0, min(round(left * back), 32), 96, size)
    assert top <= 1
    np.testing.assert_allclose(points, transforms[f"{name}/lab"], atol=1.3)


def published_colours(image):
    """Draw as the published code does, from torch's generator: order, brightness, contrast, saturation."""
    order = torch.randperm(4).tolist()
    brightness, contrast, saturation = (float(torch.empty(1).uniform_(0.9, 1.1)) for _ in range(3))
    jitter = albumentations.ColorJitter(p=1)
    return jitter.apply(image, brightness, contrast, saturation, 0, order)


def test_jitter_golden(all_transforms):
    torch.manual_seed(0)
    ours = published_colours(as_float(all_transforms))
    np.testing.assert_allclose(ours, rows(all_transforms["jitter_seed0/img"]), atol=1e-3)


def check_pipeline(data, seed):
    torch.manual_seed(seed)
    image, points = published_crop(data, 64)
    if torch.rand(1) < 0.5:
        image, points = image[:, ::-1].copy(), mirrored(points, 64, "pixel")
    if torch.rand(1) < 0.2:
        image = published_colours(image)
    if torch.rand(1) < 0.2:
        image = blurred(image, 0.1, 5.0)
    if torch.rand(1) < 0.5:
        noise = rows(torch.rand(3, 64, 64).numpy())
        image = np.where(noise < 1e-3, np.float32(1), np.where(noise > 1 - 1e-3, np.float32(0), image))
    np.testing.assert_allclose(points, data[f"train_pipeline_seed{seed}/lab"], atol=1e-4)
    np.testing.assert_allclose(image, rows(data[f"train_pipeline_seed{seed}/img"]), atol=1e-3)


def test_published_order_of_operations(transforms):
    check_pipeline(transforms, 1000)  # flip and noise


@pytest.mark.parametrize("seed", range(1001, 1006))
def test_published_order_of_operations_again(all_transforms, seed):
    check_pipeline(all_transforms, seed)


# --- geometry: an image of its own coordinates, read at the transformed points


def coordinates(height, width):
    """Image whose first two channels are the continuous x and y of each pixel's centre."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    return np.stack([x, y, np.zeros_like(x)], axis=2)


def read_at(image, points):
    """Read the first two channels between pixel centres, by bilinear interpolation."""
    height, width = image.shape[:2]
    x = np.clip(points[:, 0] - 0.5, 0, width - 1.001)
    y = np.clip(points[:, 1] - 0.5, 0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    image = image[..., :2].astype(np.float64)
    upper = image[top, left] * (1 - fx) + image[top, left + 1] * fx
    lower = image[top + 1, left] * (1 - fx) + image[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


def oracle_errors(rule):
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        height, width = rng.integers(40, 300, 2).tolist()
        side = int(rng.integers(20, min(height, width) + 1))
        top, left, size = (int(rng.integers(high)) for high in (height - side + 1, width - side + 1, 80))
        size += 20
        points = as_points(rng.uniform([0, 0], [width, height], (80, 2)))
        # The interpolation knows nothing beyond the square, so the reading is biased within its reach of the border.
        reach = 2.5 * max(1, side / size)
        kept = points[inside(points - as_points([left + reach, top + reach]), side - 2 * reach, side - 2 * reach)]
        crop, moved = zoom_crop(coordinates(height, width), kept, top, left, side, size)
        errors.append(read_at(crop, moved) - kept)
        flipped = crop[:, ::-1]
        errors.append((read_at(flipped, mirrored(moved, size, rule)) - kept) * (size / side))
    return np.concatenate(errors)


def test_image_and_points_move_together():
    errors = oracle_errors("exact")
    assert len(errors) > 1500
    assert abs(errors).max() < 0.09


def test_the_published_mirror_is_a_pixel_off():
    assert abs(oracle_errors("pixel")[:, 0]).max() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("height", "width"), [(90, 240), (250, 200), (40, 33)])  # the last two need enlarging
def test_whole_augmentation_moves_image_and_points_together(height, width):
    image = (coordinates(height, width) - 0.5).astype(np.uint8)
    spots = as_points([[x, y] for x in range(6, width, 12) for y in range(6, height, 12)])
    augment = Augment(crop=64, min_scale=0.5, max_scale=2.5, **(STILL | {"flip": 0.5}))
    for seed in range(40):
        crop, points = augment(image, spots, np.random.default_rng(seed))
        assert inside(points, 64, 64).all()
        kept = np.all((points > 6) & (points < 58), axis=1)
        seen = read_at(crop, points[kept]) + 0.5
        distance = np.linalg.norm(seen[:, None] - spots, axis=2).min(axis=1)
        assert distance.max() < 1.2


def test_every_point_of_the_cut_square_is_kept_and_counted():
    rng = np.random.default_rng(0)
    image = np.zeros((150, 200, 3), np.uint8)
    points = as_points(np.concatenate([rng.uniform([-20, -20], [220, 170], (400, 2)), [[0, 0], [200, 150]]]))
    augment = Augment(crop=64, **(STILL | {"flip": 0.5}))
    for seed in range(100):
        _, kept = augment(image, points, np.random.default_rng(seed))
        draws = np.random.default_rng(seed)
        side = int(64 * draws.uniform(1, 2))
        top, left = draws.integers(150 - side + 1), draws.integers(200 - side + 1)
        expected = inside(points - as_points([left, top]), side, side).sum()
        assert len(kept) == inside(kept, 64, 64).sum() == expected
        assert block_counts(kept, 64, 64, 8).sum() == expected


@pytest.mark.parametrize("rule", ["exact", "pixel"])
def test_no_rule_of_mirroring_loses_a_point(rule):
    below = np.nextafter(np.float32(64), np.float32(0))
    points = as_points([[0, 0], [below, 1], [63.5, 2], [1e-9, 3], [31.5, below]])
    flipped = mirrored(points, 64, rule)
    assert inside(flipped, 64, 64).all()
    np.testing.assert_array_equal(flipped[:, 1], points[:, 1])


def test_no_scale_loses_a_point():
    for side in range(1, 200):
        right, lower = (np.nextafter(np.float32(edge), np.float32(0)) for edge in (side + 8, side))
        points = as_points([[right, 0], [8, lower], [side + 8, 0], [7.9, 0]])
        _, kept = zoom_crop(np.zeros((200, 208, 3), np.uint8), points, 0, 8, side, 97)
        assert inside(kept, 97, 97).tolist() == [True, True]


def test_the_crop_does_not_keep_the_image_alive():
    image = noise_image(0, 64, 64)
    for side in (64, 32):
        crop, _ = zoom_crop(image, as_points([]), 0, 0, side, side)
        assert not np.shares_memory(crop, image)
        assert crop.flags.c_contiguous


def test_a_whole_image_smaller_than_the_crop_is_enlarged():
    image = noise_image(0, 30, 50)
    crop, points = Augment(crop=96, **STILL)(image, as_points([[25, 15]]), np.random.default_rng(0))
    assert crop.shape == (96, 96, 3)
    assert points.shape[0] <= 1
    tiny, none = Augment(crop=8, min_scale=0.01, **ALWAYS)(image[:1, :1], as_points([]), np.random.default_rng(0))
    assert tiny.shape == (8, 8, 3)
    assert none.shape == (0, 2)


# --- pixels


def test_jitter_keeps_grey_grey_and_stays_within_its_range():
    augment = Augment(crop=32, max_scale=1, **(STILL | {"jitter": 1}))
    grey = np.full((32, 32, 3), 128, np.uint8)
    grey[:16] = 90
    seen = set()
    for seed in range(40):
        crop, _ = augment(grey, as_points([]), np.random.default_rng(seed))
        assert (crop == crop[..., :1]).all()
        for value in (90, 128):
            changed = crop[(grey == value)[..., 0]]
            assert changed.min() >= value * 0.9 - 5
            assert changed.max() <= value * 1.1 + 5
        seen.add(crop.tobytes())
    assert len(seen) > 30


def test_vertical_blur_leaves_upright_stripes_and_isotropic_does_not():
    upright = np.zeros((48, 48, 3), np.uint8)
    upright[:, ::2] = 255
    lying = upright.transpose(1, 0, 2).copy()
    options = {"crop": 48, "max_scale": 1.0} | STILL | {"blur": 1}
    changed = {kind: [] for kind in ("vertical", "isotropic")}
    for kind, stripes in changed.items():
        for image in (upright, lying):
            crops = [
                Augment(blur_kind=kind, **options)(image, as_points([]), np.random.default_rng(i))[0] for i in range(6)
            ]
            stripes.append([abs(crop - image.astype(int)).mean() for crop in crops])
    assert max(changed["vertical"][0]) == 0
    assert min(changed["vertical"][1]) > 90
    assert len(set(changed["vertical"][1])) == 1  # sigma is fixed
    np.testing.assert_allclose(*changed["isotropic"])
    assert len(set(changed["isotropic"][0])) > 3  # sigma is drawn


def test_salt_and_pepper_hits_a_thousandth_each():
    rng = np.random.default_rng(0)
    image = np.full((448, 448, 3), 128, np.uint8)
    crops = np.stack([salted(image, rng) for _ in range(20)])
    white, black = (crops == 255).sum(), (crops == 0).sum()
    expected = crops.size / 1000
    for hits in (white, black):
        assert abs(hits - expected) < 5 * np.sqrt(expected)
    assert white + black + (crops == 128).sum() == crops.size
    assert (image == 128).all()
    one = (crops != 128).any(axis=-1).sum()
    assert one == pytest.approx(white + black, rel=0.01)  # channels are hit one by one


def test_probabilities_are_kept():
    image = np.full((48, 48, 3), 128, np.uint8)
    image[:, :8] = 20
    draws = 600
    for name, chance in (("flip", 0.5), ("blur", 0.2), ("jitter", 0.2), ("noise", 0.5)):
        augment = Augment(crop=48, max_scale=1, **(STILL | {name: chance}))
        crops = [augment(image, as_points([]), np.random.default_rng(seed))[0] for seed in range(draws)]
        share = np.mean([(crop != image).any() for crop in crops])
        assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / draws) + 0.02  # jitter may change nothing


# --- random numbers


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_equal_generators_give_equal_crops_and_others_do_not():
    image, points = noise_image(0, 120, 160), as_points(np.random.default_rng(1).uniform(0, 120, (30, 2)))
    augment = Augment(crop=64, **ALWAYS)
    first = augment(image, points, np.random.default_rng(5))
    augment(image, points, np.random.default_rng(6))
    copy = pickle.loads(pickle.dumps(augment))
    np.random.seed(0)  # noqa: NPY002  the global generators play no part
    torch.manual_seed(0)
    assert equal(first, augment(image, points, np.random.default_rng(5)))
    assert equal(first, copy(image, points, np.random.default_rng(5)))
    assert equal(first, Augment(crop=64, **ALWAYS)(image, points, np.random.default_rng(5)))
    assert not equal(first, augment(image, points, np.random.default_rng(6)))
    rng = np.random.default_rng(5)
    assert equal(first, augment(image, points, rng))
    assert not equal(first, augment(image, points, rng))


class Crops(Dataset):
    def __init__(self):
        self.augment = Augment(crop=32, max_scale=1, **(STILL | {"jitter": 1}))
        self.augment(
            noise_image(0, 32, 32), as_points([]), np.random.default_rng(0)
        )  # its generator exists before the fork

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.augment(noise_image(0, 32, 32), as_points([]), np.random.default_rng([7, index]))[0]


def test_workers_draw_what_the_generator_says():
    alone = [Crops()[index] for index in range(8)]
    loader = DataLoader(Crops(), batch_size=None, num_workers=2)
    for _ in range(2):
        shared_out = [np.asarray(crop) for crop in loader]
        assert equal(alone, shared_out)
    assert len({crop.tobytes() for crop in alone}) == 8


def test_the_image_given_is_not_changed():
    image = noise_image(0, 64, 64)
    before, points = image.copy(), as_points([[3, 4]])
    crop, _ = Augment(crop=64, max_scale=1, **(STILL | {"noise": 1}))(image, points, np.random.default_rng(0))
    assert (crop != image).any()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(points, [[3, 4]])


# --- options


def test_albumentations_knows_every_argument_given():
    with pytest.warns(UserWarning, match="brightnes"):  # a misspelt one is only a warning
        albumentations.ColorJitter(brightnes=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Augment(crop=32, **ALWAYS)(noise_image(0, 80, 80), as_points([]), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"crop": 0}, "crop: 0"),
        ({"min_scale": 0}, "min_scale, max_scale: 0, 2.0"),
        ({"min_scale": 3}, "min_scale, max_scale: 3, 2.0"),
        ({"max_scale": float("nan")}, "min_scale, max_scale"),
        ({"flip": 1.5}, "flip: 1.5"),
        ({"noise": -0.1}, "noise: -0.1"),
        ({"blur_kind": "diagonal"}, "blur_kind: 'diagonal' is not one of isotropic, vertical"),
        ({"mirror": "w"}, "mirror: 'w' is not one of exact, pixel"),
    ],
)
def test_impossible_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        Augment(**options)
