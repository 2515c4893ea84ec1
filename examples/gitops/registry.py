"""A registry of this machine, Debian's docker-registry, and what its log says was written to it."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Registry:
    """A registry that runs, and its log."""

    host: str
    log: Path

    def list_writes(self) -> list[str]:
        """Return what was written so far, as ``PUT /v2/models/model-01/manifests/1.0.0-cpu``, in order."""
        found = []
        for line in self.log.read_text().splitlines():
            values = json.loads(line) if line.startswith("{") else {}
            method, uri = values.get("http.request.method"), values.get("http.request.uri", "").partition("?")[0]
            if method in ("PUT", "POST", "PATCH", "DELETE") and "http.response.status" in values:
                found.append(f"{method} {uri}")
        return found


@contextlib.contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    """Run a registry in a folder as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": host, "secret": "of an example"},
    }
    folder.mkdir()
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(host.partition(":")[2])), 1):
                break
            time.sleep(0.05)
        yield Registry(host, folder / "log")
    finally:
        process.kill()
        process.wait()
