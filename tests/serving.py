"""A local HTTP server for tests of downloads: ranges, cut answers, refusals, and the layout of a model hub."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Resource:
    """One path of the server.

    status: answered instead of the content. failures: statuses of the first answers. cut_after: answers stop after so
    many bytes, `cuts` times. ranges: whether range requests are honoured. headers: sent along.
    """

    content: bytes = b""
    status: int = 200
    failures: list[int] = field(default_factory=list)
    cut_after: int | None = None
    cuts: int = 0
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Serves `resources` (path -> Resource) on 127.0.0.1 while the context is open; `requests` logs what was asked."""

    def __init__(self):
        self.resources: dict[str, Resource] = {}
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range header
        self.tokens: list[str | None] = []

    def add(self, path: str, content: bytes = b"", **options) -> str:
        """Adds a resource; returns its URL."""
        self.resources[path] = Resource(content, **options)
        return self.url + path

    def __enter__(self):
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_state": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def add_repository(
        self, repo: str, revision: str, files: dict[str, bytes], *, kind: str = "models", refuse: int | None = None
    ) -> None:
        """A repository as a hub shows it: the tree listing and one address for each file.

        refuse: status of a gated repository (401 or 403) on everything.
        """
        gate = {"status": refuse, "headers": {"X-Error-Code": "GatedRepo"}} if refuse else {}
        tree = []
        for path, content in files.items():
            entry = {"type": "file", "path": path, "size": len(content)}
            entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sha256 = hashlib.sha256(content).hexdigest()
            if path.endswith((".safetensors", ".gguf", ".bin")):
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
            tree.append(entry)
            prefix = "" if kind == "models" else f"{kind}/"
            headers = {"X-Repo-Commit": revision, "ETag": f'"{sha256}"'}
            options = {"headers": headers} | gate
            self.resources[f"/{prefix}{repo}/resolve/{revision}/{path}"] = Resource(content, **options)
        options = {"headers": {"Content-Type": "application/json"}} | gate
        self.resources[f"/api/{kind}/{repo}/tree/{revision}"] = Resource(json.dumps(tree).encode(), **options)
        self.repositories = getattr(self, "repositories", set()) | {repo}


class _Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def log_message(self, *_):
        pass

    def _answer(self, body: bool) -> None:
        state = self.server_state
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range")
        state.requests.append((self.command, path, asked))
        state.tokens.append(self.headers.get("Authorization"))
        resource = state.resources.get(path)
        if resource is None:
            known = getattr(state, "repositories", set())
            code = "RevisionNotFound" if any(f"/{repo}/" in path for repo in known) else "RepoNotFound"
            self._send(404, b"not found", {"X-Error-Code": code}, body)
            return
        status = resource.failures.pop(0) if resource.failures else resource.status
        if status != 200:
            self._send(status, b"refused", resource.headers, body)
            return
        content, headers = resource.content, dict(resource.headers)
        if asked and resource.ranges:
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            if begin >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"}, body)
                return
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[begin:]
        cut = None
        if body and resource.cuts > 0:
            resource.cuts -= 1
            cut = resource.cut_after
        self._send(status, content, headers, body, cut)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
