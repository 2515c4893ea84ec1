"""A real registry, Debian's docker-registry, on a free port of this machine, with its log."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAM = "docker-registry"
USER, PASSWORD = "me", "correct horse"
_HASH = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
"""The bcrypt hash of the password, the only kind that the registry takes."""
_SECONDS = 20


@dataclass
class Served:
    """A registry that runs."""

    host: str
    folder: Path
    process: Any = field(repr=False)

    def requests(self) -> list[tuple[str, str, int, int]]:
        """The requests so far: method, path, status, and how many bytes of a body came with it."""
        found = []
        for line in (self.folder / "log").read_text().splitlines():
            values = json.loads(line) if line.startswith("{") else {}
            if "http.request.method" in values and "http.response.status" in values:
                path, method = values["http.request.uri"].partition("?")[0], values["http.request.method"]
                found.append(
                    (method, path, values["http.response.status"], int(values.get("http.request.contentlength", 0)))
                )
        return found

    def blobs(self) -> list[Path]:
        return sorted(self.folder.glob("storage/docker/registry/v2/blobs/sha256/*/*/data"))


@contextmanager
def running_registry(folder: Path, tls: Path | None = None, auth: dict[str, Any] | None = None) -> Iterator[Served]:
    """A registry; ``tls`` is a file with its key and certificate, ``auth`` its configuration of logins."""
    if not shutil.which(PROGRAM):
        pytest.skip(f"{PROGRAM} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "of a test", "tls": {"certificate": str(tls), "key": str(tls)} if tls else {}},
        "auth": auth or {},
    }
    (folder / "config.yml").write_text(json.dumps({name: value for name, value in config.items() if value}))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _await(host, process, folder / "log")
        yield Served(host, folder, process)
    finally:
        process.kill()
        process.wait()


def use_passwords(folder: Path) -> dict[str, Any]:
    """The configuration of basic logins, with one user."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    return {"htpasswd": {"realm": "registry", "path": str(folder / "htpasswd")}}


def _await(host: str, process: Any, log: Path) -> None:
    name, _, port = host.partition(":")
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection((name, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(log.read_text())
