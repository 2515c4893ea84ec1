"""The values that the Python templates show, worked out from a model."""

import base64
import dataclasses
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from onnxpack.bundle import quoting
from onnxpack.bundle.answers import Answers
from onnxpack.bundle.conclusions import ConclusionView
from onnxpack.bundle.pictures import PictureView
from onnxpack.bundle.routes import ERRORS, Route, list_routes
from onnxpack.bundle.tables import Tables
from onnxpack.bundle.texts import TextView
from onnxpack.bundle.tiny_pictures import make_picture
from onnxpack.core.errors import SpecError
from onnxpack.core.values import Axis, Shape, TensorInfo, find_batch_axis
from onnxpack.spec.columns import ClientColumn
from onnxpack.spec.intakes import Intake, replace_taken
from onnxpack.spec.tokenizer_file import TokenizerFile

DATATYPES = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "bool": "BOOL",
    "string": "BYTES",
}
"""The Open Inference Protocol's word for each dtype that numpy and onnxruntime can exchange."""

Value = bool | int | float | str
"""An element of a request in JSON."""

_CONTENTS = {
    "BOOL": 1,
    "INT8": 2,
    "INT16": 2,
    "INT32": 2,
    "INT64": 3,
    "UINT8": 4,
    "UINT16": 4,
    "UINT32": 4,
    "UINT64": 5,
    "FP32": 6,
    "FP64": 7,
    "BYTES": 8,
}
"""The field of the protocol's InferTensorContents for each datatype; 16-bit floats have none."""

_KINDS = {"float": "float", "int": "integer", "uint": "integer", "bool": "bool", "string": "string", "bytes": "bytes"}

EXAMPLE_TEXT = "An example."
"""What an example sends as a text that is tokenized: an empty one may have no tokens."""

_MOST_BYTES = 64 * 2**20
"""The largest body that is taken where the spec names no size."""
_FIXED_BYTES = 64 * 2**10
"""The bytes that a request has besides its data: names, an id and parameters of any kind."""
_ELEMENT_BYTES = {"float": 40, "integer": 32, "bool": 16}
"""A number of 24 or 20 characters or a truth value, with a comma, and a line of its own at a usual depth."""


@dataclass(frozen=True)
class Field:
    """An input or output as the generated Python sees it."""

    info: TensorInfo
    identifier: str

    @property
    def name(self) -> str:
        """Return the name in the ONNX file."""
        return self.info.name

    @property
    def shape(self) -> Shape:
        """Return the sizes and names of the axes."""
        return self.info.shape

    @property
    def kind(self) -> str:
        """Return ``float``, ``integer``, ``bool``, ``string``, or ``bytes`` for a whole file such as a picture's."""
        return _KINDS[self.info.dtype.rstrip("0123456789")]

    @property
    def dtype(self) -> str:
        """Return the numpy type as a Python expression."""
        words = {"string": "np.str_", "bool": "np.bool_", "bytes": "np.bytes_"}
        return words.get(self.info.dtype, f"np.{self.info.dtype}")

    @property
    def datatype(self) -> str:
        """Return the Open Inference Protocol's word for the dtype."""
        return "BYTES" if self.kind == "bytes" else DATATYPES[self.info.dtype]

    @property
    def shape_text(self) -> str:
        """Return the shape for a reader, as ``[batch, 4]``."""
        return "[" + ", ".join(str(size) for size in self.shape) + "]"

    @property
    def shape_literal(self) -> str:
        """Return the shape as a tuple's literal in Python."""
        words = [quoting.python_literal(size) if isinstance(size, str) else str(size) for size in self.shape]
        return "(" + ", ".join(words) + ("," if len(words) == 1 else "") + ")"


