"""A model hub on loopback, as far as its client needs it to publish and to fetch."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Files by repository, and a log of all requests."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.forbidden = False
        self.address = ""

    def add(self, repo: str, folder: Path) -> None:
        self.files[repo] = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@contextmanager
def running() -> Iterator[Hub]:
    """Yield a hub on a free port of loopback."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def say(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def json(self, value: object, status: int = 200) -> None:
            self.say(status, json.dumps(value).encode(), Content_Type="application/json")

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                content = b""
                while size := int(self.rfile.readline(), 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return content
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"] and len(parts) >= 4:
                repo = "/".join(parts[2:4])
                if repo not in hub.files:
                    return self.say(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
                siblings = [{"rfilename": name} for name in sorted(hub.files[repo])]
                if "tree" in parts:
                    rows = [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in sorted(hub.files[repo].items())
                    ]
                    return self.json(rows)
                return self.json({"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
            if len(parts) >= 5 and parts[2] == "resolve":
                data = hub.files.get("/".join(parts[:2]), {}).get("/".join(parts[4:]))
                if data is None:
                    return self.say(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
                tag = f'"{hashlib.sha256(data).hexdigest()}"'
                return self.say(200, data, ETag=tag, X_Repo_Commit=COMMIT, Accept_Ranges="bytes")
            return self.json({"name": "someone", "type": "user"} if "whoami" in path else {}, 200)

        def do_PUT(self) -> None:
            hub.blobs[unquote(self.path).rsplit("/", 1)[-1]] = self.body()
            self.say(200, ETag='"x"')

        def do_POST(self) -> None:
            path, body = unquote(urlparse(self.path).path), self.body()
            hub.asked.append(f"POST {path}")
            if hub.forbidden:
                return self.json({"error": "no"}, 403)
            if path.endswith("/repos/create"):
                asked = json.loads(body)
                name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
                hub.files.setdefault(name, {})
                return self.json({"url": f"{hub.address}/{name}", "name": name})
            if path.endswith("/validate-yaml"):
                return self.json({"errors": [], "warnings": []})
            if "/preupload/" in path:
                files = json.loads(body)["files"]
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in files
                ]
                return self.json({"files": modes, "commitOid": COMMIT})
            if path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {
                        "oid": item["oid"],
                        "size": item["size"],
                        "actions": {"upload": {"href": f"{hub.address}/blobs/{item['oid']}"}},
                    }
                    for item in json.loads(body)["objects"]
                ]
                return self.json({"transfer": "basic", "objects": objects})
            if "/commit/" in path:
                repo = "/".join(path.strip("/").split("/")[2:4])
                for line in body.splitlines():
                    item = json.loads(line)
                    if item["key"] == "file":
                        hub.files[repo][item["value"]["path"]] = base64.b64decode(item["value"]["content"])
                    elif item["key"] == "lfsFile":
                        hub.files[repo][item["value"]["path"]] = hub.blobs[item["value"]["oid"]]
                return self.json({"commitUrl": f"{hub.address}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})
            return self.json({})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
