"""The configuration for a CPU, in less than half of its steps, learns to count and to find what expressions name."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

import crowdcount
from crowdcount.cli import train
from crowdcount.data import ReferringScenes
from crowdcount.losses.contrastive import supcon_floor

ROOT = Path(__file__).resolve().parents[2]


SCENES = {"train": 200, "val": 10, "test": 60}
EPOCHS = 13  # of 50 steps; seeds differ in how long the first points take to find their heads


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of the training."""
    folder = tmp_path_factory.mktemp("learning")
    options = {f"data.source.{name}": value for name, value in SCENES.items()}
    options |= {"trainer.max_epochs": EPOCHS, "trainer.check_val_every_n_epoch": EPOCHS, "pictures.images": 0}
    options |= {"model.schedule.first_period": EPOCHS - 1, "trainer.logger.save_dir": folder}
    options |= {"trainer.enable_progress_bar": False, "trainer.accelerator": "cpu"}
    config = str(ROOT / "zoo_configs" / "rec" / "tiny_scenes.yaml")
    torch.set_num_threads(1)
    train.main(["fit", "--config", config, *(f"--{key}={value}" for key, value in options.items())])
    return folder / "rec_tiny_scenes" / "version_0"


@pytest.fixture(scope="module")
def rows(run):
    """Rows of metrics.csv, without empty cells."""
    with (run / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def answers(run):
    """For each test scene its expressions with their predictions, by the best checkpoint alone."""
    model = crowdcount.load_model(run / "checkpoints" / "best.ckpt")
    return [
        list(zip(scene.expressions, model.predict(scene.read(), [e.text for e in scene.expressions]), strict=True))
        for scene in ReferringScenes(**SCENES).records("test")
    ]


def course(rows, name):
    return [row[name] for row in rows if name in row]


def test_errors_and_losses_fall(rows):
    for name, share in (("train/mae", 0.8), ("train/label", 0.1), ("train/point", 0.5)):
        values = course(rows, name)
        assert len(values) == EPOCHS and values[-1] < share * values[0], (name, values)


def test_the_contrast_comes_nearer_to_its_floor(rows):
    """The tokens of an expression become alike, and unlike the others: only what is above the floor can fall."""
    counts = [len(e.points) for scene in ReferringScenes(**SCENES).records("train") for e in scene.expressions]
    floors = [float(supcon_floor(~torch.eye(count, dtype=torch.bool))) for count in counts if count > 1]
    above = np.array(course(rows, "train/contrast")) / 0.005 - np.mean(floors)
    assert (above > 0).all() and above[-1] < 0.6 * above[0], above


def test_counts_depend_on_the_text(rows, answers):
    """Nearer than the best number for all; of two expressions of a scene the one that names more gets more."""
    true = np.array([len(expression.points) for scene in answers for expression, _ in scene])
    errors = abs(true - [prediction.count for scene in answers for _, prediction in scene])
    assert errors.mean() == pytest.approx(course(rows, "test/mae")[0], rel=1e-6)
    blind = abs(true - np.median(true)).mean()
    assert errors.mean() < 0.9 * blind, (errors.mean(), blind)
    order = [
        0.5 + 0.5 * np.sign((more.count - less.count) * (len(a.points) - len(b.points)))
        for scene in answers
        for (a, more), (b, less) in combinations(scene, 2)
        if len(a.points) != len(b.points)
    ]
    assert len(order) > 50 and np.mean(order) > 0.75, np.mean(order)  # who does not read the text gets 0.5


def test_points_are_where_the_text_says(rows, answers):
    """Of two kinds of people in a scene the points are near those that the expression names."""
    right = []
    for scene in answers:
        for expression, prediction in scene:
            others = [e.points for e, _ in scene if e is not expression and len(e.points)]
            if len(expression.points) and others:
                own, other = (nearest(prediction.points, points) for points in (expression.points, np.vstack(others)))
                right += (own < other).tolist()
    assert len(right) > 50 and np.mean(right) > 0.75, (len(right), np.mean(right))
    assert course(rows, "test/f1_fixed")[0] > 0.5


def nearest(points, heads):
    """Return the distance of each of the points to the nearest head."""
    return np.linalg.norm(points[:, None] - heads, axis=2).min(axis=1)
