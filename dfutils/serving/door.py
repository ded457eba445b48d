"""Filters the requests to Gradio: only those that the page makes pass, and none that would make Gradio read a file.

Gradio serves far more endpoints than the page needs. All others answer 404, an event that names a file is refused
before Gradio reads it, and every response carries a content security policy that forbids loading from other hosts.
"""

import json
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.types import Receive, Scope, Send

TEMPLATES = Path(__file__).parent / "templates"
"""Folder of the page's HTML, CSS and JavaScript."""

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'self'; object-src 'none'"
)
_READABLE = (
    "/assets/",
    "/static/",
    "/svelte/",
    "/theme.css",
    "/config",
    "/favicon.ico",
    "/manifest.json",
    "/robots.txt",
)
_READABLE += ("/gradio_api/queue/data", "/gradio_api/heartbeat/", "/gradio_api/startup-events", "/gradio_api/info")
_MAX_EVENT_BYTES = 20_000  # of a request for a verdict, which holds a secret and the number of an example


class EndpointFilter:
    """An ASGI application: the Gradio application behind a filter, or a waiting page as long as there is none."""

    def __init__(self) -> None:
        self.app: FastAPI | None = None
        self._stack = AsyncExitStack()

    async def open(self, app: FastAPI) -> None:
        """Start the Gradio application and pass requests on to it from now on."""
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        self.app = app

    async def close(self) -> None:
        """Stop the Gradio application."""
        await self._stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400, 404 or the waiting page (503)."""
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.app is None:
            waiting = HTMLResponse((TEMPLATES / "waiting.html").read_text(encoding="utf-8"), 503, {"Retry-After": "2"})
            missing = JSONResponse({"detail": "Not Found"}, 404)
            await (waiting if path in ("", "/") else missing)(scope, receive, send)
            return
        if scope["method"] == "POST" and path == "/gradio_api/queue/join":
            body = await Request(scope, receive).body() if _is_small(scope) else b"{}"
            if not _is_harmless(body):
                await JSONResponse({"detail": "This is not asked for by the page."}, 400)(scope, receive, send)
                return
            receive = _replay(body, receive)
        elif scope["method"] not in ("GET", "HEAD") or not (path in ("", "/") or path.startswith(_READABLE)):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
            return
        await self.app(scope, receive, _with_policy(send))


def _is_small(scope: Scope) -> bool:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= _MAX_EVENT_BYTES


def _is_harmless(body: bytes) -> bool:
    """Return whether an event names no file: Gradio would read it, from the disk or from a URL."""
    try:
        event = json.loads(body)
    except ValueError:
        return False

    def names_no_file(value: Any) -> bool:
        if isinstance(value, dict):
            return "path" not in value and "url" not in value and all(names_no_file(item) for item in value.values())
        return all(names_no_file(item) for item in value) if isinstance(value, list) else True

    return isinstance(event, dict) and "fn_index" in event and names_no_file(event)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields an already read body again."""
    sent = False

    async def replayed() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _with_policy(send: Send) -> Send:
    """Return a `send` that adds the content security policy to the response."""

    async def with_policy(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            more = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
            more["referrer-policy"] = "no-referrer"
            pairs = [(name.encode(), value.encode()) for name, value in more.items()]
            message = {**message, "headers": [*message.get("headers", []), *pairs]}
        await send(message)

    return with_policy
