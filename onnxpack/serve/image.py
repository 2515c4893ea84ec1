"""Serve an image in a container of a Docker engine, as confined as in production, for this machine alone."""

import contextlib
import secrets
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3.exceptions
from docker.errors import DockerException, NotFound

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.core.interrupts import uninterrupted
from onnxpack.image.docker import DockerEngine, endpoint
from onnxpack.serve.server import HOST

_LOCAL = ("unix://", "npipe://", "tcp://127.0.0.1", "tcp://localhost", "http+unix://")
_STOPPING = 3600
"""Seconds for a server to finish what it accepted: the most that ``runtime.drain`` allows."""


@dataclass(frozen=True)
class ServedImage:
    """An image that an engine has, and the port that it exposes."""

    id: str
    port: int


def read_image(engine: DockerEngine, reference: str) -> ServedImage:
    """Return an image that can be served.

    Raises:
        SpecError: the engine has none of that name, or it has no server.
        EngineError: no engine answers, or one of another machine.
    """
    try:
        image = engine.find(reference)
    except EngineError as error:
        message = f"'{reference}' is no file or folder, so it is taken for an image, but {error.problems[0].message}"
        hint = "start Docker, or serve what a build left, which needs none: `onnxpack run dist/NAME/TARGET`"
        raise EngineError(message, hint, error.problems[0].detail) from None
    if image is None:
        hint = f"check the name, or run `docker pull {reference}` first"
        raise SpecError(f"'{reference}' is neither a file nor an image that the engine has", hint)
    if not endpoint().startswith(_LOCAL):
        raise EngineError(f"the engine at {endpoint()} is not on this machine", "run this command there")
    with engine.guarded(f"inspect {reference}"):
        exposed = engine.client.inspect_image(image.id)["Config"].get("ExposedPorts") or {}
    ports = sorted(int(port) for entry in exposed if (port := entry.partition("/")[0]).isdecimal())
    if not ports:
        raise SpecError(f"the image '{reference}' exposes no port", "name one that was built with a server")
    return ServedImage(image.id, ports[0])


@dataclass
class ImageServer:
    """The server of an image, in a container that is removed in the end."""

    engine: DockerEngine
    image: ServedImage
    port: int
    _name: str = field(default_factory=lambda: f"onnxpack-run-{secrets.token_hex(8)}", init=False)
    _made: bool = field(default=False, init=False)

    def start(self) -> None:
        """Create and start the container, and let what it says go to stderr."""
        client = self.engine.client
        with self.engine.guarded("start the container"):
            host = client.create_host_config(
                port_bindings={self.image.port: (HOST, self.port)},
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
            )
            with uninterrupted():
                self._made = True
                client.create_container(self.image.id, name=self._name, host_config=host, ports=[self.image.port])
                client.start(self._name)
            said = client.logs(self._name, stream=True, follow=True)
        threading.Thread(target=_copy, args=(said,), daemon=True).start()

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        with self.engine.guarded("inspect the container"):
            state = self.engine.client.inspect_container(self._name)["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def stop(self) -> None:
        """Ask it to stop, wait until it has answered what it accepted, and remove the container."""
        if not self._made:
            return
        with self.engine.guarded("stop the container"), contextlib.suppress(NotFound):
            self.engine.client.stop(self._name, timeout=_STOPPING)
            self.engine.client.remove_container(self._name, v=True, force=True)


def _copy(said: Any) -> None:
    with contextlib.suppress(DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        for chunk in said:
            sys.stderr.write(chunk.decode(errors="replace"))
            sys.stderr.flush()
