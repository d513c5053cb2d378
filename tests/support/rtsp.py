"""A camera in RTSP on this machine: H.264 in RTP, inside its TCP connection, for whoever knows the password.

RFC 2326 (RTSP), RFC 6184 (a NAL unit in a packet of RTP, as these frames are small).
"""

import hashlib
import re
import struct
from itertools import count

import av

from tests.support.streams import StreamServer
from tests.support.video import HEIGHT, WIDTH

SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track
"""
START_CODE = re.compile(b"\0\0\0?\1")


class RtspServer(StreamServer):
    """Answers in RTSP, with digest authentication as cameras do; see `StreamServer`."""

    @property
    def url(self):
        return f"rtsp://user:secret@127.0.0.1:{self.port}/live?token=hidden"

    def answer_request(self, connected, file):
        reader = connected.makefile("rb")
        while head := read_head(reader):
            method, address = head[0].split(" ")[:2]
            fields = dict(line.split(": ", 1) for line in head[1:])
            answer = self.answers(method, address, fields)
            file.write((answer.replace("\n", "\r\n")).encode())
            if method == "PLAY" and " 200 " in answer:
                self.send(file)
                return

    def answers(self, method, address, fields):
        """Return the answer to a request."""
        sequence = f"CSeq: {fields['CSeq']}\n"
        if method != "OPTIONS" and not allowed(method, fields.get("Authorization", "")):
            ask = 'WWW-Authenticate: Digest realm="camera", nonce="once"\n'
            return f"RTSP/1.0 401 Unauthorized\n{sequence}{ask}\n"
        start = f"RTSP/1.0 200 OK\n{sequence}"
        if method == "OPTIONS":
            return f"{start}Public: DESCRIBE, SETUP, PLAY, TEARDOWN\n\n"
        if method == "DESCRIBE":
            kind = f"Content-Base: {address}/\nContent-Type: application/sdp\n"
            return f"{start}{kind}Content-Length: {len(SDP) + SDP.count(chr(10))}\n\n{SDP}"
        if method == "SETUP":
            return f"{start}Session: 1\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\n\n"
        return f"{start}Session: 1\n\n"

    def send(self, file):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        encoder.framerate, encoder.gop_size, encoder.options = self.rate, 10, {"tune": "zerolatency"}
        number = count()
        for index, image in enumerate(self.images()):
            for packet in encoder.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                units = [unit for unit in START_CODE.split(bytes(packet)) if unit]
                for unit in units:
                    mark = 0x80 if unit is units[-1] else 0
                    rtp = struct.pack(">BBHII", 0x80, mark | 96, next(number) % 2**16, index * 90000 // self.rate, 1)
                    file.write(struct.pack(">cBH", b"$", 0, len(rtp + unit)) + rtp + unit)


def read_head(reader):
    """Return the lines of a request; none when the client has gone."""
    lines = []
    while (line := reader.readline().decode().strip()) or not lines:
        if not line:
            return []
        lines.append(line)
    return lines


def allowed(method, given):
    """Return whether an Authorization is that of user:secret (RFC 2617)."""
    known = dict(re.findall(r'(\w+)="([^"]*)"', given))

    def digest(*parts):
        return hashlib.md5(":".join(parts).encode()).hexdigest()

    own = digest(digest("user", "camera", "secret"), "once", digest(method, known.get("uri", "")))
    return known.get("username") == "user" and known.get("response") == own
