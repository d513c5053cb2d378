"""Contrastive losses beside none and SupCon: one warm start for each seed, the same further steps with each loss.

Runs are kept in a folder, so that the command can be stopped and goes on where it was; it prints what is there.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from tqdm import tqdm

from benchmarks.race import Commands, Row, positive
from crowdcount.data import ReferringScenes, Synthetic
from crowdcount.data.augment import Augment
from crowdcount.data.datamodule import CrowdData
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.inference.points import PointInference
from crowdcount.losses.contrastive import ContrastiveTerm
from crowdcount.losses.contrastive.recipes import RECIPES
from crowdcount.models import Bins, Dace, Ebc, ReferringDetector
from crowdcount.models.rec.loss import RecLoss
from crowdcount.training import BlockwiseModule, EmbeddingMetrics, ReferringModule

Run = dict[str, Any]

WORDS = ("person", "in", "red", "green", "blue", "yellow")
PLACES = {"blocks": ("count_bins",), "rec": ("rec_tokens", "rec_logits")}
STEPS = {"blocks": (300, 150), "rec": (450, 150)}
"""Steps of the warm start and with each loss."""

METRICS = {
    "blocks": ("mae", "label_order", "alignment", "uniformity"),
    "rec": ("mae", "auc", "sibling_auc", "alignment", "uniformity"),
}
BASELINE = "none"
COMPARED = {"none's": BASELINE, "SupCon's": "{place}:supcon"}


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "contrastive_table", parents=[shared], help="train small models with each contrastive loss and compare"
    )
    parser.add_argument("--at", choices=list(PLACES), default="blocks", help="where (default %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs/contrastive"), help="folder of the runs")
    parser.add_argument("--seeds", type=positive, default=3, help="seeds from 0 (default %(default)s)")
    parser.add_argument("--weight", type=float, default=1.0, help="of each loss (default %(default)s)")
    parser.add_argument(
        "--loss", action="append", dest="losses", help="none, or such as count_bins:supcon; repeatable (default: all)"
    )
    parser.add_argument("--show", action="store_true", help="train nothing, print the runs that are there")
    parser.set_defaults(run=contrastive_table)


def contrastive_table(arguments: argparse.Namespace) -> list[Row]:
    """Run what is missing, seed by seed, and return a row for each loss."""
    lines = arguments.losses or all_lines(arguments.at)
    if not arguments.show:
        for seed, line in tqdm([(seed, line) for seed in range(arguments.seeds) for line in lines], disable=None):
            path = run_file(arguments.runs, arguments.at, line, seed)
            if not path.is_file():
                run = trained(arguments.at, line, seed, arguments.weight, warm_file(arguments.runs, arguments.at, seed))
                atomic_write(path, json.dumps(run) + "\n")
    runs = read_runs(arguments.runs, arguments.at)
    if not runs:
        raise InputError(f"{arguments.runs}: no runs at {arguments.at} there; leave --show out to train them")
    return summary(arguments.at, runs)


def all_lines(at: str) -> list[str]:
    """Return none, SupCon, then every other loss that belongs there, as `place:name`."""
    every = [f"{place}:{name}" for place in PLACES[at] for name, recipe in RECIPES.items() if place in recipe.places]
    return [BASELINE, *every]


def run_file(folder: Path, at: str, line: str, seed: int) -> Path:
    """Return the file of a run."""
    return folder / f"{at}-{line.replace(':', '-')}-{seed}.json"


def read_runs(folder: Path, at: str) -> list[Run]:
    """Return the runs that are there."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{at}-*.json"))]


def warm_file(folder: Path, at: str, seed: int) -> Path:
    """Return a file with the weights of the warm start of a seed, and train them if there is none."""
    path = folder / f"{at}-warm-{seed}.pt"
    if not path.is_file():
        module = fitted(at, seed, (), STEPS[at][0], None)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        torch.save(module.network.state_dict(), unfinished)
        unfinished.rename(path)
    return path


