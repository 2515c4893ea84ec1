"""Drafts a spec for the model that a user points at; the model itself is only opened in a child process."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.core.digests import digest_file
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.inspection.child import Look, LookAtModel
from onnxpack.inspection.draft import Draft, require_free, write
from onnxpack.spec.decode import Decoder
from onnxpack.spec.formats import PICKLES
from onnxpack.spec.load import find_work_tree
from onnxpack.spec.parts import SHARDS
from onnxpack.spec.traits import frameworks
from onnxpack.spec.yaml_nodes import parse_value
from onnxpack.worker.call import call_alone

_WEIGHTS = frameworks()["torch"].weights_endings
_SAFE = {ending: name for name, traits in frameworks().items() for ending in filter(None, traits.safe_endings)}
"""The framework of each ending of a whole model's file that runs no code when it is loaded."""
_FOLDER = frameworks()["transformers"].folder[0]
"""The file by which a folder is known to be a model."""


@dataclass(frozen=True)
class Wish:
    """The arguments of ``onnxpack init``."""

    path: Path | None
    """An ONNX file, an estimator, a Keras model, or weights."""
    factory: str | None = None
    """``FILE.py:NAME``"""
    inputs: tuple[str, ...] = ()
    """``NAME:DTYPE:SHAPE``, each."""
    kwargs: str = "{}"
    trust: bool = False
    sandbox: bool = False

    @property
    def beside(self) -> Path:
        """Return the folder that the spec goes into unless another is named."""
        return (self.path or Path((self.factory or "").rpartition(":")[0])).parent


def begin(wish: Wish, destination: Path, *, force: bool) -> Draft:
    """Look into the model, write the spec at ``destination`` and return its draft.

    Raises:
        SpecError: the command line is wrong, a pickle is not trusted, or something stands there and ``force`` is not
            given.
        SourceError: the model cannot be loaded, or a build would refuse it.
    """
    place = destination.parent.resolve() / destination.name
    function, model = _source(wish, place)
    require_free(destination, force=force)
    draft = _make_draft(wish, place, function, model)
    write(draft, destination, force=force)
    return draft


def _make_draft(wish: Wish, place: Path, function: Look, model: dict[str, Any]) -> Draft:
    stem = wish.path.stem if wish.path else (wish.factory or "").rpartition(":")[2]
    if wish.path and wish.path.is_dir():
        stem = wish.path.resolve().name
    draft = Draft({"onnxpack": 1, "name": _word(stem), "model": model})
    origin = " and ".join(str(part) for part in (wish.path and wish.path.name, wish.factory) if part)
    draft.note(text=f"Drafted by `onnxpack init` from {origin}. What it could not know is marked with 'check'.")
    draft.note("version", text="version: \"1.0.0\"  # the image's tag; left out: the content's digest")
    if wish.inputs:
        draft.fields["inputs"] = _inputs(wish.inputs)
        draft.declare_axes()
    if "sha256" in model:
        draft.note(
            "model", "sha256", text="loading it can run any code in it, so a build takes only the file with this digest"
        )
    root = find_work_tree(place.parent)  # which the model's code may import from
    draft = call_alone(LookAtModel(function, draft, place), sandbox=wish.sandbox, root=root)
    draft.note("verify", text="verify: {samples: real.npz}  # real inputs are compared, too: arrays by input name")
    draft.fields["targets"] = {"cpu": {"device": "cpu"}}
    return draft


def _source(wish: Wish, destination: Path) -> tuple[Look, dict[str, Any]]:
    """Choose the function that looks into the model, and return it with the spec's ``model``."""
    if wish.path is None and wish.factory is None:
        raise SpecError(
            "no model is given",
            "name one: `onnxpack init MODEL`, or `onnxpack init --from FILE.py:NAME` for torch code",
        )
    path = _inside(wish.path, destination) if wish.path else ""
    suffix = _find_ending(wish.path) if wish.path else ""
    if wish.factory is not None:
        return _torch(wish, destination, path, suffix)
    if wish.path and wish.path.is_dir():
        if wish.inputs:
            raise SpecError("a folder's settings tell the inputs", "leave --input out")
        return "folder", {"framework": "transformers", "path": path}
    if suffix in _WEIGHTS:
        return "weights", {"framework": "torch", "weights": path} | _kwargs(wish)
    if suffix == ".onnx":
        if wish.inputs:
            raise SpecError("an ONNX file declares its own inputs", "leave --input out")
        return "onnx", {"framework": "onnx", "path": path}
    assert wish.path
    if suffix in PICKLES:
        digest = _require_trust(wish.path, trust=wish.trust)
        return "estimator", {"framework": "sklearn", "path": path, "sha256": digest}
    if framework := _SAFE.get(suffix):
        return "keras" if framework == "keras" else "estimator", {"framework": framework, "path": path}
    kinds = f"give a file that ends in .onnx, {', '.join((*_SAFE, *PICKLES, *_WEIGHTS))}"
    hint = f"for code use `--from {wish.path}:NAME`" if suffix == ".py" else kinds
    raise SpecError(Problem("its name does not end as a model's does", hint, Location(str(wish.path))))


