"""Decoding that detects damage: FFmpeg conceals it silently, and the count of a concealed frame is wrong."""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import av
from av.codec.context import Flags

_CONCEALING: Final = frozenset(
    "h264 mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 h263 h263p flv wmv1 wmv2 wmv3 vc1".split()
)
"""Decoders that mark the frames they repair. The others are set to fail on errors instead; these would then also
fail on harmless deviations in headers, which many cameras write."""
_WITHOUT_ZEROS: Final = frozenset(["h264", "hevc"])
"""Codecs whose packets never contain three zero bytes in a row, but that decode them if part of the file was lost."""
_HOLE: Final = bytes(64)
_JOINED_LATE: Final = frozenset(["mpegts", "mpeg"])
"""Broadcast containers: a recording may begin between two keyframes, which is not damage."""
_REORDERED: Final = 32
"""Upper bound on the frames that a codec shows before one that it decodes earlier."""


class Decoder:
    """Decodes a stream packet by packet and yields the intact frames.

    Damage affects all frames that depend on it, up to the next keyframe; none of them is yielded. Damage that is valid
    in the codec cannot be detected: HEVC, VP8 and VP9 decode nearly any bits to a frame.

    Args:
        stream: video stream of an open container.

    Attributes:
        total: number of frames so far, including damaged and lost ones.
        unplaced: number of intact frames that a cut leaves without an index.
        reason: last error of the decoder, for messages.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self.total, self.unplaced, self.reason = 0, 0, ""
        self._context = stream.codec_context
        self._context.thread_count = 1  # several threads report errors late, or not at all
        self._context.flags |= Flags.copy_opaque  # frames carry the numbers of their packets
        if self._context.name not in _CONCEALING:
            self._context.options = {"err_detect": "crccheck+explode"}
        self._packets = self._hidden = 0
        self._from_start = self._started = stream.container.format.name not in _JOINED_LATE
        self._damaged: list[int] = []
        self._spoiled = False
        self._lost: dict[int, int] = {}
        self._sent: deque[tuple[int, int | None]] = deque(maxlen=_REORDERED)
        self._unshown: list[tuple[int, int | None]] = []
        self._shown: deque[int] = deque(maxlen=_REORDERED)

    def decode(self, packet: "av.Packet[Any] | None", cut: bool = False) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the intact frames that a packet completes, each after its index.

        Args:
            packet: next packet; None flushes the decoder.
            cut: whether packets are missing here. The frames that the decoder still holds may be shown after some of
                theirs, so that their index is unknown: they are counted in `unplaced`, and none is yielded.
        """
        for frame in self._frames(packet):
            number = frame.opaque[0] if isinstance(frame.opaque, tuple) else self._packets - 1
            if frame.is_corrupt:
                self._damaged.append(number)
            self._count_lost(frame)
            self._count_undecoded(number, frame.pts)
            if frame.key_frame:
                self._pass_keyframe(number, frame.pts)
            self._spoiled |= any(damaged <= number for damaged in self._damaged)
            self._shown.append(number)
            self.total += 1
            if self._spoiled:
                continue
            if cut:
                self.unplaced += 1
            else:
                yield self.total - 1, frame
        if packet is None and self._damaged:
            self.total = max(self.total, self._packets - self._hidden)

    def _frames(self, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
        if packet is not None:
            packet.opaque = (self._packets,)  # a new object: PyAV looks it up by identity
            self._sent.append((self._packets, packet.pts))
            if not self._shown and not packet.is_discard:
                self._unshown.append((self._packets, packet.pts))
            self._packets += 1
            self._started |= packet.is_keyframe
            if self._has_gaps(packet):
                self._lose(packet, "bytes of it are missing")
                return []
        try:
            return self._context.decode(packet)
        except av.FFmpegError as error:
            self._lose(packet, error.strerror or "")
        return []

    def _lose(self, packet: "av.Packet[Any] | None", reason: str) -> None:
        self.reason = reason
        if packet is None or not self._started:
            return
        self._damaged.append(self._packets - 1)
        if packet.pts is None:
            self.total += 1
        else:
            self._lost[self._packets - 1] = packet.pts

    def _count_lost(self, frame: av.VideoFrame) -> None:
        """Count the lost frames that should have been shown before this one."""
        earlier = [number for number, time in self._lost.items() if frame.pts is not None and time < frame.pts]
        self.total += len(earlier)
        for number in earlier:
            del self._lost[number]

    def _count_undecoded(self, number: int, time: int | None) -> None:
        """Count the packets before the first frame that gave none, without an error: their headers are damaged."""
        if self._shown or not self._from_start:
            return
        earlier = [(sent, shown) for sent, shown in self._unshown if sent < number]
        lost = [sent for sent, shown in earlier if time is None or shown is None or shown < time]
        self._damaged += lost
        self.total = max(self.total, len(lost))
        self._unshown = []

    def _has_gaps(self, packet: "av.Packet[Any]") -> bool:
        hole = self._context.name in _WITHOUT_ZEROS and _HOLE in bytes(packet).rstrip(b"\0")
        return packet.is_corrupt or hole

    def _pass_keyframe(self, key: int, time: int | None) -> None:
        """End the damage at a keyframe, and count the frames lost to it."""
        leading = {number for number in self._shown if number > key}  # decoded after it, but shown before it
        if time is not None:
            leading |= {number for number, shown in self._sent if number > key and shown is not None and shown < time}
        if any(number < key for number in self._damaged):
            self.total = max(self.total, key + len(leading) - self._hidden)
            self._damaged = [number for number in self._damaged if number >= key and number not in leading]
            self._spoiled = False
        else:
            self._hidden = key + len(leading) - self.total  # packets that are never shown
