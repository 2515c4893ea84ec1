import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pytest
import torch
import xgboost
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, RELU, constant, make_model
from safetensors.numpy import save_file
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from onnxpack.spec.load import load

EXAMPLES = Path(__file__).parents[2] / "specs"
Run = Callable[..., Any]

NET = """\
import torch

class Net(torch.nn.Module):
    def __init__(self, hidden, names=()):
        super().__init__()
        self.fc = torch.nn.Linear(4, hidden)

    def forward(self, x):
        return self.fc(x)
"""
DETECTOR = """\
import torch

class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tokens = torch.nn.Embedding(50, 4)

    def forward(self, ids, more):
        x = self.tokens(ids).mean(1) + more
        return {"cls": x, "box": x * 2, "aux": {"mean": x.mean(1)}}
"""
MODEL_SPEC = """\
# Drafted by `onnxpack init` from My Model v2.onnx. What it could not know is marked with 'check'.
onnxpack: 1
name: my-model-v2

# version: "1.0.0"  # the image's tag; left out: the content's digest

model:
  framework: onnx
  path: "My Model v2.onnx"

# the file calls the axis '_2_n' '2*n'
# check: the file has no name for the axis 'x_2'; axes that always have one size need one name
# check: which values are real ones is not known. Give an input range: [low, high] or choices: [a, b]; without them its
# samples are normal floats, or integers from 0 to 9
inputs:
  x: {dtype: float32, shape: [_2_n, 4, x_2]}

# y: float32 [_2_n, 4, ?]
outputs: [y]

# check: the sizes that the model is to be verified for and to serve; these are a guess
dynamic_axes:
  _2_n: {min: 1, opt: 8, max: 64}
  x_2: {min: 1, opt: 8, max: 64}

# the file's own; a higher one converts it
opset: 17

# verify: {samples: real.npz}  # real inputs are compared, too: arrays by input name

targets:
  cpu: {device: cpu}
"""


def save_onnx(path: Path, **changes: Any) -> Path:
    path.write_bytes(make_model(**({"nodes": RELU} | changes)).SerializeToString())
    return path


def fields(path: Path) -> dict[str, Any]:
    spec = load(path).spec
    return {name: (tensor.dtype, tensor.shape) for name, tensor in spec.inputs.items()}


@pytest.mark.usefixtures("here")
def test_an_onnx_file_becomes_a_commented_spec(tmp_path: Path, onnxpack: Run) -> None:
    shape = ["2*n", 4, None]
    model = save_onnx(tmp_path / "My Model v2.onnx", inputs=[("x", FLOAT, shape)], outputs=[("y", FLOAT, shape)])
    ended = onnxpack("init", model)
    assert (ended.code, ended.out) == (0, f"{tmp_path}/spec.yaml\n")
    assert ended.err == f"{tmp_path}/spec.yaml: written; 3 lines in it say 'check'\n"
    assert (tmp_path / "spec.yaml").read_text() == MODEL_SPEC
    assert sorted(path.name for path in tmp_path.iterdir()) == ["My Model v2.onnx", "spec.yaml"]


def test_the_spec_of_an_onnx_file_builds(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "m.onnx"
    model.write_bytes(make_model(MATMUL, constants=[constant("w")]).SerializeToString())
    assert onnxpack("init", model).code == 0
    ended = onnxpack("build", tmp_path / "spec.yaml", "--until", "verify", "--output", tmp_path / "dist")
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "dist/m/cpu.verify/report.json").read_text())
    assert report["parity"]["passed"]


