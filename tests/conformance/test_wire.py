import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from onnxpack.conformance.wire import Address, ClosedError, Connection, NoAnswerError, read_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("localhost:8080", Address("localhost", 8080)),
        ("http://127.0.0.1", Address("127.0.0.1", 80)),
        ("https://x/models/a/", Address("x", 443, True, "/models/a")),
        ("http://[::1]:9", Address("::1", 9)),
    ],
)
def test_read_address_of_a_url(url: str, address: Address) -> None:
    assert read_address(url) == address


@contextmanager
def peer(*sent: bytes, close: bool = True) -> Iterator[Connection]:
    """A connection to what sends these bytes, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(Address("127.0.0.1", listener.getsockname()[1]), 0.5)
        client, _ = listener.accept()

        def send() -> None:
            for part in sent:
                client.sendall(part)
            if close:
                client.close()

        thread = threading.Thread(target=send)
        thread.start()
        with connection:
            yield connection
        thread.join()
        client.close()


def test_answers_are_read_one_after_the_other() -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nab"
    two = b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n"
    with peer(one + two[:30], two[30:]) as connection:
        first, second = connection.receive(), connection.receive()
        assert (first.status, first.headers, first.body) == (200, {"content-length": "2", "x-a": "b"}, b"ab")
        assert (second.status, second.body, str(second)) == (400, b"c", "400 c")
        with pytest.raises(ClosedError):
            connection.receive()


def test_an_answer_to_head_has_no_body() -> None:
    with peer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n") as connection:
        assert connection.receive("HEAD").body == b""
        assert connection.read_rest(0.1) == b""


def test_an_interim_answer_is_read_alone() -> None:
    with peer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as connection:
        assert connection.receive_interim() == 100
        assert connection.receive().status == 200


@pytest.mark.parametrize(
    "sent",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", b"\xff\xff\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n"],
    ids=repr,
)
def test_what_is_no_whole_answer_is_an_error(sent: bytes) -> None:
    with peer(sent) as connection, pytest.raises(NoAnswerError, match="no HTTP answer"):
        connection.receive()


def test_an_answer_that_comes_drop_by_drop_ends_in_time() -> None:
    with peer(b"HTTP/1.1 200 OK\r\n", close=False) as connection, pytest.raises(NoAnswerError, match=r"in 0\.5 s"):
        connection.receive()


def test_a_port_that_is_closed_is_an_error() -> None:
    with pytest.raises(NoAnswerError, match="no connection"):
        Connection(Address("127.0.0.1", 1), 0.5)
