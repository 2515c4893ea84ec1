"""What one field cannot say alone: rules across fields, and the files that a spec names."""

import hashlib
import math
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from onnxpack.errors import Location, Problem
from onnxpack.spec.decode import closest
from onnxpack.spec.model import Input, Spec

Where = Callable[..., Location]

RUNTIME_MAX_OPSET = 26
"""The highest that the pinned onnxruntime reads."""
TORCHSCRIPT_MAX_OPSET = 20
SKL2ONNX_MAX_OPSET = 22
PICKLES = (".pkl", ".pickle", ".joblib")
STATE_DICTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_FIELDS_OF = {
    "torch": {"factory", "kwargs", "weights", "weights_key", "prepare", "exporter"},
    "sklearn": {"path", "sha256"},
    "onnx": {"path", "sha256"},
}


def check(spec: Spec, folder: Path, root: Path, where: Where) -> list[Problem]:
    """Every problem of a spec whose fields are each right by themselves."""
    return [
        *_axes(spec, where),
        *(
            problem
            for name, tensor in spec.inputs.items()
            for problem in _samples(tensor, lambda *path, name=name: where("inputs", name, *path))
        ),
        *_names(spec, where),
        *_model(spec, where),
        *_opset(spec, where),
        *_files(spec, folder, root, where),
    ]


def _axes(spec: Spec, where: Where) -> Iterator[Problem]:
    used = set()
    for name, tensor in spec.inputs.items():
        for index, size in enumerate(tensor.shape):
            if isinstance(size, str):
                used.add(size)
                if size not in spec.dynamic_axes:
                    hint = f"declare it there, as `{size}: {{min: 1, max: 64}}`"
                    if spec.dynamic_axes:
                        hint += f", or {closest(size, spec.dynamic_axes)}"
                    place = where("inputs", name, "shape", index)
                    yield Problem(f"axis '{size}' is not declared in dynamic_axes", hint, place)
    for name, axis in spec.dynamic_axes.items():
        place = where("dynamic_axes", name)
        if name not in used:
            yield Problem(f"axis '{name}' is used in no shape", "remove it, or use it in a shape", place)
        if axis.min > axis.max:
            yield Problem(f"axis '{name}': min {axis.min} is above max {axis.max}", "swap them", place)
        elif axis.opt is not None and not axis.min <= axis.opt <= axis.max:
            yield Problem(
                f"axis '{name}': opt {axis.opt} is outside {axis.min} to {axis.max}", "choose one between", place
            )


def _samples(tensor: Input, where: Where) -> Iterator[Problem]:
    if tensor.range is not None and tensor.choices is not None:
        yield Problem("range and choices exclude each other", "keep one", where("choices"))
    if tensor.range is not None:
        if len(tensor.range) != 2 or tensor.range[0] > tensor.range[1] or not all(map(math.isfinite, tensor.range)):
            yield Problem("a range is two numbers, the lower one first", "write [low, high]", where("range"))
        elif tensor.dtype in ("bool", "string"):
            yield Problem(f"a range means nothing for {tensor.dtype}", "use choices", where("range"))
        elif "int" in tensor.dtype and not _fits(tensor.dtype, tensor.range):
            yield Problem(f"the range does not fit {tensor.dtype}", "narrow it, or widen the dtype", where("range"))
    if tensor.choices is not None:
        if not tensor.choices:
            yield Problem("choices is empty", "list at least one", where("choices"))
        for index, choice in enumerate(tensor.choices):
            if isinstance(choice, str) != (tensor.dtype == "string"):
                yield Problem(f"{choice!r} is not of dtype {tensor.dtype}", "", where("choices", index))


def _fits(dtype: str, bounds: tuple[float, ...]) -> bool:
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return low <= bounds[0] and bounds[1] <= high and all(bound == int(bound) for bound in bounds)


