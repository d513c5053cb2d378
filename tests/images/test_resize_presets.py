from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

import crowdcount
from crowdcount.data import CrowdData, Resize, ResizePreset, ShortSide
from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.images.resize_presets import LIMITS, Limits

ROOT = Path(__file__).resolve().parents[2]
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("rule", "size", "expected"),  # worked out by hand
    [
        ("bayesian", (1000, 800), (1000, 800)),
        ("bayesian", (1000, 400), (1280, 512)),
        ("man", (3000, 5000), (2048, 3413)),
        ("dm_count/qnrf", (333, 1000), (512, 1538)),
        ("dm_count/nwpu", (1000, 750), (1920, 1440)),
        ("dm_count/nwpu", (4000, 3000), (1920, 1440)),
        ("dm_count/nwpu", (1001, 1999), (960, 1920)),  # 961.4 is rounded down
        ("dm_count/nwpu", (4000, 400), (1920, 384)),  # 192 would be too low, 3840 too high
        ("nwpu_sample", (1000, 700), (2048, 1440)),  # 1433.6 is nearest to 90 x 16
        ("nwpu_sample", (4096, 3000), (2048, 1504)),
        ("nwpu_sample", (400, 300), (2048, 1536)),
        ("nwpu_sample", (600, 900), (1360, 2048)),
        ("nwpu_sample", (300, 1000), (768, 2560)),  # 614 wide would be too little
        ("steerer/shanghaitech", (1024, 768), (1024, 768)),
        ("steerer/shanghaitech", (3000, 1500), (2048, 1024)),
        ("steerer/qnrf", (2000, 6144), (1000, 3072)),
        ("steerer/nwpu", (5000, 4096), (4096, 3355)),
        ("pet/qnrf", (3072, 2000), (1536, 1000)),
        ("pet/nwpu", (3072, 2048), (2048, 1365)),
        ("pet/jhu", (100, 50), (100, 50)),
        ("cltr/nwpu_train", (4096, 1024), (2048, 512)),
        ("cltr/nwpu_test", (8192, 4096), (4096, 2048)),
        ("pet/jhu", (2049, 1001), (2048, 1000)),  # 1000.5 is cut
        ("cltr/jhu", (4096, 2048), (2048, 1024)),
        ("cltr/jhu", (400, 300), (683, 512)),
        ("fidtm/qnrf_train", (4096, 3000), (2048, 1500)),
        ("fidtm/qnrf_train", (600, 300), (1024, 512)),
        ("fidtm/qnrf_test", (4096, 1024), (4096, 1024)),  # the limits exclude each other: the lower one wins
    ],
)
def test_sizes_worked_out_by_hand(rule, size, expected):
    assert ResizePreset(rule).target(*size) == expected
    if rule != "nwpu_sample":  # whose least width and height differ
        assert ResizePreset(rule).target(*size[::-1]) == expected[::-1]


def test_rounding_down_to_multiples_stops_at_the_least():
    down = {"multiple": 16, "nearest": False}
    assert Limits(shortest=100, **down).target(200, 50) == (400, 100)  # not 96
    assert Limits(shortest=100, **down).target(50, 206) == (100, 400)  # 412 is rounded down
    assert Limits(window=(90, 60), **down).target(45, 45) == (90, 80)


