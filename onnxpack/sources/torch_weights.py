"""PyTorch: a state dict from a file, in whatever it is wrapped, and the module that it must fit."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from onnxpack.errors import Problem, SourceError, flatten_words
from onnxpack.regular import is_regular
from onnxpack.spec.load import SpecFile
from onnxpack.spec.nodes import real

_SHOWN_KEYS = 8
_MAX_DEPTH = 4
_MAX_VISITED = 10_000
_INDEX = ".index.json"
_LIGHTNING = "state_dict"
_BATCH = 1 << 28
"""Bytes of a safetensors file that are mapped and copied at a time."""


@dataclass(frozen=True)
class _Stored:
    """A tensor in a safetensors file, which is read when its turn comes."""

    path: Path
    key: str
    shape: tuple[int, ...]


State = dict[str, torch.Tensor | _Stored]


def fill(module: torch.nn.Module, file: SpecFile) -> None:
    """Loads the spec's weights into the module; every key and shape must fit.

    Raises:
        SourceError: the file is broken, holds something else, or does not fit; all that does not fit is listed.
    """
    label, key = str(file.spec.model.weights_file), file.spec.model.weights_key
    content = _content(file.resolve(label), file.root)
    state, taken = _state_dict(content, key, Path(label).name)
    problems = list(_misfits(module.state_dict(), state, label, taken))
    if problems:
        raise SourceError(problems)
    try:
        for part in _batches(state):
            # Copied, not assigned: what else refers to a parameter, a tied one among them, goes on doing so.
            module.load_state_dict(part, strict=False)
    except Exception as error:  # torch and safetensors have several kinds
        raise SourceError(
            f"the tensors in '{label}' cannot be copied into the model: {flatten_words(error, 500)}",
            "save a state dict of plain tensors: none that are sparse, quantized or without data",
        ) from None


def _batches(state: State) -> Iterator[dict[str, torch.Tensor]]:
    """All tensors; of those in safetensors files only some at a time, so that their bytes are in memory once."""
    yield {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    stored: dict[Path, dict[str, str]] = {}
    for name, tensor in state.items():
        if isinstance(tensor, _Stored):
            stored.setdefault(tensor.path, {})[name] = tensor.key
    for path, names in stored.items():
        while names:
            yield _read(path, names)


def _read(path: Path, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """Takes the next tensors of about ``_BATCH`` bytes out of ``names``; the map of the file lives as long as they."""
    from safetensors import safe_open

    part: dict[str, torch.Tensor] = {}
    size = 0
    with safe_open(path, framework="pt") as file:
        while names and size < _BATCH:
            name = next(iter(names))
            part[name] = file.get_tensor(names.pop(name))
            size += part[name].nbytes
    return part


def _content(path: Path, root: Path) -> Any:
    if path.name.endswith(_INDEX):
        return _sharded(path, root)
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no dict
            return {key: _Stored(path, key, shape) for key, shape in shapes.items()}
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torn zip, hostile pickle, wrong header: each has its own kind
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(
            f"cannot load the weights in '{path.name}': {words}",
            "it must be a safetensors file, or a state dict saved by torch.save: plain tensors, no objects of classes",
        ) from None


def _sharded(path: Path, root: Path) -> State:
    """The tensors of all the files that a Hugging Face index names, each from the file that it is said to be in."""
    try:
        places = json.loads(path.read_text())["weight_map"]
        assert isinstance(places, dict)
        assert all(isinstance(name, str) for name in places.values())
    except Exception:  # not UTF-8, not JSON, not an index
        raise SourceError(f"'{path.name}' is no index of shards", "it needs a weight_map: {tensor: file}") from None
    state: State = {}
    problems = []
    for name in sorted(set(places.values())):
        shard = _shard(path.parent / name)
        if shard is None or not shard.is_relative_to(root.resolve()) or shard.name.endswith(_INDEX):
            problems.append(Problem(f"'{path.name}' names '{name}', which is no file here", "put the shard beside it"))
            continue
        shard.open("rb").close()  # safetensors reads natively, unseen by the record of what an export reads
        wanted = [key for key, place in places.items() if place == name]
        content = _content(shard, root)
        missing = [key for key in wanted if not isinstance(content, Mapping) or key not in content]
        if missing:
            problems.append(Problem(f"'{name}' lacks tensors of the index: {_some(missing)}", "get the shard again"))
        state |= {key: content[key] for key in wanted if key not in missing}
    if problems:
        raise SourceError(problems)
    return state


def _shard(path: Path) -> Path | None:
    """Return the real place of a regular file; None if there is none."""
    try:
        place = real(path)
    except ValueError:  # with a NUL, or half a character, in it
        return None
    return place if is_regular(place) else None


def _state_dict(content: Any, key: str | None, label: str) -> tuple[State, str]:
    """The state dict at ``key``, and that key; a Lightning checkpoint needs none."""
    if key is None and isinstance(content, Mapping) and _is_state(content.get(_LIGHTNING)):
        key = _LIGHTNING
    rest = key or ""
    while rest:
        if not isinstance(content, Mapping):
            raise SourceError(f"'{label}' has no key '{key}'", f"at '{rest}' it has: {type(content).__name__}")
        # A checkpoint's own keys may have dots in them, and those of a state dict mostly do.
        head = rest if rest in content else rest.partition(".")[0]
        if head in content:
            content, rest = content[head], rest[len(head) + 1 :]
            continue
        inner = {name[len(rest) + 1 :]: value for name, value in content.items() if str(name).startswith(f"{rest}.")}
        if not inner or not _is_state(inner):
            known = ", ".join(map(str, content))[:300]
            raise SourceError(f"'{label}' has no key '{key}'", f"at '{head}' it has: {known}")
        content, rest = inner, ""
    if not _is_state(content):
        words = ", ".join(map(str, content))[:300] if isinstance(content, Mapping) else type(content).__name__
        found = ", ".join(sorted(islice(_places(content, key), _SHOWN_KEYS)))
        hint = f"name the right key in weights_key: {found}" if found else "name the right key in weights_key"
        raise SourceError(f"'{label}' is not a state dict here: {words}", hint)
    return dict(content), key or ""


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, torch.Tensor | _Stored) for key, item in value.items())
    )


def _places(content: Any, start: str | None) -> Iterator[str]:
    """Where below here state dicts are, of the first ten thousand mappings."""
    waiting = [(start or "", content, 0)]
    # A pickle of a few bytes may hold one mapping a thousand times, which holds another a thousand times.
    for place, value, depth in waiting:
        if depth and _is_state(value):
            yield place
        elif isinstance(value, Mapping) and depth <= _MAX_DEPTH:
            found = [(f"{place}.{name}" if place else str(name), item, depth + 1) for name, item in value.items()]
            waiting += found[: max(_MAX_VISITED - len(waiting), 0)]


def _misfits(own: Mapping[str, torch.Tensor], state: State, label: str, key: str) -> Iterator[Problem]:
    # Files mostly hold tied weights once.
    filled = {_memory(tensor) for name, tensor in own.items() if name in state}
    lists = {
        "missing in the file": [name for name in own if name not in state and _memory(own[name]) not in filled],
        "not in the model": [name for name in state if name not in own],
        "of another shape": [
            f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    hint = _prefix_hint(own, state, key) or "check factory, kwargs and weights_key"
    for words, keys in lists.items():
        if keys:
            yield Problem(f"'{label}' does not fit the model: {len(keys)} tensors are {words}: {_some(keys)}", hint)


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Equal for tied weights; an empty tensor has no memory, and is tied to nothing."""
    return (tensor.data_ptr() or id(tensor), tensor.dtype, tensor.shape, tensor.stride())


def _prefix_hint(own: Mapping[str, Any], state: State, key: str) -> str:
    """What to do where one side's keys are the other's with a prefix, as wrappers and Lightning modules leave them."""
    if prefix := _prefix(state, own):
        return f"the file's keys begin with '{prefix}': write weights_key: {f'{key}.{prefix}'.strip('.')}"
    if prefix := _prefix(own, state):
        return f"the model's keys begin with '{prefix}': make the factory give that part, or fill it there"
    return ""


def _prefix(longer: Mapping[str, Any], shorter: Mapping[str, Any]) -> str:
    """What stands before every name of ``shorter`` in ``longer``, up to a dot; empty where there is no such word."""
    first = next(iter(shorter), "")
    words = [name[: -len(first)] for name in longer if first and name.endswith(f".{first}")]
    return next((word for word in words if all(f"{word}{name}" in longer for name in shorter)), "")


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return "; ".join(keys[:_SHOWN_KEYS]) + more
