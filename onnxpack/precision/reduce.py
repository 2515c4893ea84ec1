"""Write a float32 file in a reduced precision, and check that it was reduced, in a child process."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx

from onnxpack.core.errors import GateError, SpecError, flatten_words
from onnxpack.core.values import MODEL
from onnxpack.data.test_inputs import Arrays, read_arrays
from onnxpack.graph import external_data
from onnxpack.graph.check import get_opset, iterate_nodes, list_inputs, open_session, read_facts, read_info
from onnxpack.graph.passes import run_passes
from onnxpack.graph.tidy import DropConstantInputs, ImportUsed, NameNodes, Strip
from onnxpack.precision import (
    Calibrating,
    Contents,
    Converted,
    Job,
    Precision,
    Reduced,
    Samples,
    Wish,
    is_own_node,
    load_precision,
    summarize_left,
)
from onnxpack.precision.histogram import Makeup, count_makeup, has_fewer_bits
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.part import SpecPart
from onnxpack.spec.traits import precisions

BATCH_ROWS = 8
"""Rows of calibration data that are run at once, where the first axis is dynamic."""
_CLASSIC = "ai.onnx.ml"
_ARITHMETIC = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"})
"""What makes a graph more than its trees: steps before and after them are not worth a conversion."""


def reduce_model(
    path: Path,
    folder: Path,
    wish: Wish,
    samples: Samples,
    calibration: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Reduced:
    """Write ``<folder>/model.onnx``, the float32 file ``path`` in the precision of ``wish``.

    ``calibration`` is the folder of an earlier ``calibrate_model``.

    Raises:
        SpecError: the precision means nothing for the model, or an excluded node is not in it.
        GateError: it changed nothing, or what came out is no valid model.
    """
    scratch = folder / "scratch"
    scratch.mkdir()
    job = replace(make_job(path, wish, samples, scratch), calibration=calibration, say=say)
    # Now, as the conversion edits the model in place.
    before = count_makeup(job.model)
    outside = [read_info(value) for value in (*list_inputs(job.model.graph), *job.model.graph.output)]
    opset = get_opset(job.model)
    converted = convert_checked(load_precision(job.wish.precision), job, before)
    now = [read_info(value) for value in (*list_inputs(converted.model.graph), *converted.model.graph.output)]
    # Clients rely on these, whatever the precision is.
    if now != outside or get_opset(converted.model) != opset:
        raise GateError(f"{job.wish.precision} changed the model's inputs, outputs or opset", "report it as a bug")
    shutil.rmtree(scratch)
    after = count_makeup(converted.model)
    save_model(converted.model, folder / MODEL)
    notes = [*converted.notes, *summarize_left(converted.left), *_check_loads(folder / MODEL, job)]
    found = read_facts(folder / MODEL, job.wish.precision)
    size = read_facts(job.path).size_bytes
    if found.size_bytes > size:
        notes.append(f"the file grew from {size} to {found.size_bytes} bytes")
    return Reduced(
        found,
        Contents(size, before.ops, before.weights),
        Contents(found.size_bytes, after.ops, after.weights),
        converted.left,
        tuple(notes),
    )


def calibrate_model(path: Path, folder: Path, wish: Wish, samples: Samples, say: Callable[[str], None]) -> int:
    """Calibrate the float32 file ``path`` once, for many tries of int8-static.

    ``folder`` is then the ``calibration`` of ``reduce_model`` and of ``sensitivity.rank_layers``. It is the same for
    every isa, and for every choice of nodes. Returns how many tensors it looked at.

    Raises:
        SpecError: there is no calibration data, or it does not fit.
        SourceError: the model fails on it.
    """
    scratch = folder / "scratch"
    scratch.mkdir()
    job = replace(make_job(path, wish, samples, scratch), say=say)
    tensors = cast(Calibrating, load_precision(wish.precision)).calibrate(job, folder)
    shutil.rmtree(scratch)
    return tensors


def convert_checked(module: Precision, job: Job, before: Makeup) -> Converted:
    """Convert, and prove that the conversion reduced something.

    Raises:
        SpecError: the precision means nothing for the model.
        GateError: nothing is in fewer bits than before, or the result is not valid ONNX.
    """
    why = explain_trees(job.model) or module.refusal(job.wish, job.model)
    if why:
        raise SpecError(f"precision {job.wish.precision}: {why}", "set another `precision`, or `precision: float32`")
    converted = module.convert(job)
    if not has_fewer_bits(before, count_makeup(converted.model)):
        left = "; ".join(summarize_left(converted.left)[:5])
        raise GateError(
            f"{job.wish.precision} changed nothing in the model: no operator and no weight has fewer bits than before",
            left or "set `precision: float32`, or exclude fewer nodes",
        )
    run_passes(converted.model, (Strip(), ImportUsed()))
    return converted


def make_job(path: Path, wish: Wish, samples: Samples, scratch: Path) -> Job:
    """Return the job of reducing the file ``path``; ``scratch`` is an empty folder.

    Raises:
        SpecError: an excluded node is not in the model, or the calibration data does not fit.
    """
    model = onnx.load(path)
    # Nodes need names, as exclusions and reports speak of them.
    run_passes(model, (DropConstantInputs(), NameNodes()))
    reference = samples.reference
    return Job(
        path=path,
        model=model,
        wish=wish,
        excluded=find_excluded_nodes(model, wish.exclude_nodes),
        cases=lambda: (read_arrays(reference.folder / f"{case}.inputs.npz") for case in reference.cases),
        batches=_open_calibration(samples.spec, samples) if samples.spec else None,
        method=samples.method,
        scratch=scratch,
    )


def explain_trees(model: onnx.ModelProto) -> str:
    """Return in words why a model of trees and the like has nothing to reduce; empty for others."""
    ops = {node.op_type for node in iterate_nodes(model.graph)}
    classic = sorted({node.op_type for node in iterate_nodes(model.graph) if node.domain == _CLASSIC})
    if not classic or ops & _ARITHMETIC:
        return ""
    return f"the model is made of {', '.join(classic[:3])}, which compute in float32 whatever they are given"


def find_excluded_nodes(model: onnx.ModelProto, wanted: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the nodes that ``wanted`` (names or operator types) means, and of pre- and postprocessing.

    Raises:
        SpecError: a word is neither, or both.
    """
    nodes = {node.name: node.op_type for node in model.graph.node}
    found = {name for name in nodes if is_own_node(name)}
    for word in wanted:
        by_type = {name for name, op in nodes.items() if op == word}
        if word in nodes and by_type - {word}:
            raise SpecError(
                f"exclude_nodes: '{word}' is a node and an operator type", "list the nodes of that type one by one"
            )
        if word not in nodes and not by_type:
            known = sorted({*nodes, *nodes.values()})
            raise SpecError(
                f"exclude_nodes: no node and no operator type of the model is '{word}'", suggest_closest(word, known)
            )
        found |= {word} if word in nodes else by_type
    return frozenset(found)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model, its weights beside it if they are large, and check the file.

    Raises:
        GateError: it is not valid ONNX.
    """
    large = sum(count_makeup(model).weights.values()) > external_data.EXTERNAL_DATA_OVER
    onnx.save(model, path, save_as_external_data=large, location=f"{path.name}.data")
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise GateError(f"what came out is not valid ONNX: {flatten_words(error, 300)}") from None


def _open_calibration(spec: SpecPart, given: Samples) -> Callable[[], Iterator[Arrays]]:
    """Open the calibration data; return a function that yields its batches."""
    from onnxpack.data.datasets import open_dataset

    dataset = open_dataset(spec.file, given.data, "calibration")
    return lambda: dataset.batches(BATCH_ROWS, given.rows)


def _check_loads(path: Path, job: Job) -> list[str]:
    """Load the model with the CPU's provider; return a note where only another device can tell whether it loads.

    Raises:
        SourceError: the runtime refuses a model that is for the CPU.
    """
    if "cpu" in precisions()[job.wish.precision].refused_on:
        return [f"not loaded here: the CPU has no {job.wish.precision} arithmetic"]
    # Plain for a GPU: the CPU cannot fuse float16, see ``session``.
    open_session(path, plain=job.wish.device != "cpu")
    return []
