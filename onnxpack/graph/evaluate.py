"""Run files of opset 1 to 6, which onnxruntime does not run, with onnx's reference evaluator.

Operators that changed before opset 7 are written in numpy after their definitions, apart from ``graph.upgrade``, which
they judge: https://github.com/onnx/onnx/blob/main/docs/Changelog.md. Any other is one node that onnxruntime runs. The
evaluator's own are left out: with onnx 1.23 those broadcast by the rules of opset 7, read a PRelu's slopes along the
last axis and a Softmax' axis as opset 13 does, and pad a pool wrongly where its two sides differ.
"""

import operator
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.check import get_opset, iterate_nodes, list_inputs, open_session
from onnxpack.graph.old_opsets import RUNTIME_MIN_OPSET, read_cast_type, take, write_defaults
from onnxpack.graph.tidy import DEFAULT_DOMAINS, FREE_CONSTANTS_IR, set_opset

Array = np.ndarray[Any, Any]
_AGAIN = "export the model again with an opset of 7 or higher, which onnxruntime runs"


class Evaluator:
    """Runs a model of opset 1 to 6."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Prepare ``model``, which stays as it is.

        Raises:
            SourceError: an operator that the evaluator does not know.
        """
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for node in iterate_nodes(copy.graph):
            write_defaults(node, get_opset(model))
            take(node, "consumed_inputs", None)
            take(node, "output_sequence", None)
        # What differs between opset 1 and 6 is said otherwise now, or is one of the operators below; of the evaluator's
        # own, some begin with opset 6.
        set_opset(copy, RUNTIME_MIN_OPSET - 1)
        self._inputs = [value.name for value in list_inputs(model.graph)]
        self._types = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
        try:
            self._evaluator = ReferenceEvaluator(copy, new_ops=_choose_operators(copy))
        except Exception as error:  # the evaluator raises several kinds, some without a common base
            raise SourceError(
                f"onnx's reference evaluator cannot load the model: {_shorten_error(error)}", _AGAIN
            ) from None

    def run(self, inputs: Arrays) -> list[Array]:
        """Return the outputs in order, each of the dtype that the file declares.

        Raises:
            SourceError: the evaluator fails; it names the node.
        """
        values = self.run_all(inputs)
        dtypes = {name: onnx.helper.tensor_dtype_to_np_dtype(number) for name, number in self._types.items()}
        return [np.asarray(values[name], dtype) for name, dtype in dtypes.items()]

    def run_all(self, inputs: Arrays) -> dict[str, Any]:
        """Return every value of the outer graph by its name.

        Raises:
            SourceError: as ``run``.
        """
        try:
            values = self._evaluator.run(None, {name: inputs[name] for name in self._inputs}, intermediate=True)
        except Exception as error:  # as above
            place = _describe_running_node(error.__traceback__)
            raise SourceError(f"onnx's reference evaluator fails{place}: {_shorten_error(error)}", _AGAIN) from None
        return cast(dict[str, Any], values)


def _describe_running_node(trace: TracebackType | None) -> str:
    """Describe the innermost node that was running when the error was raised."""
    place = ""
    while trace is not None:
        running = trace.tb_frame.f_locals.get("self")
        if isinstance(running, OpRun):
            node = running.onnx_node
            place = f" at the node {node.op_type} that gives '{node.output[0]}'"
        trace = trace.tb_next
    return place


def _shorten_error(error: Exception) -> str:
    # It goes on with lists of all that it knows.
    words = re.split(r", schema\.|, found | You may | Available ", " ".join(str(error).split()))[0]
    return words[:300] or type(error).__name__


class _Operator(OpRun):
    """An operator that takes the attributes of its node; the evaluator would look up the newest opset's schema."""

    op_schema = None


def _divide(a: Array, b: Array) -> Array:
    """Divide whole numbers as C does: towards zero."""
    quotient: Array = a / b
    return quotient if a.dtype.kind == "f" else np.trunc(quotient).astype(a.dtype)


_FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": _divide, "Pow": np.power,
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "Equal": np.equal, "Greater": np.greater, "Less": np.less,
}  # fmt: skip


