"""Downloading datasets from Kaggle.

Downloads use Kaggle's own client: public data without credentials, interrupted downloads are resumed, and every failure
raises an InputError of one sentence.
"""

import contextlib
import errno
import functools
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfutils.core.errors import InputError
from dfutils.data.archive import check_room, format_size

WAITS = (1, 4, 15, 60)
"""Seconds between the attempts of a download that was interrupted."""
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
_RESUMES = "what has arrived is kept, and running again resumes the download."


def fetch_kaggle(slug: str, into: Path, *, competition: bool = False) -> Path:
    """Download the archive of a Kaggle dataset or competition into the folder `into` and return its path.

    An archive that is there and not older than Kaggle's is not downloaded again; a partial download is resumed.
    Datasets are requested without credentials first. If that is refused, and for competitions, the client's credentials
    are used: KAGGLE_API_TOKEN, KAGGLE_USERNAME with KAGGLE_KEY, ~/.kaggle/access_token, ~/.kaggle/kaggle.json or the
    one in KAGGLE_CONFIG_DIR, and `kaggle auth login`.

    Args:
        slug: `owner/name` or `owner/name/version` of a dataset, the name of a competition.
        into: folder for the archive; created if missing.
        competition: whether `slug` names a competition.

    Raises:
        InputError: if the name is invalid, Kaggle requires or refuses credentials, the rules are not accepted, there
            were too many requests, the network is unreachable, the connection broke off in every attempt, or the disk
            is too small.
    """
    kind, pattern = ("competition", r"[\w-]+") if competition else ("dataset", r"[\w-]+/[\w-]+(/\d+)?")
    if not re.fullmatch(pattern, slug, re.ASCII):
        raise InputError(
            f"{slug!r} is not the name of a Kaggle {kind}: take {'name' if competition else 'owner/name'} "
            f"from the address of its page, https://www.kaggle.com/{kind}s/{'name' if competition else 'owner/name'}."
        )
    with _client_output_suppressed():
        client = _client(Path(into))
        client.anonymous = not competition
        if competition:
            _log_in(client, f"Kaggle gives the data of competition {slug} only to people it knows:")
        download = client.competition_download_files if competition else client.dataset_download_files
        waits = iter(WAITS)
        while True:
            try:
                download(slug, path=str(into), quiet=False)
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
                # Only a download that had begun is retried.
                if not (client.began and wait is not None and _is_temporary(error, status)):
                    raise _user_error(error, status, slug, competition, client) from None
            time.sleep(wait)


def _client(into: Path) -> Any:
    """Return a Kaggle client that can be anonymous, has timeouts, checks the disk, and records its archive's path."""
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi  # the import creates folders, prints, logs in, may exit
    except (ImportError, OSError, SystemExit) as error:
        raise InputError(
            f"The Kaggle client cannot be started ({error}): install the package kaggle, "
            "and set KAGGLE_CONFIG_DIR to a folder that can be written."
        ) from None

    class Client(KaggleApi):
        anonymous = False
        began = False  # whether a download had begun
        archive = into

        def build_kaggle_client(self) -> Any:
            client = super().build_kaggle_client()
            http = client.http_client()
            if self.anonymous:
                http._signed_in = False  # otherwise it looks for credentials itself
            http._init_session()
            http._session.send = functools.partial(http._session.send, timeout=TIMEOUT)  # the client has no timeout
            return client

        def download_needed(self, response: Any, outfile: str, quiet: bool = True) -> bool:
            self.archive = Path(outfile)
            return super().download_needed(response, outfile, quiet)

        def download_file(self, response: Any, outfile: str, http_client: Any, quiet: bool, resume: bool) -> None:
            size = os.path.getsize(outfile) if os.path.isfile(outfile) else 0
            check_room(into, int(response.headers.get("Content-Length", 0)) - size, f"Downloading {self.archive.name}")
            self.began = True
            # The client's own retries use the first address again, which expires, and overwrite what has arrived with
            # the text of an error. `fetch_kaggle` requests a new address and resumes the download.
            super().download_file(response, outfile, http_client, quiet, resume, max_retries=0)

    client = Client()
    # The client looks for kaggle.json only when it is imported; the user of a notebook may create it afterwards.
    config_dir = os.environ.get("KAGGLE_CONFIG_DIR")
    folder = Path(config_dir) if config_dir else Path.home() / ".kaggle"
    if config_dir or (folder / "kaggle.json").exists():
        client.config = str(folder / "kaggle.json")
    return client


def _log_in(client: Any, reason: str) -> None:
    """Authenticate the client with the user's credentials.

    Raises:
        InputError: if there are none, they are unusable, or the network is unreachable; the first begins with `reason`.
    """
    import requests

    try:
        client.authenticate()
    except (SystemExit, NameError):  # without credentials it calls exit(), a name that notebooks do not have
        raise InputError(f"{reason} {_TOKEN}") from None
    except (requests.ConnectionError, requests.Timeout):
        raise InputError(_UNREACHABLE) from None
    except Exception as error:  # anything may be in the user's files of credentials
        # The message of the error is left out: it may quote the token.
        raise InputError(
            f"Kaggle's client cannot use the credentials found ({type(error).__name__}): {_TOKEN}"
        ) from None


def _is_temporary(error: Exception, status: int | None) -> bool:
    """Return whether an error is one of the network or of a busy server."""
    import requests

    return isinstance(error, requests.RequestException) and (status is None or status == 429 or status >= 500)


def _user_error(error: Exception, status: int | None, slug: str, competition: bool, client: Any) -> InputError:
    """Return the user's error for an exception of the client; `status` is that of the HTTP response, if any."""
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
        return InputError(f"Kaggle asks to wait (too many requests, HTTP 429): run again in {when}; {_RESUMES}")
    if status is not None:
        return InputError(f"Kaggle answers with an error (HTTP {status}): run again later; {_RESUMES}")
    if not isinstance(error, OSError):
        # The client found another size than announced: the file may contain an error message, so it is deleted.
        for path in (client.archive, Path(f"{client.archive}.kaggle-partial")) if client.began else ():
            path.unlink(missing_ok=True)
        return InputError(f"Kaggle sent another file than it announced ({error}): run again to download it again.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"The disk became full while {slug} was downloaded: make room and run again; {_RESUMES}")
    if error.strerror:  # a file that cannot be written
        return InputError(f"{slug} cannot be downloaded to {client.archive.parent}: {error.strerror}.")
    if client.began:
        size = client.archive.stat().st_size if client.archive.exists() else 0
        return InputError(f"The connection to Kaggle broke off after {format_size(size)}: run again; {_RESUMES}")
    return InputError(_UNREACHABLE)


@contextlib.contextmanager
def _client_output_suppressed() -> Iterator[None]:
    """Suppress what the client prints to stdout, and protect stdin, which its exit() closes. Bars go to stderr."""
    stdin = sys.stdin
    sys.stdin = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin
