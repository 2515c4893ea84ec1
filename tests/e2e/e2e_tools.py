"""What the end-to-end tests share: a workshop to build in, and containers of what it built."""

import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from listening import listen

from onnxpack.core.values import REFERENCE, SERVED

SPECS = Path(__file__).parents[2] / "specs"
ONNXPACK = Path(sysconfig.get_path("scripts")) / "onnxpack"
LABEL = "test.run"
REPORTS = {"report.json", "report.html"}
"""What a build leaves in any case; both have times in them."""
STAGES = ["base", "export", "verify", "batch speed", "bundle", "compile", "compile", "image", "smoke"]
# One POST from inside a container: path and body.
ASK = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
connection.request("POST", sys.argv[1], sys.argv[2], {"Content-Type": "application/json"})
response = connection.getresponse()
assert response.status == 200, response.read()
print(response.read().decode())
"""
PATIENCE = 120  # seconds, for whatever should happen at all


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Running:
    """A command that was started; what it says goes to files, so that it can be read at any time."""

    process: subprocess.Popen[bytes]
    logs: Path

    def finish(self) -> Result:
        try:
            code = self.process.wait(timeout=5 * PATIENCE)
        except BaseException:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
        return Result(code, (self.logs / "out").read_text(), (self.logs / "err").read_text())

    def reaches(self, stage: str) -> None:
        """Waits until it says that the work of a stage begins."""

        def begun() -> bool:
            said = (self.logs / "err").read_text()
            assert self.process.poll() is None, said
            return re.search(rf"^\S+: {stage}( export| packages| modules)? …$", said, re.MULTILINE) is not None

        eventually(begun, f"the stage {stage} began")

    def family(self) -> set[int]:
        """The processes that it started, and those that they did."""
        parents = {int(path.name): parent for path in Path("/proc").glob("[0-9]*") if (parent := _parent(path))}
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}


def _parent(process: Path) -> int | None:
    """Of a process that runs; None for one that has ended."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def alive(pids: set[int]) -> set[int]:
    """Those that run still."""
    return {pid for pid in pids if _parent(Path(f"/proc/{pid}")) is not None}


@dataclass(frozen=True)
class Built:
    """An example that was built, and what the build left."""

    spec: Path
    result: Result
    output: Path

    @property
    def report(self) -> Any:
        """The report; a build that had nothing to do leaves the last one's, and everything stood in the store."""
        found = json.loads((self.output / "report.json").read_text())
        if f"{found['name']}, target {found['target']}: unchanged" in self.result.err:
            found["stages"] = [stage | {"cached": True} for stage in found["stages"]]
        return found

    @property
    def stages(self) -> list[tuple[str, bool]]:
        """Names, and whether the result stood; without the proof that is made where batches happen to be fast."""
        return [(one["name"], one["cached"]) for one in self.report["stages"] if one["name"] != "batching"]

    @property
    def context(self) -> Path:
        return self.output / "context"

    @property
    def reference(self) -> str:
        return self.result.out.strip()

    @property
    def layers(self) -> list[str]:
        return [layer["digest"] for layer in self.report["image"]["layers"]]


