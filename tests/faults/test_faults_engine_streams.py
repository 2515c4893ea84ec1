"""What an engine may answer, and where it may be said to be: one typed error that names it, and the log's end."""

import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bundle_examples import DOCKERFILES

from onnxpack.bundle.context import Context
from onnxpack.core.errors import EngineError
from onnxpack.image.docker import DockerEngine
from onnxpack.image.engine import BuildRequest, Image

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK closes no answer that breaks

ID = "sha256:" + "0f" * 32
LOG = [{"stream": "Step 1/9 : FROM base\n"}, {"stream": "a line of the log\n"}]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the SDK left open be closed here, and not in another test."""
    yield
    gc.collect()


class _Engine(BaseHTTPRequestHandler):
    """Answers a build with a stream, everything about the image with 404, and a ping as it is told."""

    stream: bytes
    ping: tuple[int, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        if self.path.endswith("/_ping") or self.path.endswith("/version"):
            status, body = self.ping
        else:
            status, body = 404, b'{"message": "no such image"}'
        self._answer(status, body)

    def do_POST(self) -> None:
        left = self.rfile
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(left.readline(), 16):
                left.read(size + 2)
            left.readline()
        else:
            left.read(int(self.headers["Content-Length"] or 0))
        self._stream(self.stream)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: bytes) -> None:
        """Send chunks, as an engine does: one for each event, and an end unless it was cut."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in body.removesuffix(b"CUT").splitlines(keepends=True):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        if not body.endswith(b"CUT"):
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


@contextmanager
def engine(stream: bytes = b"", ping: tuple[int, bytes] = (200, b'{"ApiVersion": "1.44"}')) -> Iterator[str]:
    handler = type("Engine", (_Engine,), {"stream": stream, "ping": ping})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def connecting() -> Iterator[DockerEngine]:
    """Close the connection in the end, if there was one."""
    docker = DockerEngine()
    try:
        yield docker
    finally:
        if "client" in vars(docker):
            docker.client.close()


def events(*entries: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\r\n" for entry in (*LOG, *entries))


STREAMS: dict[str, tuple[bytes, str]] = {
    "ended without an id": (events(), "ended without an image"),
    "cut in the middle": (events() + b'{"stream": "Step 2CUT', ""),
    "cut with an id before": (events({"aux": {"ID": ID}}) + b"CUT", ""),
    "an error": (events({"error": "no space left on device"}), "cannot build the image: no space left on device"),
    "an error behind the id": (events({"aux": {"ID": ID}}, {"error": "too late"}), "cannot build the image: too late"),
    "an id that is not there": (events({"aux": {"ID": ID}}), "ended without an image"),
    "an id of another type": (events({"aux": {"ID": 5}}), ""),
    "an aux of another type": (events({"aux": "text"}), ""),
    "an error of another type": (events({"error": {"code": 1}}), ""),
    "a stream of another type": (events({"stream": ["x"]}), ""),
    "an event that is no object": (events() + b'["x"]\r\n"text"\r\n5\r\n', ""),
    "no JSON": (events() + b"<html>502 Bad Gateway</html>\r\n", ""),
    "no UTF-8": (events() + b'{"stream": "\xff\xfe"}\r\n', ""),
    "nested without end": (events() + b"[" * 100_000 + b"\r\n", ""),
    "nothing": (b"", "ended without an image"),
}
"""What the engine sends for a build, and words of the error where they are ours."""


@pytest.mark.case("B9")
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_no_build_is_one_error_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count_attacks: Callable[[int], None]
) -> None:
    stream, words = STREAMS[name]
    (tmp_path / "Dockerfile").write_text("FROM base\n")
    context = Context(tmp_path, "k" * 64, "1", DOCKERFILES["iris"])
    base = Image("sha256:base", 1, (), {}, platform="linux/amd64")
    with engine(stream) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        with connecting() as docker, pytest.raises(EngineError) as failed:
            docker.build(BuildRequest(context, base, "small:tag", "gzip"))
    (problem,) = failed.value.problems
    assert words in problem.message
    assert problem.hint
    assert name == "nothing" or "a line of the log" in problem.detail
    count_attacks(1)


HOSTS = (
    "tcp://127.0.0.1:9", "tcp://127.0.0.1:99999", "tcp://", "tcp://[::1", "unix:///nonexistent/docker.sock", "unix://",
    "unix:///tmp", "http://127.0.0.1:9", "bogus", "bogus://x", "npipe:////./pipe/x", "fd://",
    "::", "tcp://user:c4n4ry@127.0.0.1:9", "ssh://", "tcp://127.0.0.1:x", "\x01",
)  # fmt: skip


@pytest.mark.case("B3")
@pytest.mark.parametrize("host", HOSTS)
def test_an_engine_that_cannot_be_reached_is_one_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, host: str, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with connecting() as docker, pytest.raises(EngineError, match="no Docker engine answers at") as failed:
        docker.find("base")
    assert "c4n4ry" not in str(failed.value)
    assert "DOCKER_HOST" in failed.value.problems[0].hint
    count_attacks(1)


def find() -> str:
    """Look for an image that is not there; return the words of the error, if there is one."""
    with connecting() as docker:
        try:
            assert docker.find("no/such/image:at-all") is None
        except EngineError as error:
            return str(error)
    return ""


PINGS = ((500, b"x"), (403, b'{"message": "denied"}'), (200, b"<html>"), (200, b'{"ApiVersion": 5}'), (200, b"[]"),
         (200, b'{"ApiVersion": "9.99"}'), (200, b'{"ApiVersion": "0.1"}'), (200, b"{}"), (302, b""))  # fmt: skip


@pytest.mark.case("B3")
@pytest.mark.parametrize("ping", PINGS)
def test_what_is_no_engine_is_one_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, ping: tuple[int, bytes], count_attacks: Callable[[int], None]
) -> None:
    with engine(ping=ping) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        told = find()
        assert not told or host in told  # else what it says was taken for a version that speaks
    count_attacks(1)


@pytest.mark.case("B3")
@pytest.mark.parametrize("config", ["{", "[]", '{"currentContext": "gone"}', '{"currentContext": 5}', "\0", "null"])
def test_a_docker_context_that_cannot_be_read_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, count_attacks: Callable[[int], None]
) -> None:
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    told = find()
    assert not told or "no Docker engine answers at" in told
    count_attacks(1)
