"""PyTorch models: what a factory, its file and its weights may hold, and how each mistake is told."""

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from canary import Canary
from exporting import export_here, write_spec
from safetensors.torch import save_file
from torch_nets import NET

from onnxpack.core.errors import GateError, SourceError
from onnxpack.parity.compare import require_parity
from onnxpack.sources.torch import load, run
from onnxpack.spec.load import SpecFile

LINEAR = f"""{NET}
def doubled(net):
    assert isinstance(net, Net)
    with torch.no_grad():
        net.linear.weight *= 2
        net.linear.bias *= 2
    net.train()
    return net
"""
FORWARD = "import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return {}\n"
ROWS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}
STATE = {"linear.weight": torch.arange(8.0).reshape(2, 4), "linear.bias": torch.tensor([1.0, -1.0])}
ANSWER = ROWS["x"] @ STATE["linear.weight"].numpy().T + STATE["linear.bias"].numpy()


@pytest.fixture(autouse=True)
def _no_module_outlives_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def net(tmp_path: Path) -> Callable[..., SpecFile]:
    """A spec beside ``model.py`` with the given code."""

    def make(code: str = LINEAR, fields: dict[str, Any] | None = None, **model: Any) -> SpecFile:
        (tmp_path / "model.py").write_text(code)
        given = {"framework": "torch", "factory": "model.py:Net", "weights": "none"} | model
        return write_spec(tmp_path, given, **(fields or {}))

    return make


def refusal(file: SpecFile) -> str:
    with pytest.raises(SourceError) as refused:
        load(file)
    assert all(problem.hint for problem in refused.value.problems)
    return str(refused.value)


# Weights


def save(state: Any, path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("w.safetensors", STATE, None),
        ("w.pt", STATE, None),
        ("w.bin", STATE, None),
        ("w.pth", {"model": STATE, "epoch": 3}, "model"),
        ("w.ckpt", {"checkpoint": {"ema": {"model": STATE}}}, "checkpoint.ema.model"),
        ("w.ckpt", {"ema.model": STATE, "ema": {}}, "ema.model"),
    ],
    ids=["safetensors", "pt", "bin", "nested", "deeply", "dotted"],
)
def test_weights_of_every_format_are_loaded(
    net: Callable[..., SpecFile], tmp_path: Path, name: str, content: Any, key: str | None
) -> None:
    save(content, tmp_path / name)
    model = load(net(weights=name, **({"weights_key": key} if key else {})))
    np.testing.assert_allclose(run(model, ROWS)[0], ANSWER, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        ({"a": STATE, "b": {}}, "c", "'w.pt' has no key 'c' (at 'c' it has: a, b)"),
        ({"a": STATE}, "a.model", "'w.pt' has no key 'a.model' (at 'model' it has: linear.weight, linear.bias)"),
        ({"a": 1}, "a.b", "'w.pt' has no key 'a.b': above 'b' is an int (correct `weights_key`)"),
        ({"model": STATE, "epoch": 3}, None, "'w.pt' is not a state dict here: model, epoch"),
        ([1, 2], None, "'w.pt' is not a state dict here: list"),
    ],
)
def test_a_key_that_is_not_there_names_those_that_are(
    net: Callable[..., SpecFile], tmp_path: Path, content: Any, key: str | None, words: str
) -> None:
    save(content, tmp_path / "w.pt")
    assert words in refusal(net(weights="w.pt", **({"weights_key": key} if key else {})))


@pytest.mark.case("M8")
def test_weights_that_do_not_fit_are_all_listed(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    save({"linear.weight": torch.zeros(3, 4), "head.bias": torch.zeros(1), "head.weight": torch.zeros(1)},
         tmp_path / "w.safetensors")  # fmt: skip
    assert refusal(net(weights="w.safetensors")).splitlines() == [
        f"'w.safetensors' does not fit the model: {words} (check `factory`, `kwargs` and `weights_key`)"
        for words in (
            "1 tensor is missing in the file: linear.bias",
            "2 tensors are not in the model: head.bias; head.weight",
            "1 tensor is of another shape: linear.weight: (3, 4) in the file, (2, 4) in the model",
        )
    ]


def test_long_lists_of_keys_are_cut(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    save(STATE | {f"extra.{index}": torch.zeros(1) for index in range(100)}, tmp_path / "w.pt")
    assert "extra.7 and 92 more" in refusal(net(weights="w.pt"))


@pytest.mark.case("M1")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["whole", "inside"])
def test_a_hostile_checkpoint_runs_nothing(
    net: Callable[..., SpecFile], tmp_path: Path, place: str, legacy: bool
) -> None:
    canary = Canary(tmp_path / "ran")
    content = canary if place == "whole" else STATE | {"linear.bias": canary}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    assert "cannot load the weights in 'w.pt'" in refusal(net(weights="w.pt"))
    assert not canary.path.exists()
    pickle.loads(pickle.dumps(canary))
    assert canary.path.exists(), "the canary must be able to sing"


def test_a_whole_module_is_refused(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 2), tmp_path / "w.pt")
    assert "cannot load the weights in 'w.pt'" in refusal(net(weights="w.pt"))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "random", "empty"])