@dataclass(frozen=True)
class Workshop:
    """A folder outside any Git work tree for specs, caches and outputs; its ``token`` tells its images from others'."""

    root: Path
    token: str
    secret: str

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def copy(self, example: str, place: str = "specs", **changes: Any) -> Path:
        """An example's folder below ``place``, its images named and labelled as this workshop's; gives the spec."""
        folder = self.root / place / example
        ignored = shutil.ignore_patterns("__pycache__", "dist")
        shutil.copytree(SPECS / example, folder, ignore=ignored, copy_function=shutil.copyfile)
        (folder / ".env").write_text(f"PASSWORD={self.secret}\n")
        (folder / "credentials.json").write_text(json.dumps({"token": self.secret}))
        self.edit(folder / "spec.yaml", **changes)
        return folder / "spec.yaml"

    def edit(self, spec: Path, **changes: Any) -> None:
        """Rewrites fields of a spec; ``image`` is added to, all others are replaced."""
        fields = yaml.safe_load(spec.read_text())
        image = {
            "repository": self.repository(f"{spec.parent.parent.name}/{fields['name']}"),
            "labels": {LABEL: self.token},
        }
        fields["image"] = fields.get("image", {}) | image | changes.pop("image", {})
        spec.write_text(yaml.safe_dump(fields | changes, sort_keys=False))

    def repository(self, name: str) -> str:
        return f"onnxpack-e2e-{self.token}/{name}"

    def environment(self, **variables: str) -> dict[str, str]:
        """This process' own, with a private cache and a secret that must not get anywhere."""
        own = {"ONNXPACK_CACHE": str(self.cache), "ONNXPACK_E2E_PASSWORD": self.secret}
        return os.environ | own | variables

    def start(self, *arguments: str | Path, **variables: str) -> "Running":
        """The command line in a process group of its own, as a shell does it, so that ctrl-C can be sent to it."""
        logs = Path(tempfile.mkdtemp(prefix="log-", dir=self.root))
        with (logs / "out").open("wb") as out, (logs / "err").open("wb") as err:
            process = subprocess.Popen(
                [ONNXPACK, *arguments],
                cwd=self.root,
                env=self.environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=listen,
            )
        return Running(process, logs)

    def run(self, *arguments: str | Path, **variables: str) -> Result:
        """The command line from start to end."""
        return self.start(*arguments, **variables).finish()

    def build(self, spec: Path, output: Path, *options: str | Path, **variables: str) -> Built:
        """A build that must succeed."""
        result = self.run("build", spec, "--output", output, *options, **variables)
        assert result.code == 0, result.err
        until = options[options.index("--until") + 1] if "--until" in options else STAGES[-1]
        # A model that was made on the way has a folder of its own.
        place = "cpu" if until in ("bundle", "image", "smoke") else f"cpu.{until}"
        return Built(spec, result, output / spec.parent.name / place)


def fails(result: Result, code: int, *words: str) -> None:
    """It ended with that exit code and one error that has these words, without a traceback and without a result."""
    assert result.code == code, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    assert len([line for line in result.err.splitlines() if line.startswith("error: ")]) == 1, result.err
    for word in words:
        assert word in result.err


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest; none for a folder that is not there."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def failed_stages(folder: Path) -> list[str]:
    """Where the builds below a folder failed; fails itself if they left anything but the reports of that."""
    left = [folder / name for name in contents(folder)]
    assert {path.name for path in left} <= REPORTS
    found = [json.loads(path.read_text()) for path in left if path.suffix == ".json"]
    assert {report["status"] for report in found} <= {"failed"}
    return [report["stage"] for report in found]


def eventually(check: Callable[[], Any], what: str) -> Any:
    """The first true answer of ``check``."""
    end = time.monotonic() + PATIENCE
    while not (answer := check()):
        if time.monotonic() > end:
            pytest.fail(f"it never happened that {what}")
        time.sleep(0.05)
    return answer


# ------------------------------------------------------------------------------------------------ what the engine has


def traces(engine: Any, token: str) -> tuple[list[str], set[str]]:
    """The workshop's containers, and the names of its images."""
    mine = {"label": f"{LABEL}={token}"}
    containers = [found["Id"] for found in engine.containers(all=True, filters=mine)]
    return containers, {tag for image in engine.images(filters=mine) for tag in image["RepoTags"] or []}


def without_leftovers(engine: Any, token: str) -> set[str]:
    """The names of the workshop's images; fails where a container or a build's own tag is left."""
    containers, tags = traces(engine, token)
    assert containers == []
    assert not [tag for tag in tags if tag.startswith("onnxpack-build")]
    return tags


def remove_all(engine: Any, token: str) -> None:
    """Removes the workshop's containers and images."""
    mine = {"label": f"{LABEL}={token}"}
    for found in engine.containers(all=True, filters=mine):
        engine.remove_container(found["Id"], force=True, v=True)
    while images := engine.images(filters=mine):
        for image in images:
            engine.remove_image(image["Id"], force=True)


