"""What lets requests through to Gradio: only those that the page makes, and none that would make Gradio fetch a file.

Gradio serves far more addresses than the page needs. Here all but a few are closed, an event that names a file is
refused before Gradio reads it, and every answer tells the browser to fetch nothing from elsewhere.
"""

import json
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parent / "templates"
"""Where the page's own files lie."""

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'self'; object-src 'none'"
)
_READ = ("/assets/", "/static/", "/svelte/", "/theme.css", "/config", "/favicon.ico", "/manifest.json", "/robots.txt")
_READ += ("/gradio_api/queue/data", "/gradio_api/heartbeat/", "/gradio_api/startup-events", "/gradio_api/info")
_LARGEST_EVENT = 20_000  # bytes of a request that asks for an examination: a secret and a name


class EndpointFilter:
    """The Gradio application, once it is built, and a waiting page before that."""

    def __init__(self) -> None:
        self.app: FastAPI | None = None
        self._stack = AsyncExitStack()

    async def open(self, app: FastAPI) -> None:
        """Let requests through to a built application."""
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        self.app = app

    async def close(self) -> None:
        await self._stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.app is None:
            waiting = HTMLResponse((FOLDER / "waiting.html").read_text(encoding="utf-8"), 503, {"Retry-After": "2"})
            missing = JSONResponse({"detail": "Not Found"}, 404)
            await (waiting if path in ("", "/") else missing)(scope, receive, send)
            return
        if scope["method"] == "POST" and path == "/gradio_api/queue/join":
            body = await Request(scope, receive).body() if _small(scope) else b"{}"
            if not _harmless(body):
                await JSONResponse({"detail": "This is not asked for by the page."}, 400)(scope, receive, send)
                return
            receive = _again(body, receive)
        elif scope["method"] not in ("GET", "HEAD") or not (path in ("", "/") or path.startswith(_READ)):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
            return
        await self.app(scope, receive, _with_policy(send))


def _small(scope: Scope) -> bool:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= _LARGEST_EVENT


def _harmless(body: bytes) -> bool:
    """Whether an event holds no file: Gradio would fetch what it names, from the disk or from an address."""
    try:
        event = json.loads(body)
    except ValueError:
        return False

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return "path" not in value and "url" not in value and all(plain(item) for item in value.values())
        return all(plain(item) for item in value) if isinstance(value, list) else True

    return isinstance(event, dict) and "fn_index" in event and plain(event)


def _again(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def give() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _with_policy(send: Send) -> Send:
    """Tell the browser to fetch nothing from elsewhere."""

    async def pass_on(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            more = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
            more["referrer-policy"] = "no-referrer"
            pairs = [(name.encode(), value.encode()) for name, value in more.items()]
            message = {**message, "headers": [*message.get("headers", []), *pairs]}
        await send(message)

    return pass_on