def test_broken_weights_are_a_typed_error(net: Callable[..., SpecFile], tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    save(STATE, path)
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "random": bytes(range(7, 207)), "empty": b""}[damage])
    message = refusal(net(weights=name))
    assert message.startswith(f"cannot load the weights in '{name}': ")
    assert "Traceback" not in message


# The factory


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def Net():\n    raise ValueError('no luck')\n", "model.py:Net raised ValueError: no luck"),
        ("def Net(:\n    pass\n", "model.py, line 1: invalid syntax"),
        ("import no_such\n", "importing model.py failed: ModuleNotFoundError: No module named 'no_such'"),
        ("raise RuntimeError('at import')\n", "importing model.py failed: RuntimeError: at import"),
        ("class Nett:\n    pass\n", "model.py has no 'Net' (it has: Nett)"),
        ("def Net():\n    return 5\n", "model.py:Net returned an int (let it return a torch.nn.Module)"),
        ("Net = 5\n", "model.py:Net raised TypeError: 'int' object is not callable"),
        ("import helper\n", "helper.py, line 2: "),
    ],
    ids=["raises", "syntax", "import", "runs", "name", "result", "uncallable", "helper"],
)  # fmt: skip
def test_a_factory_that_gives_no_module_is_told(
    net: Callable[..., SpecFile], tmp_path: Path, code: str, words: str
) -> None:
    (tmp_path / "helper.py").write_text("\nthis is no Python\n")
    assert words in refusal(net(code))


@pytest.mark.case("M8")
def test_wrong_keyword_arguments_are_told(net: Callable[..., SpecFile]) -> None:
    assert refusal(net(kwargs={"depth": 3})) == "model.py:Net has no argument 'depth' (it takes: width)"


def test_keyword_arguments_reach_the_factory(net: Callable[..., SpecFile]) -> None:
    assert run(load(net(kwargs={"width": 7})), ROWS)[0].shape == (3, 7)


@pytest.mark.parametrize("factory", ["package.nets:make", "package.nets:Nets.small"])
def test_a_factory_of_a_package_beside_the_spec_is_found(
    net: Callable[..., SpecFile], tmp_path: Path, factory: str
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    code = LINEAR + "\ndef make():\n    return Net(3)\n\nclass Nets:\n    small = make\n"
    (tmp_path / "package/nets.py").write_text(code)
    assert run(load(net(factory=factory)), ROWS)[0].shape == (3, 3)


def test_prepare_gets_the_filled_module_of_the_same_class(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    save(STATE, tmp_path / "w.pt")
    model = load(net(weights="w.pt", prepare="model.py:doubled"))
    np.testing.assert_allclose(run(model, ROWS)[0], 2 * ANSWER, rtol=1e-6)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_prepare_must_give_a_module(net: Callable[..., SpecFile]) -> None:
    code = LINEAR + "\ndef lost(net):\n    return net.state_dict()\n"
    assert "model.py:lost returned an OrderedDict (let it return a torch.nn.Module)" in refusal(
        net(code, prepare="model.py:lost")
    )


def test_dropout_and_batch_norm_are_at_rest(net: Callable[..., SpecFile]) -> None:
    code = FORWARD.format("self.layers(x)").replace(
        "    def forward",
        "    def __init__(self):\n        super().__init__()\n        self.layers = torch.nn.Sequential("
        "torch.nn.Dropout(0.9), torch.nn.BatchNorm1d(4, eps=0))\n\n    def forward",
    )
    np.testing.assert_array_equal(run(load(net(code)), ROWS)[0], ROWS["x"])


# Outputs and export


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("None", "gives no outputs"),
        ("(x, 3)", "the model returns an int"),
        ("{'a': [x, 'text']}", "the model returns a str"),
        ("(x,) * x.shape[0]", "another number of outputs at other sizes"),
        ("x @ x", "the source model fails on x (1, 4): RuntimeError"),
        ("x.sum(1).squeeze()", "output 'output' has another number of dimensions at other sizes: () and (16,)"),
    ],
)
def test_an_answer_that_cannot_be_shipped_is_told(
    net: Callable[..., SpecFile], tmp_path: Path, expression: str, words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        export_here(net(FORWARD.format(expression), exporter="torchscript"), tmp_path / "out")
    assert words in str(refused.value)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_nested_outputs_keep_their_order(net: Callable[..., SpecFile], tmp_path: Path, exporter: str) -> None:
    code = FORWARD.format("{'z': x.sum(1), 'a': (x * 2, [x - 1, x])}")
    made = export_here(net(code, exporter=exporter), tmp_path / "out")
    assert [(info.name, info.shape) for info in made.model.outputs] == [
        ("z", ("n",)),
        ("a.0", ("n", 4)),
        ("a.1.0", ("n", 4)),
        ("a.1.1", ("n", 4)),
    ]
    require_parity("nested", made.rows())


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_names_that_are_taken_inside_the_graph_are_given_all_the_same(
    net: Callable[..., SpecFile], tmp_path: Path, exporter: str
) -> None:
    """Dynamo calls what comes out of a layer ``linear``, and would have two values of that name."""
    code = LINEAR.replace("self.linear(x)", "self.linear(x) * 2 + 1")
    inputs = {"linear": {"dtype": "float32", "shape": ["n", 4]}}
    fields = {"inputs": inputs, "outputs": ["linear.weight"]}
    made = export_here(net(code, fields, exporter=exporter), tmp_path / "out")
    assert [info.name for info in (*made.model.inputs, *made.model.outputs)] == ["linear", "linear.weight"]
    require_parity("names", made.rows())


def test_the_number_of_named_outputs_must_be_right(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    file = net(FORWARD.format("x * 2"), {"outputs": ["a", "b"]}, exporter="torchscript")
    with pytest.raises(SourceError, match="the spec names 2 outputs, the model has 1: output"):
        export_here(file, tmp_path / "out")


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("x * torch.arange(x.shape[0] * 4).reshape(-1, 4)[: x.shape[0]].sum().item()", "values differ"),
        ("x + torch.ones(int(x.shape[0]), 4).numpy().tolist()[0][0] * float(x.shape[0])", "values differ"),
        ("x[:, :2].repeat(1, int(x.shape[0]))", "shape ("),
    ],
    ids=["constant", "size", "shape"],
)
def test_what_is_baked_in_at_trace_time_fails_the_gate(
    net: Callable[..., SpecFile], tmp_path: Path, expression: str, shown: str
) -> None:
    made = export_here(net(FORWARD.format(expression), exporter="torchscript"), tmp_path / "out")
    with pytest.raises(GateError) as refused:
        require_parity("the exported model differs from its source", made.rows())
    assert shown in refused.value.problems[0].detail


