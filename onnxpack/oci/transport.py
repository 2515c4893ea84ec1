"""One HTTP exchange with a host: TLS, proxies and timeouts; what breaks is told as what may pass or what does not."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ProxySchemeUnknown,
    SSLError,
)

from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.download.transfer import CHUNK, SLOWEST, WINDOW, Transient, read_number
from onnxpack.oci.trust import CERTIFICATES, INSECURE, find_proxy, make_context

_CONNECT, _ANSWER, _COMMIT = 15.0, 30.0, 180.0
"""Seconds without a byte: while connecting or sending, of an answer, and of one to a PUT, before which a registry may
hash, and move to its storage, gigabytes."""
_HANDSHAKE = 5.0  # seconds that a local registry has to say whether it speaks TLS
_BLOCK = 1 << 16
MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
"""The statuses after which another try may be answered otherwise."""
_BROKEN = (HTTPError, OSError, ValueError)
"""What urllib3 raises: its own, the socket's, and those of addresses and headers that are none."""


class Unreachable(Transient):
    """There was no connection: no try was answered."""


@dataclass(frozen=True)
class Request:
    """What a host is asked; ``body`` opens what is sent, once for each try."""

    method: str
    url: str
    accepted: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], BinaryIO] | None = None
    size: int = 0
    """The bytes of the body."""


class Answer:
    """A host's answer, whose body is read once."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self._response = response
        self.url: Final = url
        self.status: Final = response.status
        self.headers: Final = response.headers

    @property
    def wait(self) -> float:
        """Return the seconds that the host asks to wait, or 0."""
        return float(read_number(self.headers.get("Retry-After", "")) or 0)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            Transient: it breaks, is cut, or comes too slowly.
        """
        judged, came = time.monotonic(), 0
        try:
            while chunk := self._response.read1(CHUNK):
                yield chunk
                came += len(chunk)
                if time.monotonic() - judged > WINDOW:
                    if came < SLOWEST * WINDOW:
                        raise Transient(f"less than {SLOWEST} bytes a second came for {WINDOW:g} s")
                    judged, came = time.monotonic(), 0
        except _BROKEN as error:
            raise Transient(f"the connection broke: {_find_cause(error)}") from None

    def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            Transient: it breaks.
            EngineError: it has more than ``limit`` bytes.
        """
        data = bytearray()
        for chunk in self.chunks():
            data += chunk
            if len(data) > limit:
                self.close()
                host = urlsplit(self.url).netloc
                raise EngineError(f"{host} sends an answer of more than {limit} bytes", "check what runs there")
        return bytes(data)

    def close(self) -> None:
        """Give the connection back; one whose answer was not read to its end is not used again."""
        if self._response.length_remaining == 0:
            self._response.drain_conn()  # nothing comes, but who asks next must find it read
        elif not self._response.closed:
            self._response.close()
        self._response.release_conn()


class Transport:
    """Connections to hosts, which are used again."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._lock = Lock()

    def send(self, request: Request, url: str, headers: Mapping[str, str]) -> Answer:
        """Send a request to ``url`` with more ``headers`` than its own, and return the answer to it, whatever it is.

        Raises:
            Transient: the connection broke; Unreachable: there was none.
            EngineError: trying again cannot help: an unknown host, a certificate that is not trusted.
        """
        parts = _split(url)
        body = request.body() if request.body else None
        length = {"Content-Length": str(request.size)} if request.method in ("POST", "PUT", "PATCH") else {}
        named = {"User-Agent": "onnxpack", "Accept-Encoding": "identity"}
        patience = _COMMIT if request.method == "PUT" else _ANSWER
        try:
            response = self._pool(parts).urlopen(
                request.method,
                url,
                body=body,
                headers={**named, **length, **request.headers, **headers},
                timeout=urllib3.Timeout(connect=_CONNECT, read=patience),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except _BROKEN as error:
            raise _classify(parts, error) from None
        finally:
            if body:
                body.close()
        return Answer(response, url)

    def speaks_tls(self, host: str) -> bool:
        """Return whether a host, which may speak plain HTTP, speaks TLS: it is tried first, as Docker does.

        Raises:
            EngineError: a file that Docker keeps for it is no certificate.
        """
        try:
            answer = self._pool(_split(f"https://{host}/")).urlopen(
                "GET", f"https://{host}/v2/", timeout=_HANDSHAKE, retries=False, redirect=False, preload_content=False
            )
        except _BROKEN as error:
            return _find_distrust(error) is not None
        Answer(answer, "").close()
        return True

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        key = (parts.scheme, parts.netloc)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = _make_pool(parts)
            return self._pools[key]


def _split(url: str) -> SplitResult:
    """Return the parts of an address of http or https.

    Raises:
        EngineError: it is none, also where a registry names it.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        fine = False
    if not fine:
        raise EngineError(f"'{url[:200]}' is no address of http or https", "check the registry's configuration")
    return parts


def _make_pool(parts: SplitResult) -> urllib3.PoolManager:
    context = make_context(parts.netloc) if parts.scheme == "https" else None
    proxy = find_proxy(parts)
    if not proxy:
        return urllib3.PoolManager(maxsize=4, ssl_context=context, blocksize=_BLOCK)
    try:
        given = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        login = f"{given.username}:{given.password or ''}" if given.username else None
        address = given._replace(netloc=given.netloc.rpartition("@")[2]).geturl()
        headers = urllib3.make_headers(proxy_basic_auth=login)
        return urllib3.ProxyManager(address, proxy_headers=headers, maxsize=4, ssl_context=context, blocksize=_BLOCK)
    except (ProxySchemeUnknown, ValueError):
        hint = f"set {parts.scheme}_proxy to an address such as http://proxy.example.com:3128"
        raise EngineError(f"the proxy for {parts.netloc} has an address that is not understood", hint) from None


def _classify(parts: SplitResult, error: Exception) -> EngineError | Transient:
    """Return an error of a connection as what may pass or what does not."""
    host = parts.netloc
    if isinstance(error, ProxyError):
        return Unreachable(f"the proxy for {host} cannot be reached: {_find_cause(error)}")
    if why := _find_distrust(error):
        hint = (
            "if you trust its authority, set SSL_CERT_FILE to a file with that certificate, "
            f"or put it into {CERTIFICATES}/{host}/ca.crt"
        )
        return EngineError(f"the certificate of {host} is not trusted: {why}", hint)
    if isinstance(error, SSLError):
        hint = f"if it is meant to speak plain HTTP, set {INSECURE}={host}"
        return EngineError(f"{host} does not speak TLS: {_find_cause(error)}", hint)
    if isinstance(error, NameResolutionError):
        cause = error.__cause__
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return EngineError(f"there is no host {parts.hostname}", "check the name of the registry, and the network")
        return Unreachable(f"the name {parts.hostname} cannot be resolved")
    if isinstance(error, NewConnectionError):
        return Unreachable(f"{host} cannot be reached: {_find_cause(error)}")
    return Transient(f"the connection to {host} broke: {_find_cause(error)}")


def _find_distrust(error: BaseException | None) -> str | None:
    """Return why a certificate is not trusted, if that is what went wrong."""
    for cause in _walk(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or flatten_words(cause, 200)
    return None


def _find_cause(error: BaseException) -> str:
    """Return the words of the innermost cause, without the addresses of objects that urllib3 puts in front."""
    cause = list(_walk(error))[-1]
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "it takes too long"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    words = flatten_words(cause, 200).rpartition(">: ")[2]
    return words or type(cause).__name__


def _walk(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and what it wraps."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