def test_the_spec_of_an_old_onnx_file_builds(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    node = helper.make_node("PRelu", ["x", "w"], ["y"])
    values = [("x", FLOAT, ["b", 4, 4, 4]), ("w", FLOAT, [4])]
    weights = [constant("w", np.arange(4, dtype=np.float32))]
    save_onnx(tmp_path / "m.onnx", nodes=[node], inputs=values, outputs=[("y", FLOAT, ["b", 4, 4, 4])],
              constants=weights, opset=6, ir=3)  # fmt: skip
    assert onnxpack("init", tmp_path / "m.onnx").code == 0
    assert "# the file has opset 6, which" in (tmp_path / "spec.yaml").read_text()
    assert load(tmp_path / "spec.yaml").spec.opset == 18
    ended = onnxpack("build", tmp_path / "spec.yaml", "--until", "verify", "--output", tmp_path / "dist")
    assert ended.code == 0, ended.err


def test_the_spec_of_a_pickle_builds(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "iris.joblib").write_bytes((EXAMPLES / "iris/iris.joblib").read_bytes())
    assert onnxpack("init", tmp_path / "iris.joblib", "--trust").code == 0
    assert fields(tmp_path / "spec.yaml") == {"x": ("float32", ("batch", 4))}
    ended = onnxpack("build", tmp_path / "spec.yaml", "--until", "verify", "--output", tmp_path / "dist")
    assert ended.code == 0, ended.err


def test_a_pickle_is_not_loaded_without_trust(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Evil()))
    ended = onnxpack("init", tmp_path / "m.pkl")
    assert ended.code == 2
    assert "sha256 is " in ended.err
    assert "--trust" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["m.pkl"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("make", "outputs", "words"),
    [
        (lambda x, y: LogisticRegression(max_iter=500).fit(x, np.array(["a", "b", "c"])[y]), ("label", "probabilities"),
         ["label: string [batch]", "probabilities: float32 [batch, 3]", "the classes, in order: a, b, c"]),
        (lambda x, y: LinearRegression().fit(x, y), ("value",), ["value: float32 [batch, 1]"]),
        (lambda x, y: StandardScaler().fit(x), ("features",), ["features: float32 [batch, 4]"]),
    ],
)  # fmt: skip
def test_estimators_tell_what_they_answer(
    tmp_path: Path, onnxpack: Run, make: Any, outputs: tuple[str, ...], words: list[str]
) -> None:
    joblib.dump(make(*load_iris(return_X_y=True)), tmp_path / "m.joblib")
    ended = onnxpack("init", tmp_path / "m.joblib", "--trust")
    assert ended.code == 0, ended.err
    assert load(tmp_path / "spec.yaml").spec.outputs == outputs
    assert all(f"# {line}\n" in (tmp_path / "spec.yaml").read_text() for line in words)


def test_feature_names_cannot_leave_their_comment(tmp_path: Path, onnxpack: Run) -> None:
    model = LinearRegression().fit(*load_iris(return_X_y=True))
    model.feature_names_in_ = np.array(["length\nname: evil", "b", "c", "d"], dtype=object)
    joblib.dump(model, tmp_path / "m.joblib")
    assert onnxpack("init", tmp_path / "m.joblib", "--trust").code == 0
    assert "length\N{REPLACEMENT CHARACTER}name: evil, b, c, d" in (tmp_path / "spec.yaml").read_text()


@pytest.mark.usefixtures("here")
def test_an_estimator_that_hides_its_columns_asks_for_them(tmp_path: Path, onnxpack: Run) -> None:
    joblib.dump(CountVectorizer().fit(["a word"]), tmp_path / "m.joblib")
    ended = onnxpack("init", tmp_path / "m.joblib", "--trust")
    assert ended.code == 2
    assert "--input" in ended.err


