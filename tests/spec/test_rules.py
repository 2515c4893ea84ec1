"""Rules between targets, data, gates and steps: each one broken once, and once not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from onnxpack.core.errors import SpecError
from onnxpack.spec.decode import NOT_YET
from onnxpack.spec.load import load

SPEC: dict[str, Any] = {
    "onnxpack": 1,
    "name": "a",
    "model": {"framework": "torch", "factory": "package.module:Net"},
    "inputs": {"image": {"dtype": "float32", "shape": ["batch", 3]}},
    "outputs": ["logits"],
    "dynamic_axes": {"batch": [1, 16]},
}
SKLEARN = {"framework": "sklearn", "path": "m.joblib", "sha256": "0" * 64}


def problems(tmp_path: Path, **fields: Any) -> list[str]:
    """What is wrong besides what is not supported yet."""
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(SPEC | fields, sort_keys=False))
    try:
        load(path)
    except SpecError as error:
        return [str(problem) for problem in error.problems if NOT_YET not in problem.message]
    return []


SCORED = {"data": "package.data:load", "labels": "y"}
ONNX = {"framework": "onnx", "path": "m.onnx"}
NORMALIZE = {"op": "normalize", "input": "image", "mean": [0, 0, 0], "std": [1, 1, 1]}
CAST = {"op": "cast", "input": "image", "dtype": "uint8"}
LAYOUT = {"op": "layout", "input": "image", "layout": "NHWC"}
RESIZE = {"op": "resize", "input": "image", "size": [8, 8]}
IMAGE = {"image": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}}
CUBE = {"image": {"dtype": "float32", "shape": [3, 3, 3]}}
SIGMOID = {"op": "sigmoid", "input": "logits"}
TOPK = {"op": "topk", "input": "logits", "k": 2}
NMS = {"op": "nms", "input": "logits", "scores": "logit"}
BROKEN = [
    ({"targets": {"t": {"precision": "bfloat16"}}}, "bfloat16 has no arithmetic on the CPU"),
    ({"targets": {"t": {"precision": "int8-static"}}}, "int8-static needs calibration data"),
    ({"targets": {"t": {"precision": "int8-dynamic"}}, "opset": 12}, "int8-dynamic needs opset 13"),
    ({"targets": {"t": {"precision": "int8-dynamic", "device": "cuda"}}}, "no kernels on the GPU"),
    ({"targets": {"t": {"isa": "neon"}}}, "isa neon does not apply to linux/amd64"),
    ({"targets": {"t": {"isa": "amx", "platform": "linux/arm64"}}}, "isa amx does not apply to linux/arm64"),
    ({"targets": {"t": {"device": "cuda", "platform": "linux/arm64"}}}, "cuda has packages for linux/amd64 alone"),
    ({"targets": {"t": {"isa": "amx", "device": "cuda"}}}, "isa amx does not apply to a GPU"),
    ({"targets": {"t": {"optimize": "all"}}}, "ties the model to one kind of CPU"),
    ({"targets": {"t": {"optimize": "extended", "device": "cuda"}}}, "extended makes operators for the CPU"),
    ({"targets": {"t": {"objective": "size"}}}, "objective does not apply to float32"),
    (
        {"targets": {"t": {"precision": "auto", "objective": "latency", "device": "cuda"}}},
        "latency on cuda is not measured",
    ),
    ({"targets": {"t": {"per_channel": True}}}, "per_channel does not apply to float32"),
    ({"targets": {"t": {"exclude_nodes": ["n"]}}}, "exclude_nodes does not apply to float32"),
    ({"gates": {"max_degradation": 0.1}}, "max_degradation needs evaluation data"),
    ({"gates": {"min_score": 0.1}}, "min_score needs evaluation data"),
    ({"targets": {"t": {"gates": {"min_score": 0.1}}, "u": {}}}, "min_score needs evaluation data"),
    ({"gates": {"min_score": 0.1}, "targets": {"t": {}, "u": {}}}, "min_score needs evaluation data"),
    ({"gates": {"min_score": 0.1}, "evaluation": SCORED | {"metric": "mse"}}, "min_score does not apply to mse"),
    (
        {"targets": {"t": {"gates": {"min_score": 0.1}}}, "evaluation": SCORED | {"metric": "mae"}},
        "min_score does not apply to mae",
    ),
    ({"gates": {"min_score": 95}, "evaluation": SCORED}, "min_score 95 cannot be reached: accuracy is 1 at most"),
    ({"gates": {"min_speedup": 1.5}}, "min_speedup does not apply to float32 alone"),
    (
        {"targets": {"t": {"gates": {"min_speedup": 1.5}}, "u": {"precision": "int8-dynamic"}}},
        "min_speedup does not apply to float32 (",
    ),
    ({"evaluation": SCORED | {"classes": []}}, "classes has 0 labels"),
    ({"evaluation": SCORED | {"classes": ["a"]}}, "classes has 1 label,"),
    ({"evaluation": SCORED | {"classes": ["a", "b", "a"]}}, "the label 'a' is twice in classes"),
    ({"evaluation": SCORED | {"classes": [1, "b"]}}, "classes mixes numbers and texts"),
    ({"evaluation": SCORED | {"classes": [1, 2], "metric": "mse"}}, "classes does not apply to the metric mse"),
    ({"evaluation": SCORED | {"classes": [1, 2], "metric": "a.b:f"}}, "classes does not apply to the metric a.b:f"),
    ({"evaluation": {"data": "v.npz"}}, "the metric accuracy needs labels"),
    ({"preprocess": [{"op": "normalize", "input": "image", "mean": [0.5]}]}, "normalize needs std"),
    ({"preprocess": [{"op": "cast", "input": "image", "dtype": "uint8", "size": [2]}]}, "size does not apply to cast"),
    ({"preprocess": [{"op": "scale", "input": "imgae", "scale": 255}]}, "did you mean 'image'?"),
    ({"postprocess": [{"op": "topk", "input": "logits"}]}, "topk needs k"),
    ({"postprocess": [{"op": "scale", "input": "logits"}]}, "scale needs factor"),
    ({"postprocess": [{"op": "threshold", "input": "logits"}]}, "threshold needs at"),
    ({"postprocess": [{"op": "mean", "input": "logits"}]}, "mean needs axis"),
    ({"postprocess": [{"op": "round", "input": "logits"}]}, "round needs digits"),
    ({"postprocess": [SIGMOID | {"digits": 2}]}, "digits does not apply to sigmoid"),
    ({"postprocess": [{"op": "nms", "input": "logits"}]}, "nms needs scores"),
    ({"postprocess": [NMS]}, "there is no tensor 'logit' here (did you mean 'logits'?)"),
    ({"outputs": ["logits", "logit"], "postprocess": [NMS, SIGMOID]}, "there is no tensor 'logits' here"),
    ({"outputs": ["logits", "logit"], "postprocess": [NMS], "opset": 10}, "nms needs opset 11"),
    ({"preprocess": [{"op": "scale", "input": "image", "scale": 0}]}, "scale must not be 0"),
    ({"preprocess": [NORMALIZE | {"std": [1, 0, 1]}]}, "std must not be 0"),
    ({"preprocess": [NORMALIZE | {"mean": [0, 0, 0, 0]}]}, "mean has 4 values and std 3"),
    ({"preprocess": [NORMALIZE | {"mean": [0] * 4, "std": [1] * 4}]}, "no axis of shape [batch, 3] has"),
    ({"preprocess": [NORMALIZE], "inputs": CUBE}, "several axes of shape [3, 3, 3] could be the 3 channels"),
    ({"preprocess": [NORMALIZE, CAST]}, "normalize computes with floats, and its result is uint8 here"),
    ({"preprocess": [CAST | {"dtype": "string"}]}, "cast from string to float32 is not possible"),
    ({"preprocess": [LAYOUT]}, "layout needs a tensor of 4 dimensions, and this one has 2"),
    ({"preprocess": [LAYOUT, dict(LAYOUT)], "inputs": IMAGE}, "the tensor is NHWC behind this step too"),
    ({"preprocess": [RESIZE]}, "resize needs a tensor of 4 dimensions"),
    ({"preprocess": [RESIZE | {"size": [9, 8]}], "inputs": IMAGE}, "no height and width of [9, 8]"),
    ({"preprocess": [RESIZE | {"size": [8]}], "inputs": IMAGE}, "size must be two numbers"),
    ({"preprocess": [RESIZE], "inputs": IMAGE, "opset": 10}, "resize needs opset 11"),
    ({"preprocess": [RESIZE], "inputs": IMAGE, "model": ONNX}, "resize depends on the opset"),
    (
        {"preprocess": [CAST], "inputs": {"image": {"dtype": "float32", "shape": [3], "range": [0, 256]}}},
        "the range does not fit uint8",
    ),
    ({"dynamic_axes": {"batch": [1, 16], "image_height": [1, 9]}}, "axis 'image_height' is used in no shape"),
    ({"postprocess": [SIGMOID | {"output": "image"}]}, "the name 'image' is used twice"),
    ({"postprocess": [SIGMOID | {"output": "p"}, SIGMOID | {"output": "p"}]}, "the name 'p' is used twice"),
    ({"postprocess": [TOPK, SIGMOID]}, "there is no tensor 'logits' here (did you mean 'logits_"),
    ({"postprocess": [{"op": "labels", "input": "logits", "labels": "no.txt"}]}, "cannot read 'no.txt'"),
    ({"evaluation": {"data": "no.npz", "labels": "y"}}, "cannot read 'no.npz'"),
    ({"evaluation": {"data": "no.py:load", "labels": "y"}}, "cannot read 'no.py'"),
    ({"evaluation": {"data": "a.b:load", "metric": "no.py:cost"}}, "cannot read 'no.py'"),
    ({"evaluation": {"data": "a.b:load", "metric": "top-0"}}, "evaluation.metric"),
    ({"postprocess": [{"op": "sigmoid", "input": "score"}]}, "there is no tensor 'score' here (known: logits)"),
    ({"version": "1" * 90, "targets": {"t" * 60: {}}}, "would have 151 characters"),
    ({"image": {"env": {"PYTHONPATH": "/x"}}}, "PYTHONPATH is set by the image itself"),
    ({"image": {"env": {"LD_PRELOAD": "/x.so"}}}, "LD_PRELOAD makes the image load code that was not verified"),
    ({"image": {"env": {"LD_LIBRARY_PATH": "/x"}}}, "LD_LIBRARY_PATH makes the image load code"),
    ({"image": {"env": {"PYTHONHOME": "/x"}}}, "PYTHONHOME makes the image load code"),
    ({"image": {"env": {"PYTHONSAFEPATH": ""}}}, "PYTHONSAFEPATH makes the image load code"),
    ({"image": {"env": {"PYTHONPYCACHEPREFIX": "/x"}}}, "PYTHONPYCACHEPREFIX makes the image load code"),
    ({"image": {"env": {"ONNXPACK_PORT": "99999999"}}}, "ONNXPACK_PORT would move the server"),
    ({"image": {"env": {"ONNXPACK_GRPC_PORT": "9000"}}}, "ONNXPACK_GRPC_PORT would move the server"),
    ({"runtime": {"server": "http+grpc", "port": 65535}}, "there is no port for gRPC behind 65535"),
    (
        {"image": {"env": {"GREETING": "one\ntwo"}}},
        "image.env.GREETING: 'one\N{REPLACEMENT CHARACTER}two' is not a text of",
    ),
    ({"image": {"env": {"GREETING": "one\x85two"}}}, "is not a text of one line"),
    ({"image": {"labels": {"greeting": "one\x80two"}}}, "is not a text of at most 2000 characters"),
    ({"image": {"repository": "../x"}}, "image.repository: '../x' is not an image name"),
    ({"image": {"repository": "./x"}}, "is not an image name"),
    ({"image": {"repository": "-registry.example.com/x"}}, "is not an image name"),
    ({"image": {"repository": "registry..example.com/x"}}, "is not an image name"),
    ({"image": {"repository": "risk/a..b"}}, "is not an image name"),
    ({"image": {"repository": "registry.example.com:99999999/x"}}, "is not an image name"),
    ({"image": {"repository": "registry.example.com:65536/x"}}, "is not an image name"),
    ({"image": {"repository": "registry.example.com:0/x"}}, "is not an image name"),
    ({"image": {"labels": {"dev.onnxpack.opset": "1"}}}, "are set by the build"),
    ({"inputs": {"image": {"dtype": "bfloat16", "shape": ["batch"]}}}, "clients cannot send bfloat16"),
    ({"gates": {"gpu_nodes": 0.95}}, "gpu_nodes does not apply to cpu"),
    (
        {"targets": {"t": {"gates": {"gpu_nodes": 0.95}}, "u": {"device": "cuda"}}},
        "gpu_nodes does not apply to cpu (",
    ),
    ({"runtime": {"server": "none", "workers": 2}}, "workers does not apply to the server none"),
    ({"runtime": {"batching": {"max_batch_size": 17}}}, "max_batch_size 17 is above the axis' max 16"),
    (
        {"runtime": {"batching": {"max_batch_size": 3}}, "dynamic_axes": {"batch": [4, 16]}},
        "max_batch_size 3 is below the axis' min 4",
    ),
    (
        {"runtime": {"batching": {"max_batch_size": 2}, "server": "none"}},
        "batching needs a server, and runtime.server is none",
    ),
    (
        {
            "runtime": {"batching": {"max_batch_size": 2}},
            "inputs": {"image": {"dtype": "float32", "shape": ["batch", "batch"]}},
        },
        "batching needs a batch axis",
    ),
    (
        {
            "runtime": {"batching": {"max_batch_size": 2}},
            "inputs": {"x": {"dtype": "int8", "shape": [2]}},
            "dynamic_axes": {},
        },
        "batching needs a batch axis",
    ),
]


@pytest.mark.parametrize(
    ("fields", "words"), BROKEN, ids=[f"{number} {words}" for number, (_, words) in enumerate(BROKEN)]
)
def test_a_broken_rule_is_told_once(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    assert len([problem for problem in problems(tmp_path, **fields) if words in problem]) == 1


@pytest.mark.parametrize(
    ("op", "names"), [("layout", ["layout"]), ("cast", ["dtype"]), ("resize", ["size"]), ("normalize", ["mean", "std"])]
)
def test_what_a_step_lacks_is_all_that_is_told_of_it(tmp_path: Path, op: str, names: list[str]) -> None:
    found = problems(tmp_path, inputs=IMAGE, preprocess=[{"op": op, "input": "image"}])
    assert [problem.partition(": ")[2].partition(" (")[0] for problem in found] == [f"{op} needs {n}" for n in names]


def test_a_precision_means_nothing_for_trees(tmp_path: Path) -> None:
    (tmp_path / "m.joblib").write_bytes(b"")
    found = problems(tmp_path, model=SKLEARN, targets={"t": {"precision": "int8-dynamic"}})
    assert any("does not apply to sklearn" in problem for problem in found)


def test_rules_that_hold_say_nothing(tmp_path: Path) -> None:
    for name in ("c.npz", "v.npz", "m.py", "labels.txt"):
        (tmp_path / name).touch()
    assert not problems(
        tmp_path,
        opset=17,
        calibration={"data": "c.npz"},
        evaluation={"data": "v.npz", "metric": "m.py:cost"},
        gates={"max_degradation": 0.01, "min_speedup": 1.0, "image_size": "150MB", "cold_start": "2s"},
        targets={
            "plain": {"gates": {"min_score": -200}},
            "cpu": {"precision": "int8-static", "per_channel": True, "exclude_nodes": ["n"], "optimize": "extended"},
            "cuda": {"device": "cuda", "precision": "bfloat16"},
        },
        preprocess=[
            {"op": "cast", "input": "image", "dtype": "uint8"},
            {"op": "normalize", "input": "image", "mean": [0.5], "std": [0.5], "scale": 255},
        ],
        postprocess=[
            {"op": "softmax", "input": "logits", "output": "probabilities", "axis": -1},
            {"op": "topk", "input": "probabilities", "k": 3},
            {"op": "labels", "input": "probabilities_indices", "output": "names", "labels": "labels.txt"},
            {"op": "sigmoid", "input": "logits"},
        ],
        runtime={"batching": {"max_batch_size": 16, "max_queue_delay": "2ms"}, "workers": 64},
        image={"env": {"PYTHONUNBUFFERED": "1", "GREETING": "a\tb", "LDAP": "x"}},
    )


@pytest.mark.parametrize(
    "name",
    ["a", "risk/transactions", "Registry.Example.com:5000/risk/a__b-c.d", "localhost/x", "10.0.0.1:65535/a---b"],
)
def test_an_image_name_of_the_distribution_grammar_is_taken(tmp_path: Path, name: str) -> None:
    assert not problems(tmp_path, image={"repository": name})
