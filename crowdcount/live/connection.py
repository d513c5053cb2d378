"""One connection to a live source through FFmpeg: opened and read with time limits, its intact frames decoded."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import av

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.live.masking import mask_text
from crowdcount.live.source import Kind, Source
from crowdcount.video.decode import Decoder
from crowdcount.video.read import upright

_PROTOCOLS: Final = "rtsp,rtsps,rtmp,rtmps,rtmpt,http,https,httpproxy,udp,rtp,srt,tcp,tls,crypto"
"""Protocols that a stream from the network may use: a playlist must not name files of this machine."""
_NO_TIMESTAMPS: Final = 0x80
"""FFmpeg's AVFMT_NOTIMESTAMPS, whose value in PyAV is typed as another kind of number."""
_QUICK: Final = {"analyzeduration": "500000", "fpsprobesize": "0", "fflags": "nobuffer"}
"""Options with which a stream opens within half a second, as nothing but the first frames is needed to decode it."""


class ConnectionLost(Exception):
    """The end of a connection; the message says why, without credentials."""


@dataclass(frozen=True)
class Decoded:
    """A decoded frame that is not converted yet, as most are replaced by a newer one.

    Attributes:
        seconds: its time in the stream; None if it has none.
        frame: as FFmpeg gave it.
        damaged: number of frames of the connection so far that were damaged, or depended on damaged ones.
        waited: seconds spent waiting for data since the frame before.
    """

    seconds: float | None
    frame: av.VideoFrame
    damaged: int = 0
    waited: float = 0.0

    def image(self) -> Image:
        """Return the frame, (H, W, 3) uint8 RGB, upright.

        Raises:
            InputError: FFmpeg cannot convert it.
        """
        try:
            return upright(self.frame)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(f"FFmpeg cannot convert frames of {self.frame.format.name} ({error})") from error


class Connection:
    """An open source; see `connect`."""

    def __init__(self, container: "av.container.InputContainer", stream: av.VideoStream, kind: Kind) -> None:
        self._container, self._stream = container, stream
        self._decoder, self._waited = Decoder(stream), 0.0
        self._asked = time.monotonic()
        # FFmpeg makes up times for formats without, such as MJPEG; at its pace a file can be played all the same
        self._has_times = kind == "file" or not container.format.flags & _NO_TIMESTAMPS

    @property
    def fault(self) -> str:
        """Last error of the decoder; "" without one."""
        return self._decoder.reason

    @property
    def silence(self) -> float:
        """Seconds since data was asked for."""
        return time.monotonic() - self._asked

    def frames(self) -> Iterator[Decoded]:
        """Yield the intact frames until the source ends.

        Raises:
            av.FFmpegError: the connection broke, or gave nothing for too long.
        """
        intact = 0
        for packet in self._packets():
            for _, frame in self._decoder.decode(packet):
                intact, waited, self._waited = intact + 1, self._waited, 0.0
                yield Decoded(self._seconds(frame), frame, max(0, self._decoder.total - intact), waited)

    def _packets(self) -> Iterator["av.Packet[Any] | None"]:
        packets = self._container.demux(self._stream)
        while True:
            self._asked = time.monotonic()
            packet = next(packets, None)
            self._waited += self.silence
            if packet is None or packet.size:
                yield packet
            if packet is None:
                return

    def _seconds(self, frame: av.VideoFrame) -> float | None:
        base = self._stream.time_base
        return None if frame.pts is None or base is None or not self._has_times else float(frame.pts * base)


@contextmanager
def connect(source: Source, patience: float) -> Iterator[Connection]:
    """Connect to a source.

    Args:
        source: the source.
        patience: seconds that opening may take, and each wait for data.

    Raises:
        ConnectionLost: it cannot be opened, has no video, broke, or gave nothing for too long.
    """
    began, connection = time.monotonic(), None
    try:
        with _opened(source, patience) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
                raise ConnectionLost("it holds no video" if stream is None else "FFmpeg has no decoder for its codec")
            connection = Connection(container, stream, source.kind)
            yield connection
    except (av.FFmpegError, OSError) as error:
        silence = time.monotonic() - began if connection is None else connection.silence
        if isinstance(error, av.error.ExitError) or silence >= patience:  # RTSP calls it an error of input or output
            raise ConnectionLost(f"no data for {patience:g} s") from error
        raise ConnectionLost(mask_text(error.strerror or type(error).__name__)) from error


def _opened(source: Source, patience: float) -> "av.container.InputContainer":
    options = {"protocol_whitelist": _PROTOCOLS} if source.kind == "network" else {"protocol_whitelist": "file"}
    if source.kind == "network":
        options |= _QUICK
    if source.address.lower().startswith("rtsp"):
        options["rtsp_flags"] = "prefer_tcp"  # packets of UDP are lost behind many a firewall, and under load
    return av.open(
        source.address, "r", format=source.format, options=options, timeout=patience, metadata_errors="replace"
    )
