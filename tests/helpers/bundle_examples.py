"""Views of models that between them need every part of the templates, and tiny ONNX models to match."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from onnxpack.bundle.answers import Answers
from onnxpack.bundle.conclusions import ConclusionView, read_tags
from onnxpack.bundle.lock import Package
from onnxpack.bundle.render import DockerView, ModuleView, render_module
from onnxpack.core.values import Axis, TensorInfo
from onnxpack.spec.columns import ClientColumn
from onnxpack.spec.intakes import Intake
from onnxpack.spec.steps import PreprocessStep
from onnxpack.spec.tokenizer_file import TokenizerFile
from onnxpack.targets import load_device

IRIS = ModuleView(
    name="iris",
    version="1.0.0",
    description="Iris species from four measurements of a flower.",
    inputs=(TensorInfo("float_input", "float32", ("batch", 4)),),
    outputs=(TensorInfo("label", "int64", ("batch",)), TensorInfo("probabilities", "float32", ("batch", 3))),
    axes=(Axis("batch", 1, 8, 64),),
    opset=17,
    precision="float32",
    device="cpu",
    threads=None,
    server="http",
    port=8080,
    max_body=None,
    warmup=True,
)

TRANSACTIONS = ModuleView(
    name="transactions",
    version="1.4.0",
    description="Fraud score per account",
    inputs=(
        TensorInfo("dates", "float32", ("batch", "seq", 6)),
        TensorInfo("input_ids", "int64", ("batch", "seq", 20)),
        TensorInfo("amounts", "float32", ("batch", "seq")),
    ),
    outputs=(TensorInfo("score", "float32", ("batch",)),),
    axes=(Axis("batch", 1, 8, 64), Axis("seq", 1, 16, 512)),
    opset=13,
    precision="int8-dynamic",
    device="cpu",
    threads=2,
    server="http",
    port=9000,
    max_body=1_000_000,
    warmup=False,
)

CUDA = replace(
    TRANSACTIONS,
    device="cuda",
    precision="float16",
    server="none",
    threads=None,
    warmup=True,
    axes=(Axis("batch", 2, 8, 64), Axis("seq", 1, 16, 512)),
    gpu_nodes=0.95,
)

ODD = ModuleView(
    name="odd",
    version="",
    description='Names that are "no" identifiers; \\ and """ too.\n\nA second\tparagraph.',
    inputs=(
        TensorInfo("input.1", "string", ("n x", 1)),
        TensorInfo("class", "bool", (2,)),
        TensorInfo("a b", "int8", (2, 2)),
        TensorInfo("a_b", "int8", ()),
    ),
    outputs=(
        TensorInfo("index", "string", ("n x", 1)),
        TensorInfo("file", "bool", (2,)),
        TensorInfo('it\'s "it"', "int32", (2, 2)),
    ),
    axes=(Axis("n x", 0, 1, 3),),
    opset=17,
    precision="float32",
    device="cpu",
    threads=1,
    server="http",
    port=8080,
    max_body=2**20,
    warmup=True,
)

BATCHING = replace(TRANSACTIONS, max_batch_size=8, max_queue_delay=0.002)
WORKERS = replace(IRIS, workers=2)

GRPC = replace(IRIS, server="http+grpc")

TABLE = ModuleView(
    name="table",
    version="2",
    description="A row of a table with columns of all kinds.",
    inputs=(
        TensorInfo("age", "float32", ("batch", 1)),
        TensorInfo("income", "float64", ("batch",)),
        TensorInfo("visits", "int64", ("batch", 1)),
        TensorInfo("code", "uint8", ("batch",)),
        TensorInfo("member", "bool", ("batch", 1)),
        TensorInfo("city", "string", ("batch", 1)),
    ),
    outputs=(
        TensorInfo("total", "float64", ("batch",)),
        TensorInfo("ages", "float16", ("batch", 2)),
        TensorInfo("guest", "bool", ("batch", 1)),
        TensorInfo("place", "string", ("batch", 1)),
    ),
    axes=(Axis("batch", 1, 4, 100),),
    opset=17,
    precision="float32",
    device="cpu",
    threads=1,
    server="none",
    port=8080,
    max_body=None,
    warmup=False,
)

