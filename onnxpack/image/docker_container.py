"""A container under test in a Docker engine, as confined as ``engine.Container`` asks."""

import contextlib
import io
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from docker.errors import APIError, NotFound

from onnxpack.core.errors import EngineError, GateError
from onnxpack.core.interrupts import afterwards, uninterrupted
from onnxpack.image.archives import make_archive
from onnxpack.image.docker import DockerEngine
from onnxpack.image.engine import VOLUME, Container

_NO_STATUS = 255
"""The exit status that stands for a command which could not be started."""


@dataclass(frozen=True)
class DockerContainer(Container):
    """A container that was created in an engine."""

    engine: DockerEngine
    id: str

    @property
    def runtime(self) -> str:
        """Return the engine's name and version."""
        return self.engine.version

    def start(self) -> None:
        """Start the container's command.

        Raises:
            GateError: the image has no such program, or it cannot be executed.
        """
        with self.engine.guarded("start the container"):
            try:
                self.engine.client.start(self.id)
            except APIError as error:
                if error.status_code != requests.codes.bad_request:
                    raise
                raise GateError(
                    f"the image's command cannot be run: {error.explanation}",
                    "set `image.base` to an image with the python3 that `image.python` names",
                ) from None

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        """Run one more command in the container; return its exit status, stdout and stderr.

        A container that has ended, or ends meanwhile, counts as a command that failed.
        """
        with self.engine.guarded("run a command in the container"):
            client = self.engine.client
            try:
                run = client.exec_create(self.id, command)["Id"]
                out, err = client.exec_start(run, demux=True)
                status = client.exec_inspect(run)["ExitCode"]
            except APIError as error:
                if self.running():
                    raise
                return _NO_STATUS, "", str(error.explanation)
        if status is None:
            status = _NO_STATUS
        return status, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace")

    def wait(self, seconds: float) -> int | None:
        """Return the exit status of the container, or None if it still runs after so many ``seconds``."""
        try:
            with self.engine.guarded("wait for the container"):
                try:
                    return int(self.engine.client.wait(self.id, timeout=seconds)["StatusCode"])
                except (requests.ReadTimeout, requests.ConnectionError) as error:
                    # An engine that was killed shows as a ConnectionError too: the words alone tell them apart.
                    if "timed out" in str(error):
                        return None
                    raise
        except EngineError:
            if self.running():
                return None
            raise

    def running(self) -> bool:
        """Return whether the container's command still runs."""
        with self.engine.guarded("inspect the container"):
            return bool(self.engine.client.inspect_container(self.id)["State"]["Running"])

    def output(self) -> tuple[str, str]:
        """Return what the container has printed so far on stdout and stderr."""
        with self.engine.guarded("read the container's log"):
            client = self.engine.client
            return (
                client.logs(self.id, stdout=True, stderr=False).decode(errors="replace"),
                client.logs(self.id, stdout=False, stderr=True).decode(errors="replace"),
            )

    def fetch(self, folder: str) -> dict[str, bytes]:
        """Return the files of a folder of the volume, by name."""
        with self.engine.guarded("read the container's files"):
            chunks, _ = self.engine.client.get_archive(self.id, f"{VOLUME}/{folder}")
            data = io.BytesIO(b"".join(chunks))
        with tarfile.open(fileobj=data) as archive:
            return {
                member.name.rpartition("/")[2]: stream.read()
                for member in archive
                if member.isfile() and (stream := archive.extractfile(member))
            }


@contextlib.contextmanager
def create_container(
    engine: DockerEngine,
    image: str,
    files: dict[str, bytes],
    *,
    entrypoint: list[str] | None = None,
    command: list[str] | None = None,
    gpu: bool = False,
) -> Iterator[DockerContainer]:
    """Create a container of ``image`` with ``files`` in its volume beside a writable ``out/``, then remove it."""
    client = engine.client
    name = f"onnxpack-check-{secrets.token_hex(8)}"
    options: dict[str, Any] = {"device_requests": [{"Count": -1, "Capabilities": [["gpu"]]}]} if gpu else {}

    def remove() -> None:
        with engine.guarded("remove the container"), contextlib.suppress(NotFound):
            client.remove_container(name, v=True, force=True)

    with afterwards(remove):
        with engine.guarded("create a container"), uninterrupted():
            # The strictest way in which a platform may run it: what an image needs beyond this must fail here.
            host = client.create_host_config(
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                **options,
            )
            client.create_container(
                image,
                name=name,
                entrypoint=entrypoint,
                command=command,
                host_config=host,
                volumes=[VOLUME],
                labels={"dev.onnxpack.check": "true"},
            )
        with engine.guarded("copy files into the container"):
            # The image's user is not root, and must be able to write its answers.
            client.put_archive(name, VOLUME, make_archive(files, {"out": 0o777}))
        yield DockerContainer(engine, name)
