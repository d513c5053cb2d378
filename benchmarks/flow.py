"""Flow through a line on generated walkers with known crossings, from the true density and from that of a model.

The table of docs/ground.md. The true density is the number of heads in each block; with it, the error is that of the
optical flow and of the formula. The error is that of the sum of both directions, relative to the true sum.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.race import Commands, Row, positive
from crowdcount.data.synthetic.walkers import Segment, Walkers
from crowdcount.predictor import Predictor
from crowdcount.video.flow import Line, LineFlow, OpticalFlow
from crowdcount.visualize.density import true_density

LINES: dict[str, Segment] = {"across": ((160.0, 40.0), (160.0, 236.0)), "slanted": ((90.0, 60.0), (230.0, 230.0))}
PEOPLE, SPEEDS = (60, 240), (0.7, 1.4)
STRIDE = 8


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    flow = commands.add_parser("flow", parents=[shared], help="people who walk through a line")
    flow.add_argument("--frames", type=positive, default=150, help="frames of a video (default %(default)s)")
    flow.add_argument("--videos", type=positive, default=4, help="videos of each kind (default %(default)s)")
    flow.add_argument("--every", type=positive, default=5, help="count every N-th frame (default %(default)s)")
    flow.add_argument("--model", help="also count with this model, such as ebc/efficientnet_lite0_mixed")
    flow.set_defaults(run=flow_benchmark)


def flow_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Return a row for each number of people, speed and line."""
    predictor = None if arguments.model is None else Predictor(arguments.model)
    kinds = [(people, speed) for people in PEOPLE for speed in SPEEDS]
    rows: list[Row] = []
    for people, speed in tqdm(kinds, "walkers", leave=False, disable=None):
        found = [
            crossings(Walkers(people, speed, seed=100 + video), arguments.frames, arguments.every, predictor)
            for video in range(arguments.videos)
        ]
        rows += [_row(people, speed, name, np.array([each[name] for each in found])) for name in LINES]
    return rows


def crossings(walkers: Walkers, frames: int, every: int, predictor: Predictor | None) -> dict[str, NDArray[np.float64]]:
    """Return for each line the crossings (3, 2) to the right and to the left: true, of true density, of a model."""
    height, width = walkers.view.height, walkers.view.width
    optical = OpticalFlow(height, width)
    flows = {name: LineFlow(Line(*line), height, width, optical.scale) for name, line in LINES.items()}
    sums = {name: np.zeros((3, 2)) for name in LINES}
    true, predicted, stride = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32), STRIDE
    for frame in range(frames):
        image = walkers.image(frame)
        motion = optical(image)
        if frame % every == 0:
            true = true_density(walkers.points(frame), height, width, STRIDE)
            if predictor is not None:
                prediction = predictor.predict(image)
                predicted, stride = prediction.density, prediction.stride
                seen = prediction.height, prediction.width
        for name, flow in flows.items():
            if motion is None:
                continue
            sums[name][1] += flow(motion, true, STRIDE, (height, width))
            if predictor is not None:
                sums[name][2] += flow(motion, predicted, stride, seen)
    for name, line in LINES.items():
        sums[name][0] = walkers.crossings(line, frames)
    return sums


def _row(people: int, speed: float, line: str, found: NDArray[np.float64]) -> Row:
    true, of_truth, of_model = found.sum(axis=0)
    total = true.sum()
    row: Row = {"people": people, "m/s": speed, "line": line, "true": f"{true[0]:.0f} + {true[1]:.0f}"}
    row["true density"] = f"{of_truth[0]:.0f} + {of_truth[1]:.0f}"
    row["error"] = f"{of_truth.sum() / total - 1:+.0%}"
    if of_model.any():
        row |= {
            "model": f"{of_model[0]:.0f} + {of_model[1]:.0f}",
            "error of model": f"{of_model.sum() / total - 1:+.0%}",
        }
    return row
