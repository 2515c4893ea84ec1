"""Keras: its rules here; its exports in the environment of its own, which the package index must give."""

import os
from pathlib import Path
from typing import Any

import pytest
from exporting import Made, write_spec

from onnxpack.cache.store import Store
from onnxpack.core.errors import OnnxpackError, SourceError, SpecError
from onnxpack.parity.compare import Tolerance, require_parity, verify_model
from onnxpack.pipeline.export import export_task
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Model, Spec
from onnxpack.worker.call import Setting, call
from onnxpack.worker.environments import find_pins, list_requirements, provide_environment

NETS = """
import keras
import tensorflow as tf
from keras import layers

def cnn():
    image = keras.Input((8, 8, 1), name="x")
    inner = layers.Dropout(0.5)(layers.Conv2D(4, 3, activation="gelu")(image))
    return keras.Model(image, layers.Dense(3, name="scores")(layers.Flatten()(inner)))

def two():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    both = layers.Concatenate()([layers.Dense(5)(a), b])
    return keras.Model([a, b], {"score": layers.Dense(1)(both), "more": [layers.Dense(2)(both), a]})

def attention():
    ids = keras.Input((None,), dtype="int32", name="x")
    words = layers.Embedding(50, 8)(ids)
    return keras.Model(ids, layers.MultiHeadAttention(2, 4)(words, words))

class Svd(keras.Model):
    def call(self, x):
        return tf.linalg.svd(x)[0]

def number():
    return 3

def save(folder):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    keras.Model(x, layers.Dense(2)(x)).save(f"{folder}/plain.keras")
    keras.Model(x, layers.Dense(2)(x)).save(f"{folder}/plain.h5")
    keras.Model(x, layers.Lambda(lambda v: v * 2)(x)).save(f"{folder}/code.keras")
    keras.Model(x, layers.Dense(2)(x)).export(f"{folder}/saved", verbose=False)
"""


def spec(folder: Path, model: dict[str, Any], **fields: Any) -> SpecFile:
    return write_spec(folder, {"framework": "keras"} | model, **fields)


def test_it_has_pins_of_its_own_and_takes_the_spec_s() -> None:
    assert any(pin.startswith("tensorflow-cpu==") for pin in find_pins(Model("keras")))
    wanted = list_requirements(Spec(1, "m", Model("keras", requirements=("tensorflow==2.19.0",)), {}))
    assert "tensorflow==2.19.0" in wanted
    assert "tensorflow-cpu" not in wanted
    assert {"tf2onnx", "onnx", "onnxruntime", "numpy", "pyyaml"} <= set(wanted)
    assert find_pins(Model("torch")) == ()


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ({}, {}, "model.factory is missing"),
        ({"path": "m.pt"}, {}, "its name must end in .keras or .h5 or .hdf5 or saved_model.pb"),
        ({"path": "m.h5"}, {}, "can run any code in it, so its digest is required"),
        ({"path": "saved_model.pb"}, {}, "can run any code in it, so its digest is required"),
        ({"path": "m.keras", "factory": "m.py:net"}, {}, "cannot be combined"),
        ({"path": "m.keras"}, {"opset": 20}, "keras makes opset 18 at most"),
        ({"path": "m.keras", "exporter": "dynamo"}, {}, "does not apply to keras"),
    ],
)
def test_what_a_spec_may_not_say(tmp_path: Path, model: Any, fields: Any, words: str) -> None:
    for name in ("m.pt", "m.h5", "m.keras", "m.py", "saved_model.pb"):
        (tmp_path / name).touch()
    with pytest.raises(SpecError, match=words):
        spec(tmp_path, model, **fields)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # ONNXPACK_CACHE, where it is set, keeps the environment between runs.
    root = Path(os.environ.get("ONNXPACK_CACHE") or tmp_path_factory.mktemp("store"))
    found = provide_environment(Spec(1, "m", Model("keras", path="m.keras"), {}), Store(root), Quiet())
    assert found
    return found