DECLARED = replace(
    TABLE,
    name="declared",
    inputs=(
        TensorInfo("age", "float32", ("batch",)),
        TensorInfo("visits", "int64", ("batch",)),
        TensorInfo("city", "string", ("batch",)),
        TensorInfo("note", "string", ("batch",)),
        TensorInfo("joined", "int64", ("batch",)),
        TensorInfo("seen", "int64", ("batch",)),
    ),
    columns=(
        ClientColumn("age", "number", fill=math.nan),
        ClientColumn("visits", "number", fill=1),
        ClientColumn("city", "category", words=("Lima", "Oslo")),
        ClientColumn("note", "text", fill=""),
        ClientColumn("joined", "date"),
        ClientColumn("seen", "date", fill=0, unit="seconds"),
    ),
    outputs=(TensorInfo("total", "float64", ("batch",)), TensorInfo("place", "string", ("batch",))),
)
"""A declared table with columns of all kinds."""

MODULES = {
    "iris": IRIS, "transactions": TRANSACTIONS, "cuda": CUDA, "odd": ODD, "table": TABLE, "declared": DECLARED,
}  # fmt: skip
PICTURES = replace(
    IRIS,
    inputs=(TensorInfo("image", "bytes", ("batch",)),),
    outputs=(TensorInfo("colour", "float32", ("batch", 3)),),
    axes=(Axis("batch", 1, 2, 8),),
    intakes=(
        Intake(
            "picture",
            (PreprocessStep("decode", "image", formats=("png",)), PreprocessStep("resize", "image", size=(4, 6))),
            (TensorInfo("image", "bytes", ("batch",)),),
            (TensorInfo("image", "uint8", ("batch", 4, 6, 3)),),
        ),
    ),
)

TEXTS = replace(
    IRIS,
    inputs=(TensorInfo("text", "string", ("batch",)), TensorInfo("weight", "float32", ("batch",))),
    outputs=(TensorInfo("total", "float32", ("batch",)),),
    axes=(Axis("batch", 1, 2, 8), Axis("tokens", 1, 4, 16)),
    server="http+grpc",
    max_batch_size=8,
    intakes=(
        Intake(
            "text",
            (PreprocessStep("tokenize", "text", tokenizer="tokenizer.json", max_length=16),),
            (TensorInfo("text", "string", ("batch",)),),
            tuple(TensorInfo(name, "int64", ("batch", "tokens")) for name in ("input_ids", "attention_mask")),
        ),
    ),
    tokenizers={
        "tokenizer.json": TokenizerFile("WordLevel", 4, 0, 0, "right", special=(0, 0), cuts=True, random=False)
    },
)

SENTENCE = replace(
    TEXTS,
    name="sentence",
    inputs=TEXTS.inputs[:1],
    outputs=(TensorInfo("label", "string", ("batch",)), TensorInfo("scores", "float32", ("batch", 3))),
    answers=Answers({"scores": ("bad", 'so "so"', "good")}),
)
"""One text in; a word, and a score for each word out."""

_SCORES = ("batch", "tokens")
ENTITIES = replace(
    TEXTS,
    server="none",
    max_batch_size=None,
    outputs=(TensorInfo("entities", "string", ("batch",)),),
    conclusions=(
        ConclusionView(
            "entities",
            (TensorInfo("logits", "float32", (*_SCORES, 3)),),
            (TensorInfo("entities", "string", ("batch",)),),
            "text",
            "text",
            read_tags(["O", "B-PER", "I-PER"]),
            by_word=True,
        ),
    ),
)
ANSWERS = replace(
    TEXTS,
    server="none",
    max_batch_size=None,
    inputs=(TensorInfo("question", "string", ("batch",)), TensorInfo("context", "string", ("batch",))),
    outputs=(TensorInfo("answer", "string", ("batch",)),),
    intakes=(
        Intake(
            "text",
            (PreprocessStep("tokenize", "question", pair="context", tokenizer="tokenizer.json"),),
            (TensorInfo("question", "string", ("batch",)), TensorInfo("context", "string", ("batch",))),
            tuple(TensorInfo(name, "int64", _SCORES) for name in ("input_ids", "attention_mask", "token_type_ids")),
        ),
    ),
    conclusions=(
        ConclusionView(
            "answer",
            (TensorInfo("start_logits", "float32", _SCORES), TensorInfo("end_logits", "float32", _SCORES)),
            (TensorInfo("answer", "string", ("batch",)),),
            "question",
            "context",
        ),
    ),
)

