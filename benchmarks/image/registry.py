"""A real registry, Debian's docker-registry, and a relay before it that counts what is sent to it."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAM = "docker-registry"
_CHUNK, _SECONDS = 1 << 18, 20


class Relay:
    """Connections to the registry, with the bytes of all requests: their headers too."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.sent = 0
        self._target = target
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._copy, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, False), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if counted:
                    with self._lock:
                        self.sent += len(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def run_registry(folder: Path) -> Iterator[Relay]:
    """Run an empty registry until the end of the block, and yield the relay to name it by.

    Raises:
        OSError: it is not installed, or does not start.
    """
    if not shutil.which(PROGRAM):
        raise OSError(f"{PROGRAM} is not installed")
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        place: tuple[str, int] = free.getsockname()
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": f"{place[0]}:{place[1]}"},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _await(place, process)
        relay = Relay(place)
        yield relay
        relay.close()
    finally:
        process.kill()
        process.wait()


def _await(place: tuple[str, int], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(place, 1).close()
            return
        time.sleep(0.02)
    raise OSError(f"{PROGRAM} does not start")
