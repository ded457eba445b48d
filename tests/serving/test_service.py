"""The service over HTTP: what it answers, and what it does with whatever else is sent."""

import io
import re
import socket
import subprocess
import sys
import threading
import time
import wave
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

from dfutils.faces import video
from dfutils.serving import verdict
from dfutils.serving.hub import load
from dfutils.serving.service import Limits
from tests.support.served import Served, serving
from tests.support.videos import reencode

LIMITS = Limits(
    upload_bytes=8 * 2**20,
    upload_seconds=20,
    idle_seconds=4,
    duration_seconds=30,
    decode_seconds=40,
    decoders=1,
    queue=1,
    unfollowed_seconds=5,
)


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder, LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def clip(clips_dir) -> bytes:
    return (clips_dir / "d18.mp4").read_bytes()


@pytest.fixture
def calm(served):
    """Nothing of a test may stay: no file, no place, and the service answers."""
    yield served
    for _ in range(100):
        if not served.files() and served.inner._active == 0:
            break
        time.sleep(0.1)
    assert served.files() == []
    assert served.inner._active == 0
    assert served.client.get("/health").json()["status"] == "ok"


def test_a_video_is_answered_as_the_command_would(calm, clip, clips_dir, folder):
    answer = calm.post(clip)
    assert answer.status_code == 200
    found, own = answer.json(), verdict.predict_video(clips_dir / "d18.mp4", load(folder))
    assert found["probability_fake"] == pytest.approx(own.probability_fake, abs=1e-6)
    assert found["prediction"] == own.label.upper()
    assert found["raw_class"] == int(own.label == "fake")
    assert found["confidence"] == pytest.approx(own.confidence, abs=1e-6)
    assert (found["status"], found["model"]["name"], len(found["frames"])) == ("ok", "small", 4)
    assert "knows nothing of real videos" in found["warnings"][0]


def test_no_face_is_no_verdict_and_no_mistake_of_the_sender(calm, tmp_path):
    video.write(tmp_path / "blank.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 12)
    answer = calm.post((tmp_path / "blank.mp4").read_bytes())
    assert answer.status_code == 200
    found = answer.json()
    assert (found["prediction"], found["confidence"], found["raw_class"], found["status"]) == (
        *(None,) * 3,
        "no_face",
    )
    assert found["reason"]


def test_health_and_offline_docs(calm):
    assert calm.client.get("/health").json()["model"]["name"] == "small"
    for path in ("/health", "/", "/predict"):
        head, get = calm.client.head(path), calm.client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
    docs = calm.client.get("/docs").text
    assert "//cdn" not in docs
    assert "https://" not in docs
    schema = calm.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/health", "/predict"}
    assert {"prediction", "confidence", "raw_class"} <= set(schema["components"]["schemas"]["Answer"]["properties"])


def refused(answer, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert says in detail, detail
    assert detail.endswith(".")
    assert "/tmp" not in detail
    assert "Traceback" not in detail


def png() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(100)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10**7))
    return stream.getvalue()


def sound() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "is empty"),
        (b"not a video " * 50, 415, "is text, not a video"),
        (png(), 422, "is a picture that cannot be decoded"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(100), 415, "is a HEIC picture, which cannot be read here: save it as"),
        (zipped(), 415, "is an archive"),
        (sound(), 415, "is audio only"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", 415, "is a playlist"),
        (bytes(5000), 415, "no video of a known kind"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(3000), 422, "cut short or is damaged"),
        (b"\x1aE\xdf\xa3" + bytes(range(256)) * 20, 422, "."),
        (b"RIFF\x00\x10\x00\x00AVI " + bytes(3000), 422, "."),
    ],
    ids=["empty", "text", "image", "heic", "zip", "sound", "playlist", "zeros", "mp4", "mkv", "avi"],
)
def test_what_is_no_video_is_refused_in_a_sentence(calm, content, status, says):
    refused(calm.post(content), status, says)


def test_no_file_two_files_and_other_requests(calm, clip):
    refused(calm.client.post("/predict", data={"x": "y"}), 400, "multipart/form-data")
    refused(calm.client.post("/predict", files={"x": (None, "y")}), 400, "There is no file")
    two = [("file", ("a.mp4", clip)), ("file", ("b.mp4", clip))]
    refused(calm.client.post("/predict", files=two), 400, "several files")
    refused(calm.client.post("/predict", content=clip, headers={"content-type": "video/mp4"}), 400, "multipart")
    broken = {"content-type": "multipart/form-data; boundary=x"}
    refused(calm.client.post("/predict", content=b"--y\r\n\r\nz", headers=broken), 400, "multipart")
    many = [("field", (None, "x"))] * 60
    refused(calm.client.post("/predict", files=many), 400, "too many parts")
    refused(calm.client.get("/predict"), 405, "Send a video by POST")
    assert calm.client.get("/predict").headers["allow"] == "POST"


