"""A container under test: no network, nothing writable but one volume, no capabilities, and gone afterwards."""

import contextlib
import io
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from docker.errors import APIError, NotFound

from onnxpack.engines.docker import DockerEngine, archive_of
from onnxpack.errors import EngineError, GateError
from onnxpack.interrupts import afterwards, uninterrupted

VOLUME = "/onnxpack-check"
"""Where the check's files lie in the container: a volume, since the root is read-only."""

_NO_STATUS = 255
"""Of a command that could not be started."""


@dataclass(frozen=True)
class Container:
    """A created container."""

    engine: DockerEngine
    id: str

    def start(self) -> None:
        """Runs its command.

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
                    "image.base must bring python3, of the version that image.python names",
                ) from None

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        """Runs one more command in it; gives exit status, stdout and stderr.

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

    def wait(self, seconds: int) -> int | None:
        """Its exit status, or None if it still runs after that time."""
        try:
            with self.engine.guarded("wait for the container"):
                try:
                    return int(self.engine.client.wait(self.id, timeout=seconds)["StatusCode"])
                except (requests.ReadTimeout, requests.ConnectionError) as error:
                    if "timed out" in str(error):
                        return None
                    raise
        except EngineError:
            if self.running():
                return None
            raise

    def running(self) -> bool:
        """Whether its command has not ended."""
        with self.engine.guarded("inspect the container"):
            return bool(self.engine.client.inspect_container(self.id)["State"]["Running"])

    def output(self) -> tuple[str, str]:
        """What it printed so far on stdout and stderr."""
        with self.engine.guarded("read the container's log"):
            client = self.engine.client
            return (
                client.logs(self.id, stdout=True, stderr=False).decode(errors="replace"),
                client.logs(self.id, stdout=False, stderr=True).decode(errors="replace"),
            )

    def fetch(self, folder: str) -> dict[str, bytes]:
        """The files of a folder of the volume, by name."""
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
def container(
    engine: DockerEngine,
    image: str,
    files: dict[str, bytes],
    *,
    entrypoint: list[str] | None = None,
    command: list[str] | None = None,
    gpu: bool = False,
) -> Iterator[Container]:
    """A created container of ``image`` with ``files`` in its volume beside a writable ``out/``; removed at the end."""
    client = engine.client
    name = f"onnxpack-check-{secrets.token_hex(8)}"
    options: dict[str, Any] = {"device_requests": [{"Count": -1, "Capabilities": [["gpu"]]}]} if gpu else {}

    def remove() -> None:
        with engine.guarded("remove the container"), contextlib.suppress(NotFound):
            client.remove_container(name, v=True, force=True)

    with afterwards(remove):
        with engine.guarded("create a container"), uninterrupted():
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
            client.put_archive(name, VOLUME, archive_of(files, {"out": 0o777}))
        yield Container(engine, name)
