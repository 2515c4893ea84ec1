"""A real registry, Debian's docker-registry, on a free port of this machine, with its log."""

import io
import json
import random
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import CONFIG, LAYER, MANIFEST, Descriptor, Manifest, write_document

PIECE = 1 << 16
"""What tests send at a time: the largest layer of an image takes three requests."""
SIZES = (10_240, 51_200, 184_320)
"""The bytes of an image's layers."""
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

    def requests(self, of: str = "") -> list[str]:
        """The requests so far in the registry's own log, as ``PUT /v2/… 201``, that match a pattern."""
        found, log, size = [], self.folder / "log", -1
        while size != log.stat().st_size:  # it writes a line a moment after the answer
            size = log.stat().st_size
            time.sleep(0.2)
        for line in log.read_text().splitlines():
            values = json.loads(line) if line.startswith("{") else {}
            if "http.response.status" in values:
                parts = (values[f"http.{part}"] for part in ("request.method", "request.uri", "response.status"))
                found.append(" ".join(str(part).partition("?")[0] for part in parts))
        return [request for request in found if re.search(of, request)]

    def find_blobs(self) -> dict[str, Path]:
        """The files of all blobs, by digest."""
        found = self.folder.glob("storage/docker/registry/v2/blobs/sha256/*/*/data")
        return {f"sha256:{path.parent.name}": path for path in found}


def make_layer(data: bytes) -> bytes:
    """A tar with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def add_image(layout: Layout, seed: int, platform: str = "linux/amd64", base: str = "") -> Descriptor:
    """Put an image of three layers into a layout, and return its manifest."""
    chance = random.Random(seed)
    layers = [layout.add(make_layer(chance.randbytes(size)), LAYER) for size in (1, 40_000, 180_000)]
    values = {
        "architecture": platform.partition("/")[2],
        "os": "linux",
        "config": {"Labels": {"org.opencontainers.image.base.name": base} if base else {}},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    config = layout.add(json.dumps(values).encode(), CONFIG)
    return layout.add(write_document(Manifest(config, tuple(layers))), MANIFEST)


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
