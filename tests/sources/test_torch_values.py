"""How inputs reach ``forward``, and what the outputs of all shapes are called."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import export_here
from torch_nets import forward, net, refusal

from onnxpack.core.errors import SourceError
from onnxpack.parity.compare import require_parity
from onnxpack.sources.torch import load, run

BOTH = pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])


def inputs(*names: str) -> dict[str, Any]:
    return {"inputs": {name: {"dtype": "float32", "shape": ["n", 4]} for name in names}}


# Inputs


@BOTH
@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("a, b", ("a", "b")),
        ("a, b", ("b", "a")),
        ("a, mask=None, b=None", ("a", "b")),
        ("a, b, mask=None", ("left", "right")),
        ("a, /, b", ("p", "b")),
        ("a, *, b", ("a", "b")),
    ],
    ids=["in order", "by name", "over a gap", "by position", "positional only", "keyword only"],
)
def test_inputs_reach_the_parameter_that_is_meant(
    tmp_path: Path, parameters: str, names: tuple[str, ...], exporter: str
) -> None:
    file = net(tmp_path, forward("a * 2 - b", parameters), inputs(*names), exporter=exporter)
    given = {name: np.full((2, 4), 5.0 if name in ("a", "left", "p") else 3.0, np.float32) for name in names}
    np.testing.assert_array_equal(run(load(file), given)[0], np.full((2, 4), 7.0))
    made = export_here(file, tmp_path / "out")
    assert tuple(info.name for info in made.model.inputs) == names
    require_parity("inputs", made.rows())


def test_names_of_another_argument_go_by_position(tmp_path: Path) -> None:
    """One input whose name no parameter has is enough."""
    file = net(tmp_path, forward("a * 2 - b", "a, b"), inputs("b", "c"))
    given = {"b": np.full((1, 4), 5, np.float32), "c": np.full((1, 4), 3, np.float32)}
    np.testing.assert_array_equal(run(load(file), given)[0], np.full((1, 4), 7.0))


def test_any_number_of_arguments_goes_by_position(tmp_path: Path) -> None:
    file = net(tmp_path, forward("tensors[0] - tensors[1]", "*tensors"), inputs("x", "y"))
    given = {"x": np.full((1, 4), 5, np.float32), "y": np.full((1, 4), 3, np.float32)}
    np.testing.assert_array_equal(run(load(file), given)[0], np.full((1, 4), 2.0))


@pytest.mark.parametrize(
    ("parameters", "names", "words"),
    [
        ("a, b", ("x",), "forward takes (a, b); the spec's inputs are x: missing a required argument: 'b'"),
        ("a", ("x", "y"), "forward takes (a); the spec's inputs are x, y: too many positional arguments"),
        ("a, b, c=1", ("c", "a"), "forward takes (a, b, c=…); the spec's inputs are c, a: missing a required"),
    ],
)
def test_inputs_that_forward_does_not_take_are_told(
    tmp_path: Path, parameters: str, names: tuple[str, ...], words: str
) -> None:
    assert words in refusal(net(tmp_path, forward("a", parameters), inputs(*names)))


def test_torch_takes_no_strings(tmp_path: Path) -> None:
    fields = {"inputs": {"x": {"dtype": "string", "shape": ["n", 4]}}}
    assert "input 'x': torch has no strings" in refusal(net(tmp_path, forward("x"), fields))


# Outputs

HOLDERS = """
import collections, dataclasses, torch
Pair = collections.namedtuple("Pair", "left right")

class Output(collections.OrderedDict):
    pass

@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    hidden: object = None
    cache: object = None
"""


@BOTH
@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("x + 1", ["output"]),
        ("[x + 1]", ["output"]),
        ("(x + 1, None, x * 2)", ["output_0", "output_2"]),
        ("{'z': x + 1, 'a': (x * 2, [x - 1, x])}", ["z", "a.0", "a.1.0", "a.1.1"]),
        ("({'z': x + 1}, x * 2)", ["output_0.z", "output_1"]),
        ("{'only': x + 1}", ["only"]),
        ("Answer(x + 1, hidden=(x, x * 2))", ["logits", "hidden.0", "hidden.1"]),
        ("Output(logits=x + 1, pair=Pair(x * 2, x * 3))", ["logits", "pair.left", "pair.right"]),
        ("{'x': x + 1, 1: x * 2, 'a.b': x * 3, 'a': {'b': x * 4}, '': x * 5}",
         ["x_2", "1", "a.b", "a.b_2", "output"]),
    ],
    ids=["tensor", "list of one", "none", "nested", "tuple of dict", "dict of one", "dataclass", "mapping", "odd"],
)  # fmt: skip
def test_outputs_have_the_names_of_their_place(
    tmp_path: Path, expression: str, names: list[str], exporter: str
) -> None:
    code = HOLDERS + forward(expression)
    made = export_here(net(tmp_path, code, exporter=exporter), tmp_path / "out")
    assert [info.name for info in made.model.outputs] == names
    require_parity("outputs", made.rows())


def test_the_specs_names_come_first(tmp_path: Path) -> None:
    code = HOLDERS + forward("Answer(x + 1, hidden=x * 2)")
    file = net(tmp_path, code, {"outputs": ["first", "second"]}, exporter="torchscript")
    assert [info.name for info in export_here(file, tmp_path / "out").model.outputs] == ["first", "second"]


def test_an_output_that_is_no_tensor_is_told_with_its_place(tmp_path: Path) -> None:
    file = net(tmp_path, HOLDERS + forward("Answer(x, cache=[object()])"))
    with pytest.raises(SourceError, match=r"the model returns an object at 'cache\.0'"):
        export_here(file, tmp_path / "out")


def test_a_number_is_an_input_without_dimensions(tmp_path: Path) -> None:
    fields = {"inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}, "scale": {"dtype": "float32", "shape": []}}}
    made = export_here(net(tmp_path, forward("x * scale", "x, scale"), fields), tmp_path / "out")
    assert [info.shape for info in made.model.inputs] == [("n", 4), ()]
    require_parity("scale", made.rows())