class _Binary(_Operator):
    """An operator of two inputs; B is broadcast along the axes of A from ``axis`` on, else along the last ones."""

    def _run(self, a: Array, b: Array, axis: int | None = None, broadcast: int = 0) -> tuple[Array]:
        if broadcast and axis is not None:
            b = b.reshape(b.shape + (1,) * (a.ndim - axis % a.ndim - b.ndim))
        return (np.asarray(_FUNCTIONS[self.onnx_node.op_type](a, b)),)


class PRelu(_Operator):
    """PRelu with one slope for all values, or one for each channel, which is the second axis."""

    def _run(self, x: Array, slope: Array) -> tuple[Array]:
        if slope.ndim == 1 and x.ndim > 1:
            slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
        return (np.where(x > 0, x, x * slope).astype(x.dtype),)


class Gemm(_Operator):
    """Gemm, ``alpha · A' · B' + beta · C``, with C broadcast."""

    def _run(self, a: Array, b: Array, c: Array, **given: Any) -> tuple[Array]:
        left, right = (a.T if given.get("transA") else a), (b.T if given.get("transB") else b)
        return ((given.get("alpha", 1.0) * (left @ right) + given.get("beta", 1.0) * c).astype(a.dtype),)


class BatchNormalization(_Operator):
    """BatchNormalization by trained statistics: per channel, or per value where ``spatial`` is 0."""

    def _run(self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **given: Any) -> tuple[Array]:
        if not given.get("is_test", 0):
            raise ValueError("it is in training mode")
        each = [part if not given.get("spatial", 1) else part.reshape(-1, *(1,) * (x.ndim - 2))
                for part in (scale, bias, mean, var)]  # fmt: skip
        # 1e-5 is the definition's default.
        deviation = np.sqrt(each[3] + given.get("epsilon", 1e-5))
        return ((each[0] * (x - each[2]) / deviation + each[1]).astype(x.dtype),)


class Dropout(_Operator):
    """Dropout at inference, which drops nothing."""

    def _run(self, x: Array, **given: Any) -> tuple[Array, ...]:
        if not given.get("is_test", 0):
            raise ValueError("it is in training mode")
        return (x, np.ones_like(x))[: len(self.onnx_node.output)]


class Cast(_Operator):
    """Cast, whose ``to`` is a number, or in opset 1 to 5 a word."""

    def _run(self, x: Array, to: int | str) -> tuple[Array]:
        number = read_cast_type(to.encode() if isinstance(to, str) else to)
        return (x.astype(onnx.helper.tensor_dtype_to_np_dtype(number)),)


class Concat(_Operator):
    """Concat along ``axis``, the second one by default."""

    def _run(self, *parts: Array, axis: int = 1) -> tuple[Array]:
        return (np.concatenate(parts, axis),)


class GlobalLpPool(_Operator):
    """GlobalLpPool: the p-norm over all axes behind the channels."""

    def _run(self, x: Array, p: float = 2) -> tuple[Array]:
        axes = tuple(range(2, x.ndim))
        return (((np.abs(x) ** p).sum(axes, keepdims=True) ** (1 / p)).astype(x.dtype),)


class Pad(_Operator):
    """Pad, whose widths are called ``paddings`` in opset 1."""

    def _run(self, x: Array, **given: Any) -> tuple[Array]:
        widths = np.reshape(given["paddings"] if "paddings" in given else given["pads"], (2, x.ndim)).T
        mode = given.get("mode", "constant")
        filled = {"constant_values": given.get("value", 0.0)} if mode == "constant" else {}
        return (np.pad(x, widths, mode, **filled),)


class Reshape(_Operator):
    """Reshape, whose target is an attribute in opset 1 to 4; 0 copies a size."""

    def _run(self, x: Array, target: Array | None = None, shape: list[int] | None = None) -> tuple[Array]:
        sizes = shape if target is None else target.tolist()
        return (x.reshape([x.shape[index] if size == 0 else size for index, size in enumerate(sizes or ())]),)