class Quiet:
    """Nobody watches."""

    def note(self, text: str) -> None: ...

    def skip(self, name: str, why: str) -> None: ...

    def stage(self, name: str) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def exported(file: SpecFile, folder: Path, python: Path) -> Made:
    """An export that agrees with its source."""
    out = folder / "out"
    out.mkdir(parents=True)
    outcome = call(export_task(file), Setting(folder, out, python, root=file.root))
    made = Made(out, outcome.result, outcome.trace)
    require_parity("the export", verify_model(made.model.path, made.reference, Tolerance()))
    return made


def shape(*sizes: Any, **more: Any) -> dict[str, Any]:
    return {"dtype": "float32", "shape": list(sizes)} | more


@pytest.mark.e2e
def test_nets_export_alike_twice_with_the_spec_s_axes_and_flat_outputs(tmp_path: Path, python: Path) -> None:
    (tmp_path / "m.py").write_text(NETS)
    words = {"x": {"dtype": "int32", "shape": ["n", "t"], "range": [0, 49]}}
    nets: list[tuple[str, dict[str, Any], list[str], dict[str, Any]]] = [
        ("cnn", {"x": shape("n", 8, 8, 1)}, ["scores"], {}),
        ("two", {"b": shape("n", 3), "a": shape("n", 4)}, ["score", "more.0", "more.1"], {}),
        ("attention", words, ["multi_head_attention"], {"dynamic_axes": {"n": [1, 4], "t": [1, 9]}}),
    ]
    for name, inputs, outputs, fields in nets:
        file = spec(tmp_path, {"factory": f"m.py:{name}", "weights": "none"}, inputs=inputs, opset=17, **fields)
        first, again = (exported(file, tmp_path / f"{name}{number}", python) for number in (1, 2))
        assert first.model.sha256 == again.model.sha256
        assert first.model.opset == 17
        assert [info.name for info in first.model.outputs] == outputs
        assert [list(info.shape) for info in first.model.inputs] == [one["shape"] for one in inputs.values()]


@pytest.mark.e2e
def test_files_and_saved_models_export_and_code_in_them_needs_the_digest(tmp_path: Path, python: Path) -> None:
    import hashlib
    import subprocess

    (tmp_path / "m.py").write_text(NETS)
    subprocess.run([python, "-c", "import m; m.save('.')"], cwd=tmp_path, check=True, capture_output=True)
    exported(spec(tmp_path, {"path": "plain.keras"}), tmp_path / "plain", python)
    with pytest.raises(SourceError, match="holds code, as Lambda layers do") as refused:
        exported(spec(tmp_path, {"path": "code.keras"}), tmp_path / "code", python)
    digest = hashlib.sha256((tmp_path / "code.keras").read_bytes()).hexdigest()
    assert digest in (refused.value.problems[0].hint or "")
    exported(spec(tmp_path, {"path": "code.keras", "sha256": digest}), tmp_path / "trusted", python)
    digest = hashlib.sha256((tmp_path / "plain.h5").read_bytes()).hexdigest()
    exported(spec(tmp_path, {"path": "plain.h5", "sha256": digest}), tmp_path / "old", python)
    digest = hashlib.sha256((tmp_path / "saved/saved_model.pb").read_bytes()).hexdigest()
    made = exported(spec(tmp_path, {"path": "saved/saved_model.pb", "sha256": digest}), tmp_path / "signature", python)
    assert any("variables" in name for name in made.trace.files)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("factory", "inputs", "words"),
    [
        ("Svd", {"x": shape("n", 4, 4)}, "tf2onnx has no ONNX operator for: Svd"),
        ("number", {"x": shape("n", 4)}, "returned an int \\(let it return a keras.Model"),
        ("two", {"b": shape("n", 3), "c": shape("n", 4)}, "the model's inputs are a, b; the spec's b, c"),
    ],
)
def test_what_cannot_be_exported_is_a_typed_error(
    tmp_path: Path, python: Path, factory: str, inputs: Any, words: str
) -> None:
    (tmp_path / "m.py").write_text(NETS)
    with pytest.raises(OnnxpackError, match=words):
        exported(
            spec(tmp_path, {"factory": f"m.py:{factory}", "weights": "none"}, inputs=inputs), tmp_path / "made", python
        )