@pytest.mark.usefixtures("here")
def test_weights_with_their_code_nearby(tmp_path: Path, onnxpack: Run) -> None:
    for name in ("model.py", "weights/digits.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((EXAMPLES / "digits" / name).read_bytes())
    spec = tmp_path / "digits.yaml"
    assert onnxpack("init", tmp_path / "weights/digits.pt", "--output", spec).out == f"{spec}\n"
    model = load(spec).spec.model
    assert (model.factory, model.weights, model.weights_key) == (
        "model.py:DigitNet",
        "weights/digits.pt",
        "checkpoint.model",
    )
    assert fields(spec) == {"image": ("float32", ("batch", 1, 224, 224))}


@pytest.mark.usefixtures("here")
def test_weights_alone_get_a_placeholder_for_their_code(tmp_path: Path, onnxpack: Run) -> None:
    save_file({"tokens.weight": np.zeros((50, 4), np.float32)}, tmp_path / "m.safetensors")
    assert onnxpack("init", tmp_path / "m.safetensors").code == 0
    spec = load(tmp_path / "spec.yaml").spec
    assert spec.model.factory == "package.module:Name"
    assert (spec.inputs["x"].dtype, spec.inputs["x"].range) == ("int64", (0, 49))


def test_code_is_run_to_see_its_outputs(tmp_path: Path, onnxpack: Run) -> None:
    for name in ("model.py", "weights/transactions.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((EXAMPLES / "transactions" / name).read_bytes())
    ended = onnxpack(
        "init", tmp_path / "weights/transactions.safetensors", "--from", f"{tmp_path}/model.py:TransactionNet",
        "--kwargs", "{vocab_size: 40000}", "--input", "dates:float32:batch,seq,6",
        "--input", "input_ids:int64:batch,seq,20", "--input", "amounts:float32:batch,seq",
        "--output", tmp_path / "spec.yaml",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    spec = load(tmp_path / "spec.yaml").spec
    assert spec.model.kwargs == {"vocab_size": 40000}
    assert spec.model.weights == "weights/transactions.safetensors"
    assert (tuple(spec.inputs), tuple(spec.dynamic_axes)) == (("dates", "input_ids", "amounts"), ("batch", "seq"))
    assert "# output: float32 [batch]\n" in (tmp_path / "spec.yaml").read_text()


def test_code_without_inputs_tells_which_it_takes(tmp_path: Path, onnxpack: Run) -> None:
    (tmp_path / "model.py").write_bytes((EXAMPLES / "digits/model.py").read_bytes())
    ended = onnxpack("init", "--from", f"{tmp_path}/model.py:DigitNet")
    assert ended.code == 2
    assert "--input image:float32:batch,1,224,224" in ended.err


@pytest.mark.usefixtures("here")
def test_a_spec_is_never_overwritten_without_force(tmp_path: Path, onnxpack: Run) -> None:
    model = save_onnx(tmp_path / "m.onnx")
    (tmp_path / "spec.yaml").write_text("mine")
    ended = onnxpack("init", model)
    assert ended.code == 2
    assert "--force" in ended.err
    assert (tmp_path / "spec.yaml").read_text() == "mine"
    assert onnxpack("init", model, "--force").code == 0
    assert load(tmp_path / "spec.yaml").spec.name == "m"


@pytest.mark.usefixtures("here")
def test_names_that_the_spec_cannot_hold_leave_nothing(tmp_path: Path, onnxpack: Run) -> None:
    node = make_model(RELU)
    node.graph.input[0].name = node.graph.node[0].input[0] = "line\nbreak"
    (tmp_path / "m.onnx").write_bytes(node.SerializeToString())
    ended = onnxpack("init", tmp_path / "m.onnx")
    assert ended.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.usefixtures("here")
def test_odd_names_are_quoted(tmp_path: Path, onnxpack: Run) -> None:
    model = make_model(RELU, inputs=[("x", FLOAT, [None, 4])])
    model.graph.input[0].name = model.graph.node[0].input[0] = 'a: "b" # c\u2028{d'
    model.graph.output[0].name = model.graph.node[0].output[0] = "yes"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert onnxpack("init", tmp_path / "m.onnx").code == 0
    assert fields(tmp_path / "spec.yaml") == {'a: "b" # c\u2028{d': ("float32", ("batch", 4))}
    assert load(tmp_path / "spec.yaml").spec.outputs == ("yes",)


@pytest.mark.parametrize(
    ("name", "data", "arguments", "code", "words"),
    [
        ("m.onnx", b"hello", [], 3, "not an ONNX model"),
        ("m.pt", b"PK\x03\x04", [], 3, "weights_only"),
        ("m.safetensors", b"", [], 3, "safetensors"),
        ("m.joblib", b"hello", ["--trust"], 3, "cannot load"),
        ("m.dat", b"hello", [], 2, ".safetensors"),
        ("m.txt", b"hello", [], 3, "cannot load 'm.txt'"),
        ("m.json", b"{}", [], 3, "cannot load 'm.json'"),
        ("m.cbm", b"hello", [], 3, "cannot load 'm.cbm'"),
        ("m.keras", b"hello", [], 3, "'m.keras' is no .keras file"),
        ("m.safetensors.index.json", b"[]", [], 3, "no index of shards"),
        ("m.py", b"hello", [], 2, "--from"),
        ("m.onnx", b"", ["--input", "x:float32:4"], 2, "leave --input out"),
        ("m.pt", b"", ["--input", "x:float32"], 2, "NAME:DTYPE:SHAPE"),
        ("m.pt", b"", ["--input", "x:float32:4", "--input", "x:int8:4"], 2, "twice"),
        ("m.pt", b"", ["--from", "nowhere"], 2, "FILE.py:NAME"),
        ("m.pt", b"", ["--kwargs", "{a: yes}"], 2, "kwargs.a"),
        ("m.onnx", b"", ["--output", "/nowhere/spec.yaml"], 2, "below"),
    ],
)
def test_model_that_cannot_be_drafted_is_told_and_leaves_nothing(
    tmp_path: Path, onnxpack: Run, name: str, data: bytes, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    ended = onnxpack("init", tmp_path / name, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_file_a_folder_and_a_fifo_are_told(tmp_path: Path, onnxpack: Run) -> None:
    (tmp_path / "folder.onnx").mkdir()
    os.mkfifo(tmp_path / "fifo.onnx")
    assert "no such file" in onnxpack("init", tmp_path / "gone.onnx").err
    assert "the folder has no config.json" in onnxpack("init", tmp_path / "folder.onnx").err
    assert "not a regular file" in onnxpack("init", tmp_path / "fifo.onnx").err
    assert onnxpack("init").code == 2


def test_model_that_a_build_refuses_is_refused_by_init(tmp_path: Path, onnxpack: Run) -> None:
    shapeless = save_onnx(tmp_path / "a.onnx", inputs=[("x", FLOAT, None)])
    assert onnxpack("init", shapeless).code == 3
    newer = save_onnx(tmp_path / "b.onnx", ir=14)
    assert "IR version 14" in onnxpack("init", newer).err
    narrow = save_onnx(tmp_path / "c.onnx", inputs=[("x", TensorProto.FLOAT8E5M2, [4])])
    assert onnxpack("init", narrow).code != 0
    (tmp_path / "d.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x): return 1 / 0\n"
    )
    ended = onnxpack("init", "--from", f"{tmp_path}/d.py:Net", "--input", "x:float32:batch,4")
    assert ended.code == 3
    assert "ZeroDivisionError" in ended.err
    assert not (tmp_path / "spec.yaml").exists()


def test_the_names_in_a_dict_and_the_range_of_tokens_are_kept(tmp_path: Path, onnxpack: Run) -> None:
    (tmp_path / "d.py").write_text(DETECTOR)
    spec = tmp_path / "spec.yaml"
    inputs = ("--input", "ids:int64:batch,seq", "--input", "more:float32:batch,4")
    ended = onnxpack("init", "--from", f"{tmp_path}/d.py:Detector", *inputs, "--output", spec)
    assert ended.code == 0, ended.err
    loaded = load(spec).spec
    assert loaded.outputs == ("cls", "box", "aux.mean")
    assert loaded.inputs["ids"].range == (0, 49)
    assert loaded.inputs["more"].range is None


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("given", [(), ("--from", "model.py:Net")])
def test_a_lightning_checkpoint_gives_its_hyperparameters(
    tmp_path: Path, onnxpack: Run, given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(NET)
    settings = {"hidden": 3, "names": ["a", "b"], "unknown": 1, "seed": float("nan")}
    weights = {"state_dict": {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}, "hyper_parameters": settings}
    torch.save(weights, tmp_path / "m.ckpt")
    ended = onnxpack("init", tmp_path / "m.ckpt", *given, "--input", "x:float32:batch,4")
    assert ended.code == 0, ended.err
    model = load(tmp_path / "spec.yaml").spec.model
    assert (model.kwargs, model.weights_key) == ({"hidden": 3, "names": ("a", "b")}, "state_dict")


@pytest.mark.usefixtures("here")
def test_the_shards_of_an_index_are_read(tmp_path: Path, onnxpack: Run) -> None:
    save_file({"tokens.weight": np.zeros((50, 4), np.float32)}, tmp_path / "a.safetensors")
    save_file({"fc.weight": np.zeros((2, 4), np.float32)}, tmp_path / "b.safetensors")
    index = {"weight_map": {"tokens.weight": "a.safetensors", "fc.weight": "b.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    assert onnxpack("init", tmp_path / "m.safetensors.index.json").code == 0
    assert load(tmp_path / "spec.yaml").spec.inputs["x"].range == (0, 49)
    assert "2 tensors with 208 numbers" in (tmp_path / "spec.yaml").read_text()


@pytest.mark.usefixtures("here")
def test_a_pipeline_on_named_columns_is_drafted_with_its_table(tmp_path: Path, onnxpack: Run) -> None:
    shutil.copy(EXAMPLES / "passengers/passengers.joblib", tmp_path / "m.joblib")
    ended = onnxpack("init", tmp_path / "m.joblib", "--trust")
    assert ended.code == 0, ended.err
    spec = load(tmp_path / "spec.yaml").spec
    assert list(spec.inputs) == ["pclass", "sex", "age", "fare", "embarked"]
    columns = spec.preprocess[0].columns or {}
    assert columns["sex"].categories == ("female", "male")
    assert (columns["embarked"].unknown, columns["age"].kind) == ("another word", "number")
    assert "`missing: …` says what stands for a missing value" in (tmp_path / "spec.yaml").read_text()


def save_boosted(folder: Path, framework: str) -> Path:
    """Save a small classifier of iris in the library's own format."""
    x, y = load_iris(return_X_y=True)
    if framework == "xgboost":
        path = folder / "m.ubj"
        xgboost.XGBClassifier(n_estimators=3).fit(x, y).save_model(path)
    elif framework == "lightgbm":
        path = folder / "m.txt"
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y).booster_.save_model(path)
    else:
        path = folder / "m.cbm"
        made = catboost.CatBoostClassifier(iterations=3, verbose=False, allow_writing_files=False)
        made.fit(x, y).save_model(str(path))
    return path


@pytest.mark.parametrize("framework", ["xgboost", "lightgbm", "catboost"])
def test_the_spec_of_a_boosting_librarys_file_builds(
    tmp_path: Path, onnxpack: Run, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "cache"))
    assert onnxpack("init", save_boosted(tmp_path, framework)).code == 0
    spec = load(tmp_path / "spec.yaml").spec
    assert spec.model.framework == framework
    assert spec.inputs["x"].shape == ("batch", 4)
    assert spec.outputs == ("label", "probabilities")
    ended = onnxpack("build", tmp_path / "spec.yaml", "--until", "export", "--output", tmp_path / "dist")
    assert ended.code == 0, ended.err


@pytest.mark.usefixtures("here")
def test_a_pickle_of_a_boosting_library_is_that_librarys(tmp_path: Path, onnxpack: Run) -> None:
    x, y = load_iris(return_X_y=True)
    joblib.dump(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(x, y), tmp_path / "m.joblib")
    assert onnxpack("init", tmp_path / "m.joblib", "--trust").code == 0
    assert load(tmp_path / "spec.yaml").spec.model.framework == "lightgbm"


@pytest.mark.usefixtures("here")
def test_a_keras_file_is_read_without_keras(tmp_path: Path, onnxpack: Run) -> None:
    policy = {"class_name": "DTypePolicy", "config": {"name": "int32"}}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 8, None], "dtype": "float32", "name": "b"}},
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 2], "dtype": policy, "name": "a"}},
        {"class_name": "Dense", "config": {"units": 2}},
    ]
    config = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [["a", 0, 0], ["b", 0, 0]]}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
    assert onnxpack("init", tmp_path / "m.keras").code == 0
    spec = load(tmp_path / "spec.yaml").spec
    assert (spec.model.framework, spec.model.path) == ("keras", "m.keras")
    assert list(fields(tmp_path / "spec.yaml").items()) == [
        ("a", ("int32", ("batch", 2))),
        ("b", ("float32", ("batch", 8, "axis_2"))),
    ]


def test_a_factory_of_random_parameters_is_noted_as_the_build_will_refuse_it(tmp_path: Path, onnxpack: Run) -> None:
    (tmp_path / "d.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(4, 2)\n")
    spec = tmp_path / "spec.yaml"
    ended = onnxpack("init", "--from", f"{tmp_path}/d.py:net", "--input", "x:float32:batch,4", "--output", spec)
    assert ended.code == 0
    text = " ".join(spec.read_text().replace("#", "").split())
    assert "check: d.py:net gives random parameters: weight, bias differ between two random seeds" in text


@pytest.mark.usefixtures("here")
def test_given_inputs_take_the_place_of_a_guess(tmp_path: Path, onnxpack: Run) -> None:
    torch.save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "m.pth")
    assert onnxpack("init", tmp_path / "m.pth", "--input", "x:float32:batch,3").code == 0
    assert fields(tmp_path / "spec.yaml") == {"x": ("float32", ("batch", 3))}