@dataclass(frozen=True)
class Box:
    """A container of a built image."""

    engine: Any
    id: str

    def facts(self) -> Any:
        return self.engine.inspect_container(self.id)

    def find_port(self) -> int:
        """Return the port of this machine that leads to the container's 8080."""
        return int(self.facts()["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])

    def measure_peak(self) -> int:
        """Return the most memory that the server ever had, in bytes."""
        return int(self.python(_PEAK)) * 1024

    def log(self) -> str:
        return self.engine.logs(self.id).decode()

    def python(self, code: str, *arguments: str) -> str:
        """What the image's Python prints when it runs ``code`` beside the image's own command."""
        run = self.engine.exec_create(self.id, ["python3", "-c", code, *arguments])["Id"]
        out, err = self.engine.exec_start(run, demux=True)
        status = self.engine.exec_inspect(run)["ExitCode"]
        assert status == 0, f"{(err or b'').decode()}\n{self.log()}"
        return (out or b"").decode()

    def ready(self) -> "Box":
        """Waits until the server answers; within the container, so that no network is needed."""
        self.python(_WAIT)
        return self

    def put(self, folder: str, files: dict[str, bytes]) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o644
                archive.addfile(entry, io.BytesIO(data))
        self.engine.put_archive(self.id, folder, stream.getvalue())

    def get(self, path: str) -> bytes:
        pieces, _ = self.engine.get_archive(self.id, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            stream = archive.extractfile(archive.getmembers()[0])
            assert stream
            return stream.read()


_PEAK = """
print(open("/proc/1/status").read().split("VmHWM:")[1].split()[0])
"""
_WAIT = f"""
import http.client, time
end = time.monotonic() + {PATIENCE}
while True:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        break
    except OSError:
        assert time.monotonic() < end, "the server is not ready"
        time.sleep(0.05)
"""


@contextlib.contextmanager
def box(
    engine: Any,
    image: str,
    command: list[str] | None = None,
    *,
    host: dict[str, Any] | None = None,
    files: dict[str, bytes] | None = None,
    start: bool = True,
    **options: Any,
) -> Iterator[Box]:
    """A container, removed at the end; ``files`` go to its volume /data."""
    options["host_config"] = engine.create_host_config(**(host or {"network_mode": "none"}))
    if files:
        options["volumes"] = ["/data"]
    made = Box(engine, engine.create_container(image, command, **options)["Id"])
    try:
        if files:
            made.put("/data", files)
        if start:
            engine.start(made.id)
        yield made
    finally:
        engine.remove_container(made.id, force=True, v=True)


class Client:
    """A client of a published server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Send a request; return the status, the strict JSON and the headers of its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            document = json.loads(response.read(), parse_constant=pytest.fail)
            return response.status, document, {name.lower(): value for name, value in response.getheaders()}

    def infer(self, document: object, path: str = "/v2/models/iris/infer") -> tuple[int, Any, dict[str, str]]:
        """Ask for a prediction."""
        return self.ask("POST", path, json.dumps(document).encode())

    def connect(self) -> socket.socket:
        """Open a connection that does as the test likes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def read_metric(self, *names: str) -> int:
        """Return the sum of some of the server's counters."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(tuple(f"{name} " for name in names)))

    def require_ready(self) -> None:
        """Fail unless the server is ready."""
        assert self.ask("GET", "/v2/health/ready")[:2] == (200, {"ready": True})


# ----------------------------------------------------------------------------------- the source model's own answers


@dataclass(frozen=True)
class Case:
    """Inputs, and the source model's outputs for them."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    file: bytes
    """The inputs as an npz."""

    def request(self, datatypes: dict[str, str]) -> dict[str, Any]:
        """The inputs as the Open Inference Protocol has them."""
        return {
            "inputs": [
                {
                    "name": name,
                    "datatype": datatypes[array.dtype.name],
                    "shape": list(array.shape),
                    "data": array.ravel().tolist(),
                }
                for name, array in self.inputs.items()
            ]
        }

    def agrees(self, answer: Any) -> None:
        """The protocol's answer has the source model's numbers."""
        tensors = {tensor["name"]: tensor for tensor in answer["outputs"]}
        assert list(tensors) == list(self.outputs)
        for name, right in self.outputs.items():
            assert tensors[name]["shape"] == list(right.shape)
            np.testing.assert_allclose(tensors[name]["data"], right.ravel(), rtol=1e-3, atol=1e-4)


DATATYPES = {"float32": "FP32", "int64": "INT64"}


def first_case(cache: Path, built: Built) -> Case:
    """The smallest case that the export stage left in the cache, with the steps around the model where it has any."""
    key = next(stage["key"] for stage in built.report["stages"] if stage["name"] == "export")
    files = cache / "export" / key / "data/files"
    inputs = min((files / SERVED if (files / SERVED).exists() else files / REFERENCE).glob("*.inputs.npz"))
    outputs = inputs.with_name(inputs.name.replace(".inputs.", ".outputs."))
    with np.load(inputs) as one, np.load(outputs) as other:
        return Case(
            {name: one[name] for name in one.files}, {name: other[name] for name in other.files}, inputs.read_bytes()
        )
