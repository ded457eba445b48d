"""Tests of `fetch_kaggle` and `provide` with the real Kaggle client and a server that answers as Kaggle does."""

import builtins
import errno
import importlib
import io
import json
import shutil
import socket
import subprocess
import sys
from base64 import b64encode
from collections import namedtuple
from pathlib import Path

import pytest

from dfutils.core.errors import InputError
from dfutils.data import kaggle as data_kaggle
from dfutils.data.kaggle import fetch_kaggle
from tests.support.kaggle_server import CONTENT, KaggleServer, alone


def fails(match: str, slug: str, into: Path, **options: object) -> str:
    """The download ends in one sentence, which is returned."""
    with pytest.raises(InputError, match=match) as caught:
        fetch_kaggle(slug, into, **options)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


# Downloads that succeed


def test_public_data_comes_by_redirect_without_credentials(kaggle: KaggleServer, tmp_path: Path) -> None:
    path = fetch_kaggle("me/faces", tmp_path / "in")
    assert path == tmp_path / "in" / "faces.zip" and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["faces.zip"]
    assert kaggle.lines("") == [
        "POST /v1/datasets.DatasetApiService/DownloadDataset",
        "GET /store/faces.zip?signature=1",
    ]
    assert kaggle.requests[0].body == {"ownerSlug": "me", "datasetSlug": "faces"}


def test_credentials_are_not_sent_where_none_are_needed(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "good-token")
    (tmp_path / "home/.kaggle").mkdir()
    (tmp_path / "home/.kaggle/kaggle.json").write_text('{"username": "me", "key": "secret"}')
    fetch_kaggle("me/faces", tmp_path / "in")
    assert not [request for request in kaggle.requests if "Authorization" in request.headers]


def test_a_version_can_be_asked_for(kaggle: KaggleServer, tmp_path: Path) -> None:
    fetch_kaggle("me/faces/3", tmp_path)
    assert kaggle.requests[0].body["datasetVersionNumber"] == 3


def test_what_is_there_is_not_downloaded_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    path = fetch_kaggle("me/faces", tmp_path)
    written = path.stat().st_mtime_ns
    assert fetch_kaggle("me/faces", tmp_path) == path
    assert path.stat().st_mtime_ns == written and path.read_bytes() == CONTENT


