"""Comparison of the levels on held-out frames, and the choice among them."""

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.inference.model import Model
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.training.adapting.fit import RATES, Schedule, fit
from crowdcount.training.adapting.frames import Frame, check_frames, held_out_parts, outside
from crowdcount.training.adapting.levels import LEVELS, Level, backbone, offered_levels, trained_parameters
from crowdcount.training.adapting.remembered import Remembered
from crowdcount.training.adapting.without_training import best_factor, renew_statistics, scale_counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Decisions of a person about adapting.

    Args:
        levels: levels to compare with the start; None for all that the network has.
        folds: parts of the frames; each is held out once while the others teach.
        steps: optimizer steps of a training.
        seed: seed of the parts, of the order of the frames and of their crops.

    Raises:
        InputError: a number is out of its range.
    """

    levels: tuple[Level, ...] | None = None
    folds: int = 4
    steps: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        for key, least in {"folds": 2, "steps": 1, "seed": 0}.items():
            check_number(key, getattr(self, key), least)


@dataclass(frozen=True, eq=False)  # comparing arrays does not give a single truth value
class Trial:
    """Counts of a level, each of a frame that was held out while the level learned from others.

    Attributes:
        level: the level.
        true: (N,) true counts of the frames.
        counts: (N,) predicted counts.
        variances: sum of the variances of the blocks of each frame; None if the network predicts no distribution.
        seconds: duration of the trial.
    """

    level: Level
    true: Floats
    counts: Floats
    variances: tuple[float | None, ...]
    seconds: float

    @property
    def errors(self) -> Floats:
        """(N,) absolute errors."""
        return np.abs(self.counts - self.true)

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return float(self.errors.mean())

    @property
    def bias(self) -> float:
        """Mean of predicted - true."""
        return float((self.counts - self.true).mean())


@dataclass(frozen=True)
class Adaptation:
    """An adapted model, and how its level was chosen.

    Attributes:
        model: the model, whose network and configuration are the adapted ones.
        taken: the trial of its level.
        trials: the trials of all levels, from the cheapest: first the start.
        parts: number of parts of the frames that were held out in turn.
    """

    model: Model
    taken: Trial
    trials: tuple[Trial, ...]
    parts: int


def adapt(model: Model, frames: Sequence[Frame], plan: Plan = Plan()) -> Adaptation:
    """Adapt a model to frames, with a progress bar on stderr.

    With a mask of the model (`CrowdModel.for_camera`), people under it are neither counted nor learned.

    Each level learns from all parts of the frames but one and counts in that one, in turn. `choose` takes a level, and
    the model learns at that level from all frames. The network of the model is changed.

    Args:
        model: a density model.
        frames: labelled frames, all with points or all with counts alone.
        plan: levels, parts, steps and seed.

    Raises:
        InputError: there are too few frames, nobody is in them, one cannot be read, or the model lacks a level.
    """
    frames = outside(frames, model.ignored)
    check_frames(frames)
    levels, parts = _levels(model, plan), held_out_parts(frames, plan.folds, plan.seed)
    work = sum((len(parts) * _work(level, plan) + len(frames) for level in levels[1:]), len(frames))
    with tqdm(total=work + max(_work(level, plan) for level in levels), unit="step", disable=None) as bar:
        learner = _Learner(model, frames, plan, bar)
        trials = [learner.trial(level, parts) for level in levels]
        taken = choose(trials)
        bar.set_description(f"{taken.level}, all frames")
        learner.learn(taken.level, range(len(frames)))
        bar.update((bar.total or 0) - bar.n)
    return Adaptation(learner.finished(), taken, tuple(trials), len(parts))


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the cheapest level that wins: never one with a higher mean error than the start, the first.

    Of the levels with a lower mean absolute error than the start, the cheapest is taken that is within one standard
    error of the best, by the differences on the same frames (the rule of Breiman et al., "Classification and regression
    trees", 1984, for paired errors). If there is none, the start stays.
    """
    start, *others = trials
    winners = [trial for trial in others if trial.mae < start.mae]
    if not winners:
        return start
    best = min(winners, key=lambda trial: trial.mae)
    return next(trial for trial in winners if _as_good(trial, best))


