"""Optimise a graph once, at build time, as onnxruntime would at each start; all of it runs in a child process.

``basic`` folds constants and removes what does nothing: standard ONNX. ``extended`` fuses operators into those of
onnxruntime's own domain, which its CPU provider has on every machine. ``all`` also lays weights out for the vector
width of one kind of CPU. Other tools gain nothing over it: benchmarks/optimize.md.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from onnxpack.core.errors import GateError, Problem, SourceError
from onnxpack.core.values import MODEL, Changed
from onnxpack.graph import external_data
from onnxpack.graph.check import get_opset, iterate_nodes, list_inputs, read_facts, read_info
from onnxpack.graph.isa import detect_isas, lays_out_for
from onnxpack.graph.passes import Edit, GraphPass, run_passes
from onnxpack.graph.tidy import Strip, import_opsets

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
    # onnxruntime always lays out for the machine it runs on, and offers no choice.
    if level == "all" and not lays_out_for(isa, detect_isas()):
        raise GateError(
            f"`optimize: all` lays weights out for the building machine, and this one does not have {isa}",
            "build on a machine that has it, or set `optimize: extended`",
        )
    size = _measure_bytes(source)
    notes: list[str] = []
    # First with everything; what made the file larger is left out in the second try.
    made = _optimize(source, folder, level, [])
    if _grew(size, made):
        notes.append("constants stay unfolded: folded they would make the file larger")
        made = _optimize(source, folder, level, ["ConstantFolding"])
    if _grew(size, made):
        notes.append("left as it is: optimised it would be larger")
        made = _copy_unchanged(source, folder)
    had = _count_ops(source)
    # onnxruntime computes 16-bit nodes that its CPU provider lacks in float32, and would write these casts into the
    # file.
    if _count_ops(made)["Cast"] > had["Cast"]:
        notes.append("left as it is: the CPU computes parts of it in float32, and those casts would be built in")
        made = _copy_unchanged(source, folder)
    after = read_facts(made)
    notes.append(f"{had.total()} → {_count_ops(made).total()} nodes, {size} → {after.size_bytes} bytes")
    return Changed(after, tuple(notes))


def _optimize(source: Path, folder: Path, level: str, without: list[str]) -> Path:
    """Let onnxruntime optimise, and give the result the source's opset, IR version and declared shapes."""
    made = folder / MODEL
    _clear(folder)
    original = onnx.load(source, load_external_data=False)
    optimizing = LoadOptimized(source, made, level, tuple(without))
    model = run_passes(original, (optimizing, Strip(), DeclareAgain(original))).model
    onnx.save(model, made)
    onnx.checker.check_model(str(made))
    return made


@dataclass(frozen=True)
class LoadOptimized(GraphPass):
    """Let onnxruntime write the file ``source`` optimised to ``made``, and go on with that graph.

    ``without`` names optimisers of onnxruntime that are left out. Weights stay in the files.
    """

    source: Path
    made: Path
    level: str
    without: tuple[str, ...] = ()

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Optimise, or raise a ``SourceError`` where the runtime refuses the model."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = _LEVELS[self.level]
        options.optimized_model_filepath = str(self.made)
        if _measure_bytes(self.source) > external_data.EXTERNAL_DATA_OVER:
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _DATA)
            options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            ort.InferenceSession(
                str(self.source), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(self.without)
            )
        except Exception as error:  # onnxruntime's exceptions share no base
            raise SourceError(f"onnxruntime cannot optimise the model: {error}", "set `optimize: none`") from None
        return onnx.load(self.made, load_external_data=False), True


@dataclass(frozen=True)
class DeclareAgain(GraphPass):
    """Restore the axes' names and the IR version, which the runtime forgets, and drop domains that nothing uses."""

    original: onnx.ModelProto

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Take the declarations of ``original``, by name."""
        before = (model.ir_version, [read_info(value) for value in (*model.graph.input, *model.graph.output)])
        model.ir_version = self.original.ir_version
        # onnxruntime imports all domains that it knows.
        used = {node.domain for node in iterate_nodes(model.graph)}
        versions = {entry.domain: entry.version for entry in model.opset_import if entry.domain in used}
        imported = import_opsets(model, versions | {"": get_opset(self.original)})
        declared = {value.name: value for value in (*list_inputs(self.original.graph), *self.original.graph.output)}
        for value in (*model.graph.input, *model.graph.output):
            if value.name in declared and read_info(value) != read_info(declared[value.name]):
                value.CopyFrom(declared[value.name])
        inferred = bool(model.graph.value_info)
        del model.graph.value_info[:]
        after = (model.ir_version, [read_info(value) for value in (*model.graph.input, *model.graph.output)])
        return model, imported or inferred or before != after

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that inputs, outputs and opset are those of ``original``."""
        outside = [
            ([read_info(value) for value in (*list_inputs(one.graph), *one.graph.output)], get_opset(one))
            for one in (self.original, model)
        ]
        problem = Problem("the model has other inputs, outputs or another opset than before", "set `optimize: none`")
        return [problem] if outside[0] != outside[1] else []


def _grew(size: int, made: Path) -> bool:
    return _measure_bytes(made) > size * _MAY_GROW + _MAY_GROW_BYTES


def _copy_unchanged(source: Path, folder: Path) -> Path:
    """Write the model unchanged."""
    _clear(folder)
    external_data.save_copy(external_data.open_model(source), source.parent, folder / MODEL)
    return folder / MODEL


def _clear(folder: Path) -> None:
    for file in folder.glob(f"{MODEL}*"):
        file.unlink()


def _measure_bytes(source: Path) -> int:
    return sum(file.stat().st_size for file in source.parent.glob(f"{source.name}*"))


def _count_ops(path: Path) -> Counter[str]:
    """Count the nodes of each operator."""
    model = onnx.load(path, load_external_data=False)
    return Counter(node.op_type for node in iterate_nodes(model.graph))
