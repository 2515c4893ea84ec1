"""What runs without a daemon shows of an image what the engine shows, and leaves nothing."""

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from e2e_tools import Built, Workshop

from onnxpack.bundle.bytecode import MODULES, PACKAGES, make_request
from onnxpack.cache.store import Store
from onnxpack.core.errors import GateError
from onnxpack.core.progress import SilentProgress
from onnxpack.image.boxes import open_container
from onnxpack.image.compile import compile_modules
from onnxpack.image.engine import Container, Engine, SmokeRequest, require_end
from onnxpack.image.runtimes import VARIABLE, list_runtimes
from onnxpack.image.smoke import smoke_test
from onnxpack.oci.manifests import Platform
from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import load

BASE = "gcr.io/distroless/python3-debian12"
LOOK = """
import os, socket
def tried(work):
    try: work()
    except OSError as error: return error.strerror
    return "done"
server = socket.create_server(("127.0.0.1", 0))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print([tried(lambda: open(f"{folder}/x", "w")) for folder in ("", "/tmp", "/dev", "/sys", "/onnxpack-check", "/opt/onnxpack/app")])
print([status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")], os.getpid(), os.getuid())
print([line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line])
print(tried(lambda: socket.create_connection(("192.0.2.1", 80), timeout=5)), tried(lambda: socket.create_connection(server.getsockname())))
print(tried(lambda: os.rename("/onnxpack-check/out", "/onnxpack-check/other")), tried(lambda: open("/onnxpack-check/out/y", "w")))
"""  # noqa: E501


@dataclass(frozen=True)
class Exported:
    """The files of an image, as an engine has them, and an engine of local containers of them."""

    root: Path
    config: dict[str, Any]

    def container(
        self, image: str, files: dict[str, bytes], *, entrypoint: Any = None, command: Any = None, gpu: bool = False
    ) -> contextlib.AbstractContextManager[Container]:
        platform = Platform("linux", self.config["Architecture"])
        config = {"config": self.config["Config"]}
        return open_container(
            self.root, config, files, entrypoint=entrypoint, command=command, platform=platform
        )  # fmt: skip


def export(engine: Any, image: str, root: Path) -> Exported:
    made = engine.create_container(image)["Id"]
    try:
        data = io.BytesIO(b"".join(engine.export(made)))
    finally:
        engine.remove_container(made)
    with tarfile.open(fileobj=data) as archive:
        archive.extractall(root, filter="fully_trusted")
    return Exported(root, engine.inspect_image(image))


