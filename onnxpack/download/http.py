"""The reader of http and https URLs; logins come from ``~/.netrc`` or ``$NETRC``, proxies from the environment."""

import base64
import http.client
import io
import netrc
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from onnxpack.core.errors import EngineError
from onnxpack.download.transfer import CHUNK, Answer, Transient, read_number
from onnxpack.spec.messages import shorten
from onnxpack.spec.origin import format_source

_TIMEOUT = 30.0  # seconds without a byte
_REFUSED = (401, 403, 407)
_GONE = (404, 410)
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_UNSATISFIABLE = 416
_URL_LETTERS = "%/:=&?~#+!,;'@()*[]"


def open_http(url: str, start: int) -> Answer:
    """Request a file from byte ``start`` on, or from its beginning if the server cannot resume.

    Raises:
        Transient: trying again may help.
        EngineError: trying again cannot help.
    """
    # Compressed, the bytes would have another length and digest than the file.
    request = urllib.request.Request(quote(url, safe=_URL_LETTERS), headers={"Accept-Encoding": "identity"})  # noqa: S310
    if start:
        request.add_header("Range", f"bytes={start}-")
    if login := _find_login(url):
        # A redirect may lead to another host, which must not see it.
        request.add_unredirected_header("Authorization", login)
    try:
        response = _make_opener().open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            return _handle_error(url, start, error)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise EngineError(
                f"cannot fetch '{format_source(url)}': {error.reason.verify_message}",
                "set SSL_CERT_FILE to the certificate of the authority, if you trust it",
            ) from None
        raise Transient(f"the server cannot be reached: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Transient(f"the connection broke: {type(error).__name__}") from None
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
    begin = start if resumed else 0
    length = read_number(response.headers.get("Content-Length", ""))
    return Answer(begin, None if length is None else begin + length, _iterate_chunks(response), response.close)


def _iterate_chunks(response: Any) -> Iterator[bytes]:
    try:
        while chunk := response.read1(CHUNK):  # what has come, so that it counts at once
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Transient(f"the connection broke: {type(error).__name__}") from None


def _handle_error(url: str, start: int, error: urllib.error.HTTPError) -> Answer:
    words = f"{error.code} {shorten(str(error.reason))}"
    if error.code == _UNSATISFIABLE and start:
        # What is here is all there is, or is of another file: its digest tells.
        whole = error.headers.get("Content-Range", "").rpartition("/")[2]
        begin = start if whole == str(start) else 0
        if begin:
            return Answer(begin, begin, iter(()), error.close)
        return open_http(url, 0)
    if error.code in _MAY_PASS:
        wait = error.headers.get("Retry-After", "")
        raise Transient(f"the server answers {words}", float(read_number(wait) or 0))
    if error.code in _GONE:
        raise EngineError(f"'{format_source(url)}' is not there: {words}", "correct the URL, or put the file there")
    if error.code in _REFUSED:
        hint = "add the login of its host to ~/.netrc: `machine HOST login NAME password WORD`"
        if urlsplit(url).scheme.lower() != "https":
            hint = "use its https URL, and add the login of its host to ~/.netrc: logins are sent over https only"
        raise EngineError(f"access to '{format_source(url)}' is refused: {words}", hint)
    raise EngineError(f"cannot fetch '{format_source(url)}': {words}", "check the URL and the server")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows redirects to http and https only; urllib's own follows those to ftp too."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        if "location" not in headers and "uri" not in headers:
            return None  # it leads nowhere, and is an error as it is
        fp.close()
        target = urljoin(req.full_url, headers.get("location") or headers.get("uri") or "")
        scheme = urlsplit(target).scheme
        if scheme not in ("http", "https"):
            hint = "use the URL of the file itself: redirects are followed to http and https only"
            raise EngineError(
                f"'{format_source(req.full_url)}' redirects to {shorten(scheme)}:, which is not followed", hint
            )
        # urllib would read all that stands in the answer, without a limit.
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _make_opener() -> urllib.request.OpenerDirector:
    """Make an opener for http and https only; ``build_opener`` would add ftp, file and data."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


def _find_login(url: str) -> str | None:
    """Return the login that netrc has for a URL's host; None without https, where others could read it."""
    parts = urlsplit(url)
    if parts.scheme.lower() != "https":
        return None
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not path.is_file():
        return None
    try:
        # Not authenticators(host): for a host that is not named it gives the entry `default`.
        found = netrc.netrc(str(path)).hosts.get(parts.hostname or "")
    except (netrc.NetrcParseError, OSError):
        raise EngineError(f"cannot read '{path}'", "correct its format, and make it yours alone: `chmod 600`") from None
    if not found:
        return None
    return "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()
