"""The web page: drop or record a video, follow its progress, and get an explained verdict.

Gradio serves it in the same process as the REST interface. A video goes through the same upload checks and limits as
one sent to `/predict`, never through Gradio's own file handling, whose endpoints are closed (`dfutils.serving.door`).
The page loads nothing from other hosts, and its content security policy makes the browser refuse to.
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
from dfutils.serving.door import TEMPLATES, EndpointFilter
from dfutils.serving.service import Limits, Service
from dfutils.serving.upload import Refusal


def build(service: Service, examples: list[Path]) -> FastAPI:
    """Return the Gradio application of the page; importing Gradio takes some seconds.

    Args:
        service: judges the videos; its detector is loaded.
        examples: videos of this machine that a visitor may try.
    """
    for name, value in (("GRADIO_ANALYTICS_ENABLED", "False"), ("GRADIO_TEMP_DIR", str(service.folder / "gradio"))):
        os.environ[name] = value
    import gradio as gr

    blocks = _blocks(service, examples)
    blocks.queue(max_size=4 * (service.limits.decoders + service.limits.queue))
    blocks.has_launched = True  # Gradio checks the paths of files only after its launch
    fonts = {"font": ["system-ui", "Segoe UI", "Roboto", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    app = FastAPI(openapi_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=[])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gr.mount_gradio_app(
            app,
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
            css=_template("page.css"),
        )
    return app


def _blocks(service: Service, examples: list[Path]) -> Any:
    """Return the page's two components as `gradio.Blocks`: the form, and the result that its submission fills."""
    import gradio as gr

    async def submit(event: gr.EventData) -> AsyncIterator[str]:
        secret, example = (str(event._data.get(name, "")) for name in ("secret", "example"))
        async for html in _judge_in_stages(service, secret, example, examples):
            yield html

    with gr.Blocks(title="Real or fake?", analytics_enabled=False, fill_width=False) as blocks:
        form = gr.HTML(
            _form_html(service, examples), js_on_load=_template("form.js"), elem_id="given", apply_default_css=False
        )
        result = gr.HTML("", js_on_load=_template("result.js"), elem_id="result", apply_default_css=False)
        form.submit(
            submit, None, result, show_progress="hidden", api_visibility="private", concurrency_limit=None, queue=True
        )
    return blocks


def _form_html(service: Service, examples: list[Path]) -> str:
    """Return the form with the detector's name, its warnings, the examples and the limit on uploads."""
    from dfutils.serving.verdict import name_of, version_of, warnings_of

    notes = [f'<p class="warning" role="note">{escape(text)}</p>' for text in warnings_of(service.detector)]
    buttons = [
        f'<button type="button" data-example="{k}">{escape(f"{path.parent.name}: {path.stem}")}</button>'
        for k, path in enumerate(examples)
    ]
    values = {
        "@warnings": "".join(notes),
        "@about": f"Detector <b>{escape(name_of(service.detector))}</b>, weights {version_of(service.detector)}",
        "@examples": "".join(buttons),
        "@hidden": "" if examples else "hidden",
        "@bytes": str(service.limits.upload_bytes),
    }
    html = _template("form.html")
    for placeholder, value in values.items():
        html = html.replace(placeholder, value)
    return html


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


async def _judge_in_stages(service: Service, secret: str, example: str, examples: list[Path]) -> AsyncIterator[str]:
    """Yield the HTML of the result: each stage as it begins, and at the end the verdict or a refusal.

    The video is the upload stored under `secret`, or the example with the number `example` if that is not empty.
    """
    stages: asyncio.Queue[int | None] = asyncio.Queue()

    async def work() -> str:
        with service.slot():
            if example:
                number = int(example) if example.isdecimal() else -1
                if not 0 <= number < len(examples):
                    raise Refusal(404, "There is no such example.")
                return await _judge(service, examples[number], examples[number].name, stages)
            with service.claim(secret) as received:
                return await _judge(service, received.path, received.name, stages)

    working = asyncio.ensure_future(work())
    working.add_done_callback(lambda _: stages.put_nowait(None))
    try:
        yield _progress_html(0)
        while (stage := await stages.get()) is not None:
            yield _progress_html(stage)
        try:
            yield working.result()
        except Refusal as refusal:
            yield _refusal_html(refusal.text)
        except Exception:
            services.log.exception("a video could not be judged")
            yield _refusal_html("The service failed: try again.")
    finally:
        working.cancel()


