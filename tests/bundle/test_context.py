"""A build context holds the same bytes, modes and times wherever it is made, and its key says what is in it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_examples import MATMUL, constant, make_model

from onnxpack.bundle import context
from onnxpack.bundle.context import CONTENT_LABEL, VERSION_LABEL, Context, Parts, assemble
from onnxpack.bundle.render import DockerView, ModuleView, render_module
from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest_tree
from onnxpack.core.values import Axis, OnnxModel
from onnxpack.graph.check import read_facts
from onnxpack.oci.manifests import EPOCH

DOCKER = DockerView("example.com/python:3.11", {"title": "example", VERSION_LABEL: ""}, {"A": "b"}, (8080,), "http")


def assembled(parts: Parts, folder: Path, earlier: Path | None = None) -> Context:
    folder.mkdir()
    return assemble(folder, parts, earlier)


def save(folder: Path, weights: Any = None, *, external: bool = False) -> OnnxModel:
    folder.mkdir()
    constants = [constant("w") if weights is None else constant("w", weights)]
    model = make_model(MATMUL, constants=constants)
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=external, location="model.onnx.data", size_threshold=0
    )
    return read_facts(folder / "model.onnx")


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    packages = tmp_path / "packages"
    (packages / "numpy").mkdir(parents=True)
    (packages / "numpy/__init__.py").write_text("")
    (packages / "numpy/core.so").write_bytes(b"\x7fELF")
    model = save(tmp_path / "model")
    view = ModuleView(
        name="example",
        version="",
        description="Größe, 大きさ",
        inputs=model.inputs,
        outputs=model.outputs,
        axes=(Axis("b", 1, 8, 16),),
        opset=model.opset,
        precision="float32",
        device="cpu",
        threads=None,
        server="http",
        port=8080,
        max_body=2**20,
        warmup=True,
    )
    return Parts(model, Artifact.of(packages), view, DOCKER, "1.0")


def state(folder: Path) -> list[tuple[str, int, float]]:
    """The name, mode and time of everything in a context."""
    return sorted(
        (path.relative_to(folder).as_posix(), path.stat().st_mode & 0o7777, path.stat().st_mtime)
        for path in (folder, *folder.rglob("*"))
    )


def test_a_context_has_two_layers_and_one_dockerfile(parts: Parts, tmp_path: Path) -> None:
    context = assembled(parts, tmp_path / "context")
    app = ["model.onnx", *render_module(parts.module)]
    assert set(digest_tree(context.folder)) == {
        "Dockerfile",
        *(f"rootfs/model/opt/onnxpack/app/{name}" for name in app),
        "rootfs/runtime/opt/onnxpack/lib/numpy/__init__.py",
        "rootfs/runtime/opt/onnxpack/lib/numpy/core.so",
    }
    text = (context.folder / "Dockerfile").read_text(encoding="utf-8")
    assert f'{CONTENT_LABEL}="{context.content_key}"' in text
    assert f'{VERSION_LABEL}="1.0"' in text


def test_nothing_depends_on_the_umask_or_the_time(parts: Parts, tmp_path: Path) -> None:
    one = assembled(parts, tmp_path / "one")
    for path in parts.packages.path.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (10**9, 10**9))
    before = os.umask(0o077)
    try:
        other = assembled(parts, tmp_path / "other")
    finally:
        os.umask(before)
    assert digest_tree(one.folder) == digest_tree(other.folder)
    assert state(one.folder) == state(other.folder)
    assert {(mode, time) for _, mode, time in state(one.folder)} == {(0o755, EPOCH), (0o644, EPOCH)}
    assert one.content_key == other.content_key


ASSEMBLE = """
import pickle, sys
from pathlib import Path
from onnxpack.core.artifacts import Artifact
from onnxpack.bundle.context import assemble
folder = Path(sys.argv[1])
folder.mkdir()
assemble(folder, pickle.loads(sys.stdin.buffer.read()))
"""


def test_nothing_depends_on_the_locale(parts: Parts, tmp_path: Path) -> None:
    import pickle

    one = assembled(parts, tmp_path / "one")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kathmandu"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", ASSEMBLE, str(tmp_path / "other")]
    subprocess.run(command, env=environment, input=pickle.dumps(parts), check=True)
    assert digest_tree(tmp_path / "other") == digest_tree(one.folder)
    assert state(tmp_path / "other") == state(one.folder)


def test_the_key_follows_every_part_but_the_version(parts: Parts, tmp_path: Path) -> None:
    packages = tmp_path / "other packages"
    (packages / "numpy").mkdir(parents=True)
    (packages / "numpy/__init__.py").write_text("changed = True")
    changes = {
        "nothing": parts,
        "version": replace(parts, version="2.0"),
        "no version": replace(parts, version=None),
        "model": replace(parts, model=save(tmp_path / "m", constant_of(2))),
        "packages": replace(parts, packages=Artifact.of(packages)),
        "module": replace(parts, module=replace(parts.module, description="another")),
        "env": replace(parts, docker=replace(DOCKER, env={"A": "c"})),
        "label": replace(parts, docker=replace(DOCKER, labels=DOCKER.labels | {"team": "risk"})),
        "base": replace(parts, docker=replace(DOCKER, base="example.com/python:3.12")),
        "port": replace(parts, docker=replace(DOCKER, ports=(9000,))),
    }
    keys = {name: assembled(changed, tmp_path / f"context {name}").content_key for name, changed in changes.items()}
    assert keys["version"] == keys["no version"] == keys["nothing"]
    assert len(set(keys.values())) == len(keys) - 2


def test_the_key_follows_what_compiles_the_modules(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = assembled(parts, tmp_path / "one")
    monkeypatch.setattr(context, "digest_code", lambda module: f"another {module}")
    assert assembled(parts, tmp_path / "other").content_key != one.content_key


def constant_of(value: float) -> Any:
    import numpy as np

    return np.full((4, 4), value, np.float32)


def test_external_data_is_a_part_of_the_content(parts: Parts, tmp_path: Path) -> None:
    """Two such models can share every byte of model.onnx."""
    models = [save(tmp_path / name, constant_of(value), external=True) for name, value in (("a", 1), ("b", 2))]
    assert models[0].sha256 == models[1].sha256
    contexts = [
        assembled(replace(parts, model=model), tmp_path / f"context {index}") for index, model in enumerate(models)
    ]
    assert contexts[0].content_key != contexts[1].content_key
    assert (contexts[0].folder / "rootfs/model/opt/onnxpack/app/model.onnx.data").stat().st_size == 64


def test_without_a_version_the_content_is_it(parts: Parts, tmp_path: Path) -> None:
    context = assembled(replace(parts, version=None), tmp_path / "context")
    assert context.version == context.content_key[:12]
    assert f'{VERSION_LABEL}="{context.version}"' in (context.folder / "Dockerfile").read_text(encoding="utf-8")


LIB = "rootfs/runtime/opt/onnxpack/lib/numpy"


def test_files_of_an_earlier_context_are_linked_where_it_has_the_same_content(parts: Parts, tmp_path: Path) -> None:
    one = assembled(parts, tmp_path / "one")
    other = assembled(parts, tmp_path / "other", one.folder)
    assert digest_tree(other.folder) == digest_tree(one.folder)
    assert state(other.folder) == state(one.folder)
    assert (other.folder / LIB / "core.so").samefile(one.folder / LIB / "core.so")


def test_a_file_that_was_changed_in_an_earlier_context_is_made_anew(parts: Parts, tmp_path: Path) -> None:
    one = assembled(parts, tmp_path / "one")
    before = digest_tree(one.folder)
    (one.folder / LIB / "core.so").write_bytes(b"\x7fBAD")  # of the same size
    (one.folder / LIB / "__init__.py").unlink()
    assert digest_tree(assembled(parts, tmp_path / "other", one.folder).folder) == before


def test_a_file_of_an_earlier_context_that_another_build_takes_away_is_made_anew(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assembled(parts, tmp_path / "first")
    made, link = digest_tree(tmp_path / "first"), os.link

    def take_away(source: Path, target: Path) -> None:
        source.unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", take_away)
    assembled(parts, tmp_path / "second", tmp_path / "first")
    assert digest_tree(tmp_path / "second") == made
    assert digest_tree(tmp_path / "first") != made, "it was taken away"


def test_an_earlier_context_of_other_packages_gives_no_file(parts: Parts, tmp_path: Path) -> None:
    one = assembled(parts, tmp_path / "one")
    packages = tmp_path / "other packages"
    (packages / "numpy").mkdir(parents=True)
    (packages / "numpy/core.so").write_bytes(b"\x7fNEW")
    other = assembled(replace(parts, packages=Artifact.of(packages)), tmp_path / "other", one.folder)
    assert (other.folder / LIB / "core.so").read_bytes() == b"\x7fNEW"
