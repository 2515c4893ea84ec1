"""Who one is at a registry: logins, and the tokens that its token server gives for them.

https://distribution.github.io/distribution/spec/auth/token/ and /oauth/
"""

import base64
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from urllib.parse import urlencode, urlsplit

from onnxpack.core.errors import EngineError
from onnxpack.download.transfer import Transient
from onnxpack.oci.credentials import Login, find_login
from onnxpack.oci.transport import MAY_PASS, Answer, Request

_CLIENT = "onnxpack"
_LIMIT = 2**20  # bytes of a token server's answer
_CHALLENGE = re.compile(r"(?:^|,)\s*(?P<scheme>Bearer|Basic)(?:\s+|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'(?P<name>[a-z_]+)=(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s,"]+))', re.IGNORECASE)
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_REFUSED = (400, 401, 403)
Send = Callable[[Request, Mapping[str, str]], Answer]
"""Sends a request with more headers, and returns whatever is answered."""


@dataclass(frozen=True)
class Challenge:
    """What a registry wants to see: ``bearer`` or ``basic``, and for a token where it comes from."""

    scheme: str
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


class Identity:
    """One user of one registry; several threads share it."""

    def __init__(self, host: str, send: Send, *, plain: bool) -> None:
        self._host = host
        self._send = send
        self._plain = plain
        self._lock = Lock()
        self._header: str | None = None
        self._scopes: dict[str, None] = {}
        """What was asked for so far, in order: a token for all of it serves every later request."""

    @cached_property
    def login(self) -> Login | None:
        """Return the login, which is looked for once."""
        return find_login(self._host)

    @property
    def header(self) -> str | None:
        """Return what goes into ``Authorization``, so far."""
        return self._header

    def renew(self, challenges: Iterable[str], used: str | None) -> bool:
        """Return whether there is something new to try, after ``used`` was refused with ``challenges``.

        Raises:
            Transient: the token server may answer later.
            EngineError: it refuses the login, or is none.
        """
        with self._lock:
            if self._header != used:
                return True  # another thread was first
            found = {challenge.scheme: challenge for text in challenges for challenge in read_challenges(text)}
            if bearer := found.get("bearer"):
                scopes = {**self._scopes, **dict.fromkeys(bearer.scopes)}
                self._header = f"Bearer {self._fetch_token(bearer, tuple(scopes))}"
                self._scopes = scopes  # not earlier: what is refused would be refused with every later request
            elif "basic" in found and self.login and self.login.name:
                self._header = _write_basic(self.login)
            return self._header != used

    def hide(self, text: str) -> str:
        """Return a text of the registry without secrets that it may repeat."""
        login = self.__dict__.get("login")
        return login.hide(text) if login else text

    def _fetch_token(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        """Ask the token server that the registry names."""
        host = urlsplit(challenge.realm).netloc
        if not self._plain and not challenge.realm.lower().startswith("https://"):
            text = f"{self._host} wants logins to be sent to '{challenge.realm[:200]}', which is not https"
            raise EngineError(text, "ask whoever runs the registry")
        request, headers = self._make_request(challenge, scopes)
        answer = self._send(request, headers)
        try:
            if answer.status in _REFUSED:
                with_login = "the login" if self.login else "to give a token without a login"
                raise EngineError(f"{host}, where {self._host} has its logins, refuses {with_login}", self.advise())
            if answer.status in MAY_PASS:
                raise Transient(f"{host} answers {answer.status}", answer.wait)
            if answer.status != 200:
                raise EngineError(f"{host}, where {self._host} has its logins, answers {answer.status}", "try later")
            return _read_token(answer.read(_LIMIT), host)
        finally:
            answer.close()

    def advise(self) -> str:
        """Return what to do about a registry that refuses access."""
        place = "or write a config.json with it into the folder DOCKER_CONFIG"
        return f"log in by `docker login {self._host}`, {place}; the login needs the right to this repository"

    def _make_request(self, challenge: Challenge, scopes: tuple[str, ...]) -> tuple[Request, dict[str, str]]:
        login = self.login
        fields = [("service", challenge.service)] if challenge.service else []
        if login and login.identity_token:
            fields += [("client_id", _CLIENT), ("grant_type", "refresh_token"), ("refresh_token", login.identity_token)]
            form = urlencode([*fields, ("scope", " ".join(scopes))]).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return Request("POST", challenge.realm, body=lambda: io.BytesIO(form), size=len(form)), kind
        fields += [("scope", scope) for scope in scopes]
        fields += [("account", login.name)] if login else []
        sign = "&" if urlsplit(challenge.realm).query else "?"
        headers = {"Authorization": _write_basic(login)} if login else {}
        return Request("GET", f"{challenge.realm}{sign}{urlencode(fields)}"), headers


def read_challenges(text: str) -> list[Challenge]:
    """Read a ``WWW-Authenticate`` header; what is no challenge of a known kind is left out."""
    starts = list(_CHALLENGE.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    found = []
    for start, end in zip(starts, ends, strict=False):
        values = {
            match["name"].lower(): match["quoted"] or match["plain"] or ""
            for match in _PARAMETER.finditer(text, start.end(), end)
        }
        scopes = tuple(values.get("scope", "").split())
        found.append(Challenge(start["scheme"].lower(), values.get("realm", ""), values.get("service", ""), scopes))
    return found


def _write_basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.name}:{login.password}".encode()).decode()


def _read_token(data: bytes, host: str) -> str:
    try:
        values = json.loads(data)
        token = str(values.get("token") or values["access_token"])
    except (ValueError, LookupError, AttributeError, RecursionError):
        token = ""
    if not _TOKEN.fullmatch(token):
        raise EngineError(f"{host} answers without a token", "check what runs there")
    return token