@pytest.mark.parametrize("rule", LIMITS)
def test_limits_hold_for_any_size(rule):
    limits, rng = LIMITS[rule], np.random.default_rng(1)
    for width, height in rng.integers(20, 9000, (500, 2)).tolist():
        new = ResizePreset(rule).target(width, height)
        assert new[0] >= limits.window[0] and new[1] >= limits.window[1] and min(new) >= limits.shortest
        assert new[0] % limits.multiple == new[1] % limits.multiple == 0
        ratio = new[0] / width, new[1] / height
        floor = max(limits.shortest / min(width, height), limits.window[0] / width, limits.window[1] / height)
        slack = limits.multiple / min(width, height)
        if limits.cap:
            assert max(new) <= limits.longest
            continue
        assert abs(ratio[0] - ratio[1]) <= slack  # the shape is kept but for the rounding
        if min(ratio) > floor + slack:  # then the higher limits decide
            assert limits.longest is None or max(new) <= limits.longest
            assert limits.short is None or min(new) <= limits.short
            assert limits.fill or max(ratio) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("name", "flag"), [("cubic", cv2.INTER_CUBIC), ("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA)]
)
def test_pixels_and_points_move_together(name, flag):
    rule = ResizePreset("dm_count/nwpu", interpolation=name)
    image, points = rule(IMAGE, as_points([[40, 30], [-8, 66], [79.5, 0]]))
    assert image.shape == (1440, 1920, 3)
    np.testing.assert_array_equal(image, cv2.resize(IMAGE, (1920, 1440), interpolation=flag))
    np.testing.assert_allclose(points, [[960, 720], [-192, 1584], [1908, 0]])


def test_each_axis_has_its_own_ratio():
    image = np.zeros((1000, 999, 3), np.uint8)
    resized, points = ResizePreset("dm_count/nwpu")(image, as_points([[999 / 2, 500]]))
    assert resized.shape == (1920, 1904, 3)  # 1918.1 is rounded down
    np.testing.assert_allclose(points, [[952, 960]])


def test_jpeg_round_trip():
    plain, _ = ResizePreset("pet/qnrf")(IMAGE, as_points([]))
    assert plain is IMAGE
    compressed, _ = ResizePreset("pet/qnrf", jpeg_quality=75)(IMAGE, as_points([]))
    data = cv2.imencode(".jpg", IMAGE[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    np.testing.assert_array_equal(compressed, cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rule": "pet"}, "rule: 'pet' is none of bayesian, man"),
        ({"rule": "man", "interpolation": "nearest"}, "interpolation: 'nearest' is none of cubic"),
        ({"rule": "man", "jpeg_quality": 0}, "jpeg_quality: 0"),
    ],
)
def test_impossible_rules_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        ResizePreset(**options)


def test_configurations_name_one_rule_and_may_be_overridden(shanghaitech_root):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CrowdData, "data")
    source = {"class_path": "crowdcount.data.ShanghaiTech", "init_args": {"root": str(shanghaitech_root), "part": "A"}}
    parser.set_defaults({"data.source": source, "data.augment": None})
    overrides = ["--data.resize_preset.interpolation=area", "--data.resize_preset.jpeg_quality=75"]
    config = parser.parse_args(["--data.resize_preset.rule=pet/nwpu", *overrides])
    assert config.data.resize_preset.rule == "pet/nwpu"  # what a run records
    data = parser.instantiate_classes(config).data
    assert data.resize == ResizePreset("pet/nwpu", "area", 75)
    with pytest.raises(InputError, match=r"data\.resize, data\.resize_preset: an image is brought to one size"):
        CrowdData(data.source, None, resize=Resize(32, 64), resize_preset=ResizePreset("man"))
    with pytest.raises(InputError, match=r"data\.short_side, data\.resize_preset"):
        CrowdData(data.source, None, short_side=ShortSide(), resize_preset=ResizePreset("man"))


def test_a_checkpoint_brings_its_rule(tmp_path):
    name = "ebc/resnet18_sha_scratch"
    config = yaml.safe_load((ROOT / "zoo_configs" / f"{name}.yaml").read_text())
    config["data"]["resize_preset"] = {"rule": "dm_count/nwpu", "interpolation": "area"}
    state = {f"network.{key}": value for key, value in crowdcount.create_model(name).state_dict().items()}
    torch.save({"config": yaml.safe_dump(config), "state_dict": state}, tmp_path / "best.ckpt")
    assert crowdcount.load_model(tmp_path / "best.ckpt").resize == ResizePreset("dm_count/nwpu", "area")
