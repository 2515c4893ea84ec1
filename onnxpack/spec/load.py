"""Loading of a spec file: read, decode and check it, or raise one error that lists every problem."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.redact import redact
from onnxpack.spec.checks import check
from onnxpack.spec.decode import INVALID, MAX_PROBLEMS, Decoder, TooManyProblems
from onnxpack.spec.layers import load_layers
from onnxpack.spec.messages import Path as FieldPath
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.model import Spec
from onnxpack.spec.text_rules import fill_token_inputs
from onnxpack.spec.yaml_nodes import from_plain, resolve_links


@dataclass(frozen=True)
class SpecFile:
    """A valid spec with its file, and the folder that its paths may not leave."""

    spec: Spec
    path: Path
    root: Path
    settings: tuple[str, ...] = ()
    """The settings of the command line, with secrets hidden."""
    fetched: Mapping[str, str] = field(default_factory=dict)
    """Maps the URLs in the spec to the files that were downloaded from them."""
    trusted: bool = False
    """Whether the user trusts code of any origin that the spec names."""
    layers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The SHA-256 of each file that it was read from, what it extends included, by the path."""
    places: Callable[..., Location] | None = field(default=None, compare=False, repr=False)
    """Gives the place of a field in its file; None in a child process, where it is not known."""

    def where(self, *path: str | int) -> Location:
        """Return the place of a field, for problems that are found after the spec was read."""
        return self.places(*path) if self.places else Location(str(self.path))

    @cached_property
    def folder(self) -> Path:
        """Return the folder that the spec's paths are relative to."""
        return self.path.parent

    def resolve(self, relative: str) -> Path:
        """Return the absolute path of a path in the spec, or of a URL that was downloaded."""
        if relative in self.fetched:
            return Path(self.fetched[relative])
        return (self.folder / relative).resolve()

    def to_json(self) -> str:
        """Return this value as JSON, for a child process."""
        whole = {
            "spec": to_plain(self.spec),
            "path": str(self.path),
            "root": str(self.root),
            "fetched": self.fetched,
            "trusted": self.trusted,
        }
        return json.dumps(whole)

    @classmethod
    def from_json(cls, text: str) -> "SpecFile":
        """Make the value again from ``to_json``; the spec was checked before, so only its types are decoded."""
        data = json.loads(text)
        decoder = Decoder(of_json=True)
        spec = decoder.decode(Spec, from_plain(data["spec"], Location(data["path"])))
        if decoder.problems:
            raise SpecError(decoder.problems)
        return cls(spec, Path(data["path"]), Path(data["root"]), fetched=data["fetched"], trusted=data["trusted"])


def load(path: Path, settings: tuple[str, ...] = ()) -> SpecFile:
    """Read, decode and check a spec; ``settings`` are ``path.to.field=value``, from the command line.

    Raises:
        SpecError: with every problem (of more than 100, the first), in the order of the file.
    """
    label = str(path)
    absolute = resolve_links(path)
    root = find_work_tree(absolute.parent)
    layers = load_layers(path, root, settings)
    decoder = Decoder()
    try:
        spec: Spec = decoder.decode(Spec, layers.document)
        # What could be read is checked even where something else could not, so that all problems are told at once.
        checked = Spec(**decoder.top) if spec is INVALID else spec
        problems = decoder.problems + check(checked, absolute.parent, root, make_lookup(decoder, label))
    except TooManyProblems:
        problems = decoder.problems
    if problems:
        problems = sorted(problems, key=lambda problem: problem.where or Location(label))
        if len(problems) > MAX_PROBLEMS:
            more = Problem(f"it has more than {MAX_PROBLEMS} problems", "correct these first", Location(label))
            problems = [*problems[:MAX_PROBLEMS], more]
        raise SpecError(problems)
    told = tuple(redact(setting) for setting in settings)
    spec = fill_token_inputs(spec, absolute.parent)
    return SpecFile(spec, absolute, root, told, layers=layers.files, places=make_lookup(decoder, label))


def load_alone(path: Path, root: Path) -> Spec:
    """Read and decode a spec without a look at the files that it names: those of an old revision are not here.

    Raises:
        SpecError: a field is not valid by itself.
    """
    decoder = Decoder()
    spec: Spec = decoder.decode(Spec, load_layers(path, root, ()).document)
    if decoder.problems:
        raise SpecError(decoder.problems)
    return spec


def choose_targets(file: SpecFile, names: Iterable[str]) -> tuple[str, ...]:
    """Return the targets ``names`` of a spec, or all of them where none is named.

    Raises:
        SpecError: the spec has no target of such a name.
    """
    chosen = tuple(names)
    known = file.spec.targets
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SpecError(
            [
                Problem(f"there is no target '{name}'", suggest_closest(name, known), file.where("targets"))
                for name in unknown
            ]
        )
    return chosen or tuple(known)


def make_lookup(decoder: Decoder, label: str) -> Any:
    """Return a function that gives the place of a field, or of the nearest field around it that the file has."""

    def where(*path: str | int) -> Location:
        found: FieldPath = path
        while found and found not in decoder.places:
            found = found[:-1]
        return decoder.places.get(found, Location(label))

    return where


def find_work_tree(folder: Path) -> Path:
    """Return the root of the Git work tree around ``folder``, or else the folder itself."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder


def to_plain(value: Any) -> Any:
    """Return a spec, or a part of one, as JSON values without defaults: the canonical form for keys."""
    if is_dataclass(value):
        return {
            definition.name: to_plain(item)
            for definition in fields(value)
            if (item := getattr(value, definition.name)) is not None
            and not (definition.default is not MISSING and item == definition.default)
            and not (definition.default_factory is not MISSING and item == definition.default_factory())
        }
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value
