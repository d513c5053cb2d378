"""Cameras that the service counts in on request: those that it was started with, by their names."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from crowdcount.images.read import Image
from crowdcount.live.reader import StreamReader
from crowdcount.live.source import Source
from crowdcount.service.limits import Refused

_PATIENCE: Final = 20.0
"""Seconds in which a camera must give a frame."""
_ATTEMPTS: Final = 3
"""Attempts to connect, over some seconds, after which a camera that refuses is off."""
_LOOK: Final = 0.2


class Cameras:
    """Cameras by name. Clients give names, never addresses: nobody can have the service open one of their choice.

    A camera is opened for each frame and closed again, so that one nobody asks for costs nothing.

    Args:
        sources: the cameras.
        reader: opens a source.
    """

    def __init__(self, sources: Sequence[Source], reader: Callable[[Source], StreamReader] = StreamReader) -> None:
        self._sources, self._reader = {source.name: source for source in sources}, reader

    @property
    def names(self) -> list[str]:
        """Names, in the order in which they were given."""
        return list(self._sources)

    def check(self, name: str) -> None:
        """Check that there is a camera of this name.

        Raises:
            Refused: there is none.
        """
        if name not in self._sources:
            raise Refused(404, "camera", "this service has no camera of this name")

    def frame(self, name: str) -> Image:
        """Return a frame (H, W, 3) uint8 RGB of a camera as it is now.

        Raises:
            Refused: there is no such camera, or it gives no frame in time.
        """
        self.check(name)
        end = time.monotonic() + _PATIENCE
        with self._reader(self._sources[name]) as reader:
            frame = reader.newest(_LOOK)
            while (
                frame is None
                and not reader.ended
                and reader.statistics.attempts <= _ATTEMPTS
                and time.monotonic() < end
            ):
                frame = reader.newest(_LOOK)
            trouble = reader.trouble
        if frame is None:
            raise Refused(502, "camera", f"{name} gives no image ({trouble or 'it has ended'}); is it switched on?")
        return frame.image