STEPS = {"pictures": PICTURES, "texts": TEXTS, "sentence": SENTENCE}
"""Models whose modules read what clients really send."""
# Of these only the files that differ from those of the other model are golden.
VARIANTS = {
    "batching": (BATCHING, TRANSACTIONS),
    "workers": (WORKERS, IRIS),
    "grpc": (GRPC, IRIS),
    "grpc_odd": (replace(ODD, server="http+grpc"), ODD),
    "pictures": (PICTURES, IRIS),
    "texts": (TEXTS, GRPC),
    "sentence": (SENTENCE, TEXTS),
}


def make_kind(dtype: str, shape: tuple[int | str, ...], server: str = "none", device: str = "cpu") -> ModuleView:
    """A model whose single input and output have one dtype and shape."""
    axes = tuple(Axis(size, 1, 2, 3) for size in shape if isinstance(size, str))
    tensors = ((TensorInfo("x", dtype, shape),), (TensorInfo("y", dtype, shape),))
    return replace(IRIS, inputs=tensors[0], outputs=tensors[1], axes=axes, server=server, device=device)


KINDS = {
    "strings in a table": make_kind("string", ("n",)),
    "strings of a fixed shape": make_kind("string", (2, 2, 2), "http"),
    "a truth value": make_kind("bool", ()),
    "truth values": make_kind("bool", ("n", 2), "http"),
    "small integers": make_kind("uint8", ("n", "m"), "http"),
    "integers for a GPU": make_kind("int64", (4, 2), device="cuda"),
    "half precision": make_kind("float16", ("n", 3, 8, 8)),
    "doubles in a table of two rows": make_kind("float64", (2, 3)),
    "a table without a table of outputs": replace(IRIS, outputs=(TensorInfo("y", "int64", ()),), server="none"),
    "entities of texts": ENTITIES,
    "answers to questions": ANSWERS,
    "a table of outputs alone": replace(TRANSACTIONS, outputs=(TensorInfo("s", "string", ("batch",)),), server="none"),
}
"""Models of all kinds, whose modules are checked for their form alone."""

CUDA_DEVICE = load_device("cuda")
CUDA_VERSIONS = CUDA_DEVICE.read_versions((
    Package("nvidia-cuda-runtime", "13.5.37", ()), Package("onnxruntime-gpu", "1.31.1", ()),
))  # fmt: skip

DOCKERFILES = {
    "iris": DockerView("gcr.io/distroless/python3-debian12", {"team": "risk"}, {}, (8080,), "http"),
    "transactions": DockerView(
        "registry.example.com:5000/python@sha256:" + "0" * 64,
        {"org.opencontainers.image.title": "transactions", "org.opencontainers.image.description": 'A "b"\n $c \\'},
        {"GREETING": 'it\'s "$HOME" \\', "OPENBLAS_NUM_THREADS": "2"},
        (9000,),
        "http",
    ),
    "grpc": DockerView("gcr.io/distroless/python3-debian12", {}, {}, (8080, 8081), "http+grpc"),
    "cuda": DockerView("python:3.11-slim", CUDA_VERSIONS.labels, CUDA_DEVICE.env | CUDA_VERSIONS.env, (), "none"),
}


