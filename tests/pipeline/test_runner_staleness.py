"""A build that is answered from the store gives what a build from nothing gives, whichever field or file changed.

The fields are those of the spec's own dataclasses, so a new one is covered by itself: it is set to the example in its
description, unless ``FLIPS`` says how to change it, or ``FIXED`` why it cannot be changed.
"""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import onnx
import pytest
from exporting import Here
from onnx import helper, numpy_helper
from tokenizing import write_tokenizer
from told import Told

from onnxpack.bundle.layer import LayerFile, Needs, Why
from onnxpack.bundle.lock import Package, TargetLock, make_unresolved_lock
from onnxpack.cache.store import Store
from onnxpack.core.digests import digest_tree
from onnxpack.image.docker import DockerEngine
from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import load
from onnxpack.spec.model import Spec
from onnxpack.timing import BatchGain, Measured

WIDTH = 8
BASE: dict[str, Any] = {
    "onnxpack": 1,
    "name": "small",
    "model": {"framework": "onnx", "path": "m.onnx"},
    "inputs": {"x": {"dtype": "float32", "shape": ["batch", WIDTH], "range": [-1, 1]}},
    "outputs": ["logits"],
    "dynamic_axes": {"batch": {"min": 1, "opt": 4, "max": 16}},
    "opset": 17,
    "verify": {"samples": "samples.npz", "rtol": 0.5, "atol": 0.5},
    "preprocess": [{"op": "scale", "input": "x", "scale": 2}],
    "postprocess": [
        {"op": "softmax", "input": "logits", "output": "probabilities"},
        {"op": "labels", "input": "probabilities", "output": "word", "labels": "words.txt"},
    ],
    "calibration": {"data": "calibration.npz"},
    "evaluation": {"data": "evaluation.npz", "labels": "y", "metric": "accuracy"},
    "targets": {"cpu": {"precision": "int8-static", "optimize": "extended"}},
}
TORCH = {
    "model": {
        "framework": "torch", "factory": "net.py:Net", "kwargs": {"slope": 0.1}, "weights": "all.pt",
        "weights_key": "first", "exporter": "torchscript",
    },
    "preprocess": [], "postprocess": [], "calibration": None, "evaluation": None,
    "targets": {"cpu": {"precision": "float32"}},
}  # fmt: skip


def columns(first: dict[str, Any]) -> list[dict[str, Any]]:
    """A description of each column of the input, the first one as given."""
    return [first, *({"range": [-1, 1]} for _ in range(WIDTH - 1))]


PLAIN: dict[str, Any] = {"calibration": None, "targets.cpu": {}}
RUNTIME = Package("nvidia-cuda-runtime", "13.0", ("0" * 64,))
CUDA: dict[str, Any] = {"targets.cpu": {"device": "cuda", "precision": "float16"}, "calibration": None}
PICTURE = {
    "model.path": "picture.onnx", "inputs.x": {"dtype": "float32", "shape": ["batch", 1, 2, 4], "range": [0, 9]},
    "verify.samples": None, "calibration": None, "evaluation": None, "targets.cpu": {},
}  # fmt: skip

TOKENS = ("input_ids attention_mask", "words attention_mask", "input_ids other", "input_ids attention_mask kinds")
"""The inputs of models of tokens, each in a file of that name."""
SPANS = ["logits", "starts", "ends", "others"]
"""The outputs of a model of what is found in texts."""


def tokens(inputs: str = TOKENS[0], **step: Any) -> dict[str, Any]:
    """A model of tokens, and its step with some fields changed."""
    tensor = {"dtype": "int64", "shape": ["batch", "seq"]}
    made = {"op": "tokenize", "input": "text", "tokenizer": "tokenizer.json"}
    return PLAIN | {
        "model.path": f"{inputs}.onnx", "inputs": dict.fromkeys(inputs.split(), tensor), "preprocess": [made | step],
        "dynamic_axes.seq": {"min": 3, "max": 9}, "verify.samples": None, "evaluation": None,
    }  # fmt: skip