def test_sound_without_pictures_in_a_video_container(calm, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    refused(calm.post((tmp_path / "sound.mp4").read_bytes()), 422, "only audio")


def test_a_playable_beginning_is_scored_and_says_so(calm, clips_dir, tmp_path):
    whole = reencode(clips_dir / "d18.mp4", tmp_path / "whole.mp4", 60, movflags="faststart")
    found = calm.post(whole[: int(0.7 * len(whole))]).json()
    assert found["status"] == "ok"
    assert any("cut short" in warning for warning in found["warnings"])
    refused(calm.post(reencode(clips_dir / "d18.mp4", tmp_path / "plain.mp4", 60)[:-3000]), 422, "cut short")


def test_a_long_video_is_refused(calm, tmp_path):
    video.write(tmp_path / "long.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 40, fps=1)
    refused(calm.post((tmp_path / "long.mp4").read_bytes()), 422, "at most 30 s")


def test_a_frame_of_sixteen_thousand_pixels_is_refused(calm, tmp_path):
    with av.open(str(tmp_path / "wide.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16000, 2304, "yuvj420p"
        frame = av.VideoFrame(16000, 2304, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(calm.post((tmp_path / "wide.avi").read_bytes()), 422, "16000x2304")


def speak(served: Served, head: str, body: bytes = b"", wait: float = 30) -> str:
    """Send raw bytes, and return what comes back until the connection ends or the wait is over."""
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except TimeoutError:
            pass
    return answer.decode("utf-8", "replace")


HEAD = "POST /predict HTTP/1.1\nHost: x\nContent-Type: multipart/form-data; boundary=b\nContent-Length: {}\n\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n\x00\x00\x00\x18ftypmp42'


def test_five_gigabytes_announced_are_refused_at_once(calm):
    answer = speak(calm, HEAD.format(5 * 10**9), b"0123456789")
    assert " 413 " in answer.splitlines()[0]
    assert "too large" in answer
    chunked = HEAD.replace("Content-Length: {}", "Transfer-Encoding: chunked")
    body = PART + bytes(9 * 2**20)
    assert " 413 " in speak(calm, chunked, f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n").splitlines()[0]


def test_a_slow_upload_is_given_up(calm):
    assert " 408 " in speak(calm, HEAD.format(5000), PART).splitlines()[0]


def test_a_sender_who_leaves_leaves_nothing(calm, clip):
    host, port = calm.address.removeprefix("http://").split(":")
    end = b"\r\n--b--\r\n"
    for sent in (PART + clip[:100_000], PART[:-12] + clip + end):
        with socket.create_connection((host, int(port))) as connection:
            length = len(PART) - 12 + len(clip) + len(end)
            connection.sendall(HEAD.format(length).replace("\n", "\r\n").encode() + sent)
            time.sleep(0.2)


def test_when_all_places_are_taken_the_next_is_told_to_come_back(calm, clip):
    host, port = calm.address.removeprefix("http://").split(":")
    waiting = [socket.create_connection((host, int(port))) for _ in range(2)]
    try:
        for connection in waiting:
            connection.sendall(HEAD.format(5000).replace("\n", "\r\n").encode() + PART)
        time.sleep(0.5)
        answer = calm.post(clip)
        refused(answer, 429, "busy")
        assert int(answer.headers["retry-after"]) > 0
    finally:
        for connection in waiting:
            connection.close()


def test_a_second_request_is_answered_while_the_first_is_killed(calm, clip):
    calm.inner.decoders.seconds = 0.05
    answers = []
    first = threading.Thread(target=lambda: answers.append(calm.post(clip)))
    first.start()
    while not answers and not calm.inner.decoders.places.locked():  # until it is at work
        time.sleep(0.002)
    calm.inner.decoders.seconds = LIMITS.decode_seconds
    second = Served(calm.address, calm.inner).post(clip)
    first.join()
    refused(answers[0], 422, "not decoded within")
    assert second.json()["status"] == "ok"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "<script>alert(1)</script>.mp4", "a\x00b\r\nc.mp4", "x" * 5000, "", "C:\\a.mp4", "ü✓"]
)
def test_a_name_is_only_a_name(calm, clip, name):
    quoted = name.encode().replace(b'"', b"%22").replace(b"\r\n", b"%0D%0A")
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + quoted + b'"\r\n\r\n' + clip
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = calm.client.post("/predict", content=body + b"\r\n--b--\r\n", headers=headers)
    assert answer.status_code == (400 if len(name) > 1000 else 200)
    assert not Path("/etc/passwd.mp4").exists()


def test_no_other_page_may_call_unless_it_is_named(calm):
    for path in ("/health", "/", "/config"):
        answer = calm.client.get(path, headers={"Origin": "https://example.org"})
        assert not [name for name in answer.headers if name.startswith("access-control-allow-origin")]


def test_the_endpoints_of_earlier_versions_do_not_exist(calm):
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/proxy=https://example.org", "/gradio_api/stream/x/y/z"):
        assert calm.client.get(path).status_code == 404
    for path in ("/gradio_api/upload", "/gradio_api/run/predict", "/gradio_api/component_server", "/login"):
        assert calm.client.post(path, json={}).status_code == 404
    for path in (
        "/page/video",
        "/gradio_api/queue/join",
        "/config",
        "/page/../verdict.css",
        "/page/%2e%2e/verdict.css",
    ):
        assert calm.client.get(path).status_code == 404


def test_the_page_allows_no_script_and_no_style_but_its_own(calm):
    answer = calm.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy.partition("frame-anc")[0]
    assert calm.client.get("/").headers["content-security-policy"] != policy  # a nonce is used once
    assert "https://" not in answer.text and "//" not in answer.text and "style=" not in answer.text
    assert "Detector <b>small</b>" in answer.text and "knows nothing of real videos" in answer.text


JSON, HTML = {"accept": "application/json"}, {"accept": "text/html,*/*"}


def post(served: Served, content: bytes, headers: dict[str, str], path: str = "/"):
    return served.client.post(path, files={"file": ("a.mp4", content)}, headers=headers)


def follow(served: Served, address: str, **headers: str) -> Iterator[tuple[str, str, int]]:
    """Yield event, data and number of a stream's events."""
    event: dict[str, str] = {}
    with served.client.stream("GET", address, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                event[name] = event[name] + "\n" + value if name in event else value
            elif event.keys() >= {"event", "data", "id"}:
                yield event["event"], event["data"], int(event["id"])
                event = {}


def test_a_file_of_the_page_is_followed_to_its_verdict_and_deleted(calm, clip):
    answer = post(calm, clip, JSON)
    assert answer.status_code == 202
    events = list(follow(calm, answer.json()["events"]))
    shares = [float(data) for event, data, _ in events if event == "share"]
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)
    stages = [(event, data) for event, data, _ in events[:-1] if event != "share"]
    assert stages == [("stage", str(k)) for k in range(4)]
    assert events[-1][0] == "done" and "to this detector" in events[-1][1] and "<script" not in events[-1][1]
    assert calm.files() == []
    refused(post(calm, b"text", JSON), 415, "text")
    refused(calm.client.get("/events/of-nobody"), 404, "no longer here")
    damaged = post(calm, b"\x00\x00\x00\x18ftypmp42" + bytes(3000), JSON)
    assert list(follow(calm, damaged.json()["events"]))[-1][0] == "refused"
    assert calm.client.post("/?example=7", headers=JSON).status_code == 404


def test_a_stream_that_was_cut_is_taken_up_again_where_it_was(calm, clip):
    address = post(calm, clip, JSON).json()["events"]
    cut = follow(calm, address)
    seen = [next(cut), next(cut)]
    cut.close()
    rest = list(follow(calm, address, **{"last-event-id": "1"}))
    numbers = [number for *_, number in seen + rest]
    assert numbers == list(range(len(numbers))) and len(numbers) >= 5
    assert rest[-1][0] == "done"
    assert list(follow(calm, address, **{"last-event-id": str(numbers[-2])})) == rest[-1:]
    assert list(follow(calm, address, **{"last-event-id": "99"})) == []
    assert calm.client.get(address, headers={"last-event-id": "x"}).status_code == 422


def test_two_tabs_of_one_visitor_each_get_their_own_verdict(calm, clip, tmp_path):
    video.write(tmp_path / "blank.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 12)

    def tab(content: bytes) -> str:
        return [*follow(calm, post(calm, content, JSON).json()["events"])][-1][1]

    with ThreadPoolExecutor(2) as tabs:
        first, second = tabs.map(tab, [clip, (tmp_path / "blank.mp4").read_bytes()])
    assert "to this detector" in first and "no face was found" in second


def test_a_video_that_nobody_follows_is_given_up(calm, clip):
    address = post(calm, clip, JSON).json()["events"]
    time.sleep(LIMITS.unfollowed_seconds + 1)
    refused(calm.client.get(address), 404, "no longer here")


def test_without_scripts_the_form_is_answered_with_the_verdict(calm, clip):
    answer = post(calm, clip, HTML)
    assert answer.status_code == 200 and "to this detector" in answer.text
    nonce = re.search(r"'nonce-([\w-]+)'", answer.headers["content-security-policy"])[1]
    assert f'<style nonce="{nonce}">' in answer.text and "style=" not in answer.text
    for content, status, says in (
        (b"", 400, "is empty"),
        (b"text", 415, "is text"),
        (bytes(9 * 2**20), 413, "too large"),
    ):
        answer = post(calm, content, HTML)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert says in answer.text and "<form" in answer.text
    nothing = {"file": ("", b"", "application/octet-stream")}  # what a browser sends if no file was chosen
    assert "There is no file" in calm.client.post("/", files=nothing, headers=HTML).text


FOREIGN = [
    {"origin": "https://example.org"},
    {"origin": "null"},
    {"origin": "https://example.org", "sec-fetch-site": "cross-site"},
    {"origin": "http://localhost:8888", "sec-fetch-site": "same-site"},
    {"origin": "http://evil.example:7860", "host": "evil.example:7860"},  # a name that was pointed at this machine
    {"origin": "http://[", "host": "["},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/predict", "/?example=0"])
def test_a_foreign_page_cannot_send_a_file(calm, clip, headers, path):
    refused(post(calm, clip, headers, path), 403, "--allow-origin")


def test_the_services_own_page_can_behind_a_proxy_too(calm):
    port = calm.address.rpartition(":")[2]
    own = [
        {"origin": calm.address},
        {"origin": f"http://localhost:{port}", "host": f"localhost:{port}", "sec-fetch-site": "same-origin"},
        {"origin": "https://public.example", "sec-fetch-site": "same-origin"},
    ]
    for headers in own:
        refused(post(calm, b"text", headers), 415, "is text")


def test_a_gif_is_taken_as_the_command_takes_it(calm, tmp_path):
    with av.open(str(tmp_path / "a.gif"), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for k in range(8):
            grey = np.full((48, 64, 3), 20 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format="rgb8")))
        container.mux(stream.encode())
    answer = calm.post((tmp_path / "a.gif").read_bytes(), "a.gif")
    assert (answer.status_code, answer.json()["status"]) == (200, "no_face")


@pytest.mark.parametrize("removed", [True, False], ids=["prefix removed", "prefix kept"])
@pytest.mark.parametrize("told", ["by the option", "by the proxy"])
def test_below_a_prefix_everything_stays_below_it(folder, clip, removed, told):
    with serving(folder, LIMITS, root="/x/y" if told == "by the option" else "") as found:
        headers = {} if told == "by the option" else {"x-forwarded-prefix": "/x/y"}

        def get(path: str) -> httpx.Response:
            assert path.startswith("/x/y/")
            return found.client.get(path.removeprefix("/x/y") if removed else path, headers=headers)

        page, docs = get("/x/y/").text, get("/x/y/docs").text
        linked = re.findall(r'(?:src|href|action)="([^"]+)"', page + docs) + re.findall(r"url: '([^']+)'", docs)
        linked = [address for address in linked if not address.startswith("data:")]
        assert len(linked) >= 6
        for address in linked:
            assert get(address).status_code == 200, address
        assert get("/x/y/openapi.json").json()["servers"] == [{"url": "/x/y"}]
        sent = post(found, clip, JSON | headers, "/" if removed else "/x/y/").json()["events"]
        assert [*follow(found, sent if removed else f"/x/y/{sent}", **headers)][-1][0] == "done"
        if not removed:
            assert found.client.get("/x/y", headers=headers).headers["location"] == "/x/y/"


def test_the_command_says_what_is_wrong(tmp_path, folder):
    command = [sys.executable, "-m", "dfutils", "serve", "--model"]
    done = subprocess.run([*command, str(tmp_path / "no")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "There is no detector" in done.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [*command, str(folder), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose another --port" in done.stderr
    words = [*command, str(folder), "--root-path", "x y"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "is no path prefix" in done.stderr) == (2, True)
    done = subprocess.run([*command, str(tmp_path), "--port", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is no detector" in done.stderr
    assert "Traceback" not in done.stderr
