"""From a name on Kaggle, or an archive on disk, to a folder of videos that is known to be whole.

Kaggle is asked through its own client. Public data is tried without credentials, because it needs none; an interrupted
download goes on where it stopped; and whatever goes wrong, on the way or in the client, ends in one sentence.
"""

import contextlib
import errno
import functools
import io
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfutils.core.errors import InputError
from dfutils.data.archive import BrokenArchiveError, check_room, readable, unpack
from dfutils.data.manifest import State, manifest_path, refuse_changed, verify

WAITS = (1, 4, 15, 60)
"""Seconds between the tries of a download that broke off."""
TIMEOUT = (30, 300)
"""Seconds to connect, and seconds without a byte, after which a connection counts as broken."""

_TOKEN = (
    "make an API token at https://www.kaggle.com/settings (API, Generate New Token), save it as ~/.kaggle/access_token "
    "or set KAGGLE_API_TOKEN to it, and run again."
)
_UNREACHABLE = (
    "Kaggle cannot be reached: check the network and the proxy settings (HTTPS_PROXY), "
    "or download the dataset in a browser and give the file as archive."
)
_AGAIN = "what has arrived is kept, and running again goes on from there."


def provide(
    root: Path, *, kaggle_dataset: str = "", kaggle_competition: str = "", archive: str = "", progress: bool = True
) -> State:
    """See to it that the files of a dataset lie in `root`, and return what is there.

    Files that are there and whole are left alone and nothing is downloaded, nor is a folder changed that somebody
    else filled. Otherwise the archive is unpacked if there is one, else the data is fetched from Kaggle and unpacked.

    Args:
        root: the folder of the dataset as published.
        kaggle_dataset: `owner/name`, as in the address of the dataset's page; may end in `/version`.
        kaggle_competition: a competition's name, as in its address. Give one of the two at most.
        archive: a zip or tar as the dataset's owners sent it; it is kept.
        progress: show bars.

    Returns:
        The state of `root`: `whole`, or `not checked: …` for a folder that was not unpacked here.

    Raises:
        InputError: if nothing says where the files are, they were changed, they came from elsewhere than asked for now,
            or as from `unpack` and `fetch_kaggle`.
    """
    if kaggle_dataset and kaggle_competition:
        raise InputError("Give kaggle_dataset or kaggle_competition, not both.")
    archive_path = Path(archive).expanduser() if archive else None
    if archive_path is not None and archive_path.is_dir():
        raise InputError(f"The archive {archive_path} is a folder: set root to it and leave archive empty.")
    slug = kaggle_dataset or kaggle_competition
    wanted = f"archive {archive_path.name}" if archive_path else ""
    if slug and not archive_path:
        wanted = f"kaggle {'dataset' if kaggle_dataset else 'competition'} {slug}"
    state = verify(root)
    if state.whole:
        # The same kind of source by another name is another dataset; an archive of what Kaggle has may be the same.
        if wanted and wanted.split()[0] == state.source.split()[0] and wanted != state.source:
            raise InputError(f"{root} holds {state.source}, not {wanted}: give another root or move it away.")
        return state
    refuse_changed(state)
    if state.text.startswith("not checked"):
        return state
    if archive_path:
        return unpack(archive_path, root, source=wanted, progress=progress)
    if slug:
        folder = state.folder.with_name(f"{state.folder.name}.download")
        place = folder / slug.replace("/", "__")
        fetched = fetch_kaggle(slug, place, competition=not kaggle_dataset, progress=progress)
        try:
            state = unpack(fetched, root, source=wanted, progress=progress)
        except BrokenArchiveError:
            fetched.unlink()  # else the client takes it for downloaded, and the next run fails as this one did
            raise
        shutil.rmtree(folder)
        return state
    if state.text.startswith("partial"):
        raise InputError(
            f"{root} is {state.text}: give its archive or its name on Kaggle to complete it, "
            f"or delete {manifest_path(root).name} beside it to use what is there."
        )
    raise InputError(
        f"There are no files in {root}: put the dataset there, or give its archive (archive) or its name on Kaggle "
        "(kaggle_dataset, kaggle_competition)."
    )


def fetch_kaggle(slug: str, into: Path, *, competition: bool = False, progress: bool = True) -> Path:
    """Download a Kaggle dataset's or competition's archive into the folder `into` and return its path.

    An archive that is there already and not older than Kaggle's is not downloaded again; a part of one is completed.
    Datasets are asked for without credentials first. The client's credentials are used where these are refused and for
    competitions: KAGGLE_API_TOKEN, KAGGLE_USERNAME with KAGGLE_KEY, ~/.kaggle/access_token, ~/.kaggle/kaggle.json or
    the one in KAGGLE_CONFIG_DIR, and `kaggle auth login`.

    Args:
        slug: `owner/name` or `owner/name/version` of a dataset, the name of a competition.
        into: the folder for the archive; made if missing.
        competition: whether `slug` names a competition.
        progress: show the client's bar, with rate and remaining time.

    Raises:
        InputError: if the name is wrong, Kaggle wants or refuses credentials, the rules are not accepted, it asks to
            wait, there is no network, the connection broke off and trying again did not help, or the disk is too small.
    """
    kind, form = ("competition", r"[\w-]+") if competition else ("dataset", r"[\w-]+/[\w-]+(/\d+)?")
    if not re.fullmatch(form, slug, re.ASCII):
        raise InputError(
            f"{slug!r} is not the name of a Kaggle {kind}: take {'name' if competition else 'owner/name'} "
            f"from the address of its page, https://www.kaggle.com/{kind}s/{'name' if competition else 'owner/name'}."
        )
    with _tamed():
        client = _client(Path(into))
        client.anonymous = not competition
        if competition:
            _log_in(client, f"Kaggle gives the data of competition {slug} only to people it knows:")
        download = client.competition_download_files if competition else client.dataset_download_files
        waits = iter(WAITS)
        while True:
            try:
                download(slug, path=str(into), quiet=not progress)
                return client.archive
            except InputError:
                raise
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                status = getattr(getattr(error, "response", None), "status_code", None)
                if client.anonymous and status in (401, 403, 404):
                    _log_in(client, f"Kaggle shows no dataset {slug} to a visitor: check the name; if it is private,")
                    client.anonymous = False
                    continue
                wait = next(waits, None)
                # Trying again is for what broke off half-way, not for what did not begin.
                if not (client.began and wait is not None and _may_pass(error, status)):
                    raise _sentence(error, status, slug, competition, client) from None
            time.sleep(wait)


