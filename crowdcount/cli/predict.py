"""Count people in images and videos.

    crowdcount predict photo.jpg
    crowdcount predict photos/ 'more/**/*.png' --output results
    crowdcount predict photos/ --model RUN/checkpoints/best.ckpt --output results --save csv json npz
    find . -name '*.jpg' | crowdcount predict - --output results
    crowdcount predict square.jpg --zones zones.json --output results
    crowdcount predict walk.mp4 --every 10 --smooth 5 --output results
    crowdcount predict photo.jpg --model REC_RUN/checkpoints/best.ckpt --expression "person in red"

Prints one line per file. --output FOLDER gets counts.csv, counts.json, NAME.npz (density, points, class probabilities)
and NAME_overlay.png as --save asks for them; for a video NAME_counts.csv and NAME_counted.mp4, which holds the counted
frames only. Zones are polygons ({"entrance": [[x, y], ...]}, LabelMe, GeoJSON) or masks, in pixels. A file that cannot
be counted is reported and the others are counted; the exit status is then 2, also where a folder holds images in
formats that are not read, which are named. After Ctrl-C it is 130, and the tables
hold what was counted so far.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from statistics import fmean
from typing import TextIO, get_args

import numpy as np
from tqdm import tqdm

from crowdcount.cli.output_folder import OutputFolder
from crowdcount.cli.parser import (
    MODEL,
    Options,
    add_device,
    add_expression,
    add_weights,
    make_parser,
    reports_errors,
)
from crowdcount.cli.tables import CountResult, counts_csv, counts_json, npz_bytes
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.images.files import find_files, unique_files
from crowdcount.images.formats import IMAGE_SUFFIXES
from crowdcount.images.read import Image
from crowdcount.inference.density import Prediction
from crowdcount.inference.plotting import density_overlay
from crowdcount.predictor import DEFAULT_MEMORY, Precision, Predictor
from crowdcount.prefetch import ahead
from crowdcount.video.counting import count_video
from crowdcount.video.read import VIDEO_SUFFIXES, is_video, video_info
from crowdcount.video.smoothing import Reading, csv_text
from crowdcount.visualize import caption, count_text, expression_panel, image_bytes
from crowdcount.zones import draw_zones, point_counts, read_zones, zone_counts

KINDS = ("csv", "json", "npz", "overlay")


@reports_errors("predict")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    files, missing = _find(args.sources)
    if not files:
        raise InputError("\n".join(missing) or "no file was named: standard input is empty")
    run = Run(args, files)
    for error in missing:
        _say(f"crowdcount predict: {error}", sys.stderr)
    try:
        return max(_report(run), 2 if missing else 0)
    finally:  # whatever ends it: what was counted is not lost
        run.write_tables()


def _find(sources: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files that are meant, and what is wrong with names that mean none, or images that are not read."""
    files: list[Path] = []
    missing = []
    for word in _words(sources):
        try:
            found = find_files(word, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        except InputError as error:
            missing.append(str(error))
            continue
        files += found.files
        if found.unread:
            missing.append(f"{word}: {found.left_out()}")
        elif left_out := found.left_out():
            _say(f"crowdcount predict: {word}: {left_out}", sys.stderr)
    return unique_files(files), missing


def _report(run: "Run") -> int:
    """Count in the files, print a line for each of them and return the exit status."""
    try:
        for each in tqdm(run.count(), total=len(run.files), disable=len(run.files) < 2, file=sys.stderr, unit="file"):
            line = f"crowdcount predict: {each.error}" if each.error else f"{each.image}: {_summary(each)}"
            _say(line, sys.stderr if each.error else sys.stdout)
    except KeyboardInterrupt:
        _say(f"crowdcount predict: interrupted after {len(run.results)} of {len(run.files)} files", sys.stderr)
        return 130  # as shells have it
    return 2 if any(each.error for each in run.results) else 0


def _say(line: str, file: TextIO) -> None:
    """Print a line beside the progress bar; names that the terminal has no letters for are escaped."""
    encoding = file.encoding or "utf-8"
    tqdm.write(line.encode(encoding, "backslashreplace").decode(encoding), file)


@dataclass(frozen=True)
class Source:
    """A file and, where it is a picture that can be read, its image."""

    path: Path
    image: Image | None = None
    error: str = ""

    @property
    def kind(self) -> object:
        """Equal for pictures that can be counted together."""
        return self.path if self.image is None else self.image.shape


class Run:
    """The files of a call, one after the other, and what is written of them.

    Args:
        args: of the command line.
        files: pictures and videos.

    Raises:
        InputError: the model or the zones cannot be had, or do not suit the other arguments.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path]) -> None:
        self.args, self.files = args, files
        self.zones = read_zones(args.zones)
        self.predictor = Predictor(
            args.model,
            args.weights,
            args.device,
            args.precision,
            args.max_memory,
            args.long_side,
            value_range=args.range,
        )
        self.results: list[CountResult] = []
        self.texts: list[str] = list(dict.fromkeys(args.expression or ()))
        model = self.predictor.model
        model.referring_model() if self.texts else model.density_model()
        if self.texts and args.output is not None and "npz" in args.save:
            raise InputError(f"{model.name}: has no density to save as npz; the points are in json")
        given = [*files, *args.zones, *filter(None, (args.model, args.weights))]
        self.output = None if args.output is None else OutputFolder(args.output, given)

    def count(self) -> Iterator[CountResult]:
        """Count in all files, in order; invalid ones give an error."""
        for _, alike in groupby(_read(self.files, self.predictor), key=lambda source: source.kind):
            while sources := list(islice(alike, self.args.batch)):
                for each in self._counted(sources):
                    self.results.append(each)
                    yield each

    def _counted(self, sources: list[Source]) -> Iterator[CountResult]:
        """Count in pictures of one size, or in one file of another kind."""
        try:
            predictions = self._predictions(sources)
        except InputError as error:
            if len(sources) == 1:
                yield _failed(sources[0].path, error)
            else:  # what is too much together may do one by one
                for source in sources:
                    yield from self._counted([source])
            return
        for source, prediction in zip(sources, predictions, strict=True):
            try:
                yield self._one(source, prediction)
            except (InputError, OSError) as error:
                yield _failed(source.path, error)

    def _predictions(self, sources: list[Source]) -> Sequence[Prediction | None]:
        images = [self.predictor.limit_size(each.image) for each in sources if each.image is not None]
        return [None] * len(sources) if self.texts or not images else self.predictor.predict_batch(images)

    def _one(self, source: Source, prediction: Prediction | None) -> CountResult:
        if source.error:
            raise InputError(source.error)
        if source.image is None:
            return self._video(source.path)
        if prediction is None:
            return self._expressions(source.path, source.image)
        return self._picture(source.path, source.image, prediction)

    def _picture(self, path: Path, image: Image, prediction: Prediction) -> CountResult:
        height, width = image.shape[:2]
        counted = CountResult(
            str(path),
            prediction.count,
            zone_counts(prediction, self.zones, height, width),
            prediction.points_in(height, width),
            (width, height),
            prediction.exact,
        )
        if file := self._path("npz", path, ".npz"):
            atomic_write(file, npz_bytes(prediction, counted))
        if file := self._path("overlay", path, "_overlay.png"):
            drawn = draw_zones(density_overlay(image, prediction), self.zones, counted.parts, (height, width))
            atomic_write(file, image_bytes(caption(drawn, count_text(counted.count))))
        return counted

    def _expressions(self, path: Path, image: Image) -> CountResult:
        """Find what each expression names; the count is that of all of them together."""
        height, width = image.shape[:2]
        found = self.predictor.find(image, self.texts)
        parts: dict[str, float] = {each.text: each.count for each in found}
        for each in found:
            inside = point_counts(each.points, self.zones, height, width)
            parts |= {f"{each.text} / {zone}": number for zone, number in inside.items()}
        points = np.concatenate([each.points for each in found])
        if file := self._path("overlay", path, "_overlay.png"):
            atomic_write(file, image_bytes(expression_panel(image, [(each.text, each.points, None) for each in found])))
        return CountResult(str(path), len(points), parts, points, (width, height))

    def _video(self, path: Path) -> CountResult:
        """Count the chosen frames of a video; its own count is their mean."""
        if self.texts:
            raise InputError(f"{path}: expressions are looked for in pictures alone; save frames of the video as such")
        annotated = self._path("overlay", path, "_counted.mp4")
        counts = count_video(path, self.predictor, self.args.every, self.args.smooth, self.zones, annotated)
        readings: list[Reading] = []
        try:
            readings.extend(tqdm(counts, desc=path.name, file=sys.stderr, unit="frame", leave=False))
        finally:
            if readings and (file := self._path("csv", path, "_counts.csv")):
                atomic_write(file, csv_text(readings))
        info = video_info(path)
        mean = fmean(each.count for each in readings)
        parts = {zone.name: fmean(each.zones[zone.name] for each in readings) for zone in self.zones}
        return CountResult(str(path), mean, parts, size=(info.width, info.height))

    def _path(self, kind: str, source: Path, end: str) -> Path | None:
        """Return where an output of a file goes; None where this kind is not wanted."""
        return self.output.beside(source, end) if self.output is not None and kind in self.args.save else None

    def write_tables(self) -> None:
        """Write the tables of all pictures so far."""
        if self.output is None:
            return
        if "csv" in self.args.save:
            zones = [zone.name for zone in self.zones]
            within = [f"{text} / {zone}" for text in self.texts for zone in zones]
            table = counts_csv(self.results, [*self.texts, *within] if self.texts else zones)
            # names of files that are no UTF-8
            atomic_write(self.output.table("counts.csv"), table.encode(errors="backslashreplace"))
        if "json" in self.args.save:
            atomic_write(self.output.table("counts.json"), counts_json(self.results, self.predictor.model.name))


def _read(files: Sequence[Path], predictor: Predictor) -> Iterator[Source]:
    """Yield the files; a picture is decoded while the one before is counted."""

    def decoded(path: Path) -> Image | None:
        return None if is_video(path) else predictor.read(path)

    for path, future in zip(files, ahead(decoded, files), strict=True):
        try:
            yield Source(path, future.result())
        except (InputError, OSError) as error:
            yield Source(path, error=str(error))


def _failed(path: Path, error: Exception) -> CountResult:
    reason = str(error)
    return CountResult(str(path), error=reason if reason.startswith(str(path)) else f"{path}: {reason}")


def _summary(each: CountResult) -> str:
    parts = ", ".join(f"{name} {number:.1f}" for name, number in each.parts.items())
    words = f"mean {count_text(each.count)}" if is_video(each.image) else count_text(each.count)
    return f"{words} ({parts})" if parts else words


def _words(sources: Sequence[str]) -> Iterator[str]:
    """Yield the sources, those of standard input in place of a dash: lines, or what `find -print0` writes."""
    for word in sources:
        if word != "-":
            yield word
            continue
        text = os.fsdecode(sys.stdin.buffer.read())  # names of files need not be UTF-8
        lines = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
        yield from (line for line in lines if line.strip())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(argv)
    for name in ("batch", "every", "smooth"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: {getattr(args, name)} must be at least 1")
    if args.save is not None and args.output is None:
        parser.error("--save needs --output, the folder to write to")
    args.save = args.save or ("csv", "overlay")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "predict", "FILE ... [OPTIONS]")
    parser.add_argument(
        "sources", nargs="+", metavar="FILE", help="images, videos, folders or patterns; - reads their names from stdin"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model", help=f"{MODEL} (default: the model in the package)")
    add_weights(model)
    add_expression(model)
    add = parser.add_argument_group("results").add_argument
    add("--zones", nargs="+", type=Path, default=[], metavar="FILE", help="count within these zones as well")
    add("--output", type=Path, metavar="FOLDER", help="write results there; those of an earlier call are replaced")
    add("--save", nargs="+", choices=KINDS, metavar="KIND", help=f"any of {', '.join(KINDS)} (default: csv overlay)")
    add = parser.add_argument_group("videos").add_argument
    add("--every", type=int, default=10, metavar="N", help="count every N-th frame (default: %(default)s)")
    add("--smooth", type=int, default=5, metavar="N", help="average over N counted frames (default: %(default)s)")
    parser.add_argument_group("images of more than 8 bits").add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values of black and white, 0 4095 for 12 bits (default: 0 65535, or 0 1 for floats)",
    )
    _add_resources(parser.add_argument_group("speed and memory"))
    return parser


def _add_resources(group: Options) -> None:
    add = group.add_argument
    add("--batch", type=int, default=1, metavar="N", help="images of one size counted together (default: %(default)s)")
    add_device(group)
    add("--precision", choices=get_args(Precision), default="float32", help="of the network (default: %(default)s)")
    limit = f"{DEFAULT_MEMORY:g} where tiles are exact, else none"
    add(
        "--max-memory",
        type=float,
        metavar="GIB",
        help=f"memory beside the model; larger images are counted in tiles (default: {limit})",
    )
    add("--long-side", type=int, metavar="PIXELS", help="shrink larger images to this side; for close-ups try 1024")


if __name__ == "__main__":
    sys.exit(main())
