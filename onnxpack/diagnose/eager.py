"""Records what a torch model computes while it runs: the output of every operator and module, and the code's line."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from onnxpack.diagnose.graphs import MAX_BYTES


@dataclass(frozen=True)
class Computed:
    """A value, the path of the module that it belongs to, and the user's line, relative to the spec's folder."""

    module: str
    line: str
    value: np.ndarray[Any, Any]


@dataclass
class Trace:
    """The values in the order of their computation; a module ends after all that is inside it."""

    operators: list[Computed] = field(default_factory=list)
    modules: list[Computed] = field(default_factory=list)
    bytes: int = 0


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that sees each operator below autograd, as the CPU runs it."""

    def __init__(self, trace: Trace, stack: list[str], folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace, self.stack, self.folder = trace, stack, folder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.stack:  # what is before the model prepares its inputs
            _record(self.trace, self.trace.operators, result, self.stack[-1], self.folder)
        return result


def observe_model(model: torch.nn.Module, run: Any, folder: Path) -> Trace:
    """Call ``run`` and return what ``model``'s operators and modules computed, up to ``MAX_BYTES``.

    Lines are those of files below ``folder``; what else is on the stack is somebody else's code.
    """
    trace, stack = Trace(), list[str]()
    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, path=path: stack.append(path)))
        hooks.append(
            module.register_forward_hook(lambda *seen, path=path: _leave_module(trace, stack, path, seen[-1], folder))
        )
    try:
        with _Recorder(trace, stack, folder):
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return trace


def _leave_module(trace: Trace, stack: list[str], path: str, result: Any, folder: Path) -> None:
    stack.pop()
    # Copying a value dispatches operators too, and they are not the model's.
    with torch.utils._python_dispatch._disable_current_modes():
        _record(trace, trace.modules, result, path, folder)


def _record(trace: Trace, found: list[Computed], result: Any, path: str, folder: Path) -> None:
    line = _line(folder)
    for tensor in result if isinstance(result, list | tuple) else [result]:
        if not isinstance(tensor, torch.Tensor) or trace.bytes > MAX_BYTES:
            continue
        with torch.utils._python_dispatch._disable_current_modes():
            # numpy has no bfloat16, and float32 holds all its values.
            plain = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
            value = plain.cpu().numpy().copy()
        trace.bytes += value.nbytes
        found.append(Computed(path, line, value))


def _line(folder: Path) -> str:
    """Return the innermost frame of the user's own code as ``file:line``, or an empty text."""
    frame = sys._getframe(1)
    root = f"{folder.resolve()}/"
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(root):
            return f"{name[len(root) :]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
