"""Counting in the frames of a video, with an annotated video as an option."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crowdcount.errors import InputError
from crowdcount.ground.measure import Ground, GroundDensity
from crowdcount.images.read import Image
from crowdcount.inference.base_predictor import BasePredictor
from crowdcount.inference.prediction import Prediction
from crowdcount.video.annotate import ColourScale, annotate
from crowdcount.video.read import Frame, read_frames, video_info
from crowdcount.video.smoothing import Reading, Smoother
from crowdcount.video.window import WindowBounds
from crowdcount.video.writer import VideoWriter
from crowdcount.zones import Zone, draw_zones, zone_counts


def count_video(
    path: Path,
    predictor: BasePredictor,
    every: int = 1,
    smooth: int = 1,
    zones: Sequence[Zone] = (),
    annotated: Path | None = None,
    level: float | None = None,
    ground: Ground | None = None,
) -> Iterator[Reading]:
    """Yield the counts of every n-th frame of a video.

    Args:
        path: path of the video.
        predictor: model that counts.
        every: n, the distance of the counted frames.
        smooth: number of counted frames in the moving average.
        zones: regions to count in as well, in pixels of the video.
        annotated: path of a video of the counted frames with their density, with a ground that per square metre, and a
            chart of the counts; None writes none. Its frame rate is divided by `every`, so that time runs as in the
            original, but no frame is shown for more than 200 seconds.
        level: level of the intervals of the moving average; None for none. They need a calibration on windows of
            `smooth` frames, and are "uncalibrated" otherwise and for the first frames.
        ground: the ground that the camera sees, for people per square metre; those of a frame are not smoothed.

    Raises:
        InputError: `every` or `smooth` is below 1; or the file is not a video, has damaged frames or is cut off, in
            which case the counts of all intact frames have been yielded and the annotated video contains them.
        AnnotationError: only the annotated video could not be written; all counts have been yielded.
    """
    frames = read_frames(path, every)
    info = video_info(path)
    film = _Film(zones, smooth, None if info.frames is None else -(-info.frames // every), level, ground)
    broken: InputError | None = None
    with _Annotation(annotated, _rate(info.fps / every)) as annotation:
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                break
            except InputError as error:
                broken = error
                break
            prediction = predictor.predict(frame.image)
            reading = film.reading(frame, prediction)
            annotation.write(film.draw, frame.image, prediction, reading)
            yield reading
    unwritten = "" if annotation.error is None else f"{annotated}: not written ({annotation.error})"
    if broken is not None:
        raise InputError("; ".join(filter(None, (str(broken), unwritten))), broken.path) from broken
    if unwritten:
        raise AnnotationError(unwritten)


class AnnotationError(InputError):
    """An annotated video that could not be written, of a video that was counted."""


class _Annotation:
    """An annotated video, if a path is given; an error ends it alone and is kept."""

    def __init__(self, path: Path | None, fps: float) -> None:
        self.error: Exception | None = None
        self._writer = None if path is None else VideoWriter(path, fps)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._writer is not None:
            with self._attempt():
                self._stack.enter_context(self._writer)
        return self

    def write(self, draw: Callable[[Image, Prediction, Reading], Image], *frame: Any) -> None:
        if self._writer is not None and self.error is None:
            with self._attempt():
                self._writer.write(draw(*frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._attempt():
            self._stack.__exit__(kind, error, trace)

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            yield
        except (InputError, OSError) as error:
            self.error = self.error or error
            self._stack.__exit__(type(error), error, None)  # nothing half-written is left


def _rate(fps: float) -> float:
    """Clamp a frame rate to what `VideoWriter` supports."""
    return min(max(fps, 0.005), 600.0)


class _Film:
    """State carried from frame to frame: the mean of the counts, the chart and the colour scale."""

    def __init__(
        self,
        zones: Sequence[Zone],
        smooth: int,
        expected: int | None,
        level: float | None = None,
        ground: Ground | None = None,
    ) -> None:
        self.zones, self.expected, self.level, self.ground = zones, expected, level, ground
        self.smoother, self.scale = Smoother(smooth), ColourScale()
        self.bounds = WindowBounds(smooth)
        self.series: list[float] = []
        self.found: GroundDensity | None = None

    def reading(self, frame: Frame, prediction: Prediction) -> Reading:
        height, width = frame.image.shape[:2]
        counts = zone_counts(prediction, self.zones, height, width)
        reading = self.smoother.reading(frame.index, frame.seconds, prediction.count, counts)
        self.series.append(reading.smoothed)
        self.bounds.add(prediction)
        if self.ground is not None:
            self.found = self.ground.measure(prediction, height, width, self.zones)
            reading = replace(reading, ground=self.found.whole, zone_grounds=self.found.zones)
        if self.level is None:
            return reading
        return replace(reading, interval=self.bounds.interval(reading.smoothed, self.level))

    def draw(self, image: Image, prediction: Prediction, reading: Reading) -> Image:
        top = self.scale(prediction)
        drawn = annotate(
            image, reading, prediction, top=top, series=self.series, expected=self.expected, ground=self.found
        )
        height, width = image.shape[:2]
        drawn[:height, :width] = draw_zones(drawn[:height, :width], self.zones, reading.zones)
        return drawn
