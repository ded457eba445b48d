"""The web page: drop or record a video, follow its progress, and get an explained verdict.

The page is a template and a script, in the application of the REST interface. A video goes through the same checks and
limits as one sent to `/predict`. The script receives each stage as a server-sent event; without scripts, the form is
answered with the page and the verdict on it. The page loads nothing from other hosts, and its content security policy
makes the browser refuse to.
"""

import asyncio
import atexit
import logging
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader
from starlette.types import ASGIApp, Receive, Scope, Send

from dfutils.core.errors import InputError
from dfutils.core.paths import EXTENSIONS
from dfutils.serving import service as services
from dfutils.serving.service import RefusalResponse, Service
from dfutils.serving.upload import Refusal, Upload

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent / "templates"
_PAGE = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True).get_template("page.html.j2")
_STAGES = ("Waiting for a free place", "Decoding, and looking for faces", "Scoring", "Marking what raised the score")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self' http://localhost:* http://127.0.0.1:* {origins}"
)  # a notebook of this machine shows the page in a frame


class _Progress:
    """The events of one video on its way to a verdict; the last one is no stage."""

    def __init__(self) -> None:
        self.events: list[ServerSentEvent] = []
        self.more, self.followers = asyncio.Event(), 0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def add(self, event: str, text: str) -> None:
        self.events.append(ServerSentEvent(raw_data=text, event=event, id=str(len(self.events))))
        self.more.set()
        self.more = asyncio.Event()


class _Videos:
    """The videos that the page has sent, by secret; one whose progress nobody follows is given up after a while."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._progress: dict[str, _Progress] = {}

    def begin(self, video: Upload, kept: AsyncExitStack) -> str:
        """Start to judge a video; return the secret by which its progress is followed.

        `kept` (the video and its slot) is closed as soon as the verdict is there.
        """
        secret, progress = secrets.token_urlsafe(16), _Progress()

        async def judge() -> None:
            async with kept:
                try:
                    html = await explain(
                        self._service,
                        video,
                        None,
                        lambda stage: progress.add("stage", str(stage)),
                        lambda share: progress.add("share", f"{share:.2f}"),
                    )
                    progress.add("done", html)
                except Refusal as refusal:
                    progress.add("refused", refusal.text)
                except Exception:
                    log.exception("a video could not be judged")
                    progress.add("refused", "The service failed: try again.")

        self._progress[secret] = progress
        progress.task = asyncio.create_task(judge())
        progress.task.add_done_callback(lambda _: progress.more.set())
        self._give_up_later(secret, progress)
        return secret

    async def find(self, secret: str) -> _Progress:
        """Return the progress of a video.

        Raises:
            Refusal: 404, if there is none, or no longer.
        """
        if secret not in self._progress:
            raise Refusal(404, "The video is no longer here: send it again.")
        return self._progress[secret]

    async def follow(self, secret: str, progress: _Progress, after: int) -> AsyncIterator[ServerSentEvent]:
        """Yield the events of a video with a larger number than `after`."""
        progress.timer.cancel()
        progress.followers += 1
        number = max(after + 1, 0)
        try:
            while True:
                more = progress.more
                for event in progress.events[number:]:
                    yield event
                    number += 1
                if progress.task.done() and number >= len(progress.events):
                    return
                await more.wait()
        finally:
            progress.followers -= 1
            if not progress.followers:
                self._give_up_later(secret, progress)

    def _give_up_later(self, secret: str, progress: _Progress) -> None:
        def give_up() -> None:
            self._progress.pop(secret, None)
            progress.task.cancel()

        progress.timer = asyncio.get_running_loop().call_later(self._service.limits.unfollowed_seconds, give_up)


async def explain(
    service: Service,
    video: Upload,
    nonce: str | None,
    on_stage: Callable[[int], None],
    on_share: Callable[[float], None] = lambda share: None,
) -> str:
    """Return the verdict on a video as HTML: for a page with this nonce, or, if it is None, as a page of its own.

    `on_stage` is called with the number of each stage as it begins, `on_share` while faces are looked for with the
    share of the video that is done, 0 to 1.
    """
    on_stage(0)
    scan = await service.scan(video.path, lambda: on_stage(1), on_share)
    on_stage(2)
    verdict = await service.judge(scan, video.name)
    on_stage(3)
    return await service.compute(_html, service.detector, verdict, nonce)


def _html(detector: Any, verdict: Any, nonce: str | None) -> str:
    from dfutils.serving import verdict_html

    heat = verdict_html.heat(detector, verdict)
    return verdict_html.fragment(verdict, heat, nonce) if nonce else verdict_html.page(verdict, heat)


def _render(service: Service, examples: list[Path], request: Request, nonce: str, **result: str) -> str:
    """Return the page: with the detector's name and warnings as soon as it is loaded, and perhaps with a result."""
    root, model = request.scope.get("root_path", ""), service.model_version()
    if model:
        from dfutils.serving.verdict import warnings_of

        model |= {"warnings": warnings_of(service.detector)}
    return _PAGE.render(
        base=f"{root}/" if root else "./",
        nonce=nonce,
        model=model,
        examples=[f"{path.parent.name}: {path.stem}" for path in examples],
        upload_bytes=service.limits.upload_bytes,
        minutes=f"{service.limits.duration_seconds / 60:g}",
        accept=",".join(["video/*", "image/*", *sorted(EXTENSIONS)]),
        stages=_STAGES,
        **result,
    )