def test_the_bar_goes_to_stderr_and_the_client_prints_nothing(
    kaggle: KaggleServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stdin = sys.stdin
    fetch_kaggle("me/faces", tmp_path)
    out, err = capfd.readouterr()
    assert out == "" and "100%" in err and "B/s" in err
    fails("API token", "me/private", tmp_path)
    assert capfd.readouterr() == ("", "") and sys.stdin is stdin


# Interruptions


def ranges(kaggle: KaggleServer) -> list[str]:
    return [request.headers["Range"] for request in kaggle.requests if "Range" in request.headers]


def test_an_interrupted_download_is_resumed(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.cuts = [2_500_000, len(CONTENT), 600_000]  # before each part, the client asks for the whole and leaves it
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT
    # 2 MiB had come; the next 600,000 bytes are less than a piece, so they come twice.
    assert ranges(kaggle) == ["bytes=2097152-", "bytes=2097152-"]


def test_a_second_call_resumes_the_download(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_kaggle, "WAITS", ())
    kaggle.cuts = [2_500_000]
    text = fails("broke off after 2.10MB", "me/faces", tmp_path)
    assert "running again resumes the download" in text
    assert (tmp_path / "faces.zip").stat().st_size == 2 << 20
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT
    assert ranges(kaggle) == ["bytes=2097152-"]


def test_a_connection_that_stands_still_counts_as_broken(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_kaggle, "TIMEOUT", (5, 0.2))
    kaggle.cuts, kaggle.stall = [2_500_000], 3.0
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT
    assert ranges(kaggle) == ["bytes=2097152-"]


def test_parts_of_two_versions_are_never_joined(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_kaggle, "WAITS", ())
    kaggle.cuts = [2_500_000]
    fails("broke off", "me/faces", tmp_path)
    kaggle.files["faces"], kaggle.etag = CONTENT[::-1], '"v2"'
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT[::-1]


def test_a_store_without_ranges_is_asked_for_the_whole(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.ranges, kaggle.cuts = False, [2_500_000]
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT


def test_the_text_of_an_error_is_not_taken_for_data(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_kaggle, "WAITS", ())
    kaggle.cuts = [2_500_000]
    fails("broke off", "me/faces", tmp_path)
    # The store refuses the part and then the whole: the client writes the answer's text where the data was.
    kaggle.store_refuses = [0, 503, 503]
    fails("another file than it announced", "me/faces", tmp_path)
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT


def test_a_server_busy_in_the_middle_is_asked_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.cuts, kaggle.store_refuses = [2_500_000], [0, 503]
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT


# Refusals


def test_a_wrong_or_private_dataset_asks_for_credentials(kaggle: KaggleServer, tmp_path: Path) -> None:
    text = fails("shows no dataset me/nothing to a visitor: check the name", "me/nothing", tmp_path)
    assert "https://www.kaggle.com/settings" in text and "KAGGLE_API_TOKEN" in text


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_without_credentials_says_how_to_get_them(kaggle: KaggleServer, tmp_path: Path, status: int) -> None:
    kaggle.refuse = status
    fails("make an API token at", "me/faces", tmp_path)


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (401, r"does not take the credentials found .*make an API token"),
        (403, r"does not give the dataset me/faces to your account .*https://www\.kaggle\.com/datasets/me/faces"),
        (404, r"has no dataset me/faces \(HTTP 404\): check its name"),
        (429, r"run again in 90 seconds"),
        (500, r"HTTP 500\): run again later"),
    ],
)
def test_refusals_with_credentials(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, match: str
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    kaggle.refuse, kaggle.retry_after = status, "90"
    fails(match, "me/faces", tmp_path)
    assert not list(tmp_path.glob("*.zip*"))


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (401, "does not take the credentials found"),
        (403, r"wants the rules of dfdc accepted: do so at https://www\.kaggle\.com/competitions/dfdc/rules"),
        (404, "has no competition dfdc"),
        (429, "run again in a few minutes"),
    ],
)
def test_refusals_of_a_competition(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, match: str
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "good-token")
    kaggle.refuse = status
    fails(match, "dfdc", tmp_path, competition=True)


def test_a_competition_needs_credentials(kaggle: KaggleServer, tmp_path: Path) -> None:
    fails("competition dfdc only to people it knows: make an API token", "dfdc", tmp_path, competition=True)
    assert kaggle.lines("Download") == []


# Credentials in each of the client's ways

BASIC = "Basic " + b64encode(b"me:secret").decode()
BEARER = "Bearer good-token"
LEGACY = json.dumps({"username": "me", "key": "secret"})
OAUTH = json.dumps(
    {
        "refresh_token": "more",
        "access_token": "good-token",
        "access_token_expiration": "2999-01-01T00:00:00+00:00",
        "username": "me",
        "scopes": [],
    }
)  # what `kaggle auth login` leaves


@pytest.mark.parametrize(
    ("variables", "files", "sent"),
    [
        ({"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "secret"}, {}, BASIC),
        ({"KAGGLE_API_TOKEN": "good-token"}, {}, BEARER),
        ({"KAGGLE_API_TOKEN": "{home}/token"}, {"token": "good-token"}, BEARER),
        ({}, {".kaggle/access_token": "good-token\n"}, BEARER),
        ({}, {".kaggle/kaggle.json": LEGACY}, BASIC),
        ({}, {".config/kaggle/kaggle.json": LEGACY}, BASIC),
        ({"KAGGLE_CONFIG_DIR": "{home}/own"}, {"own/kaggle.json": LEGACY}, BASIC),
        ({}, {".kaggle/credentials.json": OAUTH}, BEARER),
    ],
)
def test_credentials_are_found_and_only_kaggle_gets_them(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict, files: dict, sent: str
) -> None:
    home = tmp_path / "home"
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=home))
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    kaggle.refuse, kaggle.refuse_known = 403, False
    assert fetch_kaggle("me/faces", tmp_path / "in").read_bytes() == CONTENT
    assert fetch_kaggle("dfdc", tmp_path / "in", competition=True).name == "dfdc.zip"
    asked = [request.headers.get("Authorization") for request in kaggle.requests if "Download" in request.line]
    assert asked == [None, sent, sent]
    assert not [r for r in kaggle.requests if "/store/" in r.line and "Authorization" in r.headers]