def picture(**steps: dict[str, Any]) -> dict[str, Any]:
    """A model of pictures that clients send as files, and some of its steps with other fields."""
    made: dict[str, dict[str, Any]] = {
        "decode": {}, "grayscale": {}, "resize": {"size": [2, 4]}, "layout": {"layout": "NHWC"}
    }  # fmt: skip
    return PICTURE | {
        "preprocess": [{"op": op, "input": "x"} | fields | steps.get(op, {}) for op, fields in made.items()]
    }


NUMBER = {"kind": "number"}
CITY = {"kind": "category", "categories": ["Lima", "Oslo"], "unknown": -1}
DAY = {"kind": "date", "parts": ["year"]}


def table(**changed: dict[str, Any]) -> dict[str, Any]:
    """A model of a table's columns, some of them described otherwise."""
    made = dict.fromkeys("abcdef", NUMBER) | {"city": CITY, "day": DAY} | changed
    step = {"op": "table", "input": "x", "columns": made}
    return PLAIN | {"inputs.x.range": None, "verify.samples": None, "evaluation": None, "preprocess": [step]}


def columns_to(first: str, second: str) -> dict[str, Any]:
    """A model whose two inputs are fed by a column each."""
    tensor = {"dtype": "float32", "shape": ["batch", 1]}
    made = {"a": NUMBER | {"to": first}, "b": NUMBER | {"to": second}}
    return table() | {
        "model.path": "two.onnx", "inputs": {"x": tensor, "y": tensor}, "preprocess": [{"op": "table", "columns": made}]
    }  # fmt: skip


DATE_PARTS = ["year", "month", "day", "weekday", "yearday", "quarter", "week", "days"]


def dates(**changed: Any) -> dict[str, Any]:
    """A model of the parts of dates, and its step with some fields changed."""
    return table() | {"preprocess": [{"op": "date_parts", "input": "x", "parts": DATE_PARTS} | changed]}


def behind(*steps: dict[str, Any]) -> dict[str, Any]:
    """Other steps behind the model."""
    return PLAIN | {"evaluation": None, "postprocess": [{"input": "logits"} | step for step in steps]}


def detector(**changed: Any) -> dict[str, Any]:
    """A model of boxes, and its step with some fields changed."""
    return behind({"op": "nms", "input": "boxes", "scores": "scores"} | changed) | {
        "model.path": "boxes.onnx", "outputs": ["boxes", "scores", "others"], "verify.samples": None,
    }  # fmt: skip


def entities(**changed: Any) -> dict[str, Any]:
    """A model of each token's label, and its last step with some fields changed."""
    step = {"op": "decode", "kind": "entities", "input": "logits", "labels": "tags.txt"}
    return tokens() | {"model.path": "spans.onnx", "outputs": SPANS, "postprocess": [step | changed]}


def answer(**changed: Any) -> dict[str, Any]:
    """The same model asked for answers."""
    step = {"op": "decode", "kind": "answer", "input": "starts", "end": "ends"}
    pair = {"preprocess": tokens(pair="more")["preprocess"]}
    return entities() | pair | {"postprocess": [step | changed]}


BEFORE: dict[str, dict[str, Any]] = {
    # field: what is built before the change, where the base has no such step
    "inputs.missing": PLAIN | {"evaluation": None, "postprocess": []},
    **dict.fromkeys(
        [f"preprocess.{name}" for name in ("formats", "max_pixels", "weights", "method", "like", "fit")], picture()
    ),
    "preprocess.pad": picture(resize={"fit": "contain"}),
    **dict.fromkeys(
        [f"preprocess.columns.{name}" for name in ("kind", "missing", "categories", "unknown", "parts", "range")],
        table(),
    ),
    "preprocess.columns.to": columns_to("x", "y"),
    "preprocess.parts": dates(),
    "preprocess.range": dates(),
    "postprocess.keep": behind({"op": "softmax", "output": "p"}),
    "postprocess.at": behind({"op": "threshold", "at": 0.5}),
    "postprocess.digits": behind({"op": "round", "digits": 2}),
    "postprocess.dtype": behind({"op": "round", "digits": 2}),
    **dict.fromkeys([f"postprocess.{name}" for name in ("scores", "boxes", "iou", "score", "per_class")], detector()),
    "postprocess.kind": entities(),
    "postprocess.aggregation": entities(),
    "postprocess.end": answer(),
    "postprocess.max_answer": answer(),
}