def trained(at: str, line: str, seed: int, weight: float, warm: Path) -> Run:
    """Train with a loss from the warm start, and measure on the test images."""
    steps = STEPS[at][1]
    module = fitted(at, seed, () if line == BASELINE else (term_of(line, weight),), steps, warm)
    trainer = quiet_trainer(callbacks=[EmbeddingMetrics()])
    [found] = trainer.test(module, datamodule=data_of(at, seed), verbose=False)
    values = {name: found[f"test/{name}"] for name in METRICS[at]}
    return {"loss": line, "seed": seed, "weight": weight, "steps": steps, "warm steps": STEPS[at][0], **values}


def term_of(line: str, weight: float) -> ContrastiveTerm:
    """Return the term of `place:name`."""
    place, _, name = line.partition(":")
    return RECIPES[name].term(place, weight)  # type: ignore[arg-type]


def fitted(
    at: str, seed: int, terms: tuple[ContrastiveTerm, ...], steps: int, warm: Path | None
) -> BlockwiseModule | ReferringModule:
    """Return a module after its steps."""
    seed_everything(seed, verbose=False)
    module = module_of(at, terms, steps, warm is not None)
    if warm is not None:
        module.network.load_state_dict(torch.load(warm, weights_only=True))
    quiet_trainer(max_steps=steps, gradient_clip_val=1.0).fit(module, datamodule=data_of(at, seed))
    return module


def module_of(at: str, terms: tuple[ContrastiveTerm, ...], steps: int, warm: bool) -> BlockwiseModule | ReferringModule:
    """Return the untrained module; the further steps have a third of the rate."""
    rate = {"blocks": 1e-3, "rec": 3e-3}[at] / (3 if warm else 1)
    optimizer = partial(torch.optim.AdamW, lr=rate, weight_decay=1e-4)
    if at == "blocks":
        bins = Bins([0, 1, 2, 3, "4+"])
        network = Ebc("resnet18", bins, reduction=16, feature_level=2, pretrained=False)
        return BlockwiseModule(network, Dace("mae"), optimizer, contrastive=terms)
    detector = ReferringDetector("tiny", pretrained=False, freeze=False, words=WORDS)
    return ReferringModule(detector, RecLoss(point_weight=2.0), optimizer, None, PointInference(), 5.0, terms)


def data_of(at: str, seed: int) -> CrowdData:
    """Return generated scenes; their order follows the seed, they are the same for all seeds."""
    if at == "blocks":
        scenes = Synthetic(train=160, val=0, test=20)
        return CrowdData(scenes, Augment(crop=96), batch_size=8, val_fraction=0, seed=seed, num_workers=0)
    pairs = ReferringScenes(train=400, val=0, test=30, size=96)
    return CrowdData(pairs, None, batch_size=4, val_fraction=0, seed=seed, num_workers=0)


def quiet_trainer(**options: Any) -> Trainer:
    """Return a trainer on the CPU that writes nothing."""
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = dict.fromkeys(names, False)
    return Trainer(accelerator="cpu", limit_val_batches=0, **quiet, **options)


def summary(at: str, runs: Sequence[Run]) -> list[Row]:
    """Return a row for each loss: mean and standard deviation over seeds, and seeds with a lower MAE than others'.

    Args:
        at: blocks or rec.
        runs: in any order.
    """
    rows = []
    order = {line: index for index, line in enumerate(all_lines(at))}
    for line in sorted({run["loss"] for run in runs}, key=lambda line: order.get(line, len(order))):
        own = [run for run in runs if run["loss"] == line]
        row: Row = {"loss": line, "seeds": len(own)}
        for name in METRICS[at]:
            values = [run[name] for run in own]
            spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            row[name] = f"{statistics.mean(values):.3f}{spread}"
        for title, other in COMPARED.items():
            changes = differences(runs, "mae", line, other.format(place=PLACES[at][0]))
            row[f"MAE below {title}"] = f"{sum(change < 0 for change in changes)} of {len(changes)}"
        rows.append(row)
    return rows


def differences(runs: Sequence[Run], metric: str, line: str, other: str) -> list[float]:
    """Return a metric of a loss minus that of another one, for each seed that has both."""
    reference = {run["seed"]: run[metric] for run in runs if run["loss"] == other}
    return [run[metric] - reference[run["seed"]] for run in runs if run["loss"] == line and run["seed"] in reference]
