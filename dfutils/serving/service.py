"""The detector as an HTTP service: one video in, one verdict out, with limits on everything that a client sends.

Videos are opened in separate processes (`dfutils.serving.decoder_pool`) and scored in one thread of this process, which
imports PyTorch while the service already answers. The number of requests that are processed or wait is limited; further
ones are refused with status 429. Nothing is stored: a file is deleted once its answer is computed, and no state is
shared, so several instances can run behind one address.
"""

import asyncio
import ipaddress
import json
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from dfutils import __version__
from dfutils.core.errors import InputError
from dfutils.serving import upload
from dfutils.serving.decoder_pool import DecoderError, DecoderPool
from dfutils.serving.upload import Limits, Refusal, Upload

if TYPE_CHECKING:
    from dfutils.faces.windows import VideoScan


class Answer(BaseModel):
    """The verdict on a video. `prediction` is null where the detector abstains: `status` and `reason` say why."""

    decision: Literal["fake", "real", "cannot tell"] | None
    prediction: Literal["REAL", "FAKE"] | None
    confidence: float | None = Field(description="probability of the class named")
    raw_class: Literal[0, 1] | None = Field(description="0 real, 1 fake")
    probability_fake: float | None
    threshold: float = Field(description="called fake at or above it")
    borders: tuple[float, float] = Field(
        description="real below the lower one, fake at or above the upper one, between them the detector cannot tell"
    )
    rank: dict[Literal["as_high", "of"], int] | None = Field(description="real validation videos that score as high")
    calibrated: bool = Field(description="whether the probability was calibrated on validation videos")
    prior_fake: float | None = Field(description="share of fakes among all videos that the probability is for")
    sure: str = Field(description="what was found, and how many real validation videos look as suspicious")
    status: Literal["ok", "no_face"]
    reason: str
    frames: list[dict[str, Any]] = Field(description="each scored face: frame, time_s, box, probability_fake")
    people: int
    start_s: float | None = Field(description="of the most suspicious stretch, in seconds")
    end_s: float | None
    views: dict[str, float] = Field(description="what the probability would be by each network of the detector alone")
    windows: int = Field(description="how many windows of about five seconds were judged")
    persons: list[dict[str, Any]] = Field(description="everyone who was judged: seen, face_px, may_be, windows, score")
    person: int | None = Field(description="position of the most suspicious one")
    shots: list[list[float]] = Field(description="start and end of each shot, in seconds")
    left_out: list[dict[str, Any]] = Field(description="stretches that were not judged: start_s, end_s, reason")
    video: dict[str, Any] = Field(description="facts stated by the container")
    model: dict[str, str]
    warnings: list[str]


class Health(BaseModel):
    """Whether the detector is loaded."""

    status: Literal["starting", "ok"]
    model: dict[str, str] | None
    version: str


class Service:
    """The detector, the decoders and the limits; one per process."""

    def __init__(self, model: str, limits: Limits | None = None) -> None:
        """Prepare to serve a detector (a folder, or hf://owner/name); `start` loads it."""
        self.model, self.limits = model, limits or Limits()
        self.decoders = DecoderPool(self.limits.decoders, seconds=self.limits.decode_seconds)
        self.folder = Path()
        self.detector: Any = None
        self.error = ""
        self.loaded = asyncio.Event()
        self._torch_thread = ThreadPoolExecutor(1, thread_name_prefix="torch")
        self._active = 0

    async def start(self) -> None:
        """Load the detector and start the decoders; `error` says why if the detector cannot be loaded."""
        try:
            self.detector, _ = await asyncio.gather(self.compute(_load, self.model), self.decoders.start())
        except InputError as error:
            self.error = str(error)
        finally:
            self.loaded.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the private folder and the decoders; delete and stop them when the block ends."""
        self.folder = Path(tempfile.mkdtemp(prefix="dfutils-serve-"))  # readable by this user only
        try:
            yield
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            await self.decoders.close()
            self._torch_thread.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count the block as one of the requests that are processed or wait.

        Raises:
            Refusal: 429, if there are as many as the limits allow.
        """
        if self._active >= self.limits.decoders + self.limits.queue:
            raise _retry_later(429, "The service is busy")
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    def receive(self, request: Request) -> AbstractAsyncContextManager[Upload]:
        """Return `upload.receive` with this service's folder and limits."""
        return upload.receive(request, self.folder, self.limits)

    async def scan(
        self,
        path: Path,
        on_start: Callable[[], None] = lambda: None,
        on_progress: Callable[[float], None] = lambda done: None,
    ) -> "VideoScan":
        """Return the people of a video, found with the detector's settings.

        `on_start` is called when decoding starts, `on_progress` from time to time with the share that is done.

        Raises:
            Refusal: 422, if the video cannot be read; 503, if the detector is not loaded.
        """
        await self.ready()
        settings = self.detector.face_settings
        try:
            scan = await self.decoders.scan(path, settings, self.limits.duration_seconds, on_start, on_progress)
        except DecoderError as error:
            raise Refusal(422, str(error)) from None
        if scan.main.status == "unreadable":
            raise Refusal(422, scan.main.reason)
        return scan

    async def judge(self, scan: "VideoScan", file: str) -> Any:
        """Return the `verdict.Verdict` on a video that was searched; `file` is the name that the verdict states."""
        from dfutils.serving.verdict import judge_scan

        return await self.compute(judge_scan, scan, self.detector, file)

    async def compute(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a call in the one thread that uses PyTorch."""
        return await asyncio.get_running_loop().run_in_executor(self._torch_thread, call, *arguments)

    async def ready(self) -> None:
        """Wait until the detector is loaded.

        Raises:
            Refusal: 503, if it is not loaded within 30 s.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self.loaded.wait(), 30)
        if self.detector is None:
            raise _retry_later(503, "The detector is not loaded yet")

    def model_version(self) -> dict[str, str] | None:
        """Return name and version of the detector, None before it is loaded."""
        if self.detector is None:
            return None
        from dfutils.serving.verdict import name_of, version_of

        return {"name": name_of(self.detector), "version": version_of(self.detector)}


