"""What serving costs: start, one warm video, four clients, and the page. Run by hand, on an idle machine:

    python -m tests.benchmarks.speed.serve --clips ../shared/clips --seconds 120

Damaged copies of the clips are sent, too: they must be judged or refused, leave no file behind, and no memory held.

The detector is a ResNeXt-50 with LSTM at 112 pixels and random weights, unless --model names one: speed does not
depend on what weights say. Beside the service stands the way of services of this family: 30 whole frames at 250 pixels
through the same network, without looking for a face.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import httpx
import numpy as np


def rss(process: int) -> float:
    """Return MiB of memory that a process and its children hold (Linux)."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            waiting += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
        total += int((re.search(r"VmRSS:\s+(\d+)", status) or [0, 0])[1])
    return total / 1024


def detector(folder: Path) -> Path:
    code = (
        "import sys; from dfutils.core.params import NetworkSettings; from dfutils.detector.network import Detector;"
        "about = {'experiment': 'bench', 'layouts': ['sample']};"
        "detector = Detector(NetworkSettings(pretrained='none'));"
        "detector.save(sys.argv[1], face_size=112, frames_per_video=10, training=about)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    return folder


def serve(model: str, folder: Path) -> tuple[subprocess.Popen, str, float]:
    """Start a service whose temporary files lie in a folder."""
    began = time.monotonic()
    words = [sys.executable, "-m", "dfutils", "serve", "--model", model, "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)})
    address = re.search(r"http://\S+", server.stdout.readline())[0]
    threading.Thread(target=server.stdout.read, daemon=True).start()
    return server, address, began


def post(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post("/predict", files={"file": ("clip.mp4", content)})


def load(address: str, clips: list[bytes], clients: int, seconds: float, process: int) -> dict:
    """Send clips from several clients as fast as they are answered."""
    statuses: collections.Counter = collections.Counter()
    waits, stop = [], time.monotonic() + seconds

    def send(number: int) -> None:
        with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
            turn = number
            while time.monotonic() < stop:
                began = time.monotonic()
                try:
                    status = post(client, clips[turn % len(clips)]).status_code
                except httpx.HTTPError as error:
                    status = type(error).__name__
                statuses[status] += 1
                waits.append(time.monotonic() - began)
                turn += 1

    threads = [threading.Thread(target=send, args=(k,)) for k in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(seconds / 3)
    early = rss(process)
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    return {
        "statuses": dict(statuses),
        "videos_per_s": statuses[200] / took,
        "median_s": median(waits),
        "slowest_s": max(waits),
        "memory_mib": {"after a third": round(early), "at the end": round(rss(process))},
    }


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """Return a clip with one byte in 2,000 changed, cut off somewhere in its second half."""
    data = np.frombuffer(whole, np.uint8).copy()
    places = rng.integers(0, len(data), max(1, len(data) // 2000))
    data[places] = rng.integers(0, 256, len(places))
    return data[: rng.integers(len(data) // 2, len(data))].tobytes()


def damage(client: httpx.Client, clips: list[bytes], count: int, process: int, folder: Path) -> dict:
    """Send damaged clips one after the other; return the statuses, memory, and what is left in the folder."""
    rng, statuses, memory = np.random.default_rng(0), collections.Counter(), {}
    for number in range(count):
        statuses[post(client, mutated(clips[number % len(clips)], rng)).status_code] += 1
        if number == count // 4:
            memory["after a quarter"] = round(rss(process))
    memory["at the end"] = round(rss(process))
    kept = [str(path) for path in folder.rglob("*") if path.is_file()]
    return {"statuses": dict(statuses), "memory_mib": memory, "files left": kept}


BARE = """
import json, sys, time
from pathlib import Path
import cv2, numpy as np, torch
from dfutils.serving import hub, verdict
detector, clips, seconds = hub.load(sys.argv[1]), [Path(c) for c in json.loads(sys.argv[2])], float(sys.argv[3])
verdict.predict_video(clips[0], detector)
one, began = [], time.monotonic()
while time.monotonic() - began < seconds:
    start = time.monotonic()
    verdict.predict_video(clips[len(one) % len(clips)], detector)
    one.append(time.monotonic() - start)
rate = len(one) / (time.monotonic() - began)
def family(path):
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted, frames = set(np.linspace(0, count - 1, 30).astype(int).tolist()), []
    for index in range(count):
        ok, frame = capture.read()
        if not ok:
            break
        if index in wanted:
            frames.append(cv2.cvtColor(cv2.resize(frame, (250, 250)), cv2.COLOR_BGR2RGB))
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None]
    with torch.inference_mode():
        detector(detector.normalise(clip))
times = []
for _ in range(4):
    start = time.monotonic()
    family(sys.argv[4])
    times.append(time.monotonic() - start)
print(json.dumps({"videos_per_s": rate, "family_s": float(np.median(times[1:]))}))
"""


def page_s(address: str) -> float | None:
    """Return seconds from a cold browser's request to a page that takes a video; None without chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times = []
        for _ in range(3):
            page = browser.new_context().new_page()  # a context has a cache of its own: cold
            began = time.monotonic()
            page.goto(address, wait_until="commit")
            page.wait_for_selector("label[for=video-file]", state="visible")
            times.append(time.monotonic() - began)
        browser.close()
    return median(times)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--clips", type=Path, required=True, help="folder of real clips")
    words.add_argument("--hd", default="s18.mp4", help="the 720p clip among them")
    words.add_argument("--seconds", type=float, default=120, help="of load")
    words.add_argument("--clients", type=int, default=4)
    words.add_argument("--damaged", type=int, default=200, help="damaged clips")
    words.add_argument("--model", default="", help="a detector's folder")
    wishes = words.parse_args()
    paths, hd = sorted(wishes.clips.glob("*.mp4")), wishes.clips / wishes.hd
    found: dict = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        model = wishes.model or str(detector(Path(folder) / "detector"))
        private = Path(folder) / "private"
        private.mkdir()
        server, address, began = serve(model, private)
        try:
            client = httpx.Client(base_url=address, timeout=120, trust_env=False)
            client.get("/health").raise_for_status()
            found["health_s"] = time.monotonic() - began
            while (first := post(client, hd.read_bytes())).status_code == 503:
                time.sleep(0.2)
            first.raise_for_status()
            found["first_verdict_s"] = time.monotonic() - began
            found["page_usable_s"] = page_s(address)
            waits = []
            for _ in range(8):
                started = time.monotonic()
                post(client, hd.read_bytes()).raise_for_status()
                waits.append(time.monotonic() - started)
            found["warm_720p_s"] = {"median": median(waits), "slowest": max(waits)}
            clips = [path.read_bytes() for path in paths]
            found["load"] = load(address, clips, wishes.clients, wishes.seconds, server.pid)
            found["damaged"] = damage(client, clips, wishes.damaged, server.pid, private)
        finally:
            server.terminate()
            server.wait(30)
        arguments = [model, json.dumps([str(path) for path in paths]), str(wishes.seconds / 2), str(hd)]
        done = subprocess.run([sys.executable, "-c", BARE, *arguments], check=True, capture_output=True, text=True)
        found["bare"] = json.loads(done.stdout.splitlines()[-1])
    found["share_of_bare"] = found["load"]["videos_per_s"] / found["bare"]["videos_per_s"]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
