"""Connections are used again, and what breaks is told as what may pass or what does not."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from faulty_registry import faulty
from registries import Served

from onnxpack.core.errors import EngineError
from onnxpack.download.transfer import Transient
from onnxpack.oci import transport
from onnxpack.oci.transport import Request, Transport, Unreachable


def ask(made: Transport, url: str, method: str = "GET") -> transport.Answer:
    return made.send(Request(method, url), url, {})


def test_a_connection_is_used_again_after_an_answer_without_a_body(registry: Served) -> None:
    made, url = Transport(), f"http://{registry.host}/v2/team/iris/manifests/none"
    answers = []
    for _ in range(3):
        answers.append(ask(made, url, "HEAD"))  # kept: what nobody holds is closed by the way
        answers[-1].close()
    assert [answer.status for answer in answers] == [404] * 3
    assert ask(made, url).read(1000).startswith(b'{"errors"')


def test_an_answer_that_is_too_long_is_not_read(registry: Served) -> None:
    url = f"http://{registry.host}/v2/team/iris/manifests/none"
    with pytest.raises(EngineError, match="sends an answer of more than 10 bytes"):
        ask(Transport(), url).read(10)


def test_a_host_that_sends_too_slowly_is_left(registry: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WINDOW", -1.0)
    monkeypatch.setattr(transport, "SLOWEST", -(10**9))
    answer = ask(Transport(), f"http://{registry.host}/v2/team/iris/manifests/none")
    with pytest.raises(Transient, match="bytes a second came"):
        answer.read(1000)


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("http://127.0.0.1:1/", Unreachable, "127.0.0.1:1 cannot be reached: Connection refused"),
        ("http://127.0.0.1:0/", EngineError, "is no address"),
        ("http://127.0.0.1:99999/", EngineError, "is no address"),
        ("http://me:word@127.0.0.1/", EngineError, "is no address"),
        ("ftp://127.0.0.1/", EngineError, "is no address"),
        ("http:///v2", EngineError, "is no address"),
    ],
)
def test_what_cannot_be_reached_is_told(url: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        ask(Transport(), url)


def test_a_name_that_nobody_knows_is_an_error_and_a_silent_resolver_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[tuple[int, type[Exception]]] = [(socket.EAI_NONAME, EngineError), (socket.EAI_AGAIN, Unreachable)]
    for number, kind in kinds:

        def fail(*_: object, number: int = number, **__: object) -> None:
            raise socket.gaierror(number, "words")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(kind, match=r"registry\.example\.com"):
            ask(Transport(), "http://registry.example.com/")


def test_a_proxy_that_cannot_be_reached_or_understood_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("https_proxy", "http://me:c4n4ry@127.0.0.1:1")
    with pytest.raises(Unreachable, match=r"the proxy for registry\.example\.com cannot be reached") as failed:
        ask(Transport(), "https://registry.example.com/")
    assert "c4n4ry" not in str(failed.value)
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(EngineError, match="has an address that is not understood"):
        ask(Transport(), "https://registry.example.com/")


def test_a_proxy_carries_requests(registry: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with faulty(registry.host) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:word@{proxy.host}")
        ask(Transport(), "http://registry.example.com/v2/").close()
        ((method, path, headers),) = proxy.seen
    assert (method, path) == ("GET", "http://registry.example.com/v2/")
    assert headers["proxy-authorization"] == "Basic bWU6d29yZA=="


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A host that answers every connection with these bytes, or says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                if answer is not None:
                    connection.recv(4096)
                    connection.sendall(answer)
                else:
                    done.wait(20)

        done = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46", None])
def test_a_host_without_tls_is_told_from_one_with_it(answer: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_HANDSHAKE", 0.2)
    with listening(answer) as host:
        assert not Transport().speaks_tls(host)