def _retry_later(status: int, reason: str) -> Refusal:
    return Refusal(status, f"{reason}: come back in a few seconds.", {"Retry-After": "5"})


def _load(model: str) -> Any:
    """Return the detector after a first forward pass, which is slower than later ones."""
    import torch

    from dfutils.detector import network
    from dfutils.serving import hub
    from dfutils.serving.verdict import version_of

    detector = hub.load(model)
    size, count = detector.config["face_size"], detector.config["frames_per_video"]
    version_of(detector)
    network.logits(detector, torch.zeros(1, count, 3, size, size, dtype=torch.uint8))
    return detector


def answer(verdict: Any) -> dict[str, Any]:
    """Return a verdict as the fields of `Answer`."""
    values = verdict.to_dict()
    del values["file"]
    return values | {"raw_class": {None: None, "real": 0, "fake": 1}[verdict.label]}


def create(service: Service, origins: list[str]) -> FastAPI:
    """Return the application with `POST /predict`, `GET /health` and `/docs`.

    Args:
        service: judges the videos; it runs for as long as the application does.
        origins: web pages whose scripts may call the service (CORS).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPIOffline(
        title="dfutils",
        version=__version__,
        description="Is the face in this video real or fake, and how sure is the detector? A score is a reason to look "
        "further, never proof.",
        lifespan=lifespan,
        redoc_url=None,
    )
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"])

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        content = json.dumps({"detail": refusal.text}, ensure_ascii=False)
        return RefusalResponse(content, refusal.status, refusal.headers, "application/json")

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> Health:
        """Return whether the detector is loaded, and its name and version."""
        if service.error:
            raise HTTPException(503, service.error)
        model = service.model_version()
        return Health(status="ok" if model else "starting", model=model, version=__version__)

    @app.post("/predict", response_model=Answer, openapi_extra=_BODY, responses=_REFUSALS)
    async def predict(request: Request) -> Any:
        """Judge one video, sent as multipart/form-data in the field `file`."""
        check_sender(request, origins)
        with service.slot():
            async with service.receive(request) as received:
                verdict = await unless_disconnected(request, _verdict(service, received))
        return answer(verdict) if verdict else Response(status_code=499)

    @app.head("/predict", include_in_schema=False)
    @app.get("/predict", include_in_schema=False)
    async def explain() -> None:
        raise Refusal(405, "Send a video by POST, as multipart/form-data in the field file.", {"Allow": "POST"})

    return app


def check_sender(request: Request, origins: list[str]) -> None:
    """Refuse what another web page sends in a visitor's name, unless it is one of `origins`.

    Browsers say where a request comes from: `Sec-Fetch-Site` where the address is HTTPS or of this machine, `Origin`
    everywhere. A name that was pointed at this machine by a foreign page (DNS rebinding) has neither HTTPS nor an
    address of this machine, so for a service that is reached as this machine the name must be that of this machine.

    Raises:
        Refusal: 403.
    """
    origin, site = (request.headers.get(name) for name in ("origin", "sec-fetch-site"))
    if origin in origins or not (origin or site):  # no browser
        return
    host, reached = request.headers.get("host", ""), (request.scope.get("server") or ("",))[0]
    name = re.sub(r":\d+$", "", host).strip("[]")
    own = site in ("same-origin", "none") if site else origin in (f"http://{host}", f"https://{host}")
    if not own or (not site and _is_this_machine(reached) and not _is_this_machine(name)):
        raise Refusal(403, "Only the service's own page may send this: name others with --allow-origin.")


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host in ("localhost", socket.gethostname())


class RefusalResponse(Response):
    """A refusal, possibly sent before the body was read; the connection is closed after it.

    If a connection is closed while the client still sends, the operating system may discard the response. Therefore the
    rest of the body is read and dropped for up to 2 s.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while not scope.get(upload.READ) and (message := await receive())["type"] == "http.request":
                    if not message.get("more_body"):
                        break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _verdict(service: Service, received: Upload) -> Any:
    return await service.judge(await service.scan(received.path), received.name)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of `work`; if the client disconnects first, cancel it and return None."""
    working, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, disconnected):
            task.cancel()
        await asyncio.gather(working, disconnected, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


_FILE = {"type": "string", "format": "binary", "description": "a video"}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _FILE}}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "No file, several files, an empty one, or a broken request"},
    408: {"description": "The upload was too slow"},
    413: {"description": "The upload is too large"},
    415: {"description": "The file is not a video"},
    422: {"description": "The video cannot be read, is too long, or took too long"},
    429: {"description": "Busy: come back after as many seconds as Retry-After says"},
    503: {"description": "The detector is not loaded yet"},
}
