"""A service in a thread of the test process, with a small detector and tight limits."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dfutils.serving import service, web_page
from tests.support.detectors import untrained


def small_detector(folder: Path, **training: object) -> Path:
    """Write an untrained detector for four faces of 64 pixels, as if it were trained on the sample."""
    detector = untrained(backbone="resnet18", hidden_size=8, seed=3)
    record = {"experiment": "small", "layouts": ["sample"], **training}
    detector.save(folder, face_size=64, frames_per_video=4, training=record)
    return folder


class Served:
    """The address of a service, a client for it, and the service itself."""

    def __init__(self, address: str, inner: service.Service) -> None:
        self.address, self.inner = address, inner
        self.client = httpx.Client(base_url=address, timeout=300, trust_env=False)

    def post(self, content: bytes, name: str = "clip.mp4", **more: object) -> httpx.Response:
        return self.client.post("/predict", files={"file": (name, content, "video/mp4")}, **more)

    def files(self) -> list[Path]:
        """Return the files in the private folder."""
        # os.walk passes over a folder that the service deletes meanwhile
        return [Path(folder, name) for folder, _, names in os.walk(self.inner.folder) for name in names]


@contextmanager
def serving(
    model: Path, limits: service.Limits, examples: list[Path] | None = None, root: str = ""
) -> Iterator[Served]:
    """Serve a detector on a free port until the block ends; yield it when videos are judged."""
    inner: list[service.Service] = []
    servers, reported = [], []
    judged = threading.Event()
    listening = web_page._listen("127.0.0.1", 0)

    def report(text: str) -> None:
        reported.append(text)
        if "are judged" in text:
            judged.set()

    async def main() -> None:
        inner.append(service.Service(str(model), limits))
        servers.append(web_page.uvicorn_server(web_page.create(inner[0], [], examples or [], root)))
        await web_page.run(servers[0], inner[0], listening, report)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    port = listening.getsockname()[1]
    thread.start()
    try:
        assert judged.wait(300), reported
        yield Served(f"http://127.0.0.1:{port}", inner[0])
    finally:
        servers[0].should_exit = True
        thread.join(30)
    assert not inner[0].folder.exists()
