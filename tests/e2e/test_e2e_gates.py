"""What must not ship does not: a failed gate ends with 4, and leaves its report alone, and no image."""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from e2e_proxy import proxy
from e2e_tools import (
    LABEL,
    PATIENCE,
    Built,
    Workshop,
    contents,
    eventually,
    failed_stages,
    fails,
    traces,
    without_leftovers,
)
from onnx import TensorProto, helper

UNFAITHFUL = '''"""Behaves otherwise while it is exported."""

import torch


class Unfaithful(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(4))

    def forward(self, x):
        exported = torch.jit.is_tracing() or torch.compiler.is_exporting()
        return x * self.factor * (1.5 if exported else 1.0)
'''


def test_an_export_that_differs_from_its_source_is_refused(workshop: Workshop, engine: Any) -> None:
    folder = workshop.root / "unfaithful"
    folder.mkdir()
    (folder / "model.py").write_text(UNFAITHFUL)
    spec = folder / "spec.yaml"
    spec.write_text(
        "onnxpack: 1\n"
        "name: unfaithful\n"
        "model: {framework: torch, factory: 'model.py:Unfaithful'}\n"
        "inputs:\n"
        "  x: {dtype: float32, shape: [batch, 4], range: [1.0, 2.0]}\n"
        "outputs: [y]\n"
        "dynamic_axes: {batch: [1, 64]}\n"
        "opset: 18\n"
        "targets: {cpu: {device: cpu}}\n"
    )
    workshop.edit(spec)
    _, before = traces(engine, workshop.token)

    result = workshop.run("build", spec, "--output", folder / "dist")

    fails(result, 4, "the exported model differs from its source", "values differ")
    rows = [line.split() for line in result.err.splitlines() if line.startswith("  0") and "values differ" in line]
    assert {row[1] for row in rows} == {"y"}
    assert {float(row[3]) for row in rows} == {0.5}  # relative, as planted
    assert failed_stages(folder / "dist") == ["verify"]
    assert without_leftovers(engine, workshop.token) == before


def test_a_source_that_is_not_deterministic_is_refused(workshop: Workshop, engine: Any) -> None:
    folder = workshop.root / "random"
    folder.mkdir()
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("RandomNormalLike", ["x"], ["noise"]),
                helper.make_node("Add", ["x", "noise"], ["y"]),
            ],
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, folder / "random.onnx")
    spec = folder / "spec.yaml"
    spec.write_text(
        "onnxpack: 1\n"
        "name: random\n"
        "model: {framework: onnx, path: random.onnx}\n"
        "inputs: {x: {dtype: float32, shape: [batch, 3]}}\n"
        "outputs: [y]\n"
        "dynamic_axes: {batch: [1, 64]}\n"
        "opset: 17\n"
        "targets: {cpu: {device: cpu}}\n"
    )
    workshop.edit(spec)
    fails(workshop.run("build", spec, "--output", folder / "dist"), 4, "differ")
    assert failed_stages(folder / "dist") == ["export"]


@pytest.fixture
def without_python(workshop: Workshop, engine: Any) -> Iterator[str]:
    """A base image that holds one empty folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        folder = tarfile.TarInfo("empty")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
    name = workshop.repository("without-python")
    engine.import_image_from_data(stream.getvalue(), repository=name, tag="base")
    yield f"{name}:base"
    engine.remove_image(f"{name}:base", force=True)


def test_a_base_without_a_python_is_refused_before_anything_is_built(
    workshop: Workshop, engine: Any, without_python: str, tmp_path: Path
) -> None:
    spec = workshop.copy("iris", "without-python", image={"base": without_python})
    names = without_leftovers(engine, workshop.token)
    result = workshop.run("build", spec, "--output", tmp_path)
    fails(result, 2, "the base image has no python3 that can be run")
    assert failed_stages(tmp_path) == ["base"]
    assert without_leftovers(engine, workshop.token) == names


def test_an_image_whose_server_dies_is_refused(iris: Built, workshop: Workshop, engine: Any, tmp_path: Path) -> None:
    _refused(workshop, engine, tmp_path, {"env": {"PYTHONHASHSEED": "nonsense"}}, "PYTHONHASHSEED")


def test_a_server_that_dies_before_it_is_asked_is_refused(
    iris: Built, workshop: Workshop, engine: Any, tmp_path: Path
) -> None:
    spec = workshop.copy("iris", "dies-early", image={"env": {"PYTHONHASHSEED": "nonsense"}})
    mine = {"label": f"{LABEL}={workshop.token}", "status": "running"}
    with proxy("/exec", cut=False) as between:
        running = workshop.start("build", spec, "--output", tmp_path, DOCKER_HOST=between.host)
        assert between.reached.wait(PATIENCE)
        eventually(lambda: not engine.containers(filters=mine), "the server died")
        between.go.set()
        result = running.finish()
    fails(result, 4, "the container ended before it answered", "PYTHONHASHSEED")
    assert failed_stages(tmp_path) == ["image/smoke"]


def test_an_image_that_answers_wrongly_is_refused(iris: Built, workshop: Workshop, engine: Any, tmp_path: Path) -> None:
    """The export and its check are taken from the cache; the answers that they recorded are other ones now."""
    changed = workshop.root / "changed-cache"
    # Environments are large, and nothing of them is needed.
    shutil.copytree(workshop.cache, changed, ignore=shutil.ignore_patterns("environment"))
    key = next(stage["key"] for stage in iris.report["stages"] if stage["name"] == "export")
    entry = changed / "export" / key
    for path in entry.glob("data/files/reference/*.outputs.npz"):
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        np.savez(path, **(arrays | {"probabilities": arrays["probabilities"] * np.float32(1.5)}))
    manifest = {"entry": f"{entry.parent.name}/{entry.name}", "files": contents(entry / "data")}
    (entry / "manifest.json").write_text(json.dumps(manifest))
    words = "the image's answers differ from the source model's"
    _refused(workshop, engine, tmp_path, {}, words, ONNXPACK_CACHE=str(changed))


def _refused(
    workshop: Workshop,
    engine: Any,
    folder: Path,
    image: dict[str, Any],
    *words: str,
    **variables: str,
) -> None:
    """An iris whose image gets these settings fails its smoke test; its good image stays, its good output does not."""
    spec = workshop.copy("iris", f"refused-{folder.name}")
    old = workshop.build(spec, folder / "dist")
    good, names = old.report["image"]["id"], without_leftovers(engine, workshop.token)
    workshop.edit(spec, version=f"1.0.0-{folder.name[:100]}", image=image)

    result = workshop.run("build", spec, "--output", folder / "dist", **variables)

    fails(result, 4, *words)
    assert failed_stages(folder / "dist") == ["image/smoke"]
    assert without_leftovers(engine, workshop.token) == names
    assert engine.inspect_image(old.reference)["Id"] == good
