"""PyTorch: explain why an exporter failed: which operator, which line of the user's code, and the reason."""

import linecache
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import torch

from onnxpack.core.errors import SourceError
from onnxpack.sources.torch import branches
from onnxpack.spec.load import SpecFile

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in ')
_TRACED = re.compile(r"(?P<file>/[^\n:()]+\.py)[:(](?P<line>\d+)")
_OPERATOR = re.compile(r"(?:OpOverload\(op='|operator '|Unsupported: .*?|operator )(?P<name>\w+(?:\.|::)\w+)")
_NO_FORM = "No ONNX function found"
_TOOLS = ("torch", "onnxscript", "onnx_ir", "onnx", "onnxpack", "python")
_DETAIL = 4000
_SUMMARY = "## Exception summary"
"""What dynamo's steps before this line name is the same for every error."""
_ADVICE = (
    "For more ", "For extended ", "For C++ ", "If you suspect ", "The error above occurred when calling ", "(Refer to ",
)  # fmt: skip
"""How lines begin that tell how to debug torch itself: as many as the rest together."""
_LINE = 300
Place = tuple[str, int]


def explain(error: Exception, file: SpecFile, exporter: str) -> SourceError:
    """Return the exporter's error in words: its cause, the operator, the line of the user's code that led to it."""
    chain = list(_chain(error))
    # The whole chain: the exporters wrap the error that says what is wrong.
    text = "\n".join(_plain(one) for one in chain)
    operator, lines = _node(chain)
    place = _find_place(file, lines or [*_frames(text), *_traceback(chain)])
    parts = [_first_line(chain[-1])]
    if operator and _NO_FORM in parts[0]:
        parts = [f"operator {operator} has no form in ONNX"]
    elif operator and operator not in parts[0]:
        parts.append(f"operator {operator}")
    if place:
        parts.append(_format_place(file, place))
    hint = "rewrite this line with operations that the exporter takes" if place else "change the model's code"
    return SourceError(
        f"the {exporter} exporter failed: {'; '.join(parts)}", f"{hint}; its own error is below", _detail(error)
    )


def show_line(file: SpecFile, places: Sequence[Place]) -> str:
    """Return the line of the user's code among those that led somewhere, outermost first, with its file and text."""
    return _format_place(file, _find_place(file, list(places)) or places[-1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, the first cause last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _plain(error: BaseException) -> str:
    return _COLOURS.sub("", str(error)).strip()


def _detail(error: BaseException) -> str:
    """Return the exporter's own text without its advice to those who develop torch."""
    text = _plain(error)
    summary = text.partition(_SUMMARY)[2] or text
    lines = [line for line in summary.splitlines() if line.strip() and not line.startswith(_ADVICE)]
    return "\n".join(lines)[-_DETAIL:]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in _plain(error).splitlines() if line.strip()] or [type(error).__name__]
    # A line that ends in a colon says nothing without the next.
    return " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])[:_LINE]


def _operator(text: str) -> str:
    found = _OPERATOR.search(text)
    return found["name"] if found else ""


def _node(chain: list[BaseException]) -> tuple[str, list[Place]]:
    """Return the operator that was being exported when the error was raised, and the lines of code that made it."""
    # From the first cause on, which is nearest to the operator.
    for error in reversed(chain):
        operator = _operator(_plain(error))
        for trace in reversed(list(_stack(error))):
            for value in trace.tb_frame.f_locals.values():
                if isinstance(value, torch.fx.Node) and value.op == "call_function":
                    lines = _frames(str(value.meta.get("stack_trace", "")))
                    return str(value.target).removesuffix(".default"), list(lines)
                if isinstance(value, torch._C.Graph) and (places := list(_find_traced_lines(value, operator))):
                    return operator, places
    return _operator("\n".join(map(_plain, chain))), []


def _find_traced_lines(graph: torch._C.Graph, operator: str) -> Iterator[Place]:
    """Yield the lines that led to the operator in TorchScript's graph, outermost first."""
    for node in graph.nodes():
        if node.kind() == operator:
            found = [(one["file"], int(one["line"])) for one in _TRACED.finditer(str(node.sourceRange()))]
            yield from reversed(found)


def _frames(text: str) -> Iterator[Place]:
    for found in _FRAME.finditer(text):
        yield found["file"], int(found["line"])


def _traceback(chain: list[BaseException]) -> Iterator[Place]:
    for error in chain:
        for trace in _stack(error):
            yield trace.tb_frame.f_code.co_filename, trace.tb_lineno


def _stack(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _find_place(file: SpecFile, places: list[Place]) -> Place | None:
    """Return the innermost line of the user's own code, else of the package that the model comes from."""
    places = [place for place in places if place[0] != branches.__file__]  # it stands around every operator
    ours = [index for index, place in enumerate(places) if _package(place[0]) == "onnxpack"]
    places = places[ours[-1] + 1 :] if ours else places  # what called the model is not its code
    known = [place for place in places if Path(place[0]).is_absolute() and _package(place[0]) not in _TOOLS]
    own = [place for place in known if Path(place[0]).is_relative_to(file.root) and not _package(place[0])]
    candidates = own or known
    return candidates[-1] if candidates else None


def _package(path: str) -> str:
    """Return the top package of an installed file: ``python`` or ``onnxpack`` for their own, empty for others."""
    place = Path(path)
    if place.is_relative_to(Path(__file__).parents[1]):
        return "onnxpack"
    for name in ("purelib", "platlib"):
        base = Path(sysconfig.get_path(name))
        if place.is_relative_to(base):
            return place.relative_to(base).parts[0]
    return "python" if place.is_relative_to(sysconfig.get_path("stdlib")) else ""


def _format_place(file: SpecFile, place: Place) -> str:
    path, line = place
    code = linecache.getline(path, line).strip()
    near = Path(path).relative_to(file.root) if Path(path).is_relative_to(file.root) else Path(*Path(path).parts[-3:])
    return f"{near}, line {line}: {code}" if code else f"{near}, line {line}"
