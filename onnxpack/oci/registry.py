"""A registry: requests to it with logins, redirects and bounded retries, and what it refuses in words.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

from onnxpack.core.errors import EngineError
from onnxpack.core.text import clean
from onnxpack.download.transfer import ATTEMPTS, Patience, Transient
from onnxpack.oci.manifests import LIMIT
from onnxpack.oci.tokens import Identity
from onnxpack.oci.transport import MAY_PASS, Answer, Request, Transport, Unreachable
from onnxpack.oci.trust import may_be_plain

_HUB, _HUB_ADDRESS = "docker.io", "registry-1.docker.io"
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_RENEWALS = 2
"""How often one request may be refused for its token: an old one, and then one of another thread with other rights."""
_FIRST_ATTEMPTS = 3
"""How often a host that never answered is tried: more likely it has another name than that it wakes up."""
_WORDS = 1 << 16  # bytes of a refusal that are read


class Stopped(Exception):  # noqa: N818 - it never leaves a transfer
    """Another part of the same transfer failed, or the user stops it."""


@dataclass(frozen=True)
class Reply:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    url: str
    data: bytes


class Registry:
    """A connection to one registry as one user; several threads share it."""

    def __init__(self, host: str, transport: Transport | None = None) -> None:
        self.host: Final = host
        self.stop: Final = threading.Event()
        """Set to end what its threads do."""
        self._transport = transport or Transport()
        self._answered = False

    @cached_property
    def base(self) -> str:
        """Return the address of the registry: ``https://…``, or ``http://…`` of one that may speak it."""
        address = _HUB_ADDRESS if self.host == _HUB else self.host
        plain = may_be_plain(self.host) and not self._transport.speaks_tls(address)
        return f"{'http' if plain else 'https'}://{address}"

    @cached_property
    def identity(self) -> Identity:
        """Return who its user is."""
        return Identity(
            self.host, lambda request, more: self._send(request, more), plain=self.base.startswith("http://")
        )

    def ask(self, request: Request, what: str) -> Reply:
        """Send a request until it is answered, and return the answer; ``what`` ends the sentence "cannot …".

        Raises:
            EngineError: it is refused, or not answered in several tries.
        """
        for attempt in self.retrying(what):
            with attempt, self.exchange(request, what) as answer:
                data = b"" if request.method == "HEAD" else answer.read(LIMIT)
                return Reply(answer.status, answer.headers, answer.url, data)
        raise AssertionError("the last attempt raises")

    def retrying(self, what: str) -> Iterator["Attempt"]:
        """Yield attempts, each a context to work in, until one ends without Transient, or there were too many."""
        patience = Patience()
        while True:
            attempt = Attempt()
            yield attempt
            if attempt.error is None:
                return
            self.wait(patience, attempt.error, attempt.size, what)

    def wait(self, patience: Patience, error: Transient, size: int, what: str) -> None:
        """Wait before the next try, after an ``error`` and ``size`` bytes.

        Raises:
            EngineError: there were enough tries.
            Stopped: there shall be no more.
        """
        patience.attempts = ATTEMPTS if self._answered else _FIRST_ATTEMPTS
        if not patience.allows(size):
            raise EngineError(f"cannot {what}: {self.identity.hide(str(error))}", _ADVICE) from None
        patience.wait(error, self.stop.wait)
        if self.stop.is_set():
            raise Stopped

    @contextmanager
    def exchange(self, request: Request, what: str) -> Iterator[Answer]:
        """Send a request once, and yield its answer, which is of an accepted status.

        Raises:
            Transient: another try may be answered.
            EngineError: it is refused.
        """
        answer = self._send_as_user(replace(request, url=self.locate(request.url)))
        try:
            if answer.status not in request.accepted:
                raise self._make_refusal(answer, what)
            yield answer
        finally:
            answer.close()

    def locate(self, address: str, origin: str = "") -> str:
        """Return the full address that a registry names, relative to ``origin`` if it is.

        One that does not know of the TLS in front of it names itself with http: that is put right.

        Raises:
            EngineError: it is no address.
        """
        try:
            parts = urlsplit(urljoin(origin or self.base, address))
        except ValueError:
            raise EngineError(f"{self.host} names '{address[:200]}', which is no address", _ASK) from None
        base = urlsplit(self.base)
        if parts.netloc == base.netloc and parts.scheme == "http":
            parts = parts._replace(scheme=base.scheme)
        return parts.geturl()

    def _send_as_user(self, request: Request) -> Answer:
        """Send a request with the user's token, and with a new one if that is refused."""
        for _ in range(_RENEWALS):
            used = self.identity.header
            answer = self._follow(request, used)
            if answer.status != HTTPStatus.UNAUTHORIZED or not self._is_here(answer.url):
                return answer
            challenges = answer.headers.getlist("WWW-Authenticate")
            if not self.identity.renew(challenges, used):
                return answer
            answer.close()
        return self._follow(request, self.identity.header)

    def _follow(self, request: Request, authorization: str | None) -> Answer:
        """Send a request, and follow redirects of what is read; no other host gets the authorization."""
        url = request.url
        for _ in range(_MOST_REDIRECTS):
            headers = {"Authorization": authorization} if authorization and self._is_here(url) else {}
            answer = self._send(replace(request, url=url), headers)
            if answer.status not in _REDIRECTS or request.method != "GET":
                return answer
            place = answer.headers.get("Location", "")
            answer.close()
            url = self.locate(place, url)
            if url.startswith("http://") and not self.base.startswith("http://"):
                raise EngineError(f"{self.host} redirects to http, which is not followed", _ASK)
        raise EngineError(f"{self.host} redirects without end", _ASK)

    def _send(self, request: Request, headers: Mapping[str, str]) -> Answer:
        if self.stop.is_set():
            raise Stopped
        try:
            answer = self._transport.send(request, request.url, headers)
        except Unreachable:
            raise
        except Transient:
            self._answered = True
            raise
        self._answered = True
        return answer

    def _is_here(self, url: str) -> bool:
        """Return whether an address is of this registry itself, and as safe."""
        return urlsplit(url)[:2] == urlsplit(self.base)[:2]

    def _make_refusal(self, answer: Answer, what: str) -> EngineError | Transient:
        try:
            words = _read_words(answer.read(_WORDS))
        except (Transient, EngineError):  # the status is what counts
            words = ""
        told = self.identity.hide(f"{_describe_status(answer.status)}{words}")
        if answer.status in MAY_PASS:
            return Transient(f"{urlsplit(answer.url).netloc} answers {told}", answer.wait)
        hints = {401: self.identity.advise(), 403: self.identity.advise()} | _HINTS
        return EngineError(f"cannot {what}: {told}", hints.get(answer.status, _ASK))


class Attempt:
    """One try; a Transient in its block is kept, and any other error goes on."""

    def __init__(self) -> None:
        self.error: Transient | None = None
        self.size = 0
        """Bytes so far, of a transfer that goes on where it stopped."""

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error if isinstance(error, Transient) else None
        return self.error is not None


_ADVICE = "check the network and the registry, and try again: what is there already is not sent or fetched again"
_ASK = "ask whoever runs the registry, or look into its log"
_HINTS = {
    404: "check the names of repository and tag; some registries want a repository to be created first",
    413: "raise the limit for a request's size in the proxy before the registry (nginx: client_max_body_size)",
}


def _describe_status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _read_words(data: bytes) -> str:
    """Return what a registry says about a refusal, in its own form; nothing else, such as a page of a proxy."""
    try:
        errors = json.loads(data)["errors"]
        told = [f"{error.get('code') or ''}: {error.get('message') or ''}".strip(": ") for error in errors[:3]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    words = clean("; ".join(told))
    return f" ({words})" if words else ""