def _headers(origins: list[str], nonce: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": _POLICY.format(nonce=nonce, origins=" ".join(origins)).strip(),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _router(service: Service, origins: list[str], examples: list[Path]) -> APIRouter:
    """Return the endpoints of the page; the arguments are those of `create`."""
    router, videos = APIRouter(include_in_schema=False), _Videos(service)
    page, headers = partial(_render, service, examples), partial(_headers, origins)

    @router.head("/")
    @router.get("/")
    async def show(request: Request) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(page(request, nonce), headers=headers(nonce))

    @router.post("/")
    async def judge(request: Request, example: int | None = None) -> Response:
        services.check_sender(request, origins)
        nonce = secrets.token_urlsafe(16)
        async with AsyncExitStack() as kept:
            if "text/html" not in request.headers.get("accept", ""):  # the page's script asks
                video = await take(request, example, kept)
                return JSONResponse({"events": f"events/{videos.begin(video, kept.pop_all())}"}, 202)
            try:
                video = await take(request, example, kept)
                work = explain(service, video, nonce, lambda stage: None)
                html = page(request, nonce, verdict=await services.unless_disconnected(request, work))
            except Refusal as refusal:
                html = page(request, nonce, refusal=refusal.text)
                return RefusalResponse(html, refusal.status, headers(nonce) | (refusal.headers or {}), "text/html")
        return HTMLResponse(html, headers=headers(nonce))

    async def take(request: Request, example: int | None, kept: AsyncExitStack) -> Upload:
        """Return the example, or the video in the request; `kept` is left holding it and its slot."""
        kept.enter_context(service.slot())
        if example is None:
            return await kept.enter_async_context(service.receive(request))
        if not 0 <= example < len(examples):
            raise Refusal(404, "There is no such example.")
        return Upload(examples[example], examples[example].name)

    @router.get("/events/{secret}", response_class=EventSourceResponse)
    async def follow(
        secret: str, progress: Annotated[_Progress, Depends(videos.find)], last_event_id: Annotated[int, Header()] = -1
    ) -> AsyncIterator[ServerSentEvent]:
        async for event in videos.follow(secret, progress, last_event_id):
            yield event

    return router


class _BelowPrefix:
    """Lets the application know the path prefix below which a reverse proxy shows it.

    The proxy may remove the prefix or not; it says so by X-Forwarded-Prefix, or the user by `root`.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"x-forwarded-prefix", b"").decode("latin-1").rstrip("/")
            root = given if re.fullmatch(r"(/[\w.~-]+)+", given, re.ASCII) else self._root
            if root and scope["path"] == root:
                await RedirectResponse(f"{root}/")(scope, receive, send)
                return
            path = scope["path"] if scope["path"].startswith(f"{root}/") else root + scope["path"]
            scope = {**scope, "root_path": root, "path": path}
        await self._app(scope, receive, send)


def create(service: Service, origins: list[str], examples: list[Path], root: str = "") -> FastAPI:
    """Return the whole application: that of `service.create`, and the page at `/`.

    Args:
        service: judges the videos.
        origins: web pages whose scripts may call the service.
        examples: videos of this machine that the page offers.
        root: path prefix that a reverse proxy adds, such as `/detector`; "" for none.
    """
    app = services.create(service, origins)
    app.include_router(_router(service, origins, examples))
    app.mount("/page", StaticFiles(directory=_FOLDER / "page"))
    app.add_middleware(_BelowPrefix, root=root)
    return app


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    origins: list[str] | None = None,
    examples: list[Path] | None = None,
    root: str = "",
    report: Callable[[str], None] = lambda text: None,
) -> None:
    """Serve a detector until the process is stopped.

    `/health` and the page answer at once, `/predict` when the detector is loaded.

    Args:
        model: a detector's folder, published weights, or hf://owner/name.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        origins: web pages whose scripts may call the service.
        examples: videos of this machine that the page offers.
        root: path prefix that a reverse proxy adds.
        report: called with a sentence at each step of the start.

    Raises:
        InputError: if the port is taken, or the detector cannot be loaded.
    """
    if root and not re.fullmatch(r"(/[\w.~-]+)+", root, re.ASCII):
        raise InputError(f"--root-path {root} is no path prefix: write it as /detector.")
    listening = _listen(host, port)
    service = Service(model)
    server = uvicorn_server(create(service, origins or [], examples or [], root))
    asyncio.run(run(server, service, listening, report))


def serve_in_background(model: str | Path) -> str:
    """Start `dfutils serve` as a child of this process, which stops it at its exit, and return the page's address.

    Raises:
        InputError: if it cannot be started.
    """
    command = [sys.executable, "-m", "dfutils", "serve", "--model", str(model), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    atexit.register(child.terminate)
    address = re.search(r"http://\S+", child.stdout.readline())
    if not address:
        raise InputError(f"The page cannot be served: `dfutils serve --model {model}` says why.")
    return address[0]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # requests wait until the application runs
    except OSError as error:
        listening.close()
        raise InputError(f"{host}:{port} cannot be served on ({error.strerror}): choose another --port.") from None
    return listening


def uvicorn_server(app: FastAPI) -> Any:
    """Return a `uvicorn.Server` of an application."""
    import uvicorn

    limits = {"timeout_graceful_shutdown": 5, "timeout_keep_alive": 5, "limit_concurrency": 500}
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", **limits))


async def run(server: Any, service: Service, listening: socket.socket, report: Callable[[str], None]) -> None:
    """Serve until the server's `should_exit` is set, while the detector is loaded; errors as in `serve`."""
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    report(f"Serving {service.model} at {address} (Ctrl-C stops it); loading …")

    async def start() -> None:
        try:
            await service.start()
            if service.error:
                raise InputError(service.error)
            report("Videos are judged from now on.")
        except Exception:
            server.should_exit = True
            raise

    starting = asyncio.create_task(start())
    try:
        await server.serve(sockets=[listening])
    finally:
        starting.cancel()
        await asyncio.wait([starting])
    if not starting.cancelled():
        starting.result()