FLIPS: dict[str, dict[str, Any]] = {
    # field: what is set instead, by its path; a value of None takes the field away
    "model.factory": TORCH | {"model.factory": "net.py:Other"},
    "model.kwargs": TORCH | {"model.kwargs": {"slope": 0.3}},
    "model.weights": TORCH | {"model.weights": "others.pt"},
    "model.weights_key": TORCH | {"model.weights_key": "second"},
    "model.prepare": TORCH | {"model.prepare": "net.py:soften"},
    "model.exporter": TORCH | {"model.exporter": None},
    "model.path": {"model.path": "other.onnx"},
    "inputs.dtype": {
        "model.path": "wide.onnx",
        "inputs.x.dtype": "float64",
        "preprocess": [],
        "verify.samples": None,
        "calibration": None,
        "evaluation": None,
        "targets.cpu": {},
    },
    "inputs.shape": {"inputs.x.shape": [4, WIDTH], "dynamic_axes": None, "verify.samples": None},
    "inputs.range": {"inputs.x.range": [-2, 2]},
    "inputs.choices": {"inputs.x.range": None, "inputs.x.choices": [0.5, 1.5]},
    "inputs.columns.range": PLAIN | {"inputs.x.range": None, "inputs.x.columns": columns({"range": [-2, 2]})},
    "inputs.columns.choices": PLAIN | {"inputs.x.range": None, "inputs.x.columns": columns({"choices": [0.25, 0.5]})},
    "inputs.columns.integers": PLAIN
    | {"inputs.x.range": None, "inputs.x.columns": columns({"range": [0, 3], "integers": True})},
    "inputs.integers": PLAIN | {"inputs.x.integers": True, "inputs.x.range": [-3, 3]},
    "inputs.missing": PLAIN | {"inputs.x.missing": True, "evaluation": None, "postprocess": []},
    "inputs.at_least_one": PLAIN | {"inputs.x.range": [0, 1], "inputs.x.integers": True, "inputs.x.at_least_one": True},
    "inputs.padding": PLAIN | {"inputs.x.range": None, "inputs.x.padding": "right"},
    "verify.random": {"verify.random": False},
    "evaluation.classes": PLAIN | {"evaluation.classes": [2, 1, 0], "postprocess": []},
    "targets.gates.max_degradation": {"targets.cpu.gates.max_degradation": 0.6},
    "targets.gates.min_score": {"targets.cpu.gates.min_score": 0.01},
    "targets.gates.gpu_nodes": CUDA | {"targets.cpu.gates.gpu_nodes": 0.9},
    "gates.gpu_nodes": CUDA | {"gates.gpu_nodes": 0.9},
    "gates.min_score": {"gates.min_score": 0.01},
    "outputs": {"outputs": ["y"], "postprocess": []},
    "dynamic_axes.min": {"dynamic_axes.batch.min": 2},
    "dynamic_axes.opt": {"dynamic_axes.batch.opt": 5},
    "dynamic_axes.max": {"dynamic_axes.batch.max": 12},
    "opset": {"opset": 18},
    "verify.rtol": {"verify.rtol": 0.25},
    "verify.atol": {"verify.atol": 0.25},
    "verify.samples": {"verify.samples": "more.npz"},
    "calibration.data": {"calibration.data": "samples.npz"},
    "calibration.samples": {"calibration.samples": 3},
    "evaluation.data": {"evaluation.data": "others.npz"},
    "evaluation.labels": {"evaluation.labels": "z"},
    "evaluation.metric": {"evaluation.metric": "f1"},
    "preprocess.op": {"preprocess": [{"op": "normalize", "input": "x", "mean": [0.0], "std": [1.0], "scale": 2}]},
    "preprocess.mean": {"preprocess": [{"op": "normalize", "input": "x", "mean": [0.5], "std": [1.0]}]},
    "preprocess.std": {"preprocess": [{"op": "normalize", "input": "x", "mean": [0.0], "std": [3.0]}]},
    "preprocess.scale": {"preprocess": [{"op": "scale", "input": "x", "scale": 4}]},
    "preprocess.dtype": PICTURE | {"preprocess": [{"op": "cast", "input": "x", "dtype": "uint8"}]},
    "preprocess.layout": PICTURE | {"preprocess": [{"op": "layout", "input": "x", "layout": "NHWC"}]},
    "preprocess.size": PICTURE | {"preprocess": [{"op": "resize", "input": "x", "size": [2, 4]}]},
    "preprocess.formats": picture(decode={"formats": ["png"]}),
    "preprocess.max_pixels": picture(decode={"max_pixels": 1_000_000}),
    "preprocess.weights": picture(grayscale={"weights": [0.25, 0.25, 0.5]}),
    "preprocess.method": picture(resize={"method": "area"}),
    "preprocess.like": picture(resize={"like": "opencv"}),
    "preprocess.fit": picture(resize={"fit": "cover"}),
    "preprocess.pad": picture(resize={"fit": "contain", "pad": [7]}),
    "preprocess.columns.kind": table(a={"kind": "date"}),
    "preprocess.columns.to": columns_to("y", "x"),
    "preprocess.columns.missing": table(a=NUMBER | {"missing": 1.5}),
    "preprocess.columns.categories": table(city=CITY | {"categories": ["Oslo", "Lima"]}),
    "preprocess.columns.unknown": table(city=CITY | {"unknown": -2}),
    "preprocess.columns.parts": table(day=DAY | {"parts": ["month"]}),
    "preprocess.columns.range": table(day=DAY | {"range": ["2015-01-01", "2029-12-31"]}),
    "preprocess.parts": dates(parts=DATE_PARTS[::-1]),
    "preprocess.range": dates(range=["2015-01-01", "2029-12-31"]),
    "preprocess.tokenizer": tokens(tokenizer="other.json"),
    "preprocess.max_length": tokens(max_length=5),
    "preprocess.truncation": tokens(truncation="left"),
    "preprocess.pair": tokens(pair="more", max_length=7),
    "preprocess.ids": tokens(TOKENS[1], ids="words"),
    "preprocess.mask": tokens(TOKENS[2], mask="other"),
    "preprocess.types": tokens(TOKENS[3], types="kinds"),
    "postprocess.op": {"postprocess": [{"op": "sigmoid", "input": "logits"}]},
    "postprocess.input": {
        "postprocess": [*BASE["postprocess"][:1], {"op": "scale", "input": "probabilities", "factor": 2}]
    },
    "postprocess.output": {"postprocess": [{"op": "softmax", "input": "logits", "output": "p"}]},
    "postprocess.axis": {"postprocess": [{"op": "softmax", "input": "logits", "axis": 0}]},
    "postprocess.k": {"postprocess": [{"op": "topk", "input": "logits", "k": 2}], "evaluation": None, **PLAIN},
    "postprocess.labels": {
        "postprocess": [*BASE["postprocess"][:1], BASE["postprocess"][1] | {"labels": "others.txt"}]
    },
    "postprocess.factor": {"postprocess": [{"op": "scale", "input": "logits", "factor": 3}]},
    "postprocess.keep": behind({"op": "softmax", "output": "p", "keep": False}),
    "postprocess.at": behind({"op": "threshold", "at": 0.25}),
    "postprocess.digits": behind({"op": "round", "digits": 1}),
    "postprocess.dtype": behind({"op": "round", "digits": 2, "dtype": "float16"}),
    "postprocess.scores": detector(scores="others"),
    "postprocess.boxes": detector(boxes="centre"),
    "postprocess.iou": detector(iou=0.25),
    "postprocess.score": detector(score=0.25),
    "postprocess.per_class": detector(per_class=1),
    "postprocess.kind": answer(),
    "postprocess.aggregation": entities(aggregation="first"),
    "postprocess.end": answer(end="others"),
    "postprocess.max_answer": answer(max_answer=3),
    "targets.device": CUDA,
    "targets.precision": {"targets.cpu.precision": "int8-dynamic", "calibration": None},
    "targets.optimize": {"targets.cpu.optimize": "basic"},
    "targets.objective": {"targets.cpu.precision": "auto", "targets.cpu.objective": "size"},
    "targets.isa": {"targets.cpu.isa": "avx512-vnni"},
    "targets.threads": {"targets.cpu.threads": 3},
    "targets.exclude_nodes": {"targets.cpu.exclude_nodes": ["first"]},
    "targets.per_channel": {"targets.cpu.per_channel": False},
    "gates.max_degradation": {"gates.max_degradation": 0.5},
    "runtime.server": {"runtime.server": "none"},
    "runtime.max_body": {"runtime.max_body": "32MiB"},
    "runtime.batching.max_batch_size": {"runtime.batching": {"max_batch_size": 3}},
    "runtime.batching.max_queue_delay": {"runtime.batching": {"max_batch_size": 2, "max_queue_delay": "1ms"}},
}
FIXED = {
    "onnxpack": "the format has one version",
    "model.framework": "each framework needs a model of its own: their fields are flipped on one each",
    "model.sha256": "it is compared with the file before anything is built",
    "preprocess.input": "the model has one input; another name is refused",
    **dict.fromkeys(
        ["model.task", "model.pooling", "model.normalize"],
        "it needs a folder of transformers; see tests/sources/test_export.py for the export's key",
    ),
    "model.requirements": "it needs the package index; see tests/worker/test_environments.py",
    "extends": "it is resolved before anything is built: its fields are these",
    "targets.platform": "linux/amd64 is the only one that can be built yet",
}


