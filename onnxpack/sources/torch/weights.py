"""PyTorch: read a state dict from a file, however it is wrapped, and load it into the module that it must fit."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from onnxpack.core.errors import Problem, SourceError, flatten_words
from onnxpack.core.regular import is_regular
from onnxpack.core.text import plural, with_article
from onnxpack.spec.load import SpecFile
from onnxpack.spec.yaml_nodes import resolve_links

_SHOWN_KEYS = 8
_MAX_DEPTH = 4
_MAX_VISITED = 10_000
_INDEX = ".index.json"
_LIGHTNING = "state_dict"
_BATCH = 1 << 28
"""Bytes of a safetensors file that are mapped and copied at a time."""


@dataclass(frozen=True)
class _Stored:
    """A tensor in a safetensors file, read only when it is copied into the module."""

    path: Path
    key: str
    shape: tuple[int, ...]


State = dict[str, torch.Tensor | _Stored]


def load_weights(module: torch.nn.Module, file: SpecFile) -> None:
    """Load the spec's weights into the module; every key and shape must fit.

    Raises:
        SourceError: the file is broken, holds something else, or does not fit; all that does not fit is listed.
    """
    label, key = str(file.spec.model.weights_file), file.spec.model.weights_key
    content = _load_content(file.resolve(label), file.root)
    state, taken = _state_dict(content, key, Path(label).name)
    problems = list(_find_misfits(module.state_dict(), state, label, taken))
    if problems:
        raise SourceError(problems)
    try:
        for part in _split_batches(state):
            # Copied, not assigned: what else refers to a parameter, a tied one among them, goes on doing so.
            module.load_state_dict(part, strict=False)
    except Exception as error:  # torch and safetensors have several kinds
        raise SourceError(
            f"the tensors in '{label}' cannot be copied into the model: {flatten_words(error, 500)}",
            "save a state dict of plain tensors: none that are sparse, quantized or without data",
        ) from None


def _split_batches(state: State) -> Iterator[dict[str, torch.Tensor]]:
    """Yield all tensors; those in safetensors files only some at a time, so that their bytes are in memory once."""
    yield {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    stored: dict[Path, dict[str, str]] = {}
    for name, tensor in state.items():
        if isinstance(tensor, _Stored):
            stored.setdefault(tensor.path, {})[name] = tensor.key
    for path, names in stored.items():
        while names:
            yield _read(path, names)


def _read(path: Path, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """Read the next tensors of about ``_BATCH`` bytes, and take them out of ``names``."""
    from safetensors import safe_open

    part: dict[str, torch.Tensor] = {}
    size = 0
    with safe_open(path, framework="pt") as file:
        while names and size < _BATCH:
            name = next(iter(names))
            part[name] = file.get_tensor(names.pop(name))
            size += part[name].nbytes
    return part


def _load_content(path: Path, root: Path) -> Any:
    if path.name.endswith(_INDEX):
        return _load_shards(path, root)
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no dict
            return {key: _Stored(path, key, shape) for key, shape in shapes.items()}
        # weights_only: a pickle could run code. mmap, which zip files allow, keeps the file's bytes out of memory.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torn zip, hostile pickle, wrong header: each has its own kind
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(
            f"cannot load the weights in '{path.name}': {words}",
            "save them as safetensors, or with torch.save as a state dict of tensors alone",
        ) from None


def _load_shards(path: Path, root: Path) -> State:
    """Read the tensors that a Hugging Face index names, each from the file that it is said to be in."""
    try:
        places = json.loads(path.read_text())["weight_map"]
        assert isinstance(places, dict)
        assert all(isinstance(name, str) for name in places.values())
    except Exception:  # not UTF-8, not JSON, not an index
        raise SourceError(
            f"'{path.name}' is not an index of shards", "give it a `weight_map` from tensors to files"
        ) from None
    state: State = {}
    problems = []
    for name in sorted(set(places.values())):
        shard = _shard(path.parent / name)
        if shard is None or not shard.is_relative_to(root.resolve()) or shard.name.endswith(_INDEX):
            problems.append(
                Problem(f"'{path.name}' names '{name}', which is not a file here", "put the shard beside it")
            )
            continue
        shard.open("rb").close()  # safetensors reads natively, unseen by the record of what an export reads
        wanted = [key for key, place in places.items() if place == name]
        content = _load_content(shard, root)
        missing = [key for key in wanted if not isinstance(content, Mapping) or key not in content]
        if missing:
            problems.append(
                Problem(f"'{name}' lacks tensors of the index: {_list_some(missing)}", "download the shard again")
            )
        state |= {key: content[key] for key in wanted if key not in missing}
    if problems:
        raise SourceError(problems)
    return state


def _shard(path: Path) -> Path | None:
    """Return the real place of a regular file; None if there is none."""
    try:
        place = resolve_links(path)
    except ValueError:  # with a NUL, or half a character, in it
        return None
    return place if is_regular(place) else None


def _state_dict(content: Any, key: str | None, label: str) -> tuple[State, str]:
    """Return the state dict at ``key``, and that key; a Lightning checkpoint needs none."""
    # Lightning puts it under a key of its own, beside optimizer states.
    if key is None and isinstance(content, Mapping) and _is_state(content.get(_LIGHTNING)):
        key = _LIGHTNING
    rest = key or ""
    while rest:
        if not isinstance(content, Mapping):
            raise SourceError(
                f"'{label}' has no key '{key}': above '{rest}' is {with_article(type(content).__name__)}",
                "correct `weights_key`",
            )
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
        found = ", ".join(sorted(islice(_find_state_dicts(content, key), _SHOWN_KEYS)))
        hint = f"set `weights_key` to one of: {found}" if found else "set `weights_key` to the key of the state dict"
        raise SourceError(f"'{label}' is not a state dict here: {words}", hint)
    return dict(content), key or ""


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, torch.Tensor | _Stored) for key, item in value.items())
    )


def _find_state_dicts(content: Any, start: str | None) -> Iterator[str]:
    """Yield the keys below ``start`` where state dicts are, among the first ten thousand mappings."""
    waiting = [(start or "", content, 0)]
    # A pickle of a few bytes may hold one mapping a thousand times, which holds another a thousand times.
    for place, value, depth in waiting:
        if depth and _is_state(value):
            yield place
        elif isinstance(value, Mapping) and depth <= _MAX_DEPTH:
            found = [(f"{place}.{name}" if place else str(name), item, depth + 1) for name, item in value.items()]
            waiting += found[: max(_MAX_VISITED - len(waiting), 0)]


def _find_misfits(own: Mapping[str, torch.Tensor], state: State, label: str, key: str) -> Iterator[Problem]:
    """Yield a problem for each way in which the file's keys and shapes differ from the module's."""
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
    hint = _prefix_hint(own, state, key) or "check `factory`, `kwargs` and `weights_key`"
    for words, keys in lists.items():
        if keys:
            count = f"{plural(len(keys), 'tensor')} {'is' if len(keys) == 1 else 'are'}"
            yield Problem(f"'{label}' does not fit the model: {count} {words}: {_list_some(keys)}", hint)


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return a key that is equal for tied weights; an empty tensor has no memory, and is tied to nothing."""
    return (tensor.data_ptr() or id(tensor), tensor.dtype, tensor.shape, tensor.stride())


def _prefix_hint(own: Mapping[str, Any], state: State, key: str) -> str:
    """Return a hint where one side's keys are the other's with a prefix, as wrappers and Lightning leave them."""
    if prefix := _find_prefix(state, own):
        return f"the file's keys begin with '{prefix}': set `weights_key: {f'{key}.{prefix}'.strip('.')}`"
    if prefix := _find_prefix(own, state):
        return f"the model's keys begin with '{prefix}': let the factory return that part, or load the weights itself"
    return ""


def _find_prefix(longer: Mapping[str, Any], shorter: Mapping[str, Any]) -> str:
    """Return what stands before every name of ``shorter`` in ``longer``, up to a dot; empty if there is nothing."""
    first = next(iter(shorter), "")
    words = [name[: -len(first)] for name in longer if first and name.endswith(f".{first}")]
    return next((word for word in words if all(f"{word}{name}" in longer for name in shorter)), "")


def _list_some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return "; ".join(keys[:_SHOWN_KEYS]) + more
