"""``optimize``: the graph that onnxruntime would make at each start, made once. It all runs in a child process.

``basic`` folds constants and removes what does nothing: standard ONNX. ``extended`` fuses operators into those of
onnxruntime's own domain, which its CPU provider has on every machine. ``all`` also lays weights out for the vector
width of one kind of CPU. Other tools gain nothing over it: benchmarks/optimize.md.
"""

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort

from onnxpack.errors import GateError, SourceError
from onnxpack.graph import external
from onnxpack.graph.check import facts, graphs, info_of, opset_of, true_inputs
from onnxpack.graph.finish import strip
from onnxpack.precision.isa import lays_out_for, this_machine
from onnxpack.values import MODEL, Changed, OnnxModel

_LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_MAY_GROW = 1.05
_MAY_GROW_BYTES = 65_536
"""By so much, a fold of constants is worth its bytes."""
_DATA = f"{MODEL}.data"


def optimize_model(source: Path, folder: Path, level: str, isa: str | None) -> Changed:
    """Write ``<folder>/model.onnx``, the file ``source`` optimised at ``basic``, ``extended`` or ``all``.

    Raises:
        GateError: ``all`` on a machine of another kind than ``isa``, or what came out is not the same model any more.
    """
    if level == "all" and not lays_out_for(isa, this_machine()):
        raise GateError(
            f"optimize: all lays weights out for the machine that builds, and this one is no {isa}",
            "build on a machine of that kind, or use extended",
        )
    before = facts(source)
    notes: list[str] = []
    made = _optimized(source, folder, level, [])
    if _grew(before, facts(made, before.precision)):
        notes.append("constants stay unfolded: folded they would make the file larger")
        made = _optimized(source, folder, level, ["ConstantFolding"])
    if _grew(before, facts(made, before.precision)):
        notes.append("left as it is: optimised it would be larger")
        made = _copied(source, folder)
    if _ops(made)["Cast"] > _ops(source)["Cast"]:
        notes.append("left as it is: the CPU computes parts of it in float32, and those casts would be built in")
        made = _copied(source, folder)
    after = facts(made, before.precision)
    if (after.inputs, after.outputs, after.opset) != (before.inputs, before.outputs, before.opset):
        raise GateError("optimisation changed the model's inputs, outputs or opset", "use optimize: none")
    counts = [_ops(path).total() for path in (source, made)]
    notes.append(f"{counts[0]} → {counts[1]} nodes, {before.size_bytes} → {after.size_bytes} bytes")
    return Changed(after, tuple(notes))


def _optimized(source: Path, folder: Path, level: str, without: list[str]) -> Path:
    """What onnxruntime writes, with the source's opset, IR version and declared shapes."""
    made = folder / MODEL
    _clear(folder)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = _LEVELS[level]
    options.optimized_model_filepath = str(made)
    original = onnx.load(source, load_external_data=False)
    large = _weighs(source) > external.EXTERNAL_DATA_OVER
    if large:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _DATA)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    try:
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=without)
    except Exception as error:  # onnxruntime's exceptions share no base
        raise SourceError(f"onnxruntime cannot optimise the model: {error}", "use optimize: none") from None
    model = onnx.load(made, load_external_data=False)
    strip(model)
    _declare_again(model, original)
    onnx.save(model, made)
    onnx.checker.check_model(str(made))
    return made


def _declare_again(model: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """What the runtime forgets, the axes' names and the IR version, and not what it adds: domains that nothing uses."""
    model.ir_version = original.ir_version
    used = {node.domain for graph in graphs(model.graph) for node in graph.node}
    versions = {entry.domain: entry.version for entry in model.opset_import if entry.domain in used}
    versions[""] = opset_of(original)
    del model.opset_import[:]
    for domain, version in sorted(versions.items()):
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))
    declared = {value.name: value for value in (*true_inputs(original.graph), *original.graph.output)}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in declared and info_of(value) != info_of(declared[value.name]):
            value.CopyFrom(declared[value.name])
    del model.graph.value_info[:]


def _grew(before: OnnxModel, after: OnnxModel) -> bool:
    return after.size_bytes > before.size_bytes * _MAY_GROW + _MAY_GROW_BYTES


def _copied(source: Path, folder: Path) -> Path:
    """The model as it was."""
    _clear(folder)
    external.save_copy(external.open_model(source), source.parent, folder / MODEL)
    return folder / MODEL


def _clear(folder: Path) -> None:
    for file in folder.glob(f"{MODEL}*"):
        file.unlink()


def _weighs(source: Path) -> int:
    return sum(file.stat().st_size for file in source.parent.glob(f"{source.name}*"))


def _ops(path: Path) -> Counter[str]:
    """How many nodes of each operator."""
    model = onnx.load(path, load_external_data=False)
    return Counter(node.op_type for graph in graphs(model.graph) for node in graph.node)