def _find_ending(path: Path) -> str:
    """Return what a file's name ends in; an index of shards has two dots in it."""
    return SHARDS if path.name.lower().endswith(SHARDS) else path.suffix.lower()


def _torch(wish: Wish, destination: Path, path: str, suffix: str) -> tuple[Look, dict[str, Any]]:
    code, _, name = (wish.factory or "").rpartition(":")
    if not code.endswith(".py") or not name:
        raise SpecError(
            f"--from {wish.factory} does not name code", "use `--from FILE.py:NAME`, as `--from model.py:Net`"
        )
    if path and suffix not in _WEIGHTS:
        raise SpecError(f"'{wish.path}' is not a file of weights", f"use one that ends in {', '.join(_WEIGHTS)}")
    model = {"framework": "torch", "factory": f"{_inside(Path(code), destination)}:{name}"} | _kwargs(wish)
    return "code", model | ({"weights": path} if path else {})


def _kwargs(wish: Wish) -> dict[str, Any]:
    decoder = Decoder()
    kwargs = decoder.decode(Mapping[str, Any], parse_value(wish.kwargs, Location("--kwargs")), ("kwargs",))
    if decoder.problems:
        raise SpecError(decoder.problems)
    return {"kwargs": kwargs} if kwargs else {}


def _require_trust(path: Path, *, trust: bool) -> str:
    """Return the digest of a file that runs code when it is loaded.

    Raises:
        SpecError: the user has not said that it is trusted.
    """
    digest = digest_file(path)
    if not trust:
        hint = (
            f"its sha256 is {digest}; if you trust who made it, add --trust: it is loaded in a process of its own, "
            "and the spec accepts only this very file"
        )
        raise SpecError(Problem("loading it can run any code in it", hint, Location(str(path))))
    return digest


def _inside(path: Path, destination: Path) -> str:
    """Return the path as the spec at ``destination`` refers to it.

    Raises:
        SpecError: it is not a regular file inside the spec's project.
    """
    where = Location(str(path))
    if not path.exists():
        raise SpecError(Problem("there is no such file", "check the path", where))
    if path.is_dir() and not (path / _FOLDER).is_file():
        hint = f"give a folder as `save_pretrained` leaves it, with {_FOLDER}, or a model's file"
        raise SpecError(Problem(f"the folder has no {_FOLDER}", hint, where))
    if not path.is_dir() and not path.is_file():
        raise SpecError(Problem("it is not a regular file", "give the path of a model's file", where))
    root = find_work_tree(destination.parent)
    if not path.resolve().is_relative_to(root.resolve()):
        hint = f"a spec's files are below {root}: copy it there, or put the spec elsewhere with --output"
        raise SpecError(Problem("the spec cannot refer to a file outside its project", hint, where))
    return os.path.relpath(path.parent.resolve() / path.name, destination.parent)


def _inputs(words: Sequence[str]) -> dict[str, Any]:
    """Read inputs like ``x:float32:batch,3,32,32`` as fields of the spec; their values are checked with the draft."""
    found: dict[str, Any] = {}
    for word in words:
        name, dtype, sizes = [*word.rsplit(":", 2), "", ""][:3]
        if word.count(":") < 2 or name in found:
            problem = "names an input twice" if name in found else "is not NAME:DTYPE:SHAPE"
            raise SpecError(f"--input {word} {problem}", "use `--input x:float32:batch,3,32,32`, once for each input")
        parts = [part.strip() for part in sizes.split(",")] if sizes.strip() else []
        found[name] = {"dtype": dtype, "shape": [int(part) if part.isdecimal() else part for part in parts]}
    return found


def _word(stem: str) -> str:
    """Turn the name of a file or class into a valid name of a spec."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", stem)
    return re.sub(r"[^a-z0-9]+", "-", parted.lower())[:63].strip("-") or "model"