def leaves(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every field that holds a value, with the example in its description."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        inner = [part for part in parts(hints[field.name]) if isinstance(part, type) and is_dataclass(part)]
        for part in inner:
            yield from leaves(part, (*path, field.name))
        if not inner:
            yield ".".join((*path, field.name)), field.metadata["example"]


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from parts(part)


FIELDS = dict(leaves(Spec))


def network(seed: int, dtype: str = "float32", picture: bool = False) -> onnx.ModelProto:
    generator = np.random.default_rng(seed)
    tensors = [
        numpy_helper.from_array(generator.standard_normal(shape).astype(dtype) / 2, name)
        for name, shape in (("w0", (WIDTH, 16)), ("w1", (16, 3)))
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    flat = [helper.make_node("Flatten", ["x"], ["flat"])] if picture else []
    nodes = [
        *flat,
        helper.make_node("MatMul", ["flat" if flat else "x", "w0"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w1"], ["logits"], name="last"),
    ]
    shape = ["batch", 1, 2, 4] if picture else ["batch", WIDTH]
    values = [helper.make_tensor_value_info("x", kind, shape)]
    outputs = [helper.make_tensor_value_info("logits", kind, ["batch", 3])]
    graph = helper.make_graph(nodes, "net", values, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def token_network(names: list[str]) -> onnx.ModelProto:
    """The logits grow with the sum of all that comes in."""
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "seq"]) for name in names]
    outputs = [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])]
    tensors = [
        numpy_helper.from_array(np.array([[0.01, 0.02, 0.03]], np.float32), "w"),
        numpy_helper.from_array(np.array([1]), "last"),
    ]
    nodes = [
        helper.make_node("Sum", [f"{name}_" for name in names], ["sum"]),
        helper.make_node("ReduceSum", ["sum", "last"], ["total"]),
        helper.make_node("MatMul", ["total", "w"], ["logits"]),
    ]
    casts = [helper.make_node("Cast", [name], [f"{name}_"], to=onnx.TensorProto.FLOAT) for name in names]
    graph = helper.make_graph([*casts, *nodes], "net", values, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def wired(
    values: dict[str, list[str | int]], nodes: list[onnx.NodeProto], outputs: dict[str, list[str | int]], kind: int
) -> onnx.ModelProto:
    """A model of nodes that take random weights: any name ``wROWSxCOLUMNS``."""
    generator = np.random.default_rng(2)
    named = sorted({name for node in nodes for name in node.input if re.fullmatch(r"w\d+x\d+", name)})
    tensors = [
        numpy_helper.from_array(
            generator.standard_normal([int(part) for part in name[1:].split("x")]).astype(np.float32), name
        )
        for name in named
    ]
    taken = [helper.make_tensor_value_info(name, kind, shape) for name, shape in values.items()]
    given = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(nodes, "net", taken, given, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def column_network() -> onnx.ModelProto:
    """The logits of two columns."""
    nodes = [
        helper.make_node("Concat", ["x", "y"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w2x3"], ["logits"]),
    ]
    values: dict[str, list[str | int]] = {"x": ["batch", 1], "y": ["batch", 1]}
    return wired(values, nodes, {"logits": ["batch", 3]}, onnx.TensorProto.FLOAT)


def box_network() -> onnx.ModelProto:
    """Six boxes that share much of their area, and two times their scores for three classes."""
    shapes: dict[str, list[str | int]] = {
        "boxes": ["batch", 6, 4],
        "scores": ["batch", 3, 6],
        "others": ["batch", 3, 6],
    }
    nodes = []
    for (name, (_, first, second)), weights in zip(shapes.items(), ("w8x24", "w8x18", "w8x018"), strict=True):
        shape = helper.make_node("Constant", [], [f"{name}_shape"], value_ints=[-1, first, second])
        flat = helper.make_node("MatMul", ["x", weights], [f"{name}_flat"])
        nodes += [shape, flat, helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [f"{name}_"])]
    nodes += [
        helper.make_node("Constant", [], ["square"], value_floats=[0.0, 0.0, 6.0, 6.0]),
        helper.make_node("Add", ["boxes_", "square"], ["boxes"]),
        *(helper.make_node("Identity", [f"{name}_"], [name]) for name in ("scores", "others")),
    ]
    return wired({"x": ["batch", WIDTH]}, nodes, shapes, onnx.TensorProto.FLOAT)


def span_network() -> onnx.ModelProto:
    """The scores of each token for three labels, and for being the first or last one of an answer."""
    names = ("input_ids", "attention_mask")
    nodes = [helper.make_node("Cast", [name], [f"{name}_"], to=onnx.TensorProto.FLOAT) for name in names]
    nodes += [
        helper.make_node("Sum", [f"{name}_" for name in names], ["sum"]),
        helper.make_node("Sin", ["sum"], ["waves"]),
        helper.make_node("Constant", [], ["last"], value_ints=[-1]),
        helper.make_node("Unsqueeze", ["waves", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "w1x3"], ["logits"]),
        helper.make_node("Identity", ["waves"], ["starts"]),
        helper.make_node("Neg", ["waves"], ["ends"]),
        helper.make_node("Cos", ["sum"], ["others"]),
    ]
    flat: list[str | int] = ["batch", "seq"]
    outputs = {"logits": [*flat, 3]} | dict.fromkeys(SPANS[1:], flat)
    return wired(dict.fromkeys(names, flat), nodes, outputs, onnx.TensorProto.INT64)


NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.linear = torch.nn.Linear(8, 3)
        self.slope = slope

    def forward(self, x):
        return torch.nn.functional.leaky_relu(self.linear(x), self.slope)

class Other(Net):
    def forward(self, x):
        return super().forward(x) + 1

def soften(net):
    net.slope = net.slope + 1e-9
    return net
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec's folder with every file that any of the changes names."""
    import torch

    folder = tmp_path_factory.mktemp("project")
    generator = np.random.default_rng(1)
    onnx.save(network(0), folder / "m.onnx")
    onnx.save(network(5), folder / "other.onnx")
    onnx.save(network(0, "float64"), folder / "wide.onnx")
    onnx.save(network(0, picture=True), folder / "picture.onnx")
    for names in TOKENS:
        onnx.save(token_network(names.split()), folder / f"{names}.onnx")
    onnx.save(column_network(), folder / "two.onnx")
    onnx.save(box_network(), folder / "boxes.onnx")
    onnx.save(span_network(), folder / "spans.onnx")
    (folder / "tags.txt").write_text("O\nB-PER\nI-PER\n")
    write_tokenizer(folder)
    write_tokenizer(folder, "word-level", "other.json")
    (folder / "net.py").write_text(NET)
    for name, rows in (("samples", 5), ("more", 9), ("calibration", 64)):
        # Few large values and many small ones, so that every method of calibration cuts elsewhere.
        np.savez(folder / f"{name}.npz", x=(generator.uniform(-1, 1, (rows, WIDTH)) ** 7).astype(np.float32))
    for name in ("evaluation", "others"):
        x = generator.uniform(-1, 1, (40, WIDTH)).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=generator.integers(0, 3, 40), z=generator.integers(0, 3, 40))
    for name in ("words", "others"):
        (folder / f"{name}.txt").write_text("".join(f"{name}-{number}\n" for number in range(3)))
    states = [{"linear.weight": torch.rand(3, 8), "linear.bias": torch.rand(3)} for _ in range(3)]
    torch.save({"first": states[0], "second": states[1]}, folder / "all.pt")
    torch.save({"first": states[2]}, folder / "others.pt")
    return folder


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tasks here; nothing comes from a package index, and no time decides."""
    for module in ("runner", "verify"):
        monkeypatch.setattr(f"onnxpack.pipeline.{module}.call", Here())
    monkeypatch.setattr("onnxpack.timing.models.measure", lambda models, *rest: dict.fromkeys(models, MEASURED))
    monkeypatch.setattr("onnxpack.timing.models.measure_batch", lambda *_: BatchGain(1, 8, 1000.0, 1000.0, 1.0))
    monkeypatch.setattr("onnxpack.bundle.resolve.resolve", resolve)
    monkeypatch.setattr("onnxpack.bundle.packages.install", install)


MEASURED = Measured(0.001, 0.002, 1.5, 1000.0, 1.5, 1, 0.1, 10)


def resolve(spec: Spec, target: str, *_: Any) -> TargetLock:
    asked = make_unresolved_lock(spec, target)
    wanted = [re.match(r"([^>\[]+).*>=([0-9.]+)", line) for line in asked.requirements]
    packages = [Package(found[1], found[2], ("0" * 64,)) for found in wanted if found]
    if spec.targets[target].device == "cuda":
        packages = [replace(one, requires=(RUNTIME.name,)) if "gpu" in one.name else one for one in packages] + [
            RUNTIME
        ]
    return replace(asked, packages=tuple(packages))


def install(
    python: str, platform: str, packages: tuple[Package, ...], needs: Needs, destination: Path, *_: Any
) -> tuple[LayerFile, ...]:
    text = f"{python} {platform} {[package.name for package in packages]} {needs.whole}"
    (destination / "installed.txt").write_text(text)
    return (LayerFile("installed.txt", "", len(text), True, Why("made by a test")),)


def write(folder: Path, changes: dict[str, Any]) -> Path:
    """Write the base spec with some values set by their path."""
    spec = json.loads(json.dumps(BASE))
    for path, value in changes.items():
        *way, last = path.split(".")
        place = spec
        for word in way:
            place = place.setdefault(word, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(value)
    place = folder / "spec.yaml"
    place.write_text(json.dumps(spec))
    place.with_suffix(".lock").unlink(missing_ok=True)
    return place


def outcome(spec: Path, store: Path, output: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What a build leaves: every figure, and every file's digest."""
    plan = Plan(load(spec), "cpu", output / "small" / "cpu")
    attempt = build(Build(plan, Store(store), DockerEngine(), Told()), Wanted("bundle"))
    report = json.loads((plan.output / "report.json").read_text())
    for name in ("stages", "spec"):  # what was cached, and from where the output sees its spec
        del report[name]
    files = {name: known for name, known in digest_tree(plan.output).items() if not name.startswith("report.")}
    assert attempt.passed or report["status"] == "failed"
    return report, files


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """A store that has built the base, and for torch the torch base, before anything is changed."""
    root = tmp_path_factory.mktemp("warm")

    def filled(project: Path) -> Path:
        if not (root / "filled").exists():
            for changes in ({}, TORCH):
                report, _ = outcome(write(project, changes), root / "store", root / "dist")
                assert report["status"] == "passed", report["problems"]
            (root / "filled").touch()
        return root / "store"

    return filled


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in FIXED])
def test_a_changed_field_gives_what_a_build_from_nothing_gives(
    field: str, project: Path, warm: Callable[[Path], Path], tmp_path: Path
) -> None:
    store = shutil.copytree(warm(project), tmp_path / "warm")
    before = outcome(write(project, BEFORE[field]), store, tmp_path / "before") if field in BEFORE else None
    assert not before or before[0]["status"] == "passed", before[0]["problems"]
    spec = write(project, FLIPS[field]) if field in FLIPS else write_example(project, field)
    again = outcome(spec, store, tmp_path / "one")
    report, _ = again
    assert report["status"] == "passed", report["problems"]
    assert again != before
    spec.with_suffix(".lock").unlink(missing_ok=True)
    assert again == outcome(spec, tmp_path / "empty", tmp_path / "other")


