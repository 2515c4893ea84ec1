"""A project of several small specs that differ, each of which builds in a second or two without any network."""

from pathlib import Path

import numpy as np
import onnx
from onnx_examples import MATMUL, constant, make_model

from onnxpack.fleet.job import Job, Options

_SPEC = """\
onnxpack: 1
name: {name}
model: {{framework: onnx, path: {name}.onnx}}
inputs:
  x: {{dtype: float32, shape: [4, 4], range: [-1, 1]}}
"""


def write_project(folder: Path, *names: str) -> None:
    """Write a spec with a model of its own for each name."""
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    for name in names:
        weights = np.random.default_rng(len(name) + ord(name[-1])).normal(size=(4, 4)).astype(np.float32)
        shape = [4, 4]
        model = make_model(
            MATMUL, [("x", onnx.TensorProto.FLOAT, shape)], [("y", onnx.TensorProto.FLOAT, shape)],
            [constant("w", weights)],
        )  # fmt: skip
        onnx.save(model, folder / f"{name}.onnx")
        (folder / f"{name}.yaml").write_text(_SPEC.format(name=name))


def make_jobs(folder: Path, output: Path, *names: str, until: str = "verify") -> list[Job]:
    options = Options(output, "oci", until)
    return [Job(number, Path(f"{name}.yaml"), folder, name, "cpu", options) for number, name in enumerate(names)]