def _names(spec: Spec, where: Where) -> Iterator[Problem]:
    if not spec.inputs:
        yield Problem("inputs is empty", "name at least one input", where("inputs"))
    if not spec.targets:
        yield Problem("targets is empty", "leave it out for the default, cpu", where("targets"))
    for index, name in enumerate(spec.outputs):
        if name in spec.outputs[:index] or name in spec.inputs:
            yield Problem(f"the name '{name}' is used twice", "give every tensor its own", where("outputs", index))


def _model(spec: Spec, where: Where) -> Iterator[Problem]:
    model = spec.model
    allowed = _FIELDS_OF[model.framework]
    for name in sorted(set().union(*_FIELDS_OF.values()) - allowed):
        place = where("model", name)
        if place != where("model"):
            yield Problem(
                f"model.{name} means nothing for {model.framework}", f"it takes {', '.join(sorted(allowed))}", place
            )
    required = "factory" if model.framework == "torch" else "path"
    if getattr(model, required) is None:
        yield Problem(f"model.{required} is missing", f"{model.framework} needs it", where("model"))
    if model.weights_key is not None and (model.weights is None or model.weights.endswith(".safetensors")):
        yield Problem("weights_key needs a checkpoint in weights", "remove it", where("model", "weights_key"))
    if model.weights is not None and not model.weights.endswith(STATE_DICTS):
        yield Problem(
            f"cannot tell the format of '{model.weights}'", f"it must end in {', '.join(STATE_DICTS)}",
            where("model", "weights"),
        )  # fmt: skip


def _opset(spec: Spec, where: Where) -> Iterator[Problem]:
    limits = {"torchscript": TORCHSCRIPT_MAX_OPSET, "sklearn": SKL2ONNX_MAX_OPSET}
    maker = spec.model.exporter if spec.model.framework == "torch" else spec.model.framework
    highest = limits.get(maker, RUNTIME_MAX_OPSET)
    if spec.opset is not None and spec.opset > highest:
        yield Problem(f"{maker} makes opset {highest} at most", f"write opset: {highest} or lower", where("opset"))


def _files(spec: Spec, folder: Path, root: Path, where: Where) -> Iterator[Problem]:
    model = spec.model
    named = [(model.path, ("model", "path")), (model.weights, ("model", "weights"))]
    named += [(spec.verify.samples, ("verify", "samples"))]
    for code, field in ((model.factory, "factory"), (model.prepare, "prepare")):
        if code is not None and code.partition(":")[0].endswith(".py"):
            named.append((code.partition(":")[0], ("model", field)))
    for relative, path in named:
        if relative is not None:
            problem = _unfit(relative, folder, root, where(*path))
            if problem:
                yield problem
            elif path == ("model", "path"):
                yield from _digest(spec, folder / relative, where)


def _unfit(relative: str, folder: Path, root: Path, place: Location) -> Problem | None:
    """Why the path cannot be used: it must be a regular file inside ``root``, links followed."""
    target = (folder / relative).resolve()
    if "\0" in relative or not target.is_relative_to(root.resolve()):
        return Problem(f"'{relative}' leaves the project", f"move it below {root.name}/", place)
    try:
        mode = target.stat().st_mode
    except OSError as error:
        return Problem(f"cannot read '{relative}': {error.strerror}", f"looked in {folder}", place)
    if not stat.S_ISREG(mode):
        return Problem(f"'{relative}' is not a regular file", "give the path of a file", place)
    return None


def _digest(spec: Spec, file: Path, where: Where) -> Iterator[Problem]:
    runs_code = spec.model.framework == "sklearn"
    if spec.model.sha256 is None and not runs_code:
        return
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if spec.model.sha256 is None:
        yield Problem(
            f"loading '{spec.model.path}' can run any code in it, so its digest is required",
            f"if you trust the file, add   sha256: {actual}",
            where("model", "path"),
        )
    elif spec.model.sha256 != actual:
        yield Problem(
            f"'{spec.model.path}' is not the file that the spec trusts: its sha256 is {actual}",
            "restore the file, or paste the new digest if you trust it",
            where("model", "sha256"),
        )
