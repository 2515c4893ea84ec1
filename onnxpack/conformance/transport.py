"""HTTP/1.1 itself, as clients and proxies speak it, and as an attacker does."""

import contextlib
import json
import time

from onnxpack.conformance.checks import FailedError, Level, check
from onnxpack.conformance.expect import require, require_ok, require_refusal, require_same
from onnxpack.conformance.server import JSON, Server, read_outputs
from onnxpack.conformance.wire import Answer, ClosedError, Connection

_LIVE = "/v2/health/live"
_QUIET_SECONDS = 0.2  # in which nothing may come behind an answer without a body
_PARALLEL = 8
_PAUSE_SECONDS = 0.005
_HEAD = 1_000_000  # bytes of a header that no server should keep
_BODY = 2**50  # bytes of a body that no server can keep


def _body(server: Server) -> bytes:
    return json.dumps(server.sample.to_json()).encode()


def _refuse_or_close(server: Server, data: bytes) -> None:
    """Send what is no good request: it is refused, or the connection is closed."""
    with server.connect() as connection:
        try:
            answer = server.exchange(connection, data)
        except ClosedError:
            return
        require_refusal(answer)


def _require_end(server: Server, data: bytes) -> None:
    """Send a request behind which nothing may be answered on the same connection."""
    with server.connect() as connection:
        try:
            server.exchange(connection, data)
            connection.receive("GET")
        except ClosedError:
            return
        raise FailedError("expected that the server closes the connection, and takes what follows for no request")


@check("http.head", "HEAD", Level.ROBUSTNESS, "RFC 9110, 9.3.2")
def check_head(server: Server) -> None:
    """Ask for the head of an answer: no body follows it."""
    with server.connect() as connection:
        answer = server.exchange(connection, server.write("HEAD", _LIVE), "HEAD")
        require(answer.status in (200, 405), "200 or 405")
        require(not connection.read_rest(_QUIET_SECONDS), "no body")


@check("http.method", "a method that is not the endpoint's", Level.ROBUSTNESS, "RFC 9110, 15.5.6")
def check_method(server: Server) -> None:
    """Ask for a prediction by GET, and for health by DELETE."""
    for method, path in (("GET", f"{server.path}/infer"), ("DELETE", _LIVE), ("POST", _LIVE)):
        answer = server.ask(method, path)
        require(answer.status in (404, 405, 501), "405, or 404 or 501")
        require(answer.status != 405 or "allow" in answer.headers, "an Allow header with 405")


@check("http.path", "a path that there is not", Level.ROBUSTNESS, "RFC 9110, 15.5.5")
def check_path(server: Server) -> None:
    """Ask for nothing known."""
    for path in ("/v2/none", "/v2/models/", "/v2/models/%00/infer", f"/v2/{'x' * 5000}"):
        require(300 <= server.ask("GET", path).status < 500, "4xx, or a redirect")


@check("http.keep-alive", "a connection is kept", Level.ROBUSTNESS, "RFC 9112, 9.3")
def check_keep_alive(server: Server) -> None:
    """Ask twice on one connection."""
    with server.connect() as connection:
        for _ in range(2):
            answer = server.exchange(connection, server.write("GET", _LIVE), "GET")
            require(answer.status == 200 and not _closes(answer), "200 on a connection that stays")


@check(
    "http.keep-alive-error",
    "a connection is kept after an error, or its end is said",
    Level.ROBUSTNESS,
    "RFC 9112, 9.6",
)
def check_keep_alive_after_error(server: Server) -> None:
    """Send a wrong request and a good one on one connection."""
    with server.connect() as connection:
        wrong = server.exchange(connection, server.write("POST", f"{server.path}/infer", b"{}", JSON))
        if not _closes(wrong):
            good = server.exchange(connection, server.write("POST", f"{server.path}/infer", _body(server), JSON))
            require_same(read_outputs(good), server.outputs)


@check("http.close", "a connection is closed where the client asks for it", Level.ROBUSTNESS, "RFC 9112, 9.6")
def check_close(server: Server) -> None:
    """Ask for the end of the connection."""
    closing = server.write("GET", _LIVE, headers=("connection: close",))
    _require_end(server, closing + server.write("GET", _LIVE))


@check("http.expect", "Expect: 100-continue", Level.ROBUSTNESS, "RFC 9110, 10.1.1")
def check_expect(server: Server) -> None:
    """Send the body when the server asks for it."""
    data = server.write("POST", f"{server.path}/infer", _body(server), (*JSON, "expect: 100-continue"))
    head, end, body = data.partition(b"\r\n\r\n")
    with server.connect() as connection:
        server.remember(head)
        connection.send(head + end)
        status = connection.receive_interim()
        server.got = str(status)
        require(status == 100, "100")
        require_same(read_outputs(server.exchange(connection, body)), server.outputs)


@check("http.chunked", "a body in chunks", Level.ROBUSTNESS, "RFC 9112, 7.1")
def check_chunked(server: Server) -> None:
    """Send the body in three chunks, with an extension and a trailer."""
    data = server.write("POST", f"{server.path}/infer", b"", (*JSON, "transfer-encoding: chunked"))
    head, body = data.replace(b"content-length: 0\r\n", b""), _body(server)
    parts = (body[:7], body[7:20], body[20:])
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts if part)
    with server.connect() as connection:
        answer = server.exchange(connection, head + chunks + b"0\r\na: b\r\n\r\n")
    require_same(read_outputs(answer), server.outputs)