def save_model(path: Path, nodes: list[onnx.NodeProto], view: ModuleView, constants: list[onnx.TensorProto]) -> None:
    """Write an ONNX model with the view's inputs and outputs."""
    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}
    types |= {"int8": TensorProto.INT8, "bool": TensorProto.BOOL, "string": TensorProto.STRING}
    types |= {"float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE, "uint8": TensorProto.UINT8}
    inputs, outputs = (
        [helper.make_tensor_value_info(info.name, types[info.dtype], info.shape) for info in infos]
        for infos in (view.fed, view.computed)
    )
    graph = helper.make_graph(nodes, view.name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def save_iris(path: Path) -> None:
    """Probabilities are the softmax of the first three inputs."""
    identity = [float(row == column) for row in range(4) for column in range(3)]
    nodes = [
        helper.make_node("MatMul", ["float_input", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    save_model(path, nodes, IRIS, [helper.make_tensor("weights", TensorProto.FLOAT, [4, 3], identity)])


def save_transactions(path: Path) -> None:
    """The score is the sum of an account's dates, amounts and ids; ids go up to 9."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [10], [float(i) for i in range(10)])
    last, lasts = (helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in (("last", [1]), ("lasts", [1, 2])))
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("ReduceSum", ["embedded", "lasts"], ["ids"], keepdims=0),
        helper.make_node("ReduceSum", ["dates", "lasts"], ["days"], keepdims=0),
        helper.make_node("ReduceSum", ["amounts", "last"], ["money"], keepdims=0),
        helper.make_node("Sum", ["ids", "days", "money"], ["score"]),
    ]
    save_model(path, nodes, TRANSACTIONS, [table, last, lasts])


def save_odd(path: Path) -> None:
    """Strings pass through, truth is negated, and the small integers are added up as larger ones."""
    nodes = [
        helper.make_node("Identity", ["input.1"], ["index"]),
        helper.make_node("Not", ["class"], ["file"]),
        helper.make_node("Cast", ["a b"], ["wide"], to=TensorProto.INT32),
        helper.make_node("Cast", ["a_b"], ["one"], to=TensorProto.INT32),
        helper.make_node("Add", ["wide", "one"], ['it\'s "it"']),
    ]
    save_model(path, nodes, ODD, [])


def save_table(path: Path) -> None:
    """The total adds up the numbers, and the other outputs are the age twice, the opposite of member, and the city."""
    last = helper.make_tensor("last", TensorProto.INT64, [1], [1])
    double = TensorProto.DOUBLE
    nodes = [
        helper.make_node("Squeeze", ["age", "last"], ["age1"]),
        helper.make_node("Squeeze", ["visits", "last"], ["visits1"]),
        *(helper.make_node("Cast", [name], [f"{name}_"], to=double) for name in ("age1", "visits1", "code")),
        helper.make_node("Sum", ["income", "age1_", "visits1_", "code_"], ["total"]),
        helper.make_node("Concat", ["age", "age"], ["twice"], axis=1),
        helper.make_node("Cast", ["twice"], ["ages"], to=TensorProto.FLOAT16),
        helper.make_node("Not", ["member"], ["guest"]),
        helper.make_node("Identity", ["city"], ["place"]),
    ]
    save_model(path, nodes, TABLE, [last])


def save_declared(path: Path) -> None:
    """The total adds up the numbers and dates, and the place is the city."""
    numbers = ("age", "visits", "joined", "seen")
    nodes = [
        *(helper.make_node("Cast", [name], [f"{name}_"], to=TensorProto.DOUBLE) for name in numbers),
        helper.make_node("Sum", [f"{name}_" for name in numbers], ["total"]),
        helper.make_node("Identity", ["city"], ["place"]),
    ]
    save_model(path, nodes, DECLARED, [])


def save_pictures(path: Path) -> None:
    """The colour is the mean of all pixels."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["colour"], axes=[1, 2], keepdims=0),
    ]
    save_model(path, nodes, PICTURES, [])


def save_texts(path: Path) -> None:
    """The total is the sum of a text's tokens, times the weight; its words are "a", "b" and "c", from 1 on."""
    last = helper.make_tensor("last", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "last"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "weight"], ["total"]),
    ]
    save_model(path, nodes, TEXTS, [last])
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2, "c": 3}, "unk_token": "[UNK]"}
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model,
    }  # fmt: skip
    path.with_name(TEXTS.texts[0].file).write_text(json.dumps(document))


def save_sentence(path: Path) -> None:
    """The scores count a text's "a", "b" and "c", and the label is the word of the highest one."""
    save_texts(path)  # for its tokenizer
    constants = [
        helper.make_tensor("words", TensorProto.STRING, [3], [b"bad", b'so "so"', b"good"]),
        helper.make_tensor("numbers", TensorProto.INT64, [1, 1, 3], [1, 2, 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        helper.make_tensor("middle", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Equal", ["column", "numbers"], ["found"]),
        helper.make_node("Cast", ["found"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ones", "middle"], ["scores"], keepdims=0),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("Gather", ["words", "best"], ["label"]),
    ]
    save_model(path, nodes, SENTENCE, constants)


SAVERS = {
    "iris": save_iris,
    "transactions": save_transactions,
    "odd": save_odd,
    "table": save_table,
    "declared": save_declared,
    "pictures": save_pictures,
    "texts": save_texts,
    "sentence": save_sentence,
}


def write_app(folder: Path, name: str, **changes: Any) -> None:
    """Write an example's model and modules into a folder, as /opt/onnxpack/app has them, with changes of its view."""
    SAVERS[name](folder / "model.onnx")
    write_modules(folder, replace((MODULES | STEPS)[name], **changes))


def write_modules(folder: Path, view: ModuleView) -> None:
    """Write all that is rendered from a view into a folder."""
    for file, text in render_module(view).items():
        (folder / file).write_text(text, encoding="utf-8")
