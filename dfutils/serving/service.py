"""The detector as a service: one video in over HTTP, one verdict out, and bounds on everything that a stranger sends.

Videos are opened in other processes (`dfutils.serving.decoder_pool`) and scored in one thread of this one, where
PyTorch is imported while the service already answers. At most so many requests are worked on and wait; the next is told
to come back. Nothing is kept: a file is deleted when its answer is there, and no state is shared, so that several
copies can stand behind one address.
"""

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from dfutils import __version__
from dfutils.core.errors import InputError
from dfutils.faces.extraction import VideoFaces
from dfutils.serving import upload
from dfutils.serving.decoder_pool import DecoderError, DecoderPool
from dfutils.serving.upload import Received, Refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a stranger may ask for."""

    upload_bytes: int = 200 * 2**20
    upload_seconds: float = 120
    """for a whole upload"""
    idle_seconds: float = 15
    """without a byte of it"""
    duration_seconds: float = 600
    """length of a video; only its first frames are looked at, however long it is"""
    decode_seconds: float = 45
    """for decoding and finding the faces"""
    decoders: int = max(1, min(os.cpu_count() or 1, 8))
    """videos looked at at the same time"""
    queue: int = 8
    """requests that may wait for that"""
    kept_seconds: float = 120
    """that a file from the page may wait for its examination"""


class Answer(BaseModel):
    """The verdict on a video. `prediction` is null where the detector abstains: `status` and `reason` say why."""

    prediction: Literal["REAL", "FAKE"] | None
    confidence: float | None = Field(description="probability of the class named")
    raw_class: Literal[0, 1] | None = Field(description="0 real, 1 fake")
    probability_fake: float | None
    threshold: float = Field(description="called fake from this probability on")
    calibrated: bool = Field(description="whether the probability was calibrated on validation videos")
    sure: str = Field(description="how sure the detector is, in words")
    status: Literal["ok", "no_face", "few_faces"]
    reason: str
    frames: list[dict[str, Any]] = Field(description="each face looked at: frame, time_s, box, probability_fake")
    people: int
    video: dict[str, Any] = Field(description="what the file says of itself")
    model: dict[str, str]
    warnings: list[str]


class Health(BaseModel):
    """Whether the service can answer yet."""

    status: Literal["starting", "ok"]
    model: dict[str, str] | None
    version: str


class Service:
    """The detector, the decoders, and the bounds; one a process."""

    def __init__(self, model: str, limits: Limits | None = None) -> None:
        """Prepare to serve a detector (a folder, or hf://owner/name); `start` begins."""
        self.model, self.limits = model, limits or Limits()
        self.pool = DecoderPool(self.limits.decoders, seconds=self.limits.decode_seconds)
        self.folder = Path()
        self.detector: Any = None
        self.failed = ""
        self.loaded = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="torch")  # PyTorch lives in it
        self._inside = 0
        self._kept: dict[str, tuple[Received, float]] = {}

    async def start(self) -> None:
        """Load the detector and start the decoders; `failed` says why if it cannot be loaded."""
        try:
            self.detector, _ = await asyncio.gather(self.alone(_load, self.model), self.pool.start())
        except InputError as error:
            self.failed = str(error)
        finally:
            self.loaded.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the private folder and the decoders, and clear both away at the end."""
        self.folder = Path(tempfile.mkdtemp(prefix="dfutils-serve-"))  # nobody else may read it
        clearing = asyncio.create_task(self._clear())
        try:
            yield
        finally:
            clearing.cancel()
            shutil.rmtree(self.folder, ignore_errors=True)
            await self.pool.close()
            self._thread.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places of work and waiting.

        Raises:
            Refusal: 429, if none is free.
        """
        if self._inside >= self.limits.decoders + self.limits.queue:
            raise _later(429, "The service is busy")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def receive(self, request: Request) -> Any:
        """Return `upload.receive` within the limits."""
        return upload.receive(request, self.folder, *self._bounds)

    @property
    def _bounds(self) -> tuple[int, float, float]:
        """What `intake` wants to know of the limits."""
        return self.limits.upload_bytes, self.limits.upload_seconds, self.limits.idle_seconds

    async def keep(self, request: Request) -> str:
        """Take in a file from the page, and return the secret that `claim` wants for it."""
        if len(self._kept) >= 2 * (self.limits.decoders + self.limits.queue):
            raise _later(429, "The service is busy")
        secret = secrets.token_urlsafe(16)
        place = self.folder / secret
        place.mkdir(mode=0o700)
        try:
            received = await upload.take(request, place, *self._bounds)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        self._kept[secret] = (received, time.monotonic())
        return secret

    @contextmanager
    def claim(self, secret: str) -> Iterator[Received]:
        """Give the file that `keep` took in, once, and delete it after the block.

        Raises:
            Refusal: if there is none, or no longer.
        """
        received, _ = self._kept.pop(secret, (None, 0.0))
        if received is None:
            raise Refusal(404, "The video is no longer here: send it again.")
        try:
            yield received
        finally:
            shutil.rmtree(received.path.parent, ignore_errors=True)

    async def _clear(self) -> None:
        """Delete the files that nobody came back for."""
        while True:
            await asyncio.sleep(10)
            late = time.monotonic() - self.limits.kept_seconds
            for secret in [secret for secret, (_, came) in self._kept.items() if came < late]:
                with self.claim(secret):
                    pass

    async def examine(self, path: Path, began: Callable[[], None] = lambda: None) -> VideoFaces:
        """Return what is found in a video, once the detector says how to look.

        Raises:
            Refusal: if it cannot be read.
        """
        await self.ready()
        from dfutils.serving.verdict import face_settings  # imported by now

        wanted = face_settings(self.detector)
        try:
            found = await self.pool.find_faces(path, wanted, self.limits.duration_seconds, began)
        except DecoderError as error:
            raise Refusal(422, str(error)) from None
        if found.clip.status == "unreadable":
            raise Refusal(422, found.clip.reason)
        return found

    async def judge(self, found: VideoFaces, file: str) -> Any:
        """Return the `verdict.Verdict` on what was found."""
        from dfutils.serving.verdict import judge

        return await self.alone(judge, found, self.detector, file)

    async def alone(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call in the one thread that computes with PyTorch."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def ready(self) -> None:
        """Wait until the detector is loaded.

        Raises:
            Refusal: 503, if it is not within half a minute.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self.loaded.wait(), 30)
        if self.detector is None:
            raise _later(503, "The detector is not loaded yet")

    def about(self) -> dict[str, str] | None:
        """Return name and version of the detector, None before it is loaded."""
        if self.detector is None:
            return None
        from dfutils.serving.verdict import name_of, version_of

        return {"name": name_of(self.detector), "version": version_of(self.detector)}


def _later(status: int, why: str) -> Refusal:
    return Refusal(status, f"{why}: come back in a few seconds.", {"Retry-After": "5"})


def _load(model: str) -> Any:
    """Return the detector after a first pass, which is slower than all others."""
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
    """Return a verdict as `POST /predict` gives it."""
    values = verdict.to_dict()
    del values["file"]
    return values | {"raw_class": {None: None, "real": 0, "fake": 1}[verdict.label]}


def create(service: Service, origins: list[str] | None = None) -> FastAPI:
    """Return the application with `POST /predict`, `GET /health` and `/docs`; `origins` may call it from a browser."""

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
    # Always there, with no origin unless one is named: Gradio then adds none of its own.
    app.add_middleware(CORSMiddleware, allow_origins=origins or [], allow_methods=["GET", "POST"])

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> JSONResponse:
        return _Refused({"detail": refusal.text}, refusal.status, refusal.headers)

    @app.get("/health")
    async def health() -> Health:
        """Say whether the detector is loaded, and which it is."""
        if service.failed:
            raise HTTPException(503, service.failed)
        about = service.about()
        return Health(status="ok" if about else "starting", model=about, version=__version__)

    @app.post("/predict", response_model=Answer, openapi_extra=_BODY, responses=_REFUSALS)
    async def predict(request: Request) -> Any:
        """Judge one video, sent as multipart/form-data in the field `file`."""
        with service.place():
            async with service.receive(request) as received:
                verdict = await _while_there(request, _verdict(service, received))
        return answer(verdict) if verdict else Response(status_code=499)

    return app


class _Refused(JSONResponse):
    """A refusal, perhaps before the body was read: the connection ends with it.

    To close a connection on a sender who still sends would make the system throw away the answer. So what comes after
    the answer is read for a moment, and forgotten.
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


async def _verdict(service: Service, received: Received) -> Any:
    return await service.judge(await service.examine(received.path), received.name)


async def _while_there(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of `work`, or stop it and return None when whoever asked for it has left."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "a video"}},
                }
            }
        },
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "No file, several files, an empty one, or a broken request"},
    408: {"description": "The upload was too slow"},
    413: {"description": "The upload is too large"},
    415: {"description": "The file is no video"},
    422: {"description": "The video cannot be read, is too long, or took too long"},
    429: {"description": "Busy: come back after as many seconds as Retry-After says"},
    503: {"description": "The detector is not loaded yet"},
}
