"""Time and memory of the contrastive losses of `docs/losses.md`, forward and backward."""

import argparse
import time

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.child import in_child
from benchmarks.peak import Peak
from benchmarks.race import Commands, Row, positive
from crowdcount.losses.contrastive import Pairs, cosines
from crowdcount.losses.contrastive.recipes import RECIPES

_BINS, _EXPRESSIONS, _SHARE = 5, 16, 0.02


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("contrastive", parents=[shared], help="contrastive losses, forward and backward")
    parser.add_argument("--anchors", type=positive, default=512, help="anchors (default %(default)s)")
    parser.add_argument("--references", type=positive, default=4096, help="references (default %(default)s)")
    parser.add_argument("--width", type=positive, default=256, help="of the embeddings (default %(default)s)")
    parser.add_argument(
        "--loss", action="append", dest="losses", choices=sorted(named()), help="repeatable (default: all)"
    )
    parser.set_defaults(run=contrastive_benchmark)


def named() -> dict[str, str]:
    """Return the losses that a configuration may name, with the place they are measured at."""
    return {name: recipe.places[0] for name, recipe in RECIPES.items() if recipe.places}


def contrastive_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Measure the losses in a fresh process: processor time, the best of the repeats, and memory above the inputs."""
    sizes = arguments.anchors, arguments.references, arguments.width
    return in_child(all_measured, arguments.losses or list(named()), sizes, arguments.repeats, arguments.threads)


def all_measured(names: list[str], sizes: tuple[int, int, int], repeats: int, threads: int) -> list[Row]:
    """Return the row of each loss; memory that one frees is given back before the next."""
    return [measured(name, sizes, repeats, threads) for name in tqdm(names, leave=False, disable=None)]


def measured(name: str, sizes: tuple[int, int, int], repeats: int, threads: int) -> Row:
    """Return the row of a loss."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    recipe = RECIPES[name]
    place = recipe.places[0]
    term = recipe.term(place)
    anchors, references, width = sizes if name != "sbcl" else (sizes[0], sizes[0], sizes[2])
    z = torch.randn(references, width, requires_grad=True)
    state = term.make_state(_BINS if place == "count_bins" else 0, width)

    def run() -> None:
        torch.autograd.grad(term(pairs_of(place, z, anchors), state), z)

    best = float("inf")
    run()  # what is allocated once
    with Peak(torch.device("cpu")) as peak:
        run()
    for _ in range(repeats):
        start = time.process_time()  # other programs don't add to it
        run()
        best = min(best, time.process_time() - start)
    row = {"loss": name, "at": place, "anchors": anchors, "references": references}
    return row | {"ms": best * 1e3, "peak MiB": peak.mebibytes}


def pairs_of(place: str, z: Tensor, anchors: int) -> Pairs:
    """Return pairs of the shape that a place makes: bins of blocks, or few objects among many tokens."""
    generator = torch.Generator().manual_seed(1)
    if place == "count_bins":
        labels = torch.randint(_BINS, (len(z),), generator=generator)
        own = torch.eye(anchors, len(z), dtype=torch.bool)
        same = labels[:anchors, None] == labels
        delta = (labels - labels[:anchors, None]).float()
        ids = labels[:anchors]
        return Pairs(cosines(z[:anchors], z), same & ~own, ~same, z[:anchors], z, delta=delta, labels=ids, ids=ids)
    pos = torch.rand(anchors, len(z), generator=generator) < _SHARE
    group = torch.arange(anchors) % _EXPRESSIONS
    if place == "rec_logits":
        return Pairs(z[:anchors] @ z.T / 16 - 2, pos, ~pos, ids=group)
    return Pairs(cosines(z[:anchors], z), pos, ~pos, z[:anchors], z, group=group, ids=group)
