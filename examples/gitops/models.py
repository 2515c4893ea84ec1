"""Write small models with their specs, as the repository of a team would have them.

    python examples/gitops/models.py FOLDER --registry registry.example.com --count 20

A model has the same bytes wherever it is made; another ``--seed`` trains it anew, so to say.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SPEC = """\
onnxpack: 1
extends: ../common.yaml
name: {name}
version: "{version}"
description: Scores of three classes from four features

model:
  framework: onnx
  path: model.onnx

inputs:
  x: {{dtype: float32, shape: [1, 4], range: [-3.0, 3.0]}}

image:
  base: {registry}/python:3.11
  repository: {registry}/models/{name}
"""


def make_model(seed: int) -> bytes:
    """Return a classifier with one layer, as an ONNX file."""
    chance = np.random.default_rng(seed)
    weights = numpy_helper.from_array(chance.normal(size=(4, 3)).astype(np.float32), "weights")
    bias = numpy_helper.from_array(chance.normal(size=3).astype(np.float32), "bias")
    nodes = [helper.make_node("Gemm", ["x", "weights", "bias"], ["z"]), helper.make_node("Softmax", ["z"], ["scores"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, [weights, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def write_spec(folder: Path, number: int, registry: str, seed: int = 0) -> Path:
    """Write a model with its spec into ``folder/NAME/``, and return the spec's path."""
    name = f"model-{number:02}"
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(make_model(1000 * seed + number))
    (place / "spec.yaml").write_text(_SPEC.format(name=name, version=f"1.{seed}.0", registry=registry))
    return place / "spec.yaml"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--registry", required=True, help="where images and their base are")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--only", type=int, help="write this one alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for number in range(1, options.count + 1) if options.only is None else [options.only]:
        print(write_spec(options.folder, number, options.registry, options.seed))


if __name__ == "__main__":
    main()