def write_example(folder: Path, field: str) -> Path:
    """Set a field without an entry in ``FLIPS`` to the example in its description."""
    import yaml

    top, _, rest = field.partition(".")
    path = {"targets": f"targets.cpu.{rest}", "inputs": f"inputs.x.{rest}"}.get(top, field)
    return write(folder, {path: yaml.safe_load(FIELDS[field])})


@pytest.mark.parametrize(
    ("field", "figure"),
    [
        ("calibration.method", "model"),
        ("calibration.samples", "model"),
        ("calibration.data", "model"),
        ("evaluation.metric", "evaluation"),
        ("evaluation.labels", "evaluation"),
        ("targets.per_channel", "model"),
    ],
)
def test_a_changed_field_changes_the_figure(
    field: str, figure: str, project: Path, warm: Callable[[Path], Path], tmp_path: Path
) -> None:
    store = shutil.copytree(warm(project), tmp_path / "warm")
    before, _ = outcome(write(project, {}), store, tmp_path / "before")
    spec = write(project, FLIPS[field]) if field in FLIPS else write_example(project, field)
    after, _ = outcome(spec, store, tmp_path / "after")
    assert before[figure] != after[figure]


def test_field_that_cannot_be_changed_has_a_reason() -> None:
    assert set(FIXED) <= set(FIELDS)
    assert set(FLIPS) <= set(FIELDS)
    assert set(BEFORE) <= set(FLIPS)
    assert all(FIXED.values())
