"""Counting in the files of a call, one after the other, and writing what is asked for of each."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Self

import numpy as np
from tqdm import tqdm

from crowdcount.cli.interval_options import check_calibrated
from crowdcount.cli.output_folder import OutputFolder
from crowdcount.cli.predictors import make_predictor
from crowdcount.cli.results import Results, call_settings
from crowdcount.cli.sources import Source, read_sources
from crowdcount.cli.tables import CountResult, npz_bytes
from crowdcount.errors import InputError
from crowdcount.files import LineFile, atomic_write
from crowdcount.ground.drawing import draw_density
from crowdcount.ground.file import read_camera
from crowdcount.ground.measure import Ground, GroundDensity
from crowdcount.images.read import Image
from crowdcount.inference.plotting import density_overlay
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.conformal import conformal_rank
from crowdcount.video.counting import AnnotationError, count_video
from crowdcount.video.read import video_info
from crowdcount.video.smoothing import Reading, csv_header, csv_row
from crowdcount.visualize import caption, expression_panel
from crowdcount.visualize.drawing_mark import drawing_bytes
from crowdcount.visualize.hatch import hatch
from crowdcount.zones import draw_zones, point_counts, read_zones, zone_counts, zone_intervals


@dataclass
class Written:
    """Outputs of one file; one that cannot be written costs only itself.

    Attributes:
        names: of the files written.
        errors: what could not be written, and why.
    """

    names: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, file: Path) -> Iterator[None]:
        """Note the name of a file that the block writes, or why it could not."""
        try:
            yield
        except (InputError, OSError) as error:
            self.errors.append(f"{file}: not written ({error})")
        else:
            self.names.append(file.name)

    def noted(self, result: CountResult) -> CountResult:
        """Return a result with what was written of it."""
        return replace(result, outputs=tuple(self.names), error="; ".join(self.errors))


class Run:
    """The files of a call. A `with` block takes the output folder, and ends the tables.

    Args:
        args: of the command line.
        files: images and videos.

    Attributes:
        files: those that are to be counted; inside the block, without those that an earlier call has counted.
        results: tables of the results.

    Raises:
        InputError: the model or the zones cannot be had, or do not suit the other arguments.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path]) -> None:
        self.args, self.files = args, list(files)
        self.zones = read_zones(args.zones)
        self.ground = None if args.camera is None else Ground(read_camera(args.camera))
        self.predictor = make_predictor(args)
        self.texts: list[str] = list(dict.fromkeys(args.expression or ()))
        self.predictor.check_texts(self.texts)
        if self.texts and args.output is not None and "npz" in args.save:
            raise InputError(f"{self.predictor.label}: has no density to save as npz; the points are in json")
        if self.texts and self.ground is not None:
            label = self.predictor.label
            raise InputError(f"--camera: {label} has no density; give a model that counts without expressions")
        if args.interval is not None:
            conformal_rank(0, args.interval)
            self.predictor.check_texts(())
            check_calibrated(self.predictor, "--interval")
        given = [*files, *args.zones, *filter(None, (args.model, args.weights, args.ignore, args.camera))]
        self.output = None if args.output is None else OutputFolder(args.output, given)
        self.results = Results(self.output, call_settings(args, self.predictor) if self.output else {}, self._parts())
        self._stack = ExitStack()

    def _parts(self) -> list[str]:
        """Return the names of the numbers of a file beside its count."""
        zones = [zone.name for zone in self.zones]
        within = [f"{text} / {zone}" for text in self.texts for zone in zones]
        return [*self.texts, *within] if self.texts else zones

    def __enter__(self) -> Self:
        """Take the output folder and begin the tables.

        Raises:
            InputError: another call has the folder, or what it holds cannot be resumed.
            OSError: the folder cannot be written to.
        """
        with ExitStack() as stack:
            if self.output is not None:
                stack.enter_context(self.output)
                if self.args.resume:
                    self.results.resume()
                stack.enter_context(self.results)
                self.files = [file for file in self.files if not self.results.is_done(file)]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the tables and leave the folder.

        Raises:
            OSError: a table could not be written in full.
        """
        self._stack.close()

    def count(self) -> Iterator[tuple[Path, CountResult]]:
        """Count in all files, in order; invalid ones give an error."""
        for _, alike in groupby(read_sources(self.files, self.predictor.read), key=lambda source: source.kind):
            while sources := list(islice(alike, self.args.batch)):
                yield from self._counted(sources)

    def _counted(self, sources: list[Source]) -> Iterator[tuple[Path, CountResult]]:
        """Count in images of one size, or in one file of another kind."""
        try:
            predictions = self._predictions(sources)
        except InputError as error:
            if len(sources) == 1:
                yield sources[0].path, _failed(sources[0].path, error)
            else:  # what is too much together may do one by one
                for source in sources:
                    yield from self._counted([source])
            return
        for source, prediction in zip(sources, predictions, strict=True):
            try:
                counted = self._one(source, prediction)
            except (InputError, OSError) as error:
                counted = _failed(source.path, error)
            yield source.path, counted

    def _predictions(self, sources: list[Source]) -> Sequence[Prediction | None]:
        images = [each.image for each in sources if each.image is not None]
        return [None] * len(sources) if self.texts or not images else self.predictor.predict_batch(images)

    def _one(self, source: Source, prediction: Prediction | None) -> CountResult:
        if source.error:
            raise InputError(source.error)
        if source.image is None:
            return self._video(source.path)
        if prediction is None:
            return self._expressions(source.path, source.image)
        return self._image(source.path, source.image, prediction)

    def _image(self, path: Path, image: Image, prediction: Prediction) -> CountResult:
        height, width = image.shape[:2]
        level = self.args.interval
        found = None if self.ground is None else self.ground.measure(prediction, height, width, self.zones)
        counted = CountResult(
            str(path),
            prediction.count,
            zone_counts(prediction, self.zones, height, width),
            prediction.points_in(height, width),
            (width, height),
            prediction.exact,
            interval=None if level is None else prediction.interval(level),
            doubt=prediction.doubt,
            part_intervals={} if level is None else zone_intervals(prediction, self.zones, height, width, level),
            ground=None if found is None else found.whole,
            part_grounds={} if found is None else found.zones,
        )

        def overlay() -> bytes:
            return drawing_bytes(caption(self._drawn(image, prediction, found, counted), counted.text))

        written = Written()
        self._write(written, self._path("npz", path, ".npz"), lambda: npz_bytes(prediction, counted))
        self._write(written, self._path("overlay", path, "_overlay.png"), overlay)
        return written.noted(counted)

    def _drawn(self, image: Image, prediction: Prediction, found: GroundDensity | None, counted: CountResult) -> Image:
        """Draw the density per block, or per square metre where it is known, with the zones."""
        drawn = density_overlay(image, prediction) if found is None else draw_density(image, found)
        if found is None:
            return draw_zones(drawn, self.zones, counted.parts, image.shape[:2], counted.part_intervals)
        height, width = image.shape[:2]  # scale and legend are under the image
        top = drawn[:height, :width]
        top = top if prediction.ignored is None else hatch(top, prediction.ignored.pixels)
        drawn[:height, :width] = draw_zones(top, self.zones, counted.parts, None, counted.part_intervals)
        return drawn

    def _expressions(self, path: Path, image: Image) -> CountResult:
        """Find what each expression names; the count is that of all of them together."""
        height, width = image.shape[:2]
        found = self.predictor.find(image, self.texts)
        parts: dict[str, float] = {each.text: each.count for each in found}
        for each in found:
            inside = point_counts(each.points, self.zones, height, width)
            parts |= {f"{each.text} / {zone}": number for zone, number in inside.items()}
        points = np.concatenate([each.points for each in found])
        shown = [(each.text, each.points, None) for each in found]
        written = Written()
        self._write(
            written,
            self._path("overlay", path, "_overlay.png"),
            lambda: drawing_bytes(expression_panel(image, shown)),
        )
        return written.noted(CountResult(str(path), len(points), parts, points, (width, height)))

    def _video(self, path: Path) -> CountResult:
        """Count the chosen frames of a video; its own count is their mean."""
        if self.texts:
            raise InputError(f"{path}: expressions are looked for in images alone; save frames of the video as such")
        written, annotated = Written(), self._path("overlay", path, "_counted.mp4")
        counts = count_video(
            path,
            self.predictor,
            self.args.every,
            self.args.smooth,
            self.zones,
            annotated,
            self.args.interval,
            self.ground,
        )
        readings: list[Reading] = []
        try:
            readings.extend(self._tabulated(path, counts, written))
        except AnnotationError as error:
            written.errors.append(str(error))
        except InputError as error:
            raise InputError("; ".join([str(error), *written.errors])) from error
        else:
            written.names += [annotated.name] if annotated else []
        info = video_info(path)
        mean = fmean(each.count for each in readings)
        parts = {zone.name: fmean(each.zones[zone.name] for each in readings) for zone in self.zones}
        return written.noted(CountResult(str(path), mean, parts, size=(info.width, info.height)))

    def _tabulated(self, path: Path, readings: Iterator[Reading], written: Written) -> Iterator[Reading]:
        """Yield the readings of a video, and append each to its table where one is asked for."""
        file, names = self._path("csv", path, "_counts.csv"), [zone.name for zone in self.zones]
        more = self.args.interval is not None, self.ground is not None
        table = None if file is None else LineFile(file, csv_header(names, *more))
        try:
            for reading in tqdm(readings, desc=path.name, file=sys.stderr, unit="frame", leave=False):
                if table is not None:
                    with suppress(OSError):  # tried again with the next one and at the end
                        table.append(csv_row(reading, names, *more))
                yield reading
        finally:
            if table is not None:
                with written.attempt(table.path):
                    table.close()

    def _path(self, kind: str, source: Path, end: str) -> Path | None:
        """Return where an output of a file goes; None where this kind is not wanted."""
        return self.output.beside(source, end) if self.output is not None and kind in self.args.save else None

    def _write(self, written: Written, file: Path | None, content: Callable[[], bytes]) -> None:
        if file is not None:
            with written.attempt(file):
                atomic_write(file, content())


def _failed(path: Path, error: Exception) -> CountResult:
    reason = str(error)
    return CountResult(str(path), error=reason if reason.startswith(str(path)) else f"{path}: {reason}")
