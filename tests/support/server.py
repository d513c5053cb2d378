"""A server of one file on this machine that can be told to misbehave."""

import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `content` at /file; what it does wrong is said by its attributes.

    Attributes:
        content: the file.
        ranges: answer Range requests with the part asked for; otherwise with the whole file.
        cut_after: bytes after which every answer breaks off.
        lie: added to the length that is announced, or written behind it.
        statuses: HTTP statuses of the next answers, one each; then 200.
        redirects: how many times to redirect before the file comes.
        etag: sent with every answer, None for none.
        wrong_start: added to the start of the part that is announced.
        announce: send the length.
        delay: seconds before an answer.
        stall_after_cut: keep the connection open after breaking off.
        if_range: heed If-Range.
        status: of an answer with the whole file.
        encoding: Content-Encoding that is announced.
        piece: bytes that go out at a time.
        requests: (path, Range) of what was asked.
        sent: bytes of the file that went out.
    """

    def __init__(self, content):
        self.content = content
        self.ranges = True
        self.cut_after = None
        self.lie = 0
        self.statuses = []
        self.redirects = 0
        self.etag = '"1"'
        self.wrong_start = 0
        self.announce = True
        self.delay = 0.0
        self.stall_after_cut = False
        self.if_range = True
        self.status = 200
        self.encoding = None
        self.piece = 1 << 20
        self.requests = []
        self.sent = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/file"

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        time.sleep(self.delay)
        if self.statuses:
            status = self.statuses.pop(0)
            if status != 200:
                return handler.send_error(status)
        if self.redirects:
            self.redirects -= 1
            handler.send_response(302)
            handler.send_header("Location", f"/file?{self.redirects}")
            return handler.end_headers()
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if self.if_range and wanted and handler.headers.get("If-Range") not in (None, self.etag):
            start = 0
        if start >= len(self.content) and start:
            return handler.send_error(416)
        body = self.content[start:]
        handler.send_response(206 if start else self.status)
        if self.encoding:
            handler.send_header("Content-Encoding", self.encoding)
        if start:
            first = start + self.wrong_start
            handler.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        if self.announce:
            length = len(body) + self.lie if isinstance(self.lie, int) else f"{len(body)}{self.lie}"
            handler.send_header("Content-Length", str(length))
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        body = body[: self.cut_after]
        self.sent += len(body)
        with suppress(ConnectionError):  # the client has heard enough
            for start in range(0, len(body), self.piece):
                handler.wfile.write(body[start : start + self.piece])
            while self.stall_after_cut and self.cut_after is not None:
                time.sleep(0.01)
        return None


@contextmanager
def serving(content):
    """Run a server of `content` for the time of the block."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.port = web.server_address[1]
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
