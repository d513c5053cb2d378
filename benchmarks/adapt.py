"""Adapting against the number of frames: errors on other images of the same site.

Two kinds of sites: ShanghaiTech B for a model that was trained on part A alone, and generated fixed cameras, each with
its own view and ground and with people in other places on every frame. Frames are drawn at random, or a hundred are and
`crowdcount dataset choose` proposes which of them to label; those of fewer frames are among those of more. Runs are
kept in a folder, so that the command can be stopped and goes on where it was; it prints what is there.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean

import numpy as np
from tqdm import tqdm

import crowdcount
from benchmarks.race import Commands, Row, positive
from crowdcount.cli.word_order import Values
from crowdcount.data import Record, ShanghaiTech
from crowdcount.data.synthetic.layout import Layout, arrange
from crowdcount.data.synthetic.render import paint
from crowdcount.files import atomic_write
from crowdcount.geometry import as_points
from crowdcount.images.read import Image
from crowdcount.intervals import Calibration, calibrate
from crowdcount.labelling.candidates import uncertainty
from crowdcount.labelling.features import FeatureMoments
from crowdcount.labelling.select import select
from crowdcount.training.adapting import LEVELS, Adaptation, Frame, Plan, adapt

FRAMES = (5, 10, 20, 50)
LEVEL = 0.8
"""Level of the intervals whose coverage is measured; five frames are enough for it."""

_WIDTH, _HEIGHT, _PEOPLE = 512, 384, 120
_POOL = 100  # frames of a camera to draw from, and images of a data set to choose from


@dataclass(frozen=True)
class Site:
    """Images of one place, or of one kind.

    Attributes:
        name: its name.
        pool: images to draw frames from.
        others: other images, on which errors are measured.
    """

    name: str
    pool: Sequence[Record]
    others: Sequence[Record]


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("adapt", parents=[shared], help="error against the number of frames adapted to")
    add = parser.add_argument
    add("--start", required=True, metavar="MODEL", help="model to adapt; for --shanghaitech one trained on A alone")
    add("--shanghaitech", type=Path, metavar="DIR", help="folder with part_B or part_B_final; without it cameras alone")
    add("--frames", type=positive, action=Values, default=list(FRAMES), metavar="N", help="default 5 10 20 50")
    add("--seeds", type=positive, default=3, metavar="N", help="draws of frames, and cameras (default %(default)s)")
    add("--images", type=positive, default=60, metavar="N", help="other images to measure on (default %(default)s)")
    add("--labels", choices=("points", "counts"), default="points", help="what is known (default %(default)s)")
    add("--draw", choices=("random", "chosen"), default="random", help="how frames are drawn (default %(default)s)")
    add("--runs", type=Path, default=Path("runs/adapt"), metavar="FOLDER", help="of the runs (default %(default)s)")
    add("--show", action="store_true", help="run nothing, show what is there")
    parser.set_defaults(run=adapt_benchmark)


def adapt_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Run what is missing, and return a row for each kind of site, of labels and number of frames."""
    before: dict[str, float] = {}
    for seed in range(0 if arguments.show else arguments.seeds):
        for site in sites(arguments.shanghaitech, arguments.images, seed):
            _run_missing(arguments, site, seed, before)
    return summary(read_runs(arguments.runs))


def _run_missing(arguments: argparse.Namespace, site: Site, seed: int, before: dict[str, float]) -> None:
    """Make the runs of a site and a seed that are not there; `before` keeps the error of the start at each site."""
    about = {"labels": arguments.labels, "draw": arguments.draw}
    name = "-".join([site.name.replace(" ", "-"), *about.values()])
    paths = {number: arguments.runs / f"{name}-{number}-{seed}.json" for number in arguments.frames}
    missing = {number: path for number, path in paths.items() if not path.is_file()}
    if not missing:
        return
    if site.name not in before:
        before[site.name] = start_error(arguments.start, site)
    drawn = draw(arguments.start, site, seed, chosen=arguments.draw == "chosen")
    for number, path in tqdm(missing.items(), site.name, unit="run", disable=None):
        frames = [_frame(record, points=arguments.labels == "points") for record in drawn[:number]]
        run = measured(arguments.start, site, frames, seed)
        atomic_write(path, json.dumps({**run, **about, "start": before[site.name]}) + "\n")


def sites(shanghaitech: Path | None, images: int, seed: int) -> Iterator[Site]:
    """Yield ShanghaiTech B, where it is given, and the camera of a seed."""
    if shanghaitech is not None:
        records = ShanghaiTech(shanghaitech, "B").records("train")
        order = np.random.default_rng(0).permutation(len(records))  # the same other images for all seeds
        others = {int(number) for number in order[:images]}
        yield Site(
            "ShanghaiTech B",
            [record for number, record in enumerate(records) if number not in others],
            [records[number] for number in sorted(others)],
        )
    camera = [camera_frame(seed, number) for number in range(_POOL + images)]
    yield Site(f"camera {seed}", camera[:_POOL], camera[_POOL:])


def start_error(start: str, site: Site) -> float:
    """Return the mean absolute error of a model as it is on the other images of a site."""
    model = crowdcount.load_model(start).density_model()
    return mean(abs(model.predict(record.read()).count - record.count) for record in site.others)


