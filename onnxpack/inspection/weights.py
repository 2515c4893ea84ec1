"""Reads a file of weights without its code: where the state dict is, and what the first layer seems to take."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.core.errors import SourceError
from onnxpack.core.text import plural
from onnxpack.spec.parts import SHARDS

# Bounds of the search: a checkpoint may nest anything, and may be hostile.
_MAX_DEPTH = 5
_MAX_VISITED = 10_000
_MAX_SETTINGS = 100
_MAX_TEXT = 300
_SETTINGS = "hyper_parameters"
"""The key under which Lightning keeps the arguments of a module's constructor."""
# The usual keys of a state dict in a checkpoint, the likeliest first.
_LIKELY = ("model_state_dict", "state_dict", "model", "module", "net", "network", "weights", "params")
_EARLY = re.compile(
    r"(^|[._])(stem|embed\w*|emb|tok\w*|wte|patch\w*|inputs?|conv1|fc1|features\.0|layers?\.0|0)([._]|$)"
)
_EMBEDDING = re.compile(r"(^|[._])(\w*embed\w*|emb|tok\w*|wte|vocab\w*|words?)([._]|$)")
_PICTURE = 224
"""The height and width that a guess gives a picture: most image classifiers are trained with it."""

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Weights:
    """The shapes of a state dict's tensors by their keys; the state dict is at ``key`` in the file."""

    shapes: Shapes
    key: str | None
    in_order: bool
    """Whether they are in the order of the module's layers; safetensors sorts them."""
    notes: tuple[str, ...]
    settings: Mapping[str, Any]
    """The hyperparameters beside it, as far as a spec can hold them: Lightning saves those of the module."""


def read_weights(path: Path) -> Weights:
    """Read the head of a .safetensors file, or a checkpoint with ``weights_only``.

    Raises:
        SourceError: it is neither, or holds no state dict.
    """
    if path.name.endswith((".safetensors", SHARDS)):
        shapes = _shards(path) if path.name.endswith(SHARDS) else _safetensors(path)
        key, others, settings = None, [], {}
    else:
        content = _checkpoint(path)
        settings = _find_settings(content)
        found = sorted(_state_dicts(content), key=_likeliness)
        if not found:
            raise SourceError(
                f"'{path.name}' holds no state dict", "save one with `torch.save(model.state_dict(), FILE)`"
            )
        key, shapes = found[0]
        others = [name or "the whole file" for name, _ in found[1:]]
    if not shapes:
        raise SourceError(f"'{path.name}' holds no tensors", "save the trained weights again")
    count = sum(math.prod(shape) for shape in shapes.values())
    notes = [f"{plural(len(shapes), 'tensor')} with {count:,} {'number' if count == 1 else 'numbers'}"]
    if others:
        notes.append(f"check: it holds other state dicts, too: weights_key may be {', '.join(others[:10])}")
    if all(name.startswith("module.") for name in shapes):
        notes.append("check: every key starts with 'module.', as DataParallel saves them; the factory's must, too")
    in_order = not path.name.endswith((".safetensors", SHARDS))
    return Weights(shapes, key or None, in_order, tuple(notes), settings)


def _safetensors(path: Path) -> Shapes:
    try:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except ModuleNotFoundError:
        raise SourceError("safetensors is not installed", "run `pip install 'onnxpack[torch]'`") from None
    except Exception as error:  # a broken header has several kinds
        raise SourceError(
            f"'{path.name}' is not a safetensors file: {error}", "save it again with safetensors"
        ) from None


def _shards(path: Path) -> Shapes:
    """Return the shapes in all the .safetensors files that an index names."""
    try:
        names = json.loads(path.read_bytes())["weight_map"].values()
        places = sorted({path.with_name(Path(name).name) for name in names})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise SourceError(f"'{path.name}' is no index of shards", "save the model again with save_pretrained") from None
    return {key: shape for place in places for key, shape in _safetensors(place).items()}


def _checkpoint(path: Path) -> Any:
    try:
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError as error:
        raise SourceError(f"'{error.name}' is not installed", "run `pip install 'onnxpack[torch]'`") from None
    except Exception as error:  # a torn zip, a hostile pickle: each has its own kind
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(
            f"'{path.name}' cannot be read with weights_only: {line[:300]}",
            "save only the state dict: `torch.save(model.state_dict(), FILE)`",
        ) from None


