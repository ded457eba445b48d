"""The web page in a real browser: a video in, a verdict out, nothing from elsewhere. Needs Debian's chromium."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dfutils.serving import triage, verdict_html
from dfutils.serving.service import Limits
from tests.support.pages import loads
from tests.support.served import serving, small_detector
from tests.support.verdicts import made, maps, two_people, window

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM:
    pytest.skip("chromium is not installed: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def served(tmp_path_factory, clips_dir):
    folder = small_detector(tmp_path_factory.mktemp("model") / "detector")
    with serving(folder, Limits(decoders=1, upload_bytes=4 * 2**20), [clips_dir / "d19.mp4"]) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"],
        )
        yield browser
        browser.close()


def go(page, served) -> None:
    page.goto(served.address)
    page.wait_for_selector(".scripted #video-file", state="attached")


@pytest.fixture
def page(served, browser):
    """A page whose every request, message and error is noted; only this machine may be asked for anything."""
    context = browser.new_context(viewport={"width": 1000, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("websocket", lambda socket: page.asked.append(socket.url))
    page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.said.append(str(error)))
    go(page, served)
    yield page
    outside = [url for url in page.asked if not url.startswith((served.address, "data:", "blob:"))]
    assert outside == []
    assert page.said == []
    context.close()
    assert served.files() == []


def test_a_video_gets_a_verdict_that_can_be_looked_into(page, clips_dir, tmp_path):
    page.set_input_files("#video-file", clips_dir / "d18.mp4")
    page.wait_for_selector("#result .done", timeout=120_000)
    text = page.inner_text("#result")
    assert "to this detector" in text
    assert "knows nothing of real videos" in text
    assert "480 × 480 pixels" in text
    assert "d18.mp4" in text
    assert page.locator("#result .chart label").count() == 8  # two windows of four faces, of which one is shown
    points = page.locator("#result .chart label:visible")
    assert points.count() == 4
    for k in (0, 3):
        points.nth(k).click()
        shown = page.locator("#result .stage > div:visible")
        assert shown.count() == 1
        assert shown.inner_text().strip() == points.nth(k).get_attribute("title")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#result .stage > div:visible").inner_text().strip() == points.nth(2).get_attribute("title")
    with page.expect_download() as download:
        page.click("#result .download")
    download.value.save_as(tmp_path / "verdict.html")
    assert loads(tmp_path / "verdict.html") == []
    assert "knows nothing of real videos" in (tmp_path / "verdict.html").read_text(encoding="utf-8")


def test_an_example_by_keyboard_alone(page):
    page.focus(".examples button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result .done", timeout=120_000)
    assert "d19.mp4" in page.inner_text("#result")


def test_a_recording_is_judged(page):
    page.click(".record")
    page.wait_for_selector(".camera:visible")
    page.wait_for_timeout(1500)
    page.click(".record")
    page.wait_for_selector("#result .done, #result .refused", timeout=120_000)
    assert "No verdict: no face was found" in page.inner_text("#result")  # the pretended camera shows none


def test_what_cannot_be_judged_is_said_and_harms_nothing(page, tmp_path):
    path = tmp_path / "<img src=x onerror=document.title=1>.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(3000))
    page.set_input_files("#video-file", path)
    page.wait_for_selector("#result .refused", timeout=120_000)
    assert "damaged" in page.inner_text("#result")
    (tmp_path / "text.mp4").write_text("text")
    page.set_input_files("#video-file", tmp_path / "text.mp4")
    page.wait_for_selector(".sending:has-text('is text')")
    page.said.clear()  # the browser notes the answer 415 as an error
    (tmp_path / "large.mp4").write_bytes(bytes(5 * 2**20))
    page.set_input_files("#video-file", tmp_path / "large.mp4")
    page.wait_for_selector(".sending:has-text('at most 4 MiB')")


def test_a_name_is_shown_and_never_run(page, clips_dir, tmp_path):
    name = "<img src=x onerror=alert(1)>${document.title=1}{{x}}.mp4"
    shutil.copyfile(clips_dir / "d18.mp4", tmp_path / name)
    page.on("dialog", lambda dialog: page.said.append("a dialog"))
    page.set_input_files("#video-file", tmp_path / name)
    page.wait_for_selector("#result .done", timeout=120_000)
    assert name in page.inner_text("#result")
    assert page.title() == "Real or fake?"


def test_without_scripts_the_form_is_sent_as_it_is(served, browser, clips_dir, tmp_path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.address)
    page.set_input_files("#video-file", clips_dir / "d18.mp4")
    page.click("text=Judge it")
    page.wait_for_selector("#result .verdict", timeout=120_000)
    assert "480 × 480 pixels" in page.inner_text("#result")
    points = page.locator("#result .panel:visible .chart label")
    assert len({point.bounding_box()["x"] for point in points.all()}) == points.count() == 4  # the style is applied
    points.nth(3).click()
    assert page.locator("#result .stage > div:visible").inner_text().strip() == points.nth(3).get_attribute("title")
    (tmp_path / "text.mp4").write_text("text")
    page.set_input_files("#video-file", tmp_path / "text.mp4")
    page.click("text=Judge it")
    page.wait_for_selector("#result .refused")
    assert "is text" in page.inner_text("#result")
    page.click(".examples button")
    page.wait_for_selector("#result .verdict", timeout=120_000)
    assert "d19.mp4" in page.inner_text("#result")
    assert not page.locator(".record").is_visible()
    context.close()


def test_a_connection_that_breaks_is_taken_up_again(page, served, clips_dir):
    asked = []

    def broken_once(route) -> None:
        asked.append(route.request.url)
        route.abort("connectionreset") if len(asked) == 1 else route.continue_()

    page.route("**/events/*", broken_once)
    page.set_input_files("#video-file", clips_dir / "d18.mp4")
    page.wait_for_selector("#result .done, #result .refused", timeout=120_000)
    assert "to this detector" in page.inner_text("#result")
    assert len(asked) == 2
    page.said.clear()  # the browser notes the broken connection


def test_a_foreign_page_cannot_send_a_file(page, served):
    """By a form or by a script; what the service answers, a foreign script cannot read."""
    foreign = page.context.new_page()
    foreign.route("http://foreign.example/", lambda route: route.fulfill(body="<h1>x</h1>", content_type="text/html"))
    foreign.goto("http://foreign.example/")
    statuses = []
    foreign.on("response", lambda answer: statuses.append(answer.status))
    for path in ("/", "/predict"):
        send = "([address]) => {const f = new FormData(); f.append('file', new Blob(['x']), 'a.mp4');" + (
            "return fetch(address, {method: 'POST', mode: 'no-cors', body: f}).then(() => 1, () => 1)}"
        )
        foreign.evaluate(send, [served.address + path])
    form = (
        f'<form method=post enctype=multipart/form-data action="{served.address}/"><input name=file type=file></form>'
    )
    foreign.evaluate("html => { document.body.innerHTML = html; document.forms[0].submit(); }", form)
    foreign.wait_for_load_state()
    foreign.wait_for_timeout(500)
    assert set(statuses) == {403}  # the form's; the browser itself may refuse the scripts
    foreign.close()


@contextmanager
def notebook(framed: str) -> Iterator[str]:
    """Serve a page that shows another one in a frame, on a port of its own; yield its address."""
    body = f'<iframe src="{framed}" width=900 height=700></iframe>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_it_works_in_a_frame_of_a_notebook_below_a_prefix(browser, tmp_path_factory, clips_dir):
    folder = small_detector(tmp_path_factory.mktemp("framed") / "detector")
    with serving(folder, Limits(decoders=1), [], root="/a/b") as found, notebook(f"{found.address}/a/b") as address:
        page = browser.new_context().new_page()
        page.goto(address)
        frame = page.frame_locator("iframe")
        frame.locator("#video-file").set_input_files(clips_dir / "d18.mp4")
        frame.locator("#result .done").wait_for(timeout=120_000)
        assert "to this detector" in frame.locator("#result").inner_text()
        page.context.close()


def light(page, place: str, what: str) -> int:
    """How light a colour is, 0 to 765."""
    color = page.evaluate(f"getComputedStyle(document.querySelector('{place}')).{what}")
    return sum(int(float(part)) for part in color.strip("rgba()").split(",")[:3])


@contextmanager
def example_judged(served, browser, width: int, scheme: str) -> Iterator:
    """A page of that width and colour scheme with the verdict on the example."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    go(page, served)
    page.click(".examples button")
    page.wait_for_selector("#result .done", timeout=120_000)
    yield page
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark")])
def test_it_fits_a_phone_and_a_dark_room(served, browser, width, scheme):
    with example_judged(served, browser, width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (light(page, "body", "backgroundColor") > 400) == (scheme == "light")
        for place in (".verdict table td", "#result .download", "#given h1", "#given .small"):
            assert abs(light(page, place, "color") - light(page, "body", "backgroundColor")) > 350, place


def test_screens(served, browser, request):
    """Only with --basetemp kept: pictures to look at."""
    folder = Path(request.config.getoption("basetemp") or "")
    if not folder.name:
        pytest.skip("pictures are only made where --basetemp says where to")
    for name, width, scheme in (("light", 1000, "light"), ("dark", 1000, "dark"), ("phone", 390, "dark")):
        with example_judged(served, browser, width, scheme) as page:
            page.wait_for_timeout(1000)
            page.screenshot(path=folder / f"page_{name}.png", full_page=True)
    page = browser.new_context(java_script_enabled=False, viewport={"width": 1000, "height": 900}).new_page()
    page.goto(served.address)
    page.screenshot(path=folder / "page_no_script.png", full_page=True)
    page.context.close()


def test_the_triage_page_is_filtered_by_answer_and_text_and_fits_a_phone(browser, tmp_path):
    """From a file, without a network; without scripts it lists everything."""
    with triage.opened(tmp_path / "d") as folder:
        for name, score in (("anna.mp4", 0.9), ("ben.mp4", 0.1), ("anna again.mp4", 0.5)):
            folder.add(tmp_path / name, made(name, [[window(0, score)]]), {})
        folder.add(tmp_path / "tree.mp4", made("tree.mp4"), {})
    address = (tmp_path / "d" / "index.html").as_uri()
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 360, "height": 800}, color_scheme=scheme, offline=True)
        page, said = context.new_page(), []
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto(address)
        shown = page.locator("li[data-answer]:visible a")
        assert shown.count() == 4
        page.click("button[value='cannot tell']")
        assert [Path(text).name for text in shown.all_inner_texts()] == ["anna again.mp4"]
        assert page.get_attribute("button[value='cannot tell']", "aria-pressed") == "true"
        page.click("button[value='']")
        page.fill("input[type=search]", "ANNA")
        assert [Path(text).name for text in shown.all_inner_texts()] == ["anna.mp4", "anna again.mp4"]
        page.fill("input[type=search]", "no face")
        assert [Path(text).name for text in shown.all_inner_texts()] == ["tree.mp4"]
        assert "1 of 4 shown" in page.inner_text("[role=status]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert abs(light(page, ".answer small", "color") - light(page, ".triage", "backgroundColor")) > 300
        page.fill("input[type=search]", "")
        shown.first.click()
        page.wait_for_selector("text=Looks fake to this detector")
        assert said == []
        context.close()
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(address)
    assert plain.locator("li[data-answer]:visible").count() == 4 and not plain.locator("form").is_visible()
    plain.context.close()


def test_a_click_or_a_key_in_the_timeline_shows_the_face_at_that_moment(browser, tmp_path):
    """In a report of one file, without scripts."""
    verdict_html.write(two_people(), tmp_path / "two.html", {0: maps(4), 3: maps(4)})
    context = browser.new_context(java_script_enabled=False, offline=True, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "two.html").as_uri())
    large, panel = page.locator(".stage > div:visible"), page.locator(".panel:visible h3")
    assert panel.inner_text() == "Score over time: Person 2, 5.0 to 10.0 s, 0.90"
    tracks = page.locator(".tracks").bounding_box()

    def click(share: float, lane: int) -> str:
        page.mouse.click(tracks["x"] + share * tracks["width"], tracks["y"] + tracks["height"] * (lane + 0.5) / 2)
        assert large.count() == 1
        return large.inner_text().strip()

    assert click(0.01, 0) == "frame 0, 0.00 s: 0.10"
    assert panel.inner_text() == "Score over time: Person 1, 0.0 to 5.0 s, 0.10"
    assert page.locator(".panel:visible .heat").count() == 8
    assert click(0.74, 0) == "frame 3, 15.00 s: 0.40"
    assert page.locator(".panel:visible .heat").count() == 0
    assert "most suspicious stretches only" in page.inner_text(".panel:visible .soft")
    page.keyboard.press("ArrowRight")
    assert large.inner_text().strip() == "frame 0, 5.00 s: 0.90"
    assert panel.inner_text().startswith("Score over time: Person 2")
    page.click(".who label:first-child")
    assert panel.inner_text() == "Score over time: Person 1, 10.0 to 15.0 s, 0.40"
    assert page.locator("table.stretches").count() == 1
    page.click("summary")
    assert page.locator("table.stretches tbody tr:visible").count() == 5
    context.close()