class Split(_Operator):
    """Split by an attribute, in opset 1 also by a second input, or into equal parts."""

    def _run(self, x: Array, sizes: Array | None = None, **given: Any) -> tuple[Array, ...]:
        axis, count = given.get("axis", 0), len(self.onnx_node.output)
        parts = given.get("split") if sizes is None else sizes.astype(int).tolist()
        ends = np.cumsum(parts)[:-1].tolist() if parts is not None and len(parts) else count
        return tuple(np.split(x, ends, axis))


class Tile(_Operator):
    """Tile, which in opset 1 to 5 repeats along one axis; two inputs of one number each give count and axis."""

    def _run(self, x: Array, repeats: Array, axis: Array | None = None) -> tuple[Array]:
        if axis is None:
            return (np.tile(x, repeats),)
        return (np.concatenate([x] * int(repeats.reshape(-1)[0]), int(axis.reshape(-1)[0])),)


class Upsample(_Operator):
    """Upsample of images [N, C, H, W]; onnxruntime does the bilinear one, whose borders the definition leaves open."""

    def _run(self, x: Array, height_scale: float, width_scale: float, mode: str = "nearest") -> tuple[Array]:
        if mode == "nearest":
            rows, columns = (np.floor(np.arange(int(size * scale)) / scale).astype(int)
                             for size, scale in zip(x.shape[2:], (height_scale, width_scale), strict=True))  # fmt: skip
            return (x[:, :, rows][:, :, :, columns],)
        node = onnx.helper.make_node("Upsample", ["x"], ["y"], mode="linear", scales=[1, 1, height_scale, width_scale])
        return cast("tuple[Array]", _run_node(node, {"x": x}))


class _ByRuntime(_Operator):
    """An operator that means the same in opset 7, run by onnxruntime, one node at a time."""

    def __init__(self, onnx_node: onnx.NodeProto, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        self._sessions: dict[tuple[Any, ...], ort.InferenceSession] = {}

    def _run(self, *inputs: Array | None, **given: Any) -> tuple[Array, ...]:
        # An optional input that is left out has an empty name, and the evaluator passes None for it.
        named = {name: x for name, x in zip(self.onnx_node.input, inputs, strict=False) if x is not None}
        return _run_node(self.onnx_node, named, self._sessions)


def _run_node(
    node: onnx.NodeProto, inputs: Arrays, sessions: dict[tuple[Any, ...], ort.InferenceSession] | None = None
) -> tuple[Array, ...]:
    """Run one node of opset 7 by onnxruntime; ``sessions`` keeps one session for each choice of dtypes."""
    kinds = tuple((name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array in inputs.items())
    known = {} if sessions is None else sessions
    if kinds not in known:
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in kinds],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        imports = [onnx.helper.make_opsetid("", RUNTIME_MIN_OPSET)]
        model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=FREE_CONSTANTS_IR)
        known[kinds] = open_session(model.SerializeToString())
    made = iter(known[kinds].run(None, inputs))
    # An output that nobody asked for must be there all the same.
    return tuple(next(made) if name else np.zeros(0) for name in node.output)


def _choose_operators(model: onnx.ModelProto) -> list[type[OpRun]]:
    """Return the classes that run a model's operators; the evaluator itself runs Constant and nodes with graphs."""
    nodes = [node for node in iterate_nodes(model.graph) if node.domain in DEFAULT_DOMAINS]
    inner = {node.op_type for node in nodes for item in node.attribute if item.type == onnx.AttributeProto.GRAPH}
    others = {node.op_type for node in nodes} - inner - {"Constant"} - {one.__name__ for one in OPERATORS}
    return [*OPERATORS, *(type(name, (_ByRuntime,), {}) for name in sorted(others))]


OPERATORS: tuple[type[OpRun], ...] = (
    *(cast(type[OpRun], type(name, (_Binary,), {})) for name in _FUNCTIONS),
    BatchNormalization, Cast, Concat, Dropout, Gemm, GlobalLpPool, PRelu, Pad, Reshape, Split, Tile, Upsample,
)  # fmt: skip
"""What changed before opset 7. The evaluator finds an operator by its class' name."""