@dataclass(frozen=True)
class ModuleView:
    """The values that the generated modules show.

    ``inputs`` and ``outputs`` are the client's. ``intakes`` make the ONNX file's inputs of some of them, and
    ``conclusions`` the client's outputs of what the ONNX file gives.
    ``threads`` None means: from the container's CPU quota, at run time. ``max_body`` is in bytes; None means: from what
    the largest request takes. ``drain`` and ``max_queue_delay`` are in seconds.
    ``max_batch_size`` None means: no dynamic batching. ``gpu_nodes`` is the least share of the nodes that run on the
    GPU; None means: any. ``workers`` are processes that serve one port. ``values`` has, for some of the inputs, what an
    example may hold: a value for each place along the last axis, or one for all places. ``columns`` are the inputs that
    are columns of a declared table. ``answers`` say what outputs mean.
    """

    name: str
    version: str
    description: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    axes: tuple[Axis, ...]
    opset: int
    precision: str
    device: Literal["cpu", "cuda"]
    threads: int | None
    server: Literal["none", "http", "http+grpc"]
    port: int
    max_body: int | None
    warmup: bool
    max_queue: int = 256
    drain: float = 8.0
    max_batch_size: int | None = None
    max_queue_delay: float = 0.0
    gpu_nodes: float | None = None
    workers: int = 1
    values: Mapping[str, tuple[Value, ...]] = dataclasses.field(default_factory=dict)
    columns: tuple[ClientColumn, ...] = ()
    intakes: tuple[Intake, ...] = ()
    tokenizers: Mapping[str, TokenizerFile] = dataclasses.field(default_factory=dict)
    conclusions: tuple[ConclusionView, ...] = ()
    answers: Answers = dataclasses.field(default_factory=Answers)

    def __post_init__(self) -> None:
        declared = {axis.name for axis in self.axes}
        for info in (*self.inputs, *self.fed):
            for size in info.shape:
                if isinstance(size, str) and size not in declared:
                    message = f"input {info.name!r}: the axis {size!r} is not declared"
                    raise SpecError(message, "declare it in `dynamic_axes`")
        for info in (*self.fed, *self.outputs):
            if info.dtype not in DATATYPES:
                raise SpecError(
                    f"{info.name!r} has the dtype {info.dtype}, which numpy cannot hold",
                    hint="give the model float32 inputs and outputs, and convert inside the model",
                )

    @cached_property
    def fed(self) -> tuple[TensorInfo, ...]:
        """Return the inputs of the ONNX file."""
        return replace_taken(self.intakes, self.inputs)

    @cached_property
    def computed(self) -> tuple[TensorInfo, ...]:
        """Return the outputs of the ONNX file."""
        made = {info.name for one in self.conclusions for info in one.given}
        own = {info.name: info for info in self.outputs if info.name not in made}
        return tuple((own | {info.name: info for one in self.conclusions for info in one.taken}).values())

    @cached_property
    def pictures(self) -> tuple[PictureView, ...]:
        """Return what the module does to each input of pictures."""
        return tuple(PictureView.of(intake) for intake in self.intakes if intake.kind == "picture")

    @cached_property
    def texts(self) -> tuple[TextView, ...]:
        """Return what the module does to each input of texts that is tokenized."""
        return tuple(
            TextView.of(intake, number, self.axes, self.tokenizers[str(intake.steps[0].tokenizer)])
            for number, intake in enumerate(self.intakes)
            if intake.kind == "text"
        )

    @cached_property
    def suffixes(self) -> list[str]:
        """Return how the names of files of pictures end."""
        formats = {form for picture in self.pictures for form in picture.formats}
        return sorted(f".{suffix}" for suffix in {*formats, *(["jpg"] if "jpeg" in formats else [])})

    @cached_property
    def decided(self) -> list[tuple[str, int, Axis, str]]:
        """Return where the ONNX file's inputs have axes that pictures or texts decide.

        That is the input's name, the dimension, the axis, and the name of the client's input.
        """
        own = {size for info in self.inputs for size in info.shape}
        owners = {info.name: intake.name for intake in self.intakes for info in intake.given}
        axes = {axis.name: axis for axis in self.axes}
        decided = {size for intake in self.intakes for info in intake.given for size in info.shape} - own
        return [
            (info.name, dimension, axes[size], owners.get(info.name, info.name))
            for info in self.fed
            for dimension, size in enumerate(info.shape)
            if isinstance(size, str) and size in decided
        ]

    @property
    def documents(self) -> tuple[str, ...]:
        """Return the names of the outputs whose strings hold JSON."""
        return tuple(info.name for one in self.conclusions for info in one.given)

    @property
    def has_steps(self) -> bool:
        """Return whether the module does anything with inputs or outputs besides running the ONNX file."""
        return bool(self.intakes or self.conclusions or self.checks)

    @cached_property
    def checks(self) -> tuple[ClientColumn, ...]:
        """Return the declared columns that do not take all values of their dtype."""
        return tuple(column for column in self.columns if column.is_limited)

    @cached_property
    def listed(self) -> frozenset[str]:
        """Return the names of the inputs that may come as lists: those of files, and of texts that are tokenized."""
        return frozenset(info.name for intake in self.intakes for info in intake.taken)

    @cached_property
    def arguments(self) -> tuple[Field, ...]:
        """Return the inputs, named so that they can be arguments of ``predict``."""
        names = quoting.make_identifiers([info.name for info in self.inputs], "input", {"self", "Prediction"})
        return tuple(map(Field, self.inputs, names))

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Return the outputs, named so that they can be fields of a NamedTuple, which has methods of its own."""
        names = quoting.make_identifiers([info.name for info in self.outputs], "output", {"count", "index"})
        return tuple(map(Field, self.outputs, names))

    @cached_property
    def input_axes(self) -> tuple[Axis, ...]:
        """Return the dynamic axes that at least one input has."""
        used = {size for info in self.inputs for size in info.shape}
        return tuple(axis for axis in self.axes if axis.name in used)

    @cached_property
    def has_axes(self) -> bool:
        """Return whether any input's or output's shape holds the name of an axis."""
        return any(isinstance(size, str) for info in (*self.inputs, *self.outputs) for size in info.shape)

    @cached_property
    def has_shared_axis(self) -> bool:
        """Return whether an axis appears twice among the inputs, so that two sizes could disagree."""
        used = [size for info in self.inputs for size in info.shape if isinstance(size, str)]
        return len(used) > len(set(used))

    @cached_property
    def batch(self) -> Axis | None:
        """Return the dynamic axis that is dimension 0 of every input and output, if there is one."""
        name = find_batch_axis(self.inputs, self.outputs)
        return next((axis for axis in self.input_axes if axis.name == name), None)

    @property
    def runs_inline(self) -> bool:
        """Return whether a quick prediction may run in the event loop: not where it waits for a GPU, or for others.

        Nor where the module decodes or tokenizes: what that takes has little to do with the size of a body.
        """
        return self.device == "cpu" and self.max_batch_size is None and not self.intakes

    @property
    def has_grpc(self) -> bool:
        """Return whether the server speaks gRPC besides HTTP."""
        return self.server == "http+grpc"

    @cached_property
    def contents(self) -> dict[str, int]:
        """Return this model's datatypes that have typed contents over gRPC, with the numbers of their fields."""
        return {word: _CONTENTS[word] for word in self.datatypes.values() if word in _CONTENTS}

    @cached_property
    def input_kinds(self) -> frozenset[str]:
        """Return the kinds of all inputs, as ``Field.kind`` names them."""
        return frozenset(field.kind for field in self.arguments)

    @cached_property
    def output_kinds(self) -> frozenset[str]:
        """Return the kinds of all outputs, as ``Field.kind`` names them."""
        return frozenset(field.kind for field in self.fields)

    @property
    def reads_quickly(self) -> bool:
        """Return whether every input holds numbers, as the quick reader needs it."""
        return self.input_kinds <= {"float", "integer"}

    @property
    def only_string_inputs(self) -> bool:
        """Return whether every input holds strings, so that no number is ever converted."""
        return self.input_kinds == {"string"}

    @property
    def only_objects(self) -> bool:
        """Return whether every input holds strings or files, which numpy has as objects."""
        return self.input_kinds <= {"string", "bytes"}

    @property
    def only_float_outputs(self) -> bool:
        """Return whether every output can hold NaN."""
        return self.output_kinds == {"float"}

    @cached_property
    def datatypes(self) -> dict[str, str]:
        """Return the numpy types that this model uses, with the protocol's words for them."""
        return {field.dtype: field.datatype for field in (*self.arguments, *self.fields)}

    @cached_property
    def readers(self) -> dict[str, str]:
        """Return the numpy types of the inputs, each with the function of ``tensors.py`` that reads it."""
        words = {"float": "read_floats", "integer": "read_integers", "bool": "read_booleans", "string": "read_strings"}
        words["bytes"] = "read_files"
        return {field.dtype: words[field.kind] for field in self.arguments}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Return the numpy types of the inputs, each with its kind as ``Field.kind`` names it."""
        return {field.dtype: field.kind for field in self.arguments}

    @property
    def may_be_empty(self) -> bool:
        """Return whether an axis of the inputs may have the size 0."""
        return any(axis.min == 0 for axis in self.input_axes)

    @cached_property
    def tables(self) -> Tables:
        """Return how inputs and outputs are columns of csv files."""
        return Tables(self.inputs, self.outputs)

    @property
    def max_rows(self) -> int:
        """Return the most rows of a table of the inputs."""
        size = self.inputs[0].shape[0]
        return size if isinstance(size, int) else next(axis.max for axis in self.axes if axis.name == size)

    @cached_property
    def fills(self) -> dict[str, str]:
        """Return what stands for a missing value in each column that may have one, as a Python expression."""
        return {
            column.name: "math.nan" if column.fill != column.fill else quoting.write_value(column.fill)
            for column in self.columns
            if column.fill is not None
        }

    @cached_property
    def units(self) -> dict[str, str]:
        """Return what the numbers of each column of dates count; several dates of a row are numbers in records, too."""
        single = {info.name for info in self.inputs if info.shape[1:] in ((), (1,))}
        return {one.name: one.unit for one in self.columns if one.kind == "date" and one.name in single}

    @cached_property
    def record_kinds(self) -> frozenset[str]:
        """Return the kinds of values in records: those of the inputs, and ``date``."""
        return self.input_kinds | ({"date"} if self.units else set())

    @property
    def max_body_literal(self) -> str:
        """Return the limit of a request's body as a reader would write it: ``64 * 2**20``."""
        return _write_size(self.body_limit)

    @property
    def largest_body_literal(self) -> str:
        """Return the size of the largest request as a reader would write it."""
        return _write_size(self.largest_body)

    @property
    def body_limit(self) -> int:
        """Return the bytes of the largest body that is taken."""
        return self.largest_body if self.max_body is None else self.max_body

    @cached_property
    def largest_body(self) -> int:
        """Return the bytes that the largest request takes as indented JSON, in whole KiB; never above 64 MiB.

        A string or a file has no largest size: with one among the inputs it is 64 MiB.
        """
        greatest = {axis.name: axis.max for axis in self.axes}
        total = _FIXED_BYTES
        for field in self.arguments:
            if field.kind in ("string", "bytes"):
                return _MOST_BYTES
            arrays = 1  # those that nested data has at a level, each with its brackets and line ends
            for size in field.shape:
                total += arrays * _ELEMENT_BYTES["bool"]
                arrays *= greatest[size] if isinstance(size, str) else size
            total += len(field.name) + arrays * _ELEMENT_BYTES[field.kind]
        return min(-(-total // 2**10) * 2**10, _MOST_BYTES)

    @cached_property
    def summary(self) -> list[str]:
        """Return the description, folded for a docstring."""
        return quoting.wrap_text(self.description)

    @cached_property
    def table(self) -> list[str]:
        """Return the inputs, outputs and axes as lines in columns."""
        rows: list[tuple[str, ...]] = []
        for title, fields in (("input", self.arguments), ("output", self.fields)):
            rows += [(title, "dtype", "shape"), *((f.name, f.info.dtype, f.shape_text) for f in fields), ()]
        sizes = [(axis.name, f"{axis.min} to {axis.max}", f"usually {axis.opt}") for axis in self.axes]
        rows += [("axis", "size", ""), *sizes] if sizes else []
        return quoting.align_columns(rows[:-1] if rows[-1] == () else rows)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Return the paths of the server."""
        return list_routes(self.name, self.version)

    @cached_property
    def endpoints(self) -> list[str]:
        """Return what the server answers as lines in columns."""
        return quoting.align_columns(
            [(route.method, route.path, route.summary) for route in self.routes if not route.versioned]
        )

    @property
    def error_statuses(self) -> str:
        """Return the statuses of errors for a reader."""
        *most, last = map(str, ERRORS)
        return f"{', '.join(most)} or {last}"

    def zeros(self, field: Field) -> str:
        """Return a Python expression for an array of this input's usual shape."""
        usual = {axis.name: axis.opt for axis in self.axes}
        sizes = [str(usual[size] if isinstance(size, str) else size) for size in field.shape]
        shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
        if field.kind == "bytes":
            return f"np.array([PICTURES[{quoting.python_literal(field.name)}]] * {sizes[0]}, object)"
        if field.kind == "string":
            return f"np.full({shape}, {quoting.python_literal(self._choose_text(field.name))}, object)"
        return f"np.zeros({shape}, {field.dtype})"

    def _choose_text(self, name: str) -> str:
        """Return a text that an input takes."""
        words = next((column.words for column in self.checks if column.name == name), ())
        if words == ():
            return EXAMPLE_TEXT if name in self.listed else ""
        return next(filter(None, words or ()), EXAMPLE_TEXT)

    def make_picture(self, picture: PictureView, *, least: bool = False) -> bytes:
        """Return a small file that an input of pictures takes, of the usual height and width or of the least."""
        sizes = {axis.name: axis.min if least else axis.opt for axis in self.axes}
        height, width = (sizes[size] if isinstance(size, str) else size for size in picture.shape[1:3])
        return make_picture(picture.formats[0], height, width)

    @cached_property
    def picture_lines(self) -> dict[str, list[str]]:
        """Return a picture of the usual size for each input of pictures, in lines of base64."""
        return {one.name: textwrap.wrap(base64.b64encode(self.make_picture(one)).decode(), 94) for one in self.pictures}


def _write_size(size: int) -> str:
    for power in (20, 10):
        if size % 2**power == 0:
            return f"{size >> power} * 2**{power}"
    return str(size)
