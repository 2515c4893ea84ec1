"""A server that a command runs is told of when it is ready, and whatever ends it, it is stopped."""

import http.server
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from onnxpack.core import interrupts
from onnxpack.core.errors import EngineError, GateError, SpecError
from onnxpack.serve import server as module
from onnxpack.serve.server import require_free, serve


class Health(http.server.BaseHTTPRequestHandler):
    """Ready from the third question on."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200 if self.asked > 2 else 503)
        self.end_headers()

    def log_message(self, *words: object) -> None: ...


class Fake:
    """A server in a thread of this process; ``status`` is how it has ended."""

    def __init__(self, port: int, status: int | None = None, listens: bool = True) -> None:
        self.port, self.status, self.listens = port, status, listens
        self.events: list[str] = []
        self._http: http.server.HTTPServer | None = None

    def start(self) -> None:
        self.events.append("start")
        if self.listens:
            Health.asked = 0
            self._http = http.server.HTTPServer(("127.0.0.1", self.port), Health)
            threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def poll(self) -> int | None:
        return self.status

    def stop(self) -> None:
        self.events.append("stop")
        if self._http:
            self._http.shutdown()
            self._http.server_close()


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts.heed_signals()
    yield
    interrupts.heed_signals()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_ready_server_is_told_of_and_a_signal_stops_it(port: int, number: signal.Signals) -> None:
    fake = Fake(port)

    def tell(told: int) -> None:
        fake.events.append(f"told {told == port} after {Health.asked}")
        signal.raise_signal(number)

    serve(fake, tell)
    assert fake.events == ["start", "told True after 3", "stop"]


def test_a_server_that_ends_by_itself_is_an_error(port: int) -> None:
    fake = Fake(port, 3)
    with pytest.raises(GateError, match="the server ended before it was ready: exit status 3"):
        serve(fake, lambda told: None)
    fake = Fake(port)

    def end(told: int) -> None:
        fake.status = 137

    with pytest.raises(GateError, match="the server ended by itself: exit status 137"):
        serve(fake, end)
    assert fake.events == ["start", "stop"]


def test_a_server_that_does_not_get_ready_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    fake = Fake(port, listens=False)
    with pytest.raises(GateError, match="not ready within"):
        serve(fake, lambda told: None)
    assert fake.events == ["start", "stop"]


def test_a_port_that_is_taken_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        fake = Fake(other.getsockname()[1])
        with pytest.raises(EngineError, match=f"port {fake.port} is taken") as failed:
            serve(fake, lambda told: None)
    assert "--port" in failed.value.problems[0].hint
    assert fake.events == []
    require_free(fake.port)


def test_a_port_for_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.socket, "socket", type("Socket", (socket.socket,), {"bind": refuse}))
    with pytest.raises(SpecError, match="port 80 is for root alone"):
        require_free(80)
