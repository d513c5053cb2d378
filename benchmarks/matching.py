"""Matching per expression, compared with one cost matrix for the whole batch."""

import argparse

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from benchmarks.race import Commands, Row, positive, race
from crowdcount.cli.word_order import Values
from crowdcount.errors import InputError
from crowdcount.models.rec.matcher import Match, PointMatcher
from crowdcount.models.rec.outputs import Phrases, PointDetections


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    matching = commands.add_parser("matching", parents=[shared], help="assign queries to points, a batch at a time")
    matching.add_argument("--expressions", type=positive, default=32, help="of the batch (default %(default)s)")
    matching.add_argument("--queries", type=positive, default=1024, help="of each expression (default %(default)s)")
    matching.add_argument("--points", type=positive, default=100, help="of each expression (default %(default)s)")
    matching.add_argument("--words", type=positive, default=8, help="of each expression (default %(default)s)")
    matching.add_argument(
        "--columns", type=positive, action=Values, default=[16, 256], help="of the scores, padding included"
    )
    matching.set_defaults(run=matching_benchmark)


def matching_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Time a matching per expression against one cost matrix of all queries and all points of the batch."""
    return [_matching_row(columns, arguments) for columns in arguments.columns]


def _matching_row(columns: int, arguments: argparse.Namespace) -> Row:
    detections, targets = _expressions(columns, arguments)
    matcher = PointMatcher()
    contestants = [lambda: _published_matching(detections, targets, matcher), lambda: matcher(detections, targets)]
    (slow, fast), (expected, got) = race(contestants, arguments.repeats, f"{columns} columns")
    same = sum(map(_equal_matches, expected, got))
    return {
        "expressions x queries x points": f"{len(targets)} x {arguments.queries} x {arguments.points}",
        "columns": columns,
        "one matrix ms": slow * 1e3,
        "ours ms": fast * 1e3,
        "ratio": slow / fast,
        "same assignments": f"{same} of {len(targets)}",
    }


def _equal_matches(expected: Match, got: Match) -> bool:
    return all(map(torch.equal, expected, got))


def _expressions(columns: int, arguments: argparse.Namespace) -> tuple[PointDetections, list[Tensor]]:
    """Return random detections, with -inf for padding, and as many points for each expression."""
    random = torch.Generator().manual_seed(columns)
    rows, queries, size = arguments.expressions, arguments.queries, arguments.words + 3
    if size > columns:
        raise InputError(f"--columns: {columns} can't hold {arguments.words} words, [CLS], a full stop and [SEP]")
    tokens = (torch.arange(columns) < size).expand(rows, columns)
    labels = (torch.arange(columns) < size - 2).expand(rows, columns)
    phrases = Phrases(tokens.long(), tokens, labels, labels, tokens)
    logits = torch.randn(rows, queries, columns, generator=random).masked_fill(~tokens[:, None], -torch.inf)
    centres = torch.rand(rows, queries, 2, generator=random)
    features = torch.zeros(rows, queries, 1)
    text = torch.zeros(rows, columns, 1)
    detections = PointDetections(logits, centres, centres, features, text, phrases, torch.zeros(rows).long())
    return detections, list(torch.rand(rows, arguments.points, 2, generator=random))


def _published_matching(detections: PointDetections, targets: list[Tensor], matcher: PointMatcher) -> list[Match]:
    """Compute one cost matrix for the whole batch, then cut out and assign the part of each expression."""
    rows, queries = detections.points.shape[:2]
    sizes = torch.tensor([len(each) for each in targets])
    logits = detections.logits.masked_fill(~detections.phrases.tokens[:, None], 0).flatten(0, 1)
    labels = detections.phrases.labels.repeat_interleave(sizes, dim=0)
    others = (detections.phrases.tokens & ~detections.phrases.labels).repeat_interleave(sizes, dim=0)
    classes = functional.softplus(-logits) @ labels.float().T + functional.softplus(logits) @ others.float().T
    distances = torch.cdist(detections.points.flatten(0, 1), torch.cat(targets), p=1)
    cost = matcher.class_cost / matcher.columns * classes + matcher.point_cost * distances
    blocks = np.split(cost.view(rows, queries, -1).numpy(), sizes.cumsum(0)[:-1].tolist(), axis=2)
    matches = [linear_sum_assignment(block[row]) for row, block in enumerate(blocks)]
    return [(torch.from_numpy(query), torch.from_numpy(point)) for query, point in matches]
