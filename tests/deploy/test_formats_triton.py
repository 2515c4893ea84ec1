"""A model repository's configuration is what Triton's parser takes, and its axes are those that were verified."""

from pathlib import Path
from typing import Any

import pytest
from deploying import CUDA, EXAMPLES, make_build
from google.protobuf import text_format
from triton_config import read_config

from onnxpack.core.errors import SpecError
from onnxpack.deploy.builds import Build
from onnxpack.deploy.files import write_manifests
from onnxpack.deploy.formats import Wanted, triton
from onnxpack.deploy.sizing import Goals, make_sizing


def configure(build: Build) -> Any:
    return read_config(triton.make(Wanted(build, make_sizing(build, Goals()))).texts["config.pbtxt"])


@pytest.mark.parametrize("example", EXAMPLES)
def test_names_and_types_are_those_of_the_model(tmp_path: Path, example: str) -> None:
    build = make_build(tmp_path, **EXAMPLES[example])
    config = configure(build)
    assert (config.name, config.backend, config.default_model_filename) == (build.name, "onnxruntime", "model.onnx")
    assert [info.name for info in config.input] == [info.name for info in build.inputs]
    assert [info.name for info in config.output] == [info.name for info in build.outputs]
    assert all(info.data_type and info.dims for info in (*config.input, *config.output))
    (warmup,) = config.model_warmup
    assert [entry.key for entry in warmup.inputs] == [info.name for info in build.inputs]


def test_the_batch_axis_is_left_out_of_dims(tmp_path: Path) -> None:
    config = configure(make_build(tmp_path))
    assert config.max_batch_size == 1024
    assert [list(info.dims) for info in (*config.input, *config.output)] == [[4], [1], [3]]
    label = config.output[0]
    assert label.HasField("reshape")
    assert list(label.reshape.shape) == []
    assert config.model_warmup[0].batch_size == 8
    assert config.instance_group[0].kind == 2  # on the CPU
    assert {entry.key: entry.value.string_value for entry in config.parameters} == {"intra_op_thread_count": "2"}
    assert not config.HasField("dynamic_batching")


def test_batches_and_the_gpu_are_as_the_spec_asks(tmp_path: Path) -> None:
    config = configure(make_build(tmp_path, **CUDA))
    assert list(config.input[0].dims) == [3, -1, 224]
    assert list(config.model_warmup[0].inputs[0].value.dims) == [3, 224, 224]
    assert list(config.dynamic_batching.preferred_batch_size) == [32]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert config.instance_group[0].kind == 1  # on the GPU
    assert len(config.parameters) == 0


@pytest.mark.parametrize("sizes", [{"min": 2, "opt": 8, "max": 64}, None])
def test_without_a_batch_axis_that_begins_at_one_row_triton_makes_no_batches(tmp_path: Path, sizes: Any) -> None:
    model = {
        "inputs": [{"name": "x", "dtype": "float64", "shape": ["batch", 4]}],
        "outputs": [{"name": "y", "dtype": "bfloat16", "shape": ["batch" if sizes else "other"]}],
        "axes": {"batch": sizes or {"min": 1, "opt": 8, "max": 64}},
    }
    config = configure(make_build(tmp_path, model=model, serving={"max_batch_size": 16}))
    assert config.max_batch_size == config.model_warmup[0].batch_size == 0
    assert [list(info.dims) for info in (*config.input, *config.output)] == [[-1, 4], [-1]]
    assert list(config.model_warmup[0].inputs[0].value.dims) == [8, 4]
    assert not config.HasField("dynamic_batching")


def test_the_model_and_its_external_data_are_placed_as_version_one(tmp_path: Path) -> None:
    build = make_build(tmp_path / "dist", serving={"ports": [], "server": "none"}, image=None)
    build.model.with_name("model.onnx.data").write_bytes(b"weights")
    made = triton.make(Wanted(build, make_sizing(build, Goals())))
    write_manifests(tmp_path / "out", [made], force=False)
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"iris/config.pbtxt", "iris/1/model.onnx", "iris/1/model.onnx.data"}
    assert (tmp_path / "out/iris/1/model.onnx").read_bytes() == b"the model"
    build.model.unlink()
    with pytest.raises(SpecError, match=r"model\.onnx' is missing"):
        triton.make(Wanted(build, make_sizing(build, Goals())))


def test_the_reader_refuses_what_triton_does_not_know() -> None:
    for text in ("max_batch: 1", "input { data_type: TYPE_FP99 }", 'name: "x'):
        with pytest.raises(text_format.ParseError):
            read_config(text)
