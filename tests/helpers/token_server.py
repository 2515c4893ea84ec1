"""A small token server, whose tokens a real registry verifies."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SERVICE, ISSUER = "registry of a test", "a test"


@dataclass
class Tokens:
    """The server, who it knows, and what it was asked."""

    logins: dict[str, str]
    """The passwords of users; nobody else may push."""
    certificate: Path
    refresh: str = "an identity token"
    url: str = ""
    lifetime: int = 300
    asked: list[tuple[str, list[str], str]] = field(default_factory=list)
    """Of each request its method, the scopes, and the user."""
    fails: list[int] = field(default_factory=list)
    """The statuses of the next answers."""
    closed: str = "/"
    """Who asks for a scope with this in it gets no token, instead of one without it."""

    def configuration(self) -> dict[str, Any]:
        return {
            "token": {"realm": self.url, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self.certificate)}
        }

    def give(self, user: str, scopes: list[str]) -> str:
        """A signed token for what the user may do: everybody reads, users write."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = [action for action in actions.split(",") if user or action == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + self.lifetime, "nbf": now - 60, "iat": now,
            "jti": str(now), "access": access,
        }  # fmt: skip
        return sign(claims, self.certificate)


class _Handler(BaseHTTPRequestHandler):
    tokens: Tokens
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        word = self.headers.get("Authorization", "").removeprefix("Basic ")
        name, _, password = base64.b64decode(word).decode().partition(":")
        self._answer(
            name, parse_qs(urlsplit(self.path).query), known=not name or self.tokens.logins.get(name) == password
        )

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        fields = {"grant_type": ["refresh_token"], "refresh_token": [self.tokens.refresh], "service": [SERVICE]}
        scopes = [scope for words in form.get("scope", []) for scope in words.split()]
        known = all(form.get(key) == value for key, value in fields.items()) and "client_id" in form
        self._answer("refreshed", {"scope": scopes}, known=known)

    def _answer(self, user: str, query: dict[str, list[str]], *, known: bool) -> None:
        scopes = query.get("scope", [])
        self.tokens.asked.append((self.command, scopes, user))
        status = self.tokens.fails.pop(0) if self.tokens.fails else 200 if known else 401
        if any(f":{self.tokens.closed}:" in scope for scope in scopes):
            status = 403
        body = json.dumps({"access_token": self.tokens.give(user, scopes)} if status == 200 else {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def giving_tokens(certificate: Path, logins: dict[str, str]) -> Iterator[Tokens]:
    """A token server on a free port; ``certificate`` is a file with its key and certificate."""
    tokens = Tokens(logins, certificate)
    handler = type("Handler", (_Handler,), {"tokens": tokens})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        tokens.url = f"http://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield tokens
        finally:
            server.shutdown()
            thread.join()


def sign(claims: dict[str, Any], certificate: Path) -> str:
    """A JSON Web Token with its certificate, RFC 7515."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    pem = certificate.read_bytes()
    made = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(made).decode()]}
    text = b".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
    key: Any = serialization.load_pem_private_key(pem, None)
    return (text + b"." + _encode(key.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
