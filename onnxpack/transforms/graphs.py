"""The ``preprocess`` and ``postprocess`` steps as ONNX nodes around a model, so that every runtime does the same.

Their numpy forms are in ``onnxpack.transforms.arrays`` (in front) and ``onnxpack.transforms.outputs`` (behind). Nodes
are named ``preprocess/…`` and ``postprocess/…``, so that precisions can leave them unchanged. They compute in float32
or float64, also around a float16 model.
"""

import copy
from pathlib import Path

import onnx
from onnx import helper

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.core.values import MODEL, Changed, TensorInfo
from onnxpack.graph.check import DTYPES, get_opset, list_inputs, read_facts, read_info, rename_tensors
from onnxpack.graph.external_data import open_model, save_copy
from onnxpack.spec.graph_pictures import ANTIALIAS_OPSET, depends_on_opset, get_least_opset
from onnxpack.spec.load import SpecFile
from onnxpack.spec.output_names import place_outputs
from onnxpack.spec.served import PreStage, list_stages
from onnxpack.spec.table_stages import TableStage
from onnxpack.transforms.arrays import uses_antialias
from onnxpack.transforms.nodes import Nodes
from onnxpack.transforms.outputs import make_post_stages
from onnxpack.transforms.table_columns import WORD_DOMAIN, has_words

_TYPES = {word: number for number, word in DTYPES.items()}


def add_steps(source: Path, folder: Path, file: SpecFile) -> Changed:
    """Write ``<folder>/model.onnx``, the model with the spec's steps around it.

    Its inputs and outputs are then what a client sends and gets.

    Raises:
        SpecError: a step of ``postprocess`` does not fit the model's outputs.
        SourceError: a step cannot be expressed in the model's opset.
    """
    target = folder / MODEL
    edited = open_model(source)
    _require_opset(file, get_opset(edited))
    add_preprocess(edited, file)
    add_postprocess(edited, file)
    save_copy(edited, source.parent, target)
    return Changed(read_facts(target))


def add_preprocess(model: onnx.ModelProto, file: SpecFile) -> None:
    """Add ``preprocess`` in front of a model's graph, in place."""
    graph = model.graph
    nodes = Nodes("preprocess", model)
    values = {value.name: value for value in list_inputs(graph)}
    steps = list_stages(file.spec)[0]
    tables = [stage for stage in steps if isinstance(stage, TableStage)]
    names = dict.fromkeys([
        *(info.name for table in tables for info in table.given),
        *(stage.taken.name for stage in steps if isinstance(stage, PreStage)),
    ])  # fmt: skip
    inner = {name: nodes.make_unique(f"{name}__model") for name in names}
    columns = [info.name for table in tables for info in table.taken if info.name not in inner]
    _require_free(columns, graph)
    # A column's name may already stand for something inside the graph.
    moved = {name: nodes.make_unique(f"{name}__inner") for name in columns if nodes.is_inner(name)}
    rename_tensors(graph, lambda name: inner.get(name) or moved.get(name) or name)
    for table in tables:
        _replace_inputs(model, table, inner)
    now: dict[str, str] = {}
    for index, stage in enumerate(steps):
        if isinstance(stage, TableStage):
            now |= nodes.add_table(index, stage)
            continue
        name = stage.taken.name
        if name not in now:
            values[name].CopyFrom(_make_value_info(stage.taken))
        now[name] = nodes.before(index, stage, now.get(name, name), uses_antialias(file.spec))
    # The last tensor of each chain takes the name that the model knows.
    nodes.rename({tensor: inner[name] for name, tensor in now.items()})
    nodes.insert(0)


def _require_free(columns: list[str], graph: onnx.GraphProto) -> None:
    """Require that no output has a column's name."""
    outputs = {value.name for value in graph.output}
    for name in columns:
        if name in outputs:
            raise SpecError(f"preprocess: the column '{name}' has an output's name", "give it another name")


def _replace_inputs(model: onnx.ModelProto, table: TableStage, inner: dict[str, str]) -> None:
    """Declare a table's columns in the place of the first input that they make."""
    graph, gone = model.graph, {inner[info.name] for info in table.given}
    values = [copy.deepcopy(value) for value in graph.input]
    place = next(index for index, value in enumerate(values) if value.name in gone)
    del graph.input[:]
    graph.input.extend(values[:place])
    graph.input.extend(map(_make_value_info, table.taken))
    graph.input.extend(value for value in values[place:] if value.name not in gone)
    if has_words(table) and all(domain.domain != WORD_DOMAIN for domain in model.opset_import):
        model.opset_import.append(helper.make_opsetid(WORD_DOMAIN, 1))


def add_postprocess(model: onnx.ModelProto, file: SpecFile) -> None:
    """Add ``postprocess`` behind a model's graph, in place."""
    graph = model.graph
    nodes = Nodes("postprocess", model)
    declared = {value.name: copy.deepcopy(value) for value in graph.output}
    outputs = tuple(declared)
    now = {name: name for name in outputs}
    steps, names = make_post_stages(file, tuple(read_info(value) for value in graph.output))
    for index, stage in enumerate(steps):
        tensors = nodes.add_behind(index, stage, [now[info.name] for info in stage.taken])
        infos = {info.name: _make_value_info(info) for info in stage.given}
        now = place_outputs(now, stage.step, dict(zip(infos, tensors, strict=True)))
        declared |= infos
    finals = {tensor: name for name, tensor in now.items() if tensor != name}
    replaced = {name: nodes.make_unique(f"{name}__model") for name in outputs if name not in now.values()}
    # A name that an output takes may already stand for something inside the graph.
    inner = {name: nodes.make_unique(f"{name}__inner") for name in finals.values() if nodes.is_inner(name)}
    rename_tensors(graph, lambda name: replaced.get(name) or inner.get(name) or name)
    nodes.rename(finals | replaced)
    nodes.insert(len(graph.node))
    del graph.output[:]
    graph.output.extend(declared[name] for name in names)


def _make_value_info(info: TensorInfo) -> onnx.ValueInfoProto:
    # "?" is how a dimension without name or size is read back.
    shape = [None if size == "?" else size for size in info.shape]
    return helper.make_tensor_value_info(info.name, _TYPES[info.dtype], shape)


def _require_opset(file: SpecFile, opset: int) -> None:
    """Require an opset that has what the steps need, and whose resize is that of the numpy form.

    Raises:
        SourceError: the model has another one.
    """
    steps = [stage.step for stage in list_stages(file.spec)[0]]
    for step in steps:
        if opset < (least := get_least_opset(step)):
            hint = f"convert the model to opset {least} or higher"
            raise SourceError(f"{step.op} needs opset {least}, and the model has {opset}", hint)
        # The numpy form went by the spec's opset.
        if depends_on_opset(step) and uses_antialias(file.spec) != (opset >= ANTIALIAS_OPSET):
            raise SourceError(f"resize depends on the opset, and the model has {opset}", f"set `opset: {opset}`")
