"""Flatten nested outputs to a list with stable names, whatever the framework's tensors are."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxpack.core.errors import SourceError
from onnxpack.core.text import with_article

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_NAME = 150
Path = tuple[str | int, ...]


def flatten_outputs(value: Any, tensor: type | tuple[type, ...], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the tensors in a model's answer, in order, each with its keys, fields and positions; None is left out.

    Raises:
        SourceError: there is something else in it.
    """
    if isinstance(value, tensor):
        yield path, value
        return
    for part, item in _parts(value, path):
        yield from flatten_outputs(item, tensor, (*path, part))


def name_outputs(paths: Sequence[Path], taken: Sequence[str]) -> list[str]:
    """Return a name for each path: keys and fields joined by dots; a path of positions alone is called ``output``.

    ``taken`` are names that no output may have.
    """
    names: list[str] = []
    for path in paths:
        unnamed = all(isinstance(part, int) for part in path)
        if unnamed and len(paths) == 1:
            name = "output"
        else:
            head = f"output_{path[0]}" if isinstance(path[0], int) else path[0]
            name = ".".join(map(str, (head, *path[1:])))
        names.append(_free(_UNPRINTABLE.sub("_", name)[:_MAX_NAME] or "output", {*names, *taken}))
    return names


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _parts(value: Any, path: Path) -> list[tuple[str | int, Any]]:
    if value is None:
        return []
    if isinstance(value, Mapping):  # transformers' ModelOutput is one, which leaves out what is None
        return [(str(key), item) for key, item in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    place = f" at '{'.'.join(map(str, path))}'" if path else ""
    raise SourceError(
        f"the model returns {with_article(type(value).__name__)}{place}",
        "outputs must be tensors, or lists, tuples, dicts and dataclasses of them: turn it off in `kwargs`, or drop it "
        "in a `prepare` function",
    )
