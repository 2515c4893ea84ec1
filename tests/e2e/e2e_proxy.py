"""A unix socket between the command line and the engine, that can hold a request back or cut everything off."""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onnxpack.image.docker import endpoint


@dataclass
class Proxy:
    """Forwards bytes until a POST whose path has ``at`` in it comes by."""

    path: Path
    target: str
    at: bytes
    cut: bool
    """What happens then: the engine dies while it answers, or the request waits until ``go`` is set."""

    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self._keep(listener)
        self._thread(self._accept, listener)

    def close(self) -> None:
        """As an engine that is killed: every connection ends, and no new one is taken."""
        self.path.unlink(missing_ok=True)
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def join(self) -> None:
        self.go.set()
        self.close()
        for thread in self._threads:
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                self._keep(client, engine)
                engine.connect(self.target)
                asked = threading.Event()
                self._thread(self._requests, client, engine, asked)
                self._thread(self._answers, engine, client, asked)

    def _requests(self, client: socket.socket, engine: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                line = data.partition(b"\r\n")[0]
                if line.startswith(b"POST ") and self.at in line:
                    self.reached.set()
                    asked.set()
                    if not self.cut:
                        self.go.wait()
                engine.sendall(data)
            engine.shutdown(socket.SHUT_WR)

    def _answers(self, engine: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := engine.recv(1 << 16):
                if asked.is_set():
                    self.answered.set()
                    if self.cut:
                        self.close()
                        return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def _keep(self, *sockets: socket.socket) -> None:
        self._sockets.extend(sockets)

    def _thread(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


@contextlib.contextmanager
def proxy(at: str, *, cut: bool) -> Iterator[Proxy]:
    """A proxy of the engine; a test that needs it is skipped where the engine has no unix socket."""
    if not endpoint().startswith("unix://"):
        pytest.skip("the engine is not at a unix socket")
    folder = Path(tempfile.mkdtemp(prefix="e2e-"))  # short, as a unix socket's path has to be
    made = Proxy(folder / "engine.sock", endpoint().removeprefix("unix://"), at.encode(), cut)
    made.listen()
    try:
        yield made
    finally:
        made.join()
        shutil.rmtree(folder)
