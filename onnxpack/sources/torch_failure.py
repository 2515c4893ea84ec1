"""PyTorch: what to say when an exporter fails: which operator, which line of the user's code, and why."""

import linecache
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch

from onnxpack.errors import SourceError
from onnxpack.spec.load import SpecFile

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in ')
_TRACED = re.compile(r"(?P<file>/[^\n:()]+\.py)[:(](?P<line>\d+)")
_OPERATOR = re.compile(r"(?:OpOverload\(op='|operator '|Unsupported: .*?|operator )(?P<name>\w+(?:\.|::)\w+)")
_NO_FORM = "No ONNX function found"
_TOOLS = ("torch", "onnxscript", "onnx_ir", "onnx", "onnxpack")
_DETAIL = 4000
_LINE = 300
Place = tuple[str, int]


def explained(error: Exception, file: SpecFile, hint: str) -> SourceError:
    """The exporter's error in words: its cause, the operator, the line of the user's code that led to it."""
    chain = list(_chain(error))
    text = "\n".join(_plain(one) for one in chain)
    node = _node(chain)
    operator = node[0] if node else _operator(text)
    place = _place(file, [*(node[1] if node else []), *_frames(text), *_traceback(chain)])
    parts = [_first_line(chain[-1])]
    if _NO_FORM in parts[0]:
        parts = [f"operator {operator} has no form in ONNX"]
    elif operator and operator not in parts[0]:
        parts.append(f"operator {operator}")
    if place:
        parts.append(_shown(file, place))
    exporter = file.spec.model.exporter
    return SourceError(
        f"the {exporter} exporter failed: {'; '.join(parts)}",
        hint or "the cause is below",
        _plain(error)[-_DETAIL:],
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the first cause last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _plain(error: BaseException) -> str:
    return _COLOURS.sub("", str(error)).strip()


def _first_line(error: BaseException) -> str:
    line = (_plain(error).splitlines() or [""])[0][:_LINE]
    return line or type(error).__name__


def _operator(text: str) -> str:
    found = _OPERATOR.search(text)
    return found["name"] if found else ""


def _node(chain: list[BaseException]) -> tuple[str, list[Place]] | None:
    """The operator in hand when the error was raised, and the lines that made it: of either exporter's graph."""
    for error in reversed(chain):
        for frame in reversed(list(_stack(error))):
            for value in frame.f_locals.values():
                if isinstance(value, torch.fx.Node) and value.op == "call_function":
                    return str(value.target).removesuffix(".default"), list(_frames(str(value.meta.get("stack_trace", ""))))
                if isinstance(value, torch._C.Graph) and (operator := _operator(_plain(error))):
                    return operator, list(_traced(value, operator))
    return None


def _stack(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _traced(graph: torch._C.Graph, operator: str) -> Iterator[Place]:
    """The lines that led to the operator in TorchScript's graph, which tells the innermost one first."""
    for node in graph.nodes():
        if node.kind() == operator:
            found = [(one["file"], int(one["line"])) for one in _TRACED.finditer(str(node.sourceRange()))]
            yield from reversed(found)


def _frames(text: str) -> Iterator[Place]:
    for found in _FRAME.finditer(text):
        yield found["file"], int(found["line"])


def _traceback(chain: list[BaseException]) -> Iterator[Place]:
    for error in chain:
        trace = error.__traceback__
        while trace is not None:
            yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
            trace = trace.tb_next


def _place(file: SpecFile, places: list[Place]) -> Place | None:
    """The innermost line of the user's own code, else of the package that the model comes from."""
    own = [place for place in places if Path(place[0]).is_relative_to(file.root) and not _package(place[0])]
    foreign = [place for place in places if _package(place[0]) not in ("", *_TOOLS)]
    candidates = own or foreign
    return candidates[-1] if candidates else None


def _package(path: str) -> str:
    """The top package of an installed file; empty for others and ``onnxpack`` for its own."""
    if Path(path).is_relative_to(Path(__file__).parents[1]):
        return "onnxpack"
    for name in ("purelib", "platlib", "stdlib"):
        base = Path(sysconfig.get_path(name))
        if Path(path).is_relative_to(base):
            return "torch" if name == "stdlib" else Path(path).relative_to(base).parts[0]
    return ""


def _shown(file: SpecFile, place: Place) -> str:
    path, line = place
    code = linecache.getline(path, line).strip()
    near = Path(path).relative_to(file.root) if Path(path).is_relative_to(file.root) else Path(*Path(path).parts[-3:])
    return f"{near}, line {line}: {code}" if code else f"{near}, line {line}"