def _client(into: Path) -> Any:
    """Return the Kaggle client with what this suite needs of it changed."""
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi  # importing makes folders, prints, logs in, may exit
    except (ImportError, OSError, SystemExit) as error:
        raise InputError(
            f"The Kaggle client cannot be started ({error}): install the package kaggle, "
            "and set KAGGLE_CONFIG_DIR to a folder that can be written."
        ) from None

    class Client(KaggleApi):
        anonymous = False
        began = False  # whether a download was under way
        archive = into

        def build_kaggle_client(self) -> Any:
            client = super().build_kaggle_client()
            http = client.http_client()
            if self.anonymous:
                http._signed_in = False  # otherwise it looks for credentials itself
            http._init_session()
            http._session.send = functools.partial(http._session.send, timeout=TIMEOUT)  # the client waits for ever
            return client

        def download_needed(self, response: Any, outfile: str, quiet: bool = True) -> bool:
            self.archive = Path(outfile)
            return super().download_needed(response, outfile, quiet)

        def download_file(self, response: Any, outfile: str, http_client: Any, quiet: bool, resume: bool) -> None:
            there = os.path.getsize(outfile) if os.path.isfile(outfile) else 0
            check_room(into, int(response.headers.get("Content-Length", 0)) - there, f"Downloading {self.archive.name}")
            self.began = True
            # No retries inside: they use the first address again, which expires, and overwrite what has arrived with
            # the text of an error. `fetch_kaggle` asks for a fresh address and goes on from the same place.
            super().download_file(response, outfile, http_client, quiet, resume, max_retries=0)

    client = Client()
    # The client looks for kaggle.json once, when it is imported; a notebook's user may put it there afterwards.
    own = os.environ.get("KAGGLE_CONFIG_DIR")
    place = Path(own) if own else Path.home() / ".kaggle"
    if own or (place / "kaggle.json").exists():
        client.config = str(place / "kaggle.json")
    return client


def _log_in(client: Any, why: str) -> None:
    import requests

    try:
        client.authenticate()
    except (SystemExit, NameError):  # without credentials it calls exit(), a name that notebooks do not have
        raise InputError(f"{why} {_TOKEN}") from None
    except (requests.ConnectionError, requests.Timeout):
        raise InputError(_UNREACHABLE) from None
    except Exception as error:  # files of the user's are read here, and what is in them is sent
        # The error's own text is left out: it may quote the token.
        raise InputError(
            f"Kaggle's client cannot use the credentials found ({type(error).__name__}): {_TOKEN}"
        ) from None


def _may_pass(error: Exception, status: int | None) -> bool:
    """Whether an error is one of the network or of a busy server, which may be over in a minute."""
    import requests

    return isinstance(error, requests.RequestException) and (status is None or status == 429 or status >= 500)


def _sentence(error: Exception, status: int | None, slug: str, competition: bool, client: Any) -> InputError:
    kind = "competition" if competition else "dataset"
    page = f"https://www.kaggle.com/{kind}s/{slug}"
    if status == 401:
        return InputError(f"Kaggle does not take the credentials found (HTTP 401): {_TOKEN}")
    if status == 403 and competition:
        return InputError(f"Kaggle wants the rules of {slug} accepted: do so at {page}/rules and run again (HTTP 403).")
    if status == 403:
        return InputError(
            f"Kaggle does not give the dataset {slug} to your account (HTTP 403): "
            f"check the name, and at {page} whether your account may download it."
        )
    if status == 404:
        return InputError(f"Kaggle has no {kind} {slug} (HTTP 404): check its name; the page would be {page}.")
    if status == 429:
        pause = error.response.headers.get("Retry-After", "")
        when = f"{int(pause):,} seconds" if pause.isdigit() else "a few minutes"
        return InputError(f"Kaggle asks to wait (too many requests, HTTP 429): run again in {when}; {_AGAIN}")
    if status is not None:
        return InputError(f"Kaggle answers with an error (HTTP {status}): run again later; {_AGAIN}")
    if not isinstance(error, OSError):
        # The client found another size than announced: an error's text may lie in the file, so nothing of it is used.
        for path in (client.archive, Path(f"{client.archive}.kaggle-partial")) if client.began else ():
            path.unlink(missing_ok=True)
        return InputError(f"What came from Kaggle is not what it announced ({error}): run again to download it anew.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"The disk became full while {slug} was downloaded: make room and run again; {_AGAIN}")
    if error.strerror:  # a file that cannot be written
        return InputError(f"{slug} cannot be downloaded to {client.archive.parent}: {error.strerror}.")
    if client.began:
        size = client.archive.stat().st_size if client.archive.exists() else 0
        return InputError(f"The connection to Kaggle broke off after {readable(size)}: run again; {_AGAIN}")
    return InputError(_UNREACHABLE)


@contextlib.contextmanager
def _tamed() -> Iterator[None]:
    """Keep the client's messages off the page, and standard input open: its exit() closes it. Bars go to stderr."""
    stdin = sys.stdin
    sys.stdin = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin
