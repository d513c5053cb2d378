"""A Hugging Face hub on this machine, as far as downloads and uploads of `huggingface_hub` ask it."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_the_right_one"
_LARGE = (".safetensors", ".pth")


def blob_id(path, content):
    """Return the id that the hub states of a file: SHA-256 of large ones, else that of git."""
    if path.endswith(_LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """Repositories with commits and branches, and what goes wrong with them.

    Attributes:
        commits: {(repository, commit): {path: content}}.
        refs: {(repository, branch or tag): commit}.
        private: repositories that only requests with TOKEN see.
        forbidden: repositories that nobody may write to.
        gated: repositories whose files need an agreement.
        damaged: {path: bytes that are sent in place of a file}.
        cut: paths of which half is sent.
        requests: (method, path) of what was asked.
    """

    def __init__(self):
        self.commits, self.refs = {}, {}
        self.private, self.forbidden, self.gated, self.cut = set(), set(), set(), set()
        self.damaged, self.requests, self._large = {}, [], {}

    def commit(self, repository, files, branch="main"):
        """Add a commit of files to a branch, and return its id."""
        before = self.commits.get((repository, self.refs.get((repository, branch))), {})
        content = {**before, **files}
        listed = sorted((path, blob_id(path, each)) for path, each in content.items())
        commit = hashlib.sha1(json.dumps([repository, listed]).encode()).hexdigest()
        self.commits[repository, commit] = content
        self.refs[repository, branch] = commit
        return commit

    def files(self, repository, revision="main"):
        """Return the files of a revision."""
        return self.commits[repository, self.refs.get((repository, revision), revision)]

    def handle(self, handler):
        """Answer a request."""
        path = urlsplit(handler.path).path
        self.requests.append((handler.command, path))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        patterns = {
            r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)": self._file,
            r"/api/models/([\w.-]+/[\w.-]+)/tree/([^/]+)": self._tree,
            r"/api/models/([\w.-]+/[\w.-]+)/branch/([^/]+)": self._branch,
            r"/api/models/([\w.-]+/[\w.-]+)/preupload/([^/]+)": self._preupload,
            r"/api/models/([\w.-]+/[\w.-]+)/commit/([^/]+)": self._commit,
            r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch": self._batch,
            r"/(upload)/([0-9a-f]{64})": self._put,
            r"/api/models/([\w.-]+/[\w.-]+)": self._about,
            r"/api/(repos)/create": self._create,
            r"/api/(validate-yaml)": lambda *_: _send(handler, {"errors": [], "warnings": []}),
        }
        for pattern, answer in patterns.items():
            if match := re.fullmatch(pattern, path):
                return self._allowed(handler, match[1]) and answer(handler, body, *map(unquote, match.groups()))
        return _send(handler, {"error": path}, 404)

    def _allowed(self, handler, repository):
        known = handler.headers.get("authorization") == f"Bearer {TOKEN}"
        if repository in self.private and not known:
            _send(handler, {}, 401, **{"X-Error-Code": "RepoNotFound"})
        elif repository in self.gated:
            _send(handler, {}, 403, **{"X-Error-Code": "GatedRepo"})
        elif repository in self.forbidden and handler.command == "POST":
            _send(handler, {}, 403, **{"X-Error-Message": "You have no right to write here"})
        else:
            return True
        return False

    def _revision(self, handler, repository, revision):
        if not any(each == repository for each, _ in self.commits):
            _send(handler, {}, 401, **{"X-Error-Code": "RepoNotFound"})
        elif (commit := self.refs.get((repository, revision), revision)) not in {c for _, c in self.commits}:
            _send(handler, {}, 404, **{"X-Error-Code": "RevisionNotFound"})
        else:
            return commit
        return None

    def _file(self, handler, _body, repository, revision, path):
        commit = self._revision(handler, repository, revision)
        if commit is None:
            return
        about = {"X-Repo-Commit": commit}
        content = self.commits[repository, commit].get(path)
        if content is None:
            _send(handler, {}, 404, **about, **{"X-Error-Code": "EntryNotFound"})
            return
        about |= {"ETag": f'"{blob_id(path, content)}"'}
        sent = self.damaged.get(path, content)
        _send(handler, sent, cut=path in self.cut, **about)

    def _tree(self, handler, _body, repository, revision):
        commit = self._revision(handler, repository, revision)
        if commit is not None:
            files = self.commits[repository, commit].items()
            _send(handler, [{"type": "file", "path": p, "size": len(c), "oid": blob_id(p, c)} for p, c in files])

    def _about(self, handler, _body, repository):
        _send(handler, {"id": repository, "private": repository in self.private})

    def _create(self, handler, body, _repos):
        wanted = json.loads(body)
        repository = f"{wanted['organization']}/{wanted['name']}"
        if repository in self.forbidden:
            _send(handler, {}, 403, **{"X-Error-Message": "You have no right to write here"})
            return
        if (repository, "main") not in self.refs:
            self.commit(repository, {})
            if wanted.get("visibility") == "private" or wanted.get("private"):
                self.private.add(repository)
        _send(handler, {"url": f"http://{handler.headers['Host']}/{repository}"})

    def _branch(self, handler, _body, repository, branch):
        there = (repository, branch) in self.refs
        if not there:
            self.refs[repository, branch] = self.refs[repository, "main"]
        _send(handler, {}, 409 if there else 200)

    def _preupload(self, handler, body, _repository, _revision):
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": each["path"], "uploadMode": modes[each["path"].endswith(_LARGE)], "shouldIgnore": False}
            for each in json.loads(body)["files"]
        ]
        _send(handler, {"files": files})

    def _batch(self, handler, body, _repository):
        place = f"http://{handler.headers['Host']}/upload/"
        objects = [
            {**each, "actions": {"upload": {"href": place + each["oid"]}}} for each in json.loads(body)["objects"]
        ]
        _send(handler, {"objects": objects, "transfer": "basic"})

    def _put(self, handler, body, _upload, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self._large[oid] = body
        _send(handler, {})

    def _commit(self, handler, body, repository, revision):
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self._large[value["oid"]]
        proposed = "create_pr=1" in handler.path
        place = f"http://{handler.headers['Host']}/{repository}"
        commit = self.commit(repository, files, "refs/pr/1" if proposed else revision)
        request = {"pullRequestUrl": f"{place}/discussions/1"} if proposed else {}
        _send(handler, {"commitUrl": f"{place}/commit/{commit}", "commitOid": commit, **request})


def _send(handler, content, status=200, cut=False, **headers):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body[: len(body) // 2] if cut else body)
    if cut:
        handler.close_connection = True


@contextmanager
def serving(hub):
    """Serve a hub for the time of the block, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            hub.handle(self)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True  # of connections that the client keeps open
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_address[1]}"
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub with a cache of its own; nothing else can be reached, and nobody is logged in."""
    from huggingface_hub import constants

    for name in ("CROWDCOUNT_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of the real hub alone
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hosts = getattr(constants, "HF_URL_HOSTS", frozenset())  # has that of HF_ENDPOINT when a process starts
    monkeypatch.setattr(constants, "HF_URL_HOSTS", hosts | {"127.0.0.1"}, raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between requests to a server that fails
    found = Hub()
    with serving(found) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield found
