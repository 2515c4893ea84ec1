"""What a user points at → a draft of its spec; the model itself is only opened in a child process."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.errors import Location, Problem, SpecError
from onnxpack.look.child import Look, LookAtModel
from onnxpack.look.draft import Draft, require_free, write
from onnxpack.spec.decode import Decoder
from onnxpack.spec.formats import PICKLES, STATE_DICTS
from onnxpack.spec.load import work_tree
from onnxpack.spec.nodes import parse_value
from onnxpack.store import file_digest
from onnxpack.worker.call import call_alone


@dataclass(frozen=True)
class Wish:
    """What the command line says."""

    path: Path | None
    """An ONNX file, a pickled estimator, or weights."""
    factory: str | None = None
    """``FILE.py:NAME``"""
    inputs: tuple[str, ...] = ()
    """``NAME:DTYPE:SHAPE``, each."""
    kwargs: str = "{}"
    trust: bool = False
    sandbox: bool = False

    @property
    def beside(self) -> Path:
        """The folder that the spec goes into unless another is named."""
        return (self.path or Path((self.factory or "").rpartition(":")[0])).parent


def begin(wish: Wish, destination: Path, *, force: bool) -> Draft:
    """Looks into the model and writes the spec at ``destination``; gives what was written.

    Raises:
        SpecError: the command line is wrong, a pickle is not trusted, or something stands there and ``force`` is not
            given.
        SourceError: the model cannot be loaded, or a build would refuse it.
    """
    place = destination.parent.resolve() / destination.name
    function, model = _source(wish, place)
    require_free(destination, force=force)
    draft = _drafted(wish, place, function, model)
    write(draft, destination, force=force)
    return draft


def _drafted(wish: Wish, place: Path, function: Look, model: dict[str, Any]) -> Draft:
    stem = wish.path.stem if wish.path else (wish.factory or "").rpartition(":")[2]
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
    root = work_tree(place.parent)  # which the model's code may import from
    draft = call_alone(LookAtModel(function, draft, place), sandbox=wish.sandbox, root=root)
    draft.note("verify", text="verify: {samples: real.npz}  # real inputs are compared, too: arrays by input name")
    draft.fields["targets"] = {"cpu": {"device": "cpu"}}
    return draft


def _source(wish: Wish, destination: Path) -> tuple[Look, dict[str, Any]]:
    """Which function looks into it, and the spec's ``model``."""
    if wish.path is None and wish.factory is None:
        raise SpecError("nothing to look into", "onnxpack init MODEL, or --from FILE.py:NAME for torch")
    path = _inside(wish.path, destination) if wish.path else ""
    suffix = wish.path.suffix.lower() if wish.path else ""
    if wish.factory is not None:
        return _torch(wish, destination, path, suffix)
    if suffix in STATE_DICTS:
        return "weights_file", {"framework": "torch", "weights": path} | _kwargs(wish)
    if suffix == ".onnx":
        if wish.inputs:
            raise SpecError("an ONNX file tells its inputs itself", "leave --input out")
        return "onnx_file", {"framework": "onnx", "path": path}
    if suffix in PICKLES:
        assert wish.path
        return "sklearn_file", {"framework": "sklearn", "path": path, "sha256": _trusted(wish.path, trust=wish.trust)}
    kinds = f"it takes .onnx, {', '.join((*PICKLES, *STATE_DICTS))}"
    hint = f"for code: --from {wish.path}:NAME" if suffix == ".py" else kinds
    raise SpecError(Problem("its name does not end like a model's", hint, Location(str(wish.path))))


def _torch(wish: Wish, destination: Path, path: str, suffix: str) -> tuple[Look, dict[str, Any]]:
    code, _, name = (wish.factory or "").rpartition(":")
    if not code.endswith(".py") or not name:
        raise SpecError(f"--from {wish.factory}: it names no code", "write --from FILE.py:NAME")
    if path and suffix not in STATE_DICTS:
        raise SpecError(f"'{wish.path}' holds no weights for --from", f"they end in {', '.join(STATE_DICTS)}")
    model = {"framework": "torch", "factory": f"{_inside(Path(code), destination)}:{name}"} | _kwargs(wish)
    return "torch_code", model | ({"weights": path} if path else {})


def _kwargs(wish: Wish) -> dict[str, Any]:
    decoder = Decoder()
    kwargs = decoder.decode(Mapping[str, Any], parse_value(wish.kwargs, Location("--kwargs")), ("kwargs",))
    if decoder.problems:
        raise SpecError(decoder.problems)
    return {"kwargs": kwargs} if kwargs else {}


def _trusted(path: Path, *, trust: bool) -> str:
    """The digest of a file that runs code when it is loaded.

    Raises:
        SpecError: the user has not said that it is trusted.
    """
    digest = file_digest(path)
    if not trust:
        hint = (
            f"its sha256 is {digest}; if you trust who made it, say --trust: it is loaded in a process of its own, "
            "and the spec takes this very file alone"
        )
        raise SpecError(Problem("loading it can run any code in it", hint, Location(str(path))))
    return digest


def _inside(path: Path, destination: Path) -> str:
    """The path as the spec at ``destination`` refers to it.

    Raises:
        SpecError: it is not a regular file inside the spec's project.
    """
    where = Location(str(path))
    if not path.exists():
        raise SpecError(Problem("there is no such file", "check the path", where))
    if not path.is_file():
        raise SpecError(Problem("it is not a regular file", "give the path of a model's file", where))
    root = work_tree(destination.parent)
    if not path.resolve().is_relative_to(root.resolve()):
        hint = f"a spec's files are below {root}: copy it there, or write the spec elsewhere with --output"
        raise SpecError(Problem("a spec there cannot name it", hint, where))
    return os.path.relpath(path.parent.resolve() / path.name, destination.parent)


def _inputs(words: Sequence[str]) -> dict[str, Any]:
    """``x:float32:batch,3,32,32`` as fields of the spec; the fields themselves are checked with the draft."""
    found: dict[str, Any] = {}
    for word in words:
        name, dtype, sizes = [*word.rsplit(":", 2), "", ""][:3]
        if word.count(":") < 2 or name in found:
            problem = "names an input twice" if name in found else "is not NAME:DTYPE:SHAPE"
            raise SpecError(f"--input {word} {problem}", "write --input x:float32:batch,3,32,32 for each input")
        parts = [part.strip() for part in sizes.split(",")] if sizes.strip() else []
        found[name] = {"dtype": dtype, "shape": [int(part) if part.isdecimal() else part for part in parts]}
    return found


def _word(stem: str) -> str:
    """A file's or a class's name as a spec's."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", stem)
    return re.sub(r"[^a-z0-9]+", "-", parted.lower())[:63].strip("-") or "model"
