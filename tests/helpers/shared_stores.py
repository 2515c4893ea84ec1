"""A real S3 server over HTTP, a server that misbehaves, and two machines that share a store."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onnxpack.cache.objects import open_objects
from onnxpack.cache.remote import Remote
from onnxpack.cache.store import Store

_DRIP_SECONDS = 0.05
_ENDS = 20.0  # seconds after which a connection is closed that hangs, so that no test waits for ever


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server, and a client of it."""

    client: Any
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/team/cache"

    def list(self) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {one["Key"]: self.client.get_object(Bucket=self.name, Key=one["Key"])["Body"].read() for one in found}

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of moto's S3 server."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (onnxpack[remote])")
    moto = pytest.importorskip("moto.server", reason="moto's server is not installed: no S3 to test against")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let clients of S3 ask this server."""
    for name, value in {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIAPRIVATEPRIVATE00", "AWS_SECRET_ACCESS_KEY": "private-secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    """A new bucket."""
    import boto3

    use_endpoint(monkeypatch, s3_server)
    found = Bucket(boto3.client("s3"), f"b{abs(hash(request.node.nodeid))}")
    found.client.create_bucket(Bucket=found.name)
    return found


class BadServer:
    """Does to every request what ``does`` says: hang, 403, 500, drip, cut."""

    def __init__(self, does: str) -> None:
        self.does = does
        self.requests = 0
        self.url = ""


@contextlib.contextmanager
def serve_badly(does: str) -> Iterator[BadServer]:
    """Run a server that misbehaves."""
    bad, ended = BadServer(does), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def answer(self) -> None:
            bad.requests += 1
            self.close_connection = True
            if bad.does == "hang":
                ended.wait(_ENDS)
            elif bad.does.isdigit():
                self.send_error(int(bad.does))
            else:
                self.send_response(200)
                self.send_header("Content-Length", "10000000")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(b"x" * 100)
                    end = time.monotonic() + _ENDS
                    while bad.does == "drip" and time.monotonic() < end and not ended.wait(_DRIP_SECONDS):
                        self.wfile.write(b"x")

    for method in ("GET", "PUT", "HEAD", "POST"):
        setattr(Handler, f"do_{method}", Handler.answer)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:
            """Say nothing: clients leave."""

    with Server(("127.0.0.1", 0), Handler) as server:
        bad.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield bad
        finally:
            ended.set()
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Machine:
    """A store of one machine, and what its user was told."""

    store: Store
    told: list[str]

    @property
    def remote(self) -> Remote:
        assert isinstance(self.store.shared, Remote)
        return self.store.shared


def make_machine(root: Path, url: str, *, writes: bool = True) -> Machine:
    """Return a machine with an empty store that shares results at a URL."""
    told: list[str] = []
    return Machine(Store(root, shared=Remote(open_objects(url), url, root, told.append, writes=writes)), told)