def _find_settings(content: Any) -> dict[str, Any]:
    """Return the hyperparameters of a Lightning checkpoint that are plain values."""
    found = content.get(_SETTINGS) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    plain = {key: value for key, value in found.items() if isinstance(key, str) and _is_plain(value)}
    return dict(list(plain.items())[:_MAX_SETTINGS])


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether a spec can hold a value: text, finite numbers, and short lists and mappings of them."""
    if isinstance(value, float):
        return math.isfinite(value)
    if value is None or isinstance(value, bool | int):
        return True
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT and value.isprintable()
    if depth == _MAX_DEPTH or not isinstance(value, list | tuple | Mapping) or len(value) > _MAX_SETTINGS:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and _is_plain(list(value.values()), depth + 1)
    return all(_is_plain(item, depth + 1) for item in value)


def _state_dicts(content: Any) -> Iterator[tuple[str, Shapes]]:
    """Yield every mapping of names to nothing but tensors, with its path as ``weights_key`` writes it."""
    import torch

    queue: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for path, value in queue:
        if not isinstance(value, Mapping) or not value or len(path) > _MAX_DEPTH:
            continue
        words = all(isinstance(key, str) for key in value)
        if words and all(isinstance(item, torch.Tensor) for item in value.values()):
            yield ".".join(path), {key: tuple(item.shape) for key, item in value.items()}
        elif words:
            # A dot in a key would read as two keys.
            found = [((*path, key), item) for key, item in value.items() if not path or "." not in key]
            # A pickle of a few bytes may hold one mapping a thousand times, which holds another a thousand times.
            queue += found[: max(_MAX_VISITED - len(queue), 0)]


def _likeliness(found: tuple[str, Shapes]) -> tuple[bool, int, int]:
    """Return a sort key: usual names first, averaged copies and optimizers last, then the larger."""
    key, shapes = found
    last = key.rpartition(".")[2]
    odd = any(word in key.lower() for word in ("ema", "optim", "teacher", "swa"))
    rank = _LIKELY.index(last) if last in _LIKELY else len(_LIKELY)
    return odd, rank, -sum(math.prod(shape) for shape in shapes.values())


@dataclass(frozen=True)
class Guess:
    """The dtype and shape that the first layer seems to take, and the reason."""

    dtype: str
    shape: tuple[int | str, ...]
    range: tuple[int, int] | None
    words: str

    def input(self) -> dict[str, Any]:
        """Return the guess as a field of the spec."""
        plain = {"dtype": self.dtype, "shape": list(self.shape)}
        return plain | {"range": list(self.range)} if self.range else plain


def first_layer(shapes: Shapes, *, in_order: bool) -> Guess:
    """Guess the input from the first weight of a layer; in a sorted file, from the one with the likeliest name."""
    layers = {key: shape for key, shape in shapes.items() if len(shape) in (2, 3, 4, 5) and "weight" in key}
    if not layers:
        return Guess("float32", ("batch", 1), None, "check: the weights do not tell the input; this is a placeholder")
    keys = list(layers) if in_order else sorted(layers, key=lambda key: (not _EARLY.search(key), _natural(key)))
    key = keys[0]
    shape = layers[key]
    told = f"check: guessed from {key} {list(shape)}"
    if len(shape) == 2 and _EMBEDDING.search(key) and key.removesuffix("weight") + "bias" not in shapes:
        return Guess("int64", ("batch", "seq"), (0, max(shape[0] - 1, 0)), f"{told}, an embedding")
    if "weight_ih" in key:
        return Guess("float32", ("batch", "seq", shape[1]), None, f"{told}, a recurrent layer")
    if len(shape) == 2:
        return Guess("float32", ("batch", shape[1]), None, f"{told}, a linear layer")
    sizes = (_PICTURE,) * (len(shape) - 2)
    told += f", a {len(shape) - 2}d convolution; it does not tell the {'x'.join(map(str, sizes))}, nor groups"
    return Guess("float32", ("batch", shape[1], *sizes), None, told)


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", key)]
