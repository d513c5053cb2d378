"""Servers of live streams on this machine that break off, hang, and come back on their port."""

import socket
import threading
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

import av
import cv2

from tests.support.video import HEIGHT, WIDTH, frame_image

PERIOD: Final = 50
"""Frames after which the moving dot begins again."""
BOUNDARY: Final = b"frame"


class Pipe:
    """Sends what is written to it as its server says: at once, or hanging."""

    def __init__(self, connected, server):
        self._connected, self._server = connected, server

    def write(self, data):
        if self._server.hang:
            self._hang(bytes(data))
        self._connected.sendall(data)
        return len(data)

    def _hang(self, data):
        rest = data if self._server.hang == "nothing" else data[len(data) // 2 :]
        self._connected.sendall(data[: len(data) - len(rest)])
        while self._server.hang and self._server.is_alive:
            threading.Event().wait(0.05)
            if self._server.hang == "trickle":
                self._connected.sendall(rest[:1])
                rest = rest[1:]
        raise ConnectionAbortedError

    def flush(self):
        pass


class StreamServer:
    """Sends a moving dot to whoever connects as user:secret, as MJPEG or MPEG-TS in HTTP.

    Attributes:
        kind: mjpeg or mpegts.
        rate: frames per second.
        hang: how all connections hang from now on: they send "nothing" any more; "half" of what comes next; "trickle":
            the same, and then a byte now and then. None to go on, in new connections.
        answer: bytes to send in place of a stream, before the connection is closed.
        connections: number of connections so far.
    """

    def __init__(self, kind="mjpeg", rate=50, hang=None):
        self.kind, self.rate, self.hang = kind, rate, hang
        self.connections, self.port = 0, 0
        self.answer = b""
        self._alive = threading.Event()
        self._sockets, self._threads = [], []

    @property
    def url(self):
        return f"http://user:secret@127.0.0.1:{self.port}/live?token=hidden"

    @property
    def is_alive(self):
        return self._alive.is_set()

    def start(self):
        """Listen, after the first time on the same port again."""
        self._alive.set()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self.port = listener.getsockname()[1]
        self._sockets = [listener]
        self._run(self._accept, listener)

    def kill(self):
        """Break off all connections and listen no more."""
        self._alive.clear()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener):
        with suppress(OSError):
            while self._alive.is_set():
                connected, _ = listener.accept()
                self._sockets.append(connected)
                self.connections += 1
                self._run(self._serve, connected)

    def _serve(self, connected):
        with suppress(OSError, av.FFmpegError), connected:
            self.answer_request(connected, Pipe(connected, self))

    def answer_request(self, connected, file):
        """Answer what was asked for in a connection; `file` takes what is sent."""
        request = connected.recv(4096)
        if b"Authorization: Basic dXNlcjpzZWNyZXQ=" not in request:
            file.write(b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n')
        elif self.answer:
            file.write(self.answer)
        else:
            getattr(self, f"_send_{self.kind}")(file)

    def images(self):
        """Yield the images at their rate until the server is killed."""
        pause = threading.Event()
        for index in count():
            if not self._alive.is_set():
                return
            yield frame_image(index % PERIOD)
            pause.wait(1 / self.rate)

    def _send_mjpeg(self, file):
        kind = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
        file.write(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
        for image in self.images():
            jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
            head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (BOUNDARY, len(jpeg))
            file.write(head + jpeg + b"\r\n")
            file.flush()

    def _send_mpegts(self, file):
        file.write(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        with av.open(file, "w", format="mpegts", options={"flush_packets": "1"}) as muxer:
            stream = muxer.add_stream("mpeg2video", self.rate, options={"g": "10"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for image in self.images():
                muxer.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
                file.flush()


@contextmanager
def streaming(kind="mjpeg", server=StreamServer, **options):
    """Run a server for the time of the block."""
    server = server(kind, **options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
