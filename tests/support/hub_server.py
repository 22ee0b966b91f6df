"""A stand-in of the Hugging Face Hub: what huggingface_hub needs to make, fill and read a model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "t" * 30


@dataclass
class Hub:
    """Repositories, and the requests to them.

    Attributes:
        url: its address.
        repos: the files of every repository.
        commits: how many commits each has had.
        blobs: large files by their SHA-256.
        requests: method and path of every request.
        answers: a status for paths that begin so, in place of an answer, with the Hub's error code.
        private: whether reading needs the token.
    """

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    private: bool = False

    def commit(self, repo: str) -> str:
        """The commit that a repository stands at."""
        return hashlib.sha1(f"{repo} {self.commits.get(repo, 0)}".encode()).hexdigest()

    def put(self, repo: str, **files: bytes) -> None:
        """Files by their names, a dot written as ``__``."""
        self.repos.setdefault(repo, {}).update({name.replace("__", "."): data for name, data in files.items()})


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._chunks()
        self.hub.requests.append(f"{method} {path}")
        for start, (status, code) in self.hub.answers.items():
            if path.startswith(start):
                return self._send(status, b"{}", {"X-Error-Code": code} if code else {})
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if method in ("POST", "PUT") and not path.startswith(("/api/validate-yaml", "/blobs/")) and not known:
            return self._send(401, b'{"error": "Invalid credentials"}')
        if method in ("GET", "HEAD") and self.hub.private and not known:
            return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        return self._route(method, path)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, method: str, path: str) -> None:
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path.startswith("/blobs/"):
            return self._store(path.removeprefix("/blobs/"))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(self.body))
        if path.startswith("/api/models/"):
            return self._model(path.removeprefix("/api/models/").split("/"))
        if "/resolve/" in path:
            return self._resolve(method, path)
        return self._send(404, b"{}")

    def _create(self, body: dict[str, str]) -> None:
        repo = f"{body['organization']}/{body['name']}"
        if repo in self.hub.repos:
            return self._json({"url": f"{self.hub.url}/{repo}"}, 409)
        self.hub.repos[repo] = {}
        return self._json({"url": f"{self.hub.url}/{repo}", "name": repo})

    def _store(self, digest: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != digest:
            return self._send(400, b"{}")
        self.hub.blobs[digest] = self.body
        return self._send(200, b"")

    def _batch(self, body: dict[str, list[dict[str, object]]]) -> None:
        found = [
            one | {"actions": {"upload": {"href": f"{self.hub.url}/blobs/{one['oid']}"}}} for one in body["objects"]
        ]
        return self._json({"transfer": "basic", "objects": found})

    def _model(self, parts: list[str]) -> None:
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo not in self.hub.repos:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if rest and rest[-1] not in ("main", self.hub.commit(repo)):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if rest[:1] == ["preupload"]:
            files = json.loads(self.body)["files"]
            modes = [{"path": one["path"], "shouldIgnore": False,
                      "uploadMode": "regular" if one["path"].endswith(".md") else "lfs"} for one in files]  # fmt: skip
            return self._json({"files": modes})
        if rest[:1] == ["commit"]:
            return self._commit(repo)
        names = [{"rfilename": name} for name in self.hub.repos[repo]]
        about = {"id": repo, "modelId": repo, "sha": self.hub.commit(repo), "siblings": names}
        return self._json(about | {"private": False, "tags": [], "downloads": 0, "likes": 0})

    def _commit(self, repo: str) -> None:
        for line in self.body.splitlines():
            one = json.loads(line)
            value = one["value"]
            if one["key"] == "file":
                self.hub.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                self.hub.repos[repo][value["path"]] = self.hub.blobs[value["oid"]]
        self.hub.commits[repo] = self.hub.commits.get(repo, 0) + 1
        commit = self.hub.commit(repo)
        return self._json({"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{repo}/commit/{commit}"})

    def _resolve(self, method: str, path: str) -> None:
        repo, _, rest = path.strip("/").partition("/resolve/")
        data = self.hub.repos.get(repo, {}).get(rest.partition("/")[2])
        if data is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.hub.commit(repo)})
        digest = hashlib.sha256(data).hexdigest()
        heads = {"ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)),
                 "X-Repo-Commit": self.hub.commit(repo)}  # fmt: skip
        return self._send(200, data, heads, method != "HEAD")

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, heads: dict[str, str] | None = None, whole: bool = True) -> None:
        self.send_response(status)
        for name, value in (heads or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if whole and self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def fake_hub() -> Iterator[Hub]:
    """Run one on a free port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
