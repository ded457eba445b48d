"""The web page: drop a video or record one, watch the stages, and get a verdict that explains itself.

Gradio serves it from the same process as the REST interface, and is held short: a video goes through the same intake
and the same places of work as one sent to `/predict`, never through Gradio's own file handling, whose addresses are
closed. Nothing on the page comes from elsewhere, and the browser is told to refuse it if it did.
"""

import asyncio
import atexit
import os
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.middleware.cors import CORSMiddleware

from dfutils.core.errors import InputError
from dfutils.serving import service as services
from dfutils.serving.door import FOLDER, EndpointFilter
from dfutils.serving.service import Limits, Service
from dfutils.serving.upload import Refusal


def build(service: Service, examples: list[Path]) -> FastAPI:
    """Return the Gradio application of the page; importing Gradio takes some seconds.

    Args:
        service: judges the videos.
        examples: videos of this machine that a visitor may try.
    """
    for name, value in (("GRADIO_ANALYTICS_ENABLED", "False"), ("GRADIO_TEMP_DIR", str(service.folder / "gradio"))):
        os.environ[name] = value
    import gradio as gr

    from dfutils.serving.verdict import name_of, version_of, warnings_of

    async def examine(event: gr.EventData) -> AsyncIterator[str]:
        async for html in _examined(
            service, str(event._data.get("secret", "")), str(event._data.get("example", "")), examples
        ):
            yield html

    said = warnings_of(service.detector)
    about = f"Detector <b>{escape(name_of(service.detector))}</b>, weights {version_of(service.detector)}"
    choices = "".join(
        f'<button type="button" data-example="{k}">{escape(_example_name(path))}</button>'
        for k, path in enumerate(examples)
    )
    form = (FOLDER / "form.html").read_text(encoding="utf-8")
    form = form.replace("@warnings", "".join(f'<p class="warning" role="note">{escape(text)}</p>' for text in said))
    form = form.replace("@about", about).replace("@examples", choices).replace("@hidden", "" if examples else "hidden")
    form = form.replace("@bytes", str(service.limits.upload_bytes))
    with gr.Blocks(title="Real or fake?", analytics_enabled=False, fill_width=False) as blocks:
        given = gr.HTML(
            form, js_on_load=(FOLDER / "form.js").read_text(encoding="utf-8"), elem_id="given", apply_default_css=False
        )
        result = gr.HTML(
            "",
            elem_id="result",
            apply_default_css=False,
            js_on_load=(FOLDER / "result.js").read_text(encoding="utf-8"),
        )
        given.submit(
            examine, None, result, show_progress="hidden", api_visibility="private", concurrency_limit=None, queue=True
        )
    blocks.queue(max_size=4 * (service.limits.decoders + service.limits.queue))
    blocks.has_launched = True  # Gradio checks the paths of files only then
    fonts = {"font": ["system-ui", "Segoe UI", "Roboto", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    inner = FastAPI(openapi_url=None)
    inner.add_middleware(CORSMiddleware, allow_origins=[])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gr.mount_gradio_app(
            inner,
            blocks,
            path="/",
            footer_links=[],
            run_history=False,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=gr.themes.Base(primary_hue="blue", neutral_hue="slate", **fonts),
            css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        )
    return inner


def _example_name(path: Path) -> str:
    return f"{path.parent.name}: {path.stem}" if path.parent.name != "real" else f"real: {path.stem}"


async def _examined(service: Service, secret: str, example: str, examples: list[Path]) -> AsyncIterator[str]:
    """Give what the page shows, stage by stage, and at the end the verdict."""
    stages: asyncio.Queue[int | None] = asyncio.Queue()

    async def work() -> str:
        with service.place():
            if example:
                number = int(example) if example.isdecimal() else -1
                if not 0 <= number < len(examples):
                    raise Refusal(404, "There is no such example.")
                return await _judged(service, examples[number], examples[number].name, stages)
            with service.claim(secret) as received:
                return await _judged(service, received.path, received.name, stages)

    working = asyncio.ensure_future(work())
    working.add_done_callback(lambda _: stages.put_nowait(None))
    try:
        yield _progress(0)
        while (stage := await stages.get()) is not None:
            yield _progress(stage)
        try:
            yield working.result()
        except Refusal as refusal:
            yield _refused(refusal.text)
        except Exception:
            services.log.exception("a video could not be judged")
            yield _refused("The service failed: try again.")
    finally:
        working.cancel()


async def _judged(service: Service, path: Path, name: str, stages: asyncio.Queue) -> str:
    found = await service.examine(path, lambda: stages.put_nowait(1))
    stages.put_nowait(2)
    verdict = await service.judge(found, name)
    stages.put_nowait(3)
    return await service.alone(_shown, service.detector, verdict)


def _shown(detector: Any, verdict: Any) -> str:
    """Return the verdict and, hidden in it, the one-file report to download."""
    from dfutils.serving import verdict_html

    heat = verdict_html.heat(detector, verdict)
    report = escape(verdict_html.page(verdict, heat), quote=True)
    return (
        f'<section class="done">{verdict_html.fragment(verdict, heat)}'
        f'<p><button type="button" class="download">Download the report (one HTML file)</button></p>'
        f'<template data-name="verdict.html" data-page="{report}"></template></section>'
    )


def _refused(text: str) -> str:
    return f'<section class="refused" role="alert"><h2>No verdict</h2><p>{escape(text)}</p></section>'


_STAGES = ("Waiting for a free place", "Decoding, and looking for faces", "Scoring", "Marking what speaks for fake")


def _progress(stage: int) -> str:
    rows = "".join(
        f'<li class="{"past" if k < stage else "now" if k == stage else "next"}">{name}</li>'
        for k, name in enumerate(_STAGES)
    )
    return f'<div class="progress" role="status"><p>{_STAGES[stage]} …</p><ol>{rows}</ol></div>'


def create(service: Service, origins: list[str] | None = None, examples: list[Path] | None = None) -> FastAPI:
    """Return the whole application: `service.create`, the page at `/`, and where the page sends its videos."""
    app, door = services.create(service, origins), EndpointFilter()

    @app.post("/page/video", include_in_schema=False)
    async def keep(request: Request) -> dict[str, str]:
        return {"secret": await service.keep(request)}

    app.mount("/", door)
    app.state.door, app.state.examples = door, examples or []
    return app


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    limits: Limits | None = None,
    origins: list[str] | None = None,
    examples: list[Path] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Serve a detector until it is stopped; `/health` answers at once, videos when the detector is loaded.

    Raises:
        InputError: if the port is taken, or the detector cannot be loaded.
    """
    listening = _listen(host, port)
    asyncio.run(_serve(Service(model, limits), listening, origins, examples, say))


def beside(model: str | Path) -> str:
    """Start `dfutils serve` beside this process, until it ends, and return the page's address.

    Raises:
        InputError: if it cannot be started.
    """
    words = [sys.executable, "-m", "dfutils", "serve", "--model", str(model), "--port", "0"]
    serving = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    atexit.register(serving.terminate)
    address = re.search(r"http://\S+", serving.stdout.readline())
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
    except OSError as error:
        listening.close()
        raise InputError(f"{host}:{port} cannot be served on ({error.strerror}): choose another --port.") from None
    return listening


async def _serve(
    service: Service,
    listening: socket.socket,
    origins: list[str] | None,
    examples: list[Path] | None,
    say: Callable[[str], None],
) -> None:
    import uvicorn

    app = create(service, origins, examples)
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=5, timeout_keep_alive=5, limit_concurrency=500
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    host, port = listening.getsockname()[:2]
    while not server.started and not serving.done():
        await asyncio.sleep(0.05)
    say(f"Serving {service.model} at http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C stops it); loading …")

    async def begin() -> None:
        try:
            await service.start()
            if not service.failed:
                say("Videos are judged from now on; the page follows.")
                built = await asyncio.get_running_loop().run_in_executor(None, build, service, app.state.examples)
                await app.state.door.open(built)
                say("The page is there.")
        except Exception:
            server.should_exit = True
            raise
        if service.failed:
            server.should_exit = True

    beginning = asyncio.create_task(begin())
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        beginning.cancel()
        await asyncio.gather(beginning, serving, return_exceptions=True)
        await app.state.door.close()
    if service.failed:
        raise InputError(service.failed)
    if beginning.done() and not beginning.cancelled() and beginning.exception():
        raise beginning.exception()
