"""SIGTERM: a training ends after a step that all of its processes have made, with status 143."""

import signal
import threading
from types import FrameType
from typing import Final

from lightning.pytorch import Trainer

TERMINATED: Final = 128 + signal.SIGTERM
"""Exit status after SIGTERM, as shells have it."""


class Termination:
    """The end of a training, validation or test by SIGTERM.

    One process ends after the running step, or at once where none is running. Of several processes each takes note, and
    after each batch they ask each other: a process that ended by itself would leave the others waiting for it. A second
    signal ends the process that gets it at once.

    Attributes:
        received: whether this process got the signal, or has heard of it from another one.
        stepping: whether a training step is running or about to.
    """

    def __init__(self) -> None:
        self.received = self.stepping = False
        self._trainer: Trainer | None = None
        self._looping = False

    def install(self, trainer: Trainer) -> None:
        """Handle the signal from now on; does nothing outside the main thread, where Python allows no handlers.

        Lightning's own handler, which broadcasts amid whatever its process is doing, is replaced: the processes would
        take each other's messages for something else.
        """
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handle)

    def enter_loop(self, trainer: Trainer) -> None:
        """Handle the signal inside a loop over batches, where several processes can ask each other."""
        self.install(trainer)  # Lightning installs its own one before the first loop
        self._looping = trainer.world_size > 1

    def agreed(self, trainer: Trainer) -> bool:
        """Return whether any process got the signal (a collective call)."""
        self.received = trainer.strategy.reduce_boolean_decision(self.received, all=False)
        if self.received:  # Lightning would kill this process as soon as one that it started has ended with a status
            getattr(trainer.strategy.launcher, "procs", []).clear()
        return self.received

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first, self.received = not self.received, True
        if first and (self.stepping or self._looping):
            return
        launcher = None if self._trainer is None else self._trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.Signals(number))
        raise SystemExit(TERMINATED)