def test_random_numbers_are_refused_before_the_export(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    with pytest.raises(GateError, match="the source model is not deterministic"):
        export_here(net(FORWARD.format("x * torch.rand(4)"), exporter="torchscript"), tmp_path / "out")


TWO_INPUTS = {
    "inputs": {name: {"dtype": "float32", "shape": ["n", 4]} for name in ("x", "unused")},
}  # fmt: skip


def test_an_input_that_the_model_ignores_stays_with_dynamo(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    code = FORWARD.format("x * 2").replace("(self, x)", "(self, x, unused)")
    made = export_here(net(code, TWO_INPUTS), tmp_path / "out")
    assert [info.name for info in made.model.inputs] == ["x", "unused"]
    require_parity("ignored", made.rows())


def test_an_input_that_the_exporter_loses_is_told(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    code = FORWARD.format("x * 2").replace("(self, x)", "(self, x, unused)")
    with pytest.raises(SourceError, match="the export's inputs are x; the spec's x, unused"):
        export_here(net(code, TWO_INPUTS, exporter="torchscript"), tmp_path / "out")


def test_an_opset_that_cannot_be_had_names_both(net: Callable[..., SpecFile], tmp_path: Path) -> None:
    """LayerNormalization came with opset 17: dynamo's conversion down to 13 fails with no more than a log line."""
    code = LINEAR.replace("nn.Linear(4, width)", "nn.LayerNorm(4)")
    with pytest.raises(SourceError) as refused:
        export_here(net(code, {"opset": 13}, exporter="dynamo"), tmp_path / "out")
    assert "opset 13 cannot be had: the export has 18" in str(refused.value)
    assert refused.value.problems[0].hint.startswith("set `exporter: torchscript`: it was tried, takes this model")
    made = export_here(net(code, {"opset": 13}, exporter="torchscript"), tmp_path / "other")
    assert made.model.opset == 13
    require_parity("torchscript", made.rows())


def test_code_that_dynamo_cannot_trace_is_told_without_escape_codes(
    net: Callable[..., SpecFile], tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as refused:
        export_here(net(FORWARD.format("x * 2 if x.sum() > 0 else x"), exporter="dynamo"), tmp_path / "out")
    (problem,) = refused.value.problems
    assert problem.message.startswith("the dynamo exporter failed: ")
    assert "\x1b" not in str(problem) + problem.detail
    assert "GuardOnDataDependentSymNode" in problem.detail
    assert len(problem.detail.splitlines()) < 10  # of 26, most of them advice on how to debug torch


@pytest.mark.parametrize(("dtype", "expression"), [("bool", "~x"), ("uint8", "x + 1"), ("float16", "x * 2")])
def test_other_dtypes_stay_what_they_are(
    net: Callable[..., SpecFile], tmp_path: Path, dtype: str, expression: str
) -> None:
    fields = {"inputs": {"x": {"dtype": dtype, "shape": ["n", 4]}}}
    made = export_here(net(FORWARD.format(expression), fields, exporter="torchscript"), tmp_path / "out")
    assert [info.dtype for info in (*made.model.inputs, *made.model.outputs)] == [dtype, dtype]
    require_parity(dtype, made.rows())
