"""A stand-in for Kaggle: answers the part of its interface that the real client uses to log in and to download.

As at Kaggle, a download is answered with a redirect to a store of files that knows ranges, and the store is another
host: `localhost` instead of `127.0.0.1`, so that the client must not pass credentials on.
"""

import contextlib
import importlib
import io
import json
import random
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dfutils.data import kaggle as data_kaggle

CONTENT = random.Random(0).randbytes(3_500_000)  # the client writes pieces of 1 MiB


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in files.items():
            out.writestr(name, content)
    return buffer.getvalue()


VIDEOS = archive_of({"real/a.mp4": b"a" * 1000, "fake/b.mp4": b"b" * 2000})


def alone(monkeypatch: pytest.MonkeyPatch, home: Path, endpoint: str) -> None:
    """Let the client find no credentials but those a test makes, and no server but the test's."""
    home.mkdir(exist_ok=True)
    for name in [name for name in data_kaggle.os.environ if "proxy" in name.lower() or name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    table = importlib.import_module("kagglesdk.kaggle_env")
    monkeypatch.setitem(table._env_to_endpoint, table.KaggleEnv.PROD, endpoint)
    client = importlib.import_module("kaggle.api.kaggle_api_extended").KaggleApi
    monkeypatch.setattr(client, "config", str(home / ".config/kaggle/kaggle.json"))
    monkeypatch.setattr(data_kaggle, "WAITS", (0.01, 0.01, 0.01))


@dataclass
class Request:
    """What arrived: the method with the path, the headers, the JSON body."""

    line: str
    headers: dict[str, str]
    body: dict


@dataclass
class KaggleServer:
    """Serves `files` (name of a dataset or competition to bytes) until the `with` block ends."""

    files: dict[str, bytes] = field(default_factory=dict)
    refuse: int = 0  # answer downloads with this status …
    refuse_known: bool = True  # … also to those who send credentials
    message: str = "no"
    retry_after: str = ""
    cuts: list[int] = field(default_factory=list)  # close the connection after so many bytes, one cut a transfer
    stall: float = 0.0  # … or keep it open for so many seconds, silent
    store_refuses: list[int] = field(default_factory=list)  # statuses of the store, one a request
    ranges: bool = True  # the store sends ETag and Accept-Ranges
    etag: str = '"v1"'
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "KaggleServer":
        handler = type("Handler", (_Handler,), {"kaggle": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """What to put into the client's table of endpoints."""
        return f"http://127.0.0.1:{self.port}"

    def lines(self, part: str) -> list[str]:
        """The requests, as `METHOD path`, that contain `part`."""
        return [request.line for request in self.requests if part in request.line]


class _Handler(BaseHTTPRequestHandler):
    kaggle: KaggleServer
    protocol_version = "HTTP/1.0"  # a connection a request

    def log_message(self, *_: object) -> None:
        pass

    def _note(self) -> dict:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        self.kaggle.requests.append(Request(f"{self.command} {self.path}", dict(self.headers), body))
        return body

    def _json(self, status: int, value: dict, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        for name, content in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, content)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        body, kaggle = self._note(), self.kaggle
        if self.path.endswith("/IntrospectToken"):
            known = body.get("token") == "good-token"
            self._json(200, {"active": known, "username": "somebody" if known else ""})
            return
        known = "Authorization" in self.headers
        if kaggle.refuse and (kaggle.refuse_known or not known):
            extra = {"Retry-After": kaggle.retry_after} if kaggle.retry_after else {}
            self._json(kaggle.refuse, {"code": kaggle.refuse, "message": kaggle.message}, extra)
            return
        name = body.get("datasetSlug") or body.get("competitionName", "")
        if not self.path.endswith(("/DownloadDataset", "/DownloadDataFiles")) or name not in kaggle.files:
            self._json(404, {"code": 404, "message": "Not found"})
            return
        self.send_response(302)
        self.send_header(
            "Location", f"http://localhost:{kaggle.port}/store/{name}.zip?signature={len(kaggle.requests)}"
        )
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._note()
        kaggle = self.kaggle
        if kaggle.store_refuses and (status := kaggle.store_refuses.pop(0)):
            self._json(status, {"error": "the signature has expired"})
            return
        content = kaggle.files[self.path.split("?")[0].removeprefix("/store/").removesuffix(".zip")]
        start = 0
        wanted = self.headers.get("Range", "")
        if kaggle.ranges and wanted and self.headers.get("If-Range") in (None, kaggle.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if kaggle.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", kaggle.etag)
        self.end_headers()
        cut = bool(kaggle.cuts)
        end = start + kaggle.cuts.pop(0) if cut else len(content)
        with contextlib.suppress(OSError):  # to go on, the client leaves this answer and asks for a part
            self.wfile.write(content[start:end])
            if cut:
                time.sleep(kaggle.stall)
