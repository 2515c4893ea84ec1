"""A source model's own environment: exactly its pins, whole or not at all, and apart from this one."""

import hashlib
import importlib
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec
from told import Told
from wheels import make_wheel

import onnxpack.worker.environments
from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError, OnnxpackError, SpecError
from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.export import export_task
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build
from onnxpack.pipeline.runner import base_key
from onnxpack.spec.model import Input, Model, Spec
from onnxpack.spec.steps import PreprocessStep
from onnxpack.worker.call import Setting, call
from onnxpack.worker.environments import (
    choose_requirements,
    list_requirements,
    list_versions,
    make_environment_key,
    provide_environment,
    resolve_versions,
)

PROBE = """
import importlib.util, sys
from dataclasses import dataclass
from importlib.metadata import distributions

from onnxpack.worker import Task

@dataclass(frozen=True)
class Look(Task[dict]):
    NAME = "look"

    def run(self, folder, say) -> dict:
        found = {item.metadata["Name"]: item.version for item in distributions()}
        can = {name: importlib.util.find_spec(name) is not None for name in ("onnxpack", "click", "jinja2", "leak")}
        return {"installed": found, "can": can, "flags": sys.flags.no_user_site}
"""
LIMITED = ("numpy<2",)


def model(*pins: str, framework: Any = "sklearn", **fields: Any) -> Spec:
    return Spec(1, "m", Model(framework, path="m.joblib", requirements=pins), **({"inputs": {}} | fields))


def made(store: Store, *pins: str) -> Path:
    python = provide_environment(model(*pins), store, Told())
    assert python is not None
    return python


def entries(store: Store) -> list[Path]:
    """All that the store holds of environments, half-made ones included."""
    folder = store.root / "environment"
    return list(folder.iterdir()) if folder.exists() else []


def refusal(kind: type[OnnxpackError], store: Store, *pins: str, **options: Any) -> str:
    with pytest.raises(kind) as refused:
        provide_environment(model(*pins, **options), store, Told())
    assert type(refused.value) is kind
    assert entries(store) == []
    (problem,) = refused.value.problems
    return f"{problem}\n{problem.detail}"


def test_a_spec_without_pins_has_no_environment(tmp_path: Path) -> None:
    assert provide_environment(model(), Store(tmp_path), Told()) is None


