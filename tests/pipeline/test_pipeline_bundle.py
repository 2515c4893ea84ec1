"""The bundle stage installs what the model needs, and refuses a lock whose packages do not fit each other."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.bundle import lock as locks
from onnxpack.bundle.lock import Package
from onnxpack.cache.store import Store
from onnxpack.cache.trace import digest_content
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import SpecError
from onnxpack.core.progress import SilentProgress
from onnxpack.graph.check import read_facts
from onnxpack.pipeline.bundle import bundle
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.requests import Reads
from onnxpack.pipeline.run import Build, Product
from onnxpack.tasks.packages import Installed, InstallPackages

DIGEST = ("0" * 64,)
NUMPY = Package("numpy", "2.4.6", DIGEST)
CPU = (NUMPY, Package("onnxruntime", "1.31.1", DIGEST))
CUDA = (
    NUMPY,
    Package("nvidia-cublas", "12.9.1", DIGEST),
    Package("nvidia-cuda-runtime", "13.5.37", DIGEST),
    Package("nvidia-cudnn-cu13", "9.28.1", DIGEST, ("nvidia-cublas",)),
    Package("onnxruntime-gpu", "1.31.1", DIGEST, ("nvidia-cuda-runtime", "nvidia-cudnn-cu13")),
)


class FakeRunner:
    """A runner that unpacks nothing, and keeps the names of what it was to unpack."""

    def __init__(self, folder: Path) -> None:
        self.installed = Installed(Artifact(folder, "d" * 64), ())
        self.names: list[str] = []
        self.read = Reads()

    def run(self, task: InstallPackages, apart: None, reused: str) -> Installed:
        self.names = [package.name for package in task.packages]
        return self.installed


def run_bundle(folder: Path, device: str, packages: tuple[Package, ...], runner: FakeRunner | None = None) -> None:
    """Run the stage on a model of one operator, with a lock of these packages."""
    onnx.save(make_model(RELU), folder / "m.onnx")
    fields: dict[str, Any] = {"targets": {"it": {"device": device}}, "runtime": {"server": "none"}}
    fields |= {"inputs": {"x": {"dtype": "float32", "shape": ["b", 4]}}, "dynamic_axes": {"b": {"min": 1, "max": 16}}}
    file = write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **fields)
    asked = locks.make_unresolved_lock(file.spec, "it")
    locks.write(locks.lock_path(file.path), {"it": replace(asked, packages=packages)})
    run = Build(Plan(file, "it", folder / "dist"), Store(folder / "store"), cast(Any, None), SilentProgress())
    if runner:
        run.__dict__["runner"] = runner  # where the cached property keeps its value
    bundle(run, Product(exported=cast(Any, object()), model=read_facts(folder / "m.onnx"), folder=folder))


def test_a_lock_of_two_cudas_is_refused_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.pipeline.bundle.InstallPackages", lambda *parts: pytest.fail("it went on"))
    with pytest.raises(SpecError) as raised:
        run_bundle(tmp_path, "cuda", CUDA)
    (problem,) = raised.value.problems
    assert problem.message.startswith("the lock mixes versions of CUDA: CUDA 12 (nvidia-cublas 12.9.1), CUDA 13 (")
    assert (problem.where and problem.where.file) == str(tmp_path / "spec.lock")
    assert "onnxpack lock" in problem.hint


def test_what_the_provider_links_must_be_among_what_the_model_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    (unpacked / "libonnxruntime_providers_cuda.so").write_text("")
    monkeypatch.setattr("onnxpack.bundle.packages.read_needed_libraries", lambda path: ["libcudnn.so.9"])
    runner, fitting = FakeRunner(unpacked), tuple(replace(one, version="13.5") for one in CUDA if one != NUMPY)
    with pytest.raises(SpecError, match=r"provider for cuda links libcudnn.so.9, which no package") as raised:
        run_bundle(tmp_path, "cuda", (NUMPY, *fitting), runner)
    assert runner.names == ["numpy", "nvidia-cublas", "nvidia-cuda-runtime", "onnxruntime-gpu"]
    where = raised.value.problems[0].where
    assert (where and where.file) == str(tmp_path / "spec.lock")
    assert runner.read.files == {str(tmp_path / "spec.lock"): digest_content(tmp_path / "spec.lock")}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_lock_of_another_device_is_stale(tmp_path: Path, device: str) -> None:
    with pytest.raises(SpecError, match="the lock does not fit target 'it'"):
        run_bundle(tmp_path, device, CUDA if device == "cpu" else CPU)