@pytest.mark.parametrize(
    ("variables", "text"),
    [({"KAGGLE_API_TOKEN": "bad-token"}, ""), ({"KAGGLE_API_TOKEN": "se\ncret"}, ""), ({}, "{broken"), ({}, "[1]")],
)
def test_credentials_that_are_none_say_how_to_get_some(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict, text: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if text:
        (tmp_path / "home/.kaggle").mkdir()
        (tmp_path / "home/.kaggle/kaggle.json").write_text(text)
    kaggle.refuse = 403
    assert "cret" not in fails("make an API token at", "me/faces", tmp_path)


def test_a_notebook_has_no_exit(kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(builtins, "exit")  # IPython takes it away while a cell runs
    fails("make an API token at", "me/nothing", tmp_path)


def test_a_fresh_process_survives_the_client(kaggle: KaggleServer, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from dfutils.core.errors import InputError
from dfutils.data import kaggle
assert not {{"kaggle", "kagglesdk", "torch"}} & set(sys.modules), "imported before it is needed"
import kagglesdk.kaggle_env as table
table._env_to_endpoint[table.KaggleEnv.PROD] = {kaggle.endpoint!r}
try:
    kaggle.fetch_kaggle("dfdc", Path({str(tmp_path)!r}), competition=True)
except InputError as error:
    print(error, sys.stdin.closed)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2], input="", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Kaggle gives the data") and done.stdout.endswith("run again. False\n")


# The machine


def test_a_folder_that_cannot_be_written_raises(kaggle: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    fails("cannot be downloaded to .*file/in: Not a directory", "me/faces", tmp_path / "file" / "in")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # a port that nobody listens to
        taken.bind(("127.0.0.1", 0))
        alone(monkeypatch, tmp_path / "home", f"http://127.0.0.1:{taken.getsockname()[1]}")
        fails("cannot be reached: check the network", "me/faces", tmp_path)
        monkeypatch.setenv("KAGGLE_API_TOKEN", "good-token")
        fails("cannot be reached: check the network", "dfdc", tmp_path, competition=True)


Usage = namedtuple("Usage", "total used free")


def test_a_small_disk_raises_before_the_download(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 1 << 40, 3 << 20))
    fails("Downloading faces.zip needs 3.50MB and the disk of .* has 3.15MB free", "me/faces", tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_disk_that_becomes_full_keeps_what_came(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: bytes) -> int:
            if self.tell() >= 2 << 20:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def opened(path: str, mode: str = "r", *rest: object, **more: object) -> object:
        return Full(path, mode) if str(path).endswith(".zip") else open(path, mode, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module("kaggle.api.kaggle_api_extended"), "open", opened, raising=False)
        fails("disk became full while me/faces was downloaded", "me/faces", tmp_path)
    assert fetch_kaggle("me/faces", tmp_path).read_bytes() == CONTENT
    assert ranges(kaggle) == ["bytes=2097152-"]


WRONG = [
    "faces",
    "me/",
    "/faces",
    "me/faces/x",
    "a/b/1/2",
    "../faces",
    "me/..",
    "https://www.kaggle.com/datasets/me/faces",
    "",
]


@pytest.mark.parametrize("slug", WRONG)
def test_an_invalid_name_raises_without_a_request(kaggle: KaggleServer, tmp_path: Path, slug: str) -> None:
    fails("is not the name of a Kaggle dataset: take owner/name from", slug, tmp_path)
    fails("is not the name of a Kaggle competition", f"me/{slug}", tmp_path, competition=True)
    assert kaggle.requests == []