@check("http.pieces", "a request that comes in pieces", Level.ROBUSTNESS, "RFC 9112, 2")
def check_pieces(server: Server) -> None:
    """Send a request in many pieces."""
    data = server.write("POST", f"{server.path}/infer", _body(server), JSON)
    size = max(1, len(data) // 20)
    with server.connect() as connection:
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
            time.sleep(_PAUSE_SECONDS)  # else the kernel puts them together again
        server.remember(data)
        require_same(read_outputs(connection.receive()), server.outputs)


@check("http.pipelining", "several requests at once", Level.ROBUSTNESS, "RFC 9112, 9.3.2")
def check_pipelining(server: Server) -> None:
    """Send three predictions before any is answered: the answers come in the same order."""
    bodies = [json.dumps(server.sample.to_json(id=str(number))).encode() for number in range(3)]
    with server.connect() as connection:
        connection.send(b"".join(server.write("POST", f"{server.path}/infer", body, JSON) for body in bodies))
        for number, body in enumerate(bodies):
            _require_own_answer(server, connection, number, f"three requests at once, the last one {body.decode()}")


@check("http.parallel", "answers are for those who asked", Level.ROBUSTNESS, "RFC 9110, 3.7")
def check_parallel(server: Server) -> None:
    """Ask on several connections before any answer is read: each gets the answer to its own id."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(_PARALLEL)]
        for number, connection in enumerate(connections):
            body = json.dumps(server.sample.to_json(id=str(number))).encode()
            connection.send(server.write("POST", f"{server.path}/infer", body, JSON))
        for number, connection in enumerate(connections):
            sent = f"{_PARALLEL} requests at once, this one with the id {number}"
            _require_own_answer(server, connection, number, sent)


def _require_own_answer(server: Server, connection: Connection, number: int, sent: str) -> None:
    """Expect the answer to the request with this number, which was sent before."""
    server.sent, server.got = sent, ""
    answer = connection.receive()
    server.got = str(answer)
    require(require_ok(answer).get("id") == str(number), f"the answer to request {number}")


@check("http.1.0", "a client of HTTP/1.0", Level.ROBUSTNESS, "RFC 9110, 2.5")
def check_old_client(server: Server) -> None:
    """Ask as an old client does: the answer has no chunks, and the connection ends."""
    with server.connect() as connection:
        answer = server.exchange(connection, server.write("GET", _LIVE).replace(b" HTTP/1.1", b" HTTP/1.0", 1), "GET")
        require(answer.status == 200 and "transfer-encoding" not in answer.headers, "200 without chunks")


@check("http.query", "a path with a query", Level.ROBUSTNESS, "RFC 3986, 3.4")
def check_query(server: Server) -> None:
    """Ask with a query that nobody knows."""
    require(server.ask("GET", f"{_LIVE}?a=b").status == 200, "200")


@check("http.garbage", "what is no HTTP", Level.ROBUSTNESS, "RFC 9112, 3")
def check_garbage(server: Server) -> None:
    """Send bytes, the beginning of TLS, and a line that is none of HTTP."""
    for data in (b"\x00\xff" * 50 + b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET\r\n\r\n"):
        _refuse_or_close(server, data)


@check(
    "http.lengths", "lengths that contradict each other", Level.ROBUSTNESS, "RFC 9112, 6.3: requests can be smuggled"
)
def check_lengths(server: Server) -> None:
    """Send two lengths, one that is none, and one beside chunks in an order that hides a request."""
    good = server.write("POST", f"{server.path}/infer", b"{}", JSON)
    told = b"content-length: 2\r\n"
    for lengths in (told + b"content-length: 1\r\n", b"content-length: x\r\n", b"content-length: -1\r\n"):
        _refuse_or_close(server, good.replace(told, lengths))
    hidden = server.write("GET", _LIVE)
    chunked = (*JSON, "transfer-encoding: chunked")
    _require_end(server, server.write("POST", f"{server.path}/infer", b"0\r\n\r\n" + hidden, chunked))


@check("http.long-head", "headers of a megabyte", Level.ROBUSTNESS, "RFC 6585, 5")
def check_long_head(server: Server) -> None:
    """Send a header that is too long to be kept."""
    _refuse_or_close(server, server.write("GET", _LIVE, headers=(f"x: {'x' * _HEAD}",)))


@check("http.long-body", "a body that is told to be a petabyte", Level.ROBUSTNESS, "RFC 9110, 15.5.14")
def check_long_body(server: Server) -> None:
    """Tell a length that no server can keep: it is refused before it comes."""
    data = server.write("POST", f"{server.path}/infer", b"", JSON)
    _refuse_or_close(server, data.replace(b"content-length: 0", b"content-length: %d" % _BODY) + b"{")


def _closes(answer: Answer) -> bool:
    return answer.headers.get("connection", "").lower() == "close"