@pytest.fixture(scope="module")
def image(engine: Any, iris: Built, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(engine, iris.reference, tmp_path_factory.mktemp("iris"))


@pytest.fixture(scope="module")
def asked(iris: Built, workshop: Workshop) -> SmokeRequest:
    """What the build of iris asked of its smoke test."""
    plan = Plan(load(iris.spec), "cpu", workshop.root / "again")
    with contextlib.suppress(GateError):
        made = build(Build(plan, Store(workshop.cache), cast(Engine, None), SilentProgress()), Wanted("bundle")).product
    assert made.exported
    assert made.model
    served = made.exported.served
    return SmokeRequest(
        "id", served, plan.tolerance(made.model.precision), served.opt_case(plan.axes), plan.port, None, (), 1.0
    )


@pytest.fixture(params=["runc", "crun", "bubblewrap", "process"])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Each of the runtimes that are installed; nothing of it may be left."""
    (kind,) = (one for one in list_runtimes() if one.name == request.param)
    if kind.find_version() is None:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "crun" and Path("/sys/fs/cgroup/unified").exists():
        pytest.skip("crun does not take the hybrid control groups of this machine")
    monkeypatch.setenv(VARIABLE, request.param)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield request.param
    assert list_leftovers(tmp_path) == []


def list_leftovers(folder: Path) -> list[str]:
    """List the processes and folders of containers whose files are in a folder."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = [line for line in listed if str(folder) in line]
    return found + [path.name for path in folder.iterdir() if path.name.startswith(".onnxpack-")]


def test_the_smoke_test_passes_in_every_runtime_and_names_it(
    runtime: str, image: Exported, asked: SmokeRequest, iris: Built
) -> None:
    smoke = smoke_test(cast(Engine, image), asked)
    assert smoke.runtime.split()[0] in {"runc", "crun", "bubblewrap", "process"}
    assert smoke.comparisons == iris.report["smoke"]["comparisons"]
    assert smoke.ready_seconds
    assert 0 < smoke.ready_seconds < 60
    assert smoke.peak_rss_bytes
    assert 20e6 < smoke.peak_rss_bytes < 200e6
    assert smoke.soak
    assert smoke.soak.requests > 20


def test_modules_are_compiled_to_the_same_bytes_by_every_runtime(
    runtime: str, engine: Any, iris: Built, tmp_path: Path
) -> None:
    base = export(engine, BASE, tmp_path)
    for part, layer in ((PACKAGES, "runtime"), (MODULES, "model")):
        tree = iris.context / "rootfs" / layer
        wanted = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*.pyc")}
        found = compile_modules(cast(Engine, base), make_request(iris.context, part, "base"))
        assert sorted(found.files) == sorted(wanted)
        assert found.files == wanted


def test_a_container_is_as_confined_as_in_production(runtime: str, image: Exported) -> None:
    if runtime == "process":
        pytest.skip("a plain process is not confined")
    with image.container("id", {}, entrypoint=["python3"], command=["-c", LOOK]) as box:
        rows = require_end(box, 60).splitlines()
    assert rows == [
        str(["Read-only file system"] * 6),
        f"{['0' * 16] * 3} 1 {65532 if runtime == 'bubblewrap' or os.geteuid() == 0 else 0}",
        "['lo']",
        "Network is unreachable done",
        "Read-only file system done",
    ]


def read_status(text: str) -> dict[str, list[str]]:
    """Return the rows of ``/proc/self/status`` that a process has printed."""
    return {line.split(":")[0].strip(): line.split(":")[1].split() for line in text.splitlines() if ":" in line}


def test_a_second_command_is_as_confined_as_the_first(runtime: str, image: Exported) -> None:
    if runtime == "process":
        pytest.skip("a plain process is not confined")
    look = "print(*(line for line in open('/proc/self/status') if line[:3] in ('Uid', 'Gid', 'Cap', 'NoN')))"
    wait = f"import time\n{look}\nprint('told', flush=True)\ntime.sleep(600)"
    with image.container("id", {}, entrypoint=["python3"], command=["-c", wait]) as box:
        box.start()
        status, out, words = box.execute(["python3", "-c", look])
        assert (status, words) == (0, "")
        while "told" not in (printed := box.output()[0]):
            assert box.running()
    # What joins namespaces keeps a bound of capabilities, of which a user without any can get none.
    ignored = {"CapBnd", "NoNewPrivs"} if runtime == "bubblewrap" else set()
    first, second = (read_status(text) for text in (printed, out))
    assert {name: second[name] for name in second if name not in ignored} == {
        name: first[name] for name in first if name not in ignored
    }
    assert second["CapEff"] == ["0" * 16]


def test_an_image_whose_command_is_not_there_says_so(runtime: str, image: Exported) -> None:
    with (
        pytest.raises(GateError, match="it has no program 'node'"),
        image.container("id", {}, entrypoint=["node"]) as box,
    ):
        box.start()


def test_a_server_that_dies_ends_its_container(runtime: str, image: Exported) -> None:
    code = "import os, time; print('up', flush=True); time.sleep(0.5); os._exit(9)"
    with image.container("id", {}, entrypoint=["python3"], command=["-c", code]) as box:
        box.start()
        status, _, _ = (
            box.execute(["python3", "-c", "import time; time.sleep(600)"]) if runtime != "process" else (1, "", "")
        )
        assert status != 0
        assert box.wait(60) == 9
        assert box.output()[0] == "up\n"
