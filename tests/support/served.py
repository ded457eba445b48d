"""A service in a thread of the test process, with a small detector and tight limits."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dfutils.detector.network import Detector
from dfutils.serving import service, web_page


def small_detector(folder: Path, **training: object) -> Path:
    """Write an untrained detector that looks at four small faces; it must be of the sample, or it says nothing."""
    detector = Detector("resnet18", hidden_size=8, seed=3)
    facts = {"experiment": "small", "layouts": ["sample"], **training}
    detector.save(folder, face_size=64, frames_per_video=4, training=facts)
    return folder


class Served:
    """Where a service answers, and the service itself, to look into."""

    def __init__(self, address: str, inner: service.Service) -> None:
        self.address, self.inner = address, inner
        self.client = httpx.Client(base_url=address, timeout=300, trust_env=False)

    def post(self, content: bytes, name: str = "clip.mp4", **more: object) -> httpx.Response:
        return self.client.post("/predict", files={"file": (name, content, "video/mp4")}, **more)

    def files(self) -> list[Path]:
        """What lies in the private folder."""
        return [path for path in self.inner.folder.rglob("*") if path.is_file()]


@contextmanager
def serving(model: Path, limits: service.Limits, examples: list[Path] | None = None) -> Iterator[Served]:
    """Serve a detector at a free port until the block ends; give it when the page is there."""
    inner: list[service.Service] = []
    said: list[str] = []
    page, stop = threading.Event(), threading.Event()
    listening = web_page._listen("127.0.0.1", 0)

    def say(text: str) -> None:
        said.append(text)
        if "page is there" in text:
            page.set()

    async def main() -> None:
        inner.append(service.Service(str(model), limits))
        running = asyncio.create_task(web_page._serve(inner[0], listening, None, examples, say))
        while not stop.is_set() and not running.done():
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    port = listening.getsockname()[1]
    thread.start()
    try:
        assert page.wait(300), said
        yield Served(f"http://127.0.0.1:{port}", inner[0])
    finally:
        stop.set()
        thread.join(30)
    assert not inner[0].folder.exists()