def _as_good(trial: Trial, best: Trial) -> bool:
    more = trial.errors - best.errors
    return bool(more.mean() <= more.std(ddof=1) / np.sqrt(len(more)))


def _levels(model: Model, plan: Plan) -> list[Level]:
    """Return the start and the levels to compare with it, by their cost.

    Raises:
        InputError: the network has not all that are asked for, or none.
    """
    offered = offered_levels(model.network)
    wanted: list[Level] = offered if plan.levels is None else ["start", *plan.levels]
    missing = [level for level in wanted if level not in offered]
    if missing or len(set(wanted)) < 2:
        name, there = type(model.network).__name__, ", ".join(offered[1:]) or "none"
        raise InputError(f"level: {name} has no level {', '.join(missing) or 'to compare'}; its levels: {there}")
    return [level for level in LEVELS if level in wanted]


def _work(level: Level, plan: Plan) -> int:
    """Return the steps that learning takes, one where there is no training."""
    return plan.steps if level in RATES else 1


class _Learner:
    """A model that learns again and again from its start."""

    def __init__(self, model: Model, frames: Sequence[Frame], plan: Plan, bar: "tqdm[Any]") -> None:
        self._model, self._frames, self._plan, self._bar = model, frames, plan, bar
        self._state = copy.deepcopy(model.network.state_dict())
        self._bins = model.network.bins if isinstance(model.network, BlockwiseCounter) else None
        self._true = np.array([frame.count for frame in frames])
        self._counts = np.zeros(len(frames))
        self._backbone, module = backbone(model.network)
        self._remembered = Remembered(module)

    def trial(self, level: Level, parts: Sequence[Sequence[int]]) -> Trial:
        """Return the counts of the held-out frames at a level; those of the start are kept for the factor."""
        self._bar.set_description(level)
        begin = time.perf_counter()
        counts, variances = np.zeros(len(self._frames)), dict[int, float | None]()
        for part in parts:
            self.learn(level, [number for number in range(len(self._frames)) if number not in part])
            with self._memory(level):
                for number in part:
                    counts[number], variances[number] = self._count(number)
        if level == "start":
            self._counts = counts
        spread = tuple(variances[number] for number in range(len(self._frames)))
        return Trial(level, self._true, counts, spread, time.perf_counter() - begin)

    def _memory(self, level: Level) -> AbstractContextManager[None]:
        """Return a context in which the backbone computes nothing twice, if the level leaves it as it is."""
        trained = trained_parameters(self._model.network, level)
        changed = level == "statistics" or any(name.startswith(f"{self._backbone}.") for name in trained)
        return nullcontext() if changed else self._remembered.active()

    def _count(self, number: int) -> tuple[float, float | None]:
        prediction = self._model.predict(self._frames[number].record.read())
        self._bar.update()
        return prediction.count, prediction.total_variance

    def learn(self, level: Level, chosen: Sequence[int]) -> None:
        """Learn at a level from frames, whatever was learned before."""
        network = self._model.network
        network.load_state_dict(self._state)
        if isinstance(network, BlockwiseCounter) and self._bins is not None:
            network.use_bins(self._bins)
        if level in RATES:
            schedule = Schedule(level, self._plan.steps, self._plan.seed, self._bar.update)
            with self._memory(level):
                fit(self._model, self._frames, chosen, schedule)
            return
        if level == "factor":
            assert isinstance(network, BlockwiseCounter), "only such networks offer the level"
            scale_counts(network, best_factor(self._true[list(chosen)], self._counts[list(chosen)]))
        elif level == "statistics":
            renew_statistics(self._model, [self._frames[number] for number in chosen])
        self._bar.update(level != "start")

    def finished(self) -> Model:
        """Return the model as it is now, with the anchors of its network in its configuration and without intervals."""
        network, config = self._model.network, copy.deepcopy(self._model.config)
        if isinstance(network, BlockwiseCounter) and network.bins is not self._bins:
            bins = {"intervals": list(network.bins.intervals), "anchors": network.bins.values}
            config["model"]["init_args"]["network"]["init_args"]["bins"] = bins
        return replace(self._model, config=config, intervals=None)
