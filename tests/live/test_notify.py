import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crowdcount.errors import InputError
from crowdcount.live.backoff import Backoff
from crowdcount.live.log import Event
from crowdcount.live.notify import Command, DeliveryError, Notifier, Webhook, close_all

EVENT = Event("gate", 0.0, "raised", "count>=5", 6.0)
SECRET = "s3cr3t"


@contextmanager
def receiving(*statuses):
    """Serve a webhook that answers with these statuses, then with 204; yield its address and what was posted."""
    got, answers = [], list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if answers else 204)
            self.send_header("Location", f"/{SECRET}/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_address[1]}/{SECRET}", got
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


def notify(deliver, *events):
    warnings = []
    notifier = Notifier(deliver, warnings.append, Backoff(0.001, 0.001))
    for event in events:
        notifier.put(event)
    notifier.close(60)
    return notifier, warnings


def test_events_are_posted_and_errors_of_servers_are_tried_again(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with receiving(500, 429) as (url, got):
        notifier, warnings = notify(Webhook(url), EVENT, EVENT)
    sent = {"source": "gate", "time": "1970-01-01T00:00:00.000Z", "kind": "raised", "alarm": "count>=5", "value": 6.0}
    assert got == [sent] * 4 and notifier.delivered == 2 and notifier.lost == 0 and not warnings


@pytest.mark.parametrize("status", [302, 404])
def test_refusals_are_final_and_keep_the_secret(status, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with receiving(status) as (url, got):
        notifier, warnings = notify(Webhook(url), EVENT)
    assert len(got) == 1 and notifier.lost == 1
    assert f"status {status}" in warnings[0] and SECRET not in warnings[0]


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    notifier, warnings = notify(Webhook(f"http://127.0.0.1:9/{SECRET}"), EVENT)
    assert notifier.lost == 1 and "attempt 6" in warnings[0] and SECRET not in warnings[0]


def test_too_many_events_are_dropped_and_counted():
    release, began = threading.Event(), threading.Event()

    def hang(_):
        began.set()
        release.wait(60)

    notifier = Notifier(hang, print)
    notifier.put(EVENT)
    assert began.wait(60)
    for _ in range(1005):
        notifier.put(EVENT)
    assert notifier.lost == 5
    notifier.close(0.01)
    assert notifier.lost == 1006 and notifier.delivered == 0
    release.set()


def test_several_end_together():
    release = threading.Event()
    notifiers = [Notifier(lambda _: release.wait(60), print) for _ in range(3)]
    quick = Notifier(lambda _: None, print)
    for each in (*notifiers, quick):
        each.put(EVENT)
        each.put(EVENT)
    close_all([*notifiers, quick], 0.2)
    assert [(each.delivered, each.lost) for each in (*notifiers, quick)] == [(0, 2)] * 3 + [(2, 0)]
    release.set()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host/path", "https://"])
def test_no_webhooks(url):
    with pytest.raises(InputError, match="webhook"):
        Webhook(url)


def test_a_command_gets_the_event_and_no_shell(tmp_path):
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read() + sys.argv[2])"
    Command([sys.executable, "-c", code, str(tmp_path / "got"), "$(echo x); *"])(b'{"kind": "raised"}')
    assert (tmp_path / "got").read_text() == '{"kind": "raised"}$(echo x); *'


def test_commands_that_fail(monkeypatch):
    with pytest.raises(DeliveryError, match="status 3"):
        Command([sys.executable, "-c", "raise SystemExit(3)"])(b"")
    with pytest.raises(DeliveryError, match="No such file"):
        Command(["/no/such/program"])(b"")
    monkeypatch.setattr("crowdcount.live.notify._TIMEOUT", 0.2)
    with pytest.raises(DeliveryError, match="killed"):
        Command([sys.executable, "-c", "import time; time.sleep(60)"])(b"")