async def _judge(service: Service, path: Path, name: str, stages: asyncio.Queue) -> str:
    """Return the HTML of a video's verdict; put the number of each stage into `stages` as it begins."""
    faces = await service.find_faces(path, lambda: stages.put_nowait(1))
    stages.put_nowait(2)
    verdict = await service.judge(faces, name)
    stages.put_nowait(3)
    return await service.compute(_verdict_html, service.detector, verdict)


def _verdict_html(detector: Any, verdict: Any) -> str:
    """Return the verdict and, in a hidden template element, the one-file report to download."""
    from dfutils.serving import verdict_html

    heat = verdict_html.heat(detector, verdict)
    report = escape(verdict_html.page(verdict, heat), quote=True)
    return (
        f'<section class="done">{verdict_html.fragment(verdict, heat)}'
        f'<p><button type="button" class="download">Download the report (one HTML file)</button></p>'
        f'<template data-name="verdict.html" data-page="{report}"></template></section>'
    )


def _refusal_html(text: str) -> str:
    return f'<section class="refused" role="alert"><h2>No verdict</h2><p>{escape(text)}</p></section>'


_STAGES = ("Waiting for a free place", "Decoding, and looking for faces", "Scoring", "Marking what raised the score")


def _progress_html(stage: int) -> str:
    rows = "".join(
        f'<li class="{"past" if k < stage else "now" if k == stage else "next"}">{name}</li>'
        for k, name in enumerate(_STAGES)
    )
    return f'<div class="progress" role="status"><p>{_STAGES[stage]} …</p><ol>{rows}</ol></div>'


def create(service: Service, origins: list[str] | None = None, examples: list[Path] | None = None) -> FastAPI:
    """Return the whole application: that of `service.create`, the page at `/`, and the page's upload endpoint."""
    app, page = services.create(service, origins), EndpointFilter()

    @app.post("/page/video", include_in_schema=False)
    async def upload(request: Request) -> dict[str, str]:
        return {"secret": await service.store(request)}

    app.mount("/", page)
    app.state.page, app.state.examples = page, examples or []
    return app


def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    limits: Limits | None = None,
    origins: list[str] | None = None,
    examples: list[Path] | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> None:
    """Serve a detector until the process is stopped.

    `/health` answers at once, `/predict` when the detector is loaded, the page some seconds later.

    Args:
        model: a detector's folder, published weights, or hf://owner/name.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        limits: limits on requests; None for the defaults.
        origins: web pages whose scripts may call the service.
        examples: videos of this machine that the page offers.
        report: called with a sentence at each step of the start.

    Raises:
        InputError: if the port is taken, or the detector cannot be loaded.
    """
    listening = _listen(host, port)
    asyncio.run(_serve(Service(model, limits), listening, origins, examples, report))


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
    except OSError as error:
        listening.close()
        raise InputError(f"{host}:{port} cannot be served on ({error.strerror}): choose another --port.") from None
    return listening


async def _serve(
    service: Service,
    listening: socket.socket,
    origins: list[str] | None,
    examples: list[Path] | None,
    report: Callable[[str], None],
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
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    report(f"Serving {service.model} at {address} (Ctrl-C stops it); loading …")

    async def start() -> None:
        try:
            await service.start()
            if not service.error:
                report("Videos are judged from now on; the page follows.")
                page = await asyncio.get_running_loop().run_in_executor(None, build, service, app.state.examples)
                await app.state.page.open(page)
                report("The page is ready.")
        except Exception:
            server.should_exit = True
            raise
        if service.error:
            server.should_exit = True

    starting = asyncio.create_task(start())
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        starting.cancel()
        await asyncio.gather(starting, serving, return_exceptions=True)
        await app.state.page.close()
    if service.error:
        raise InputError(service.error)
    if starting.done() and not starting.cancelled() and starting.exception():
        raise starting.exception()