def test_the_child_has_the_pins_what_it_needs_and_nothing_of_this_environment(
    tmp_path: Path,
    wheels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_wheel(wheels, "scikit-learn", "0.9", LIMITED)
    make_wheel(wheels, "numpy", "3.0")
    make_wheel(wheels, "probe", code=PROBE)
    (tmp_path / "leaking").mkdir()
    (tmp_path / "leaking" / "leak.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "leaking"))
    python = made(Store(tmp_path / "store"), "scikit-learn==0.9", "probe==1.0")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/probe.py").write_text(PROBE)  # the parent knows the task too
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    outcome = call(importlib.import_module("probe").Look(), Setting(tmp_path, python=python))
    seen = outcome.result
    assert seen["installed"] == {
        "scikit-learn": "0.9", "probe": "1.0", "numpy": "1.0", "onnx": "1.0", "onnxruntime": "1.0",
        "PyYAML": version("PyYAML"), "joblib": "1.0", "skl2onnx": "1.0", "skops": "1.0", "msgspec": version("msgspec"),
    }  # fmt: skip
    assert seen["can"] == {"onnxpack": True, "click": False, "jinja2": False, "leak": False}
    assert seen["flags"] == 1
    assert outcome.trace.isolated
    assert {"probe", "msgspec"} <= outcome.trace.distributions.keys()


def test_the_same_pins_are_installed_once_and_others_apart(
    tmp_path: Path,
    wheels: Path,
) -> None:
    make_wheel(wheels, "scikit-learn", "2.0")
    store = Store(tmp_path / "store")
    first = made(store, "scikit-learn==1.0")
    assert made(store, "scikit-learn==2.0") != first
    shutil.rmtree(wheels)
    told = Told()
    assert provide_environment(model("scikit-learn==1.0"), store, told) == first
    assert told.lines == []


def test_a_damaged_environment_is_made_again(tmp_path: Path, wheels: Path) -> None:
    store = Store(tmp_path / "store")
    python = made(store, "scikit-learn==1.0")
    (module,) = python.parents[1].rglob("scikit_learn.py")
    module.unlink()
    assert made(store, "scikit-learn==1.0") == python
    assert module.exists()


def test_what_uv_does_is_told(tmp_path: Path, wheels: Path) -> None:
    told = Told()
    provide_environment(model("scikit-learn==1.0"), Store(tmp_path / "store"), told)
    assert told.lines[:2] == [
        "isolate", "resolving scikit-learn==1.0, joblib, msgspec, numpy, onnx, onnxruntime, pyyaml, skl2onnx, skops",
    ]  # fmt: skip
    assert any(line.startswith("Installed 9 packages") for line in told.lines)


def test_a_pin_that_nothing_answers_is_the_spec_s_fault(tmp_path: Path, wheels: Path) -> None:
    words = refusal(SpecError, Store(tmp_path / "store"), "scikit-learn==99.3")
    assert "cannot find packages for model.requirements" in words
    assert "there is no version of scikit-learn==99.3" in words


def test_pins_that_contradict_each_other_name_both(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, "scikit-learn", "0.9", LIMITED)
    make_wheel(wheels, "numpy", "3.0")
    words = refusal(SpecError, Store(tmp_path / "store"), "scikit-learn==0.9", "numpy==3.0")
    assert "numpy<2" in words
    assert "numpy==3.0" in words


def test_an_index_that_does_not_answer_is_the_network_s_fault(
    tmp_path: Path,
    wheels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UV_CONFIG_FILE")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    assert "check the network" in refusal(EngineError, Store(tmp_path / "store"), "scikit-learn==1.0")


def test_packages_of_cuda_are_refused_before_they_are_downloaded(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, "nvidia-cublas")
    make_wheel(wheels, "net", requires=("nvidia-cublas",))
    words = refusal(EngineError, Store(tmp_path / "store"), "net==1.0")
    assert "bring CUDA: nvidia-cublas==1.0" in words


def test_torch_is_pinned_to_its_build_for_the_cpu() -> None:
    wanted = list_requirements(model("torch==2.13.0", "timm==1.0.20", "TorchVision==0.28.0+cpu", framework="torch"))
    assert wanted[:3] == ["TorchVision==0.28.0+cpu", "timm==1.0.20", "torch==2.13.0+cpu"]
    assert "torch" not in wanted[3:]
    assert {"numpy", "onnx", "onnxruntime", "pyyaml", "onnxscript", "safetensors"} <= set(wanted)


def test_what_reads_pictures_and_texts_is_there_too() -> None:
    tokens = Input("int64", ("batch", "seq"))
    inputs = {"image": Input("uint8", ("batch", 8, 8, 3)), "input_ids": tokens}
    steps = (
        PreprocessStep("decode", "image"),
        PreprocessStep("resize", "image", size=(8, 8), like="opencv"),
        PreprocessStep("tokenize", "text", tokenizer="tokenizer.json"),
    )
    plain = list_requirements(model("scikit-learn==1.0"))
    asked = list_requirements(model("scikit-learn==1.0", inputs=inputs, preprocess=steps))
    assert set(asked) - set(plain) == {"opencv-python-headless", "pillow", "tokenizers"}


def test_the_export_s_key_holds_the_pins_and_not_what_is_installed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the versions in the trace of an isolated export are not compared is told by test_trace.py."""
    (tmp_path / "m.onnx").write_bytes(b"a model")
    keys = {}
    for pin in ("scikit-learn==1.0", "scikit-learn==2.0", None):
        named = {"requirements": [pin]} if pin else {}
        file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"} | named)
        keys[pin] = base_key(export_task(file), make_environment_key(file.spec))
        assert (make_environment_key(file.spec) == "") == (pin is None)
    assert len(set(keys.values())) == 3


def test_an_environment_s_key_changes_with_what_onnxpack_needs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_environment_key(model("scikit-learn==1.0"))
    assert make_environment_key(model("scikit-learn==1.0")) == key
    monkeypatch.setattr(onnxpack.worker.environments, "CHILD", ("numpy",))
    assert make_environment_key(model("scikit-learn==1.0")) != key


MAKE = """
import joblib, numpy, sklearn
from sklearn.ensemble import RandomForestClassifier
table = numpy.random.default_rng(0).standard_normal((100, 4)).astype("float32")
joblib.dump(RandomForestClassifier(3, random_state=0).fit(table, table[:, 0] > 0), "m.joblib")
assert sklearn.__version__ == "1.5.2"
"""


@pytest.mark.e2e
def test_a_pickle_of_an_old_scikit_learn_builds(tmp_path: Path) -> None:
    store, pin = Store(tmp_path / "store"), "scikit-learn==1.5.2"
    subprocess.run([made(store, pin), "-c", MAKE], cwd=tmp_path, check=True)
    digest = hashlib.sha256((tmp_path / "m.joblib").read_bytes()).hexdigest()
    source = {"framework": "sklearn", "path": "m.joblib", "sha256": digest}
    for pins, passes in (([], False), ([pin], True)):
        file = write_spec(tmp_path, source | {"requirements": pins})
        run = Build(Plan(file, "cpu", tmp_path / "dist"), store, None, Told())  # type: ignore[arg-type] # no engine
        attempt = build(run, Wanted("verify"))
        if passes:
            assert attempt.product.parity is not None
            assert attempt.product.parity.passed
        else:
            assert isinstance(attempt.error, OnnxpackError)
            assert "1.5.2" in str(attempt.error)


def test_locked_versions_are_those_of_the_environment(tmp_path: Path, wheels: Path) -> None:
    pinned = model("scikit-learn==1.0")
    locked = resolve_versions(pinned, {})
    assert locked["scikit-learn"] == "1.0"
    assert list_versions(pinned).keys() <= locked.keys()
    assert list_versions(pinned)["scikit-learn"] == "1.0"
    assert list_versions(pinned)["onnx"] == ""
    make_wheel(wheels, "onnx", "2.0")
    store = Store(tmp_path / "store")
    newest = provide_environment(pinned, store, Told())
    kept = provide_environment(pinned, store, Told(), locked)
    assert (version_in(newest, "onnx"), version_in(kept, "onnx")) == ("2.0", "1.0")
    assert make_environment_key(pinned) != make_environment_key(pinned, locked)
    assert resolve_versions(pinned, {}) == locked | {"onnx": "2.0"}
    assert resolve_versions(pinned, locked) == locked, "what still fits stays"


def version_in(python: Path | None, name: str) -> str:
    assert python
    (info,) = python.parents[1].glob(f"lib/python*/site-packages/{name}-*.dist-info")
    return info.name.removesuffix(".dist-info").rpartition("-")[2]


@pytest.mark.parametrize("locked", [{}, {"scikit-learn": "0.9"}, {"scikit-learn": "1.0"}])
def test_locked_versions_that_are_not_of_the_spec_are_not_taken(locked: dict[str, str]) -> None:
    pinned = model("scikit-learn==1.0")
    assert choose_requirements(pinned, locked) == list_requirements(pinned)


def test_a_model_without_pins_has_no_versions() -> None:
    assert list_versions(model()) == {}
    assert resolve_versions(model(), {"onnx": "1.0"}) == {}
    assert make_environment_key(model(), {"onnx": "1.0"}) == ""