def draw(start: str, site: Site, seed: int, chosen: bool) -> list[Record]:
    """Return images of the pool of a site in the order in which they are taken.

    Args:
        start: model that looks at the images.
        site: the site.
        seed: seed of the draw.
        chosen: order a random part of the pool as `crowdcount dataset choose` does; otherwise the order is random.
    """
    order = np.random.default_rng([1, seed]).permutation(len(site.pool))
    records = [site.pool[index] for index in order]
    return _proposed(start, records[:_POOL]) if chosen else records


def _proposed(start: str, records: Sequence[Record]) -> list[Record]:
    model = crowdcount.load_model(start).density_model()
    moments, features, doubts = FeatureMoments(model.network), [], []
    for record in records:
        with moments.watch():
            prediction = model.predict(record.read())
        features.append(moments.take(prediction))
        doubts.append(uncertainty(prediction))
    return [records[pick.index] for pick in select(np.stack(features), doubts, len(records)).picks]


def measured(start: str, site: Site, frames: Sequence[Frame], seed: int) -> Row:
    """Adapt to frames of a site, and count in its other images."""
    model = crowdcount.load_model(start).density_model()
    begin = time.process_time()
    found = adapt(model, frames, Plan(seed=seed))
    seconds = time.process_time() - begin
    errors, covered = _errors(found, site.others)
    return {
        "site": site.name,
        "frames": len(frames),
        "seed": seed,
        "mae": mean(errors),
        "level": found.taken.level,
        "held out": {trial.level: trial.mae for trial in found.trials},
        "covered": covered,
        "others": len(site.others),
        "seconds": seconds,
    }


def _frame(record: Record, points: bool) -> Frame:
    return Frame(record if points else replace(record, points=None), float(record.count), record.name)


def _errors(found: Adaptation, others: Sequence[Record]) -> tuple[list[float], float]:
    """Return the absolute errors, and the share of the intervals that hold the true count."""
    trial = found.taken
    known: Calibration = calibrate(trial.true.tolist(), trial.counts.tolist(), trial.variances)
    errors, inside = [], 0
    for record in others:
        prediction = found.model.predict(record.read())
        low, high, _ = known.interval(prediction.count, prediction.total_variance, LEVEL)
        errors.append(abs(prediction.count - record.count))
        inside += low <= record.count <= high
    return errors, inside / len(others)


def camera_frame(camera: int, number: int) -> Record:
    """Return a frame of a generated fixed camera: always its view, ground and objects, and other people."""
    scene = CameraScene(camera, number)
    return Record(f"{number:03d}", scene, scene.layout().points)


@dataclass(frozen=True)
class CameraScene:
    """A generated frame of a fixed camera; calling it renders the image.

    Attributes:
        camera: seed of view, ground and objects.
        number: seed of the people, who stand on places of the view, moved by up to a third of a head.
    """

    camera: int
    number: int

    def layout(self) -> Layout:
        """Return the people and what is around them."""
        view = _view(self.camera)
        rng = np.random.default_rng((self.camera, 1, self.number))
        chosen = rng.choice(len(view.points), int(rng.integers(_PEOPLE // 20, _PEOPLE + 1)), replace=False)
        places = view.points[np.sort(chosen)].astype(np.float64)
        units = np.array([view.unit(y) for y in places[:, 1]])
        moved = places + rng.uniform(-0.3, 0.3, places.shape) * units[:, None]
        inside = np.clip(moved, 0.5, np.array([_WIDTH, _HEIGHT]) - 0.5)
        return replace(view, points=as_points(inside[np.argsort(inside[:, 1], kind="stable")]))

    def __call__(self) -> Image:
        """Render the image (384, 512, 3), RGB."""
        return paint(np.random.default_rng((self.camera, 2)), self.layout())


@cache
def _view(camera: int) -> Layout:
    return arrange(np.random.default_rng((camera, 0)), _PEOPLE, _WIDTH, _HEIGHT)


def read_runs(folder: Path) -> list[Row]:
    """Return the runs that are there."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def summary(runs: Sequence[Row]) -> list[Row]:
    """Return a row for each kind of site, labels and number of frames, by means over its runs."""
    groups: dict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for run in runs:
        site = "cameras" if run["site"].startswith("camera") else run["site"]
        groups[site, run["labels"], run["draw"], run["frames"]].append(run)
    return [_row(*key, own) for key, own in sorted(groups.items())]


def _row(site: str, labels: str, draw: str, frames: int, runs: Sequence[Row]) -> Row:
    errors = [run["mae"] for run in runs]
    levels = sorted({run["level"] for run in runs}, key=list(LEVELS).index)
    return {
        "site": site,
        "labels": labels,
        "draw": draw,
        "frames": frames,
        "runs": len(runs),
        "start MAE": mean(run["start"] for run in runs),
        "MAE": mean(errors),
        "lowest": min(errors),
        "highest": max(errors),
        "worse than the start": sum(run["mae"] > run["start"] for run in runs),
        "levels": ", ".join(f"{sum(run['level'] == level for run in runs)} x {level}" for level in levels),
        "covered": mean(run["covered"] for run in runs),
        "seconds": mean(run["seconds"] for run in runs),
    }
