"""Options of `crowdcount watch` for each of its sources: zones, and pixels that are not counted."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from crowdcount.cli.interval_options import check_calibrated
from crowdcount.errors import InputError
from crowdcount.intervals.conformal import conformal_rank
from crowdcount.live.alarms import Rule
from crowdcount.live.source import Source
from crowdcount.predictor import Predictor
from crowdcount.zones import Zone, read_zones


def zones_of(words: Sequence[str], sources: Sequence[Source]) -> dict[str, list[Zone]]:
    """Return the zones of each source by its name.

    Raises:
        InputError: a file is invalid, or it is not said which source it is for.
    """
    return {name: read_zones(paths) for name, paths in files_of("--zones", words, sources).items()}


def files_of(option: str, words: Sequence[str], sources: Sequence[Source]) -> dict[str, list[Path]]:
    """Return the files of each source by its name: FILE for the only one, NAME=FILE for one of several.

    Raises:
        InputError: it is not said which source a file is for.
    """
    files: dict[str, list[Path]] = {source.name: [] for source in sources}
    for word in words:
        name, found, file = word.partition("=")
        if found and name in files and not Path(word).is_file():
            files[name].append(Path(file))
        elif len(sources) == 1:
            files[sources[0].name].append(Path(word))
        else:
            raise InputError(f"{option} {word}: of several sources; write NAME=FILE with one of {', '.join(files)}")
    return files


def predictors_of(args: argparse.Namespace, sources: Sequence[Source], rules: Sequence[Rule]) -> dict[str, Predictor]:
    """Return what counts in each source, by its name; the model is loaded once.

    Raises:
        InputError: there is no such model, a source has several masks, or the model is not calibrated for --interval or
            for a rule with a miss rate.
    """
    masks = files_of("--ignore", args.ignore, sources)
    for name, files in masks.items():
        if len(files) > 1:
            raise InputError(f"--ignore: {name} has {len(files)} masks; paint them into one")
    model = Predictor(args.model, args.weights, args.device, args.precision, intervals=args.intervals).model
    model.density_model()
    found = {
        name: Predictor(
            model,
            device=args.device,
            precision=args.precision,
            long_side=args.long_side,
            image_scale=args.image_scale,
            ignore=files[0] if files else None,
        )
        for name, files in masks.items()
    }
    if args.interval is not None:
        conformal_rank(0, args.interval)
    options = ["--interval"] if args.interval is not None else []
    options += [repr(rule.text) for rule in rules if rule.miss is not None]
    for predictor in found.values():
        for option in options:
            check_calibrated(predictor, option)
    return found
