"""A spec file → a checked ``SpecFile``, or one error that lists every problem."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpack.errors import Location, Problem, SpecError
from onnxpack.redact import redact
from onnxpack.spec.checks import check
from onnxpack.spec.decode import INVALID, MAX_PROBLEMS, Decoder, TooManyProblems
from onnxpack.spec.layers import layered
from onnxpack.spec.model import Spec
from onnxpack.spec.nodes import from_plain, real
from onnxpack.spec.wording import Path as FieldPath


@dataclass(frozen=True)
class SpecFile:
    """A valid spec, where it stands, and the folder that its paths may not leave."""

    spec: Spec
    path: Path
    root: Path
    settings: tuple[str, ...] = ()
    """What the command line set, as it was written but for secrets, which are hidden."""
    fetched: Mapping[str, str] = field(default_factory=dict)
    """Where the files are that the spec names by URL, once they are here."""
    trusted: bool = False
    """The user trusts code of any origin that it names."""
    places: Callable[..., Location] | None = field(default=None, compare=False, repr=False)
    """Where each field stands in the file; not known in a child process."""

    def where(self, *path: str | int) -> Location:
        """The place of a field, for what is found out after the spec was read."""
        return self.places(*path) if self.places else Location(str(self.path))

    @cached_property
    def folder(self) -> Path:
        """What the spec's paths are relative to."""
        return self.path.parent

    def resolve(self, relative: str) -> Path:
        """A path, or a URL that was fetched, of the spec as an absolute path."""
        if relative in self.fetched:
            return Path(self.fetched[relative])
        return (self.folder / relative).resolve()

    def to_json(self) -> str:
        """All that a child process needs to have this value again."""
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
        """The inverse of ``to_json``; the spec was checked before, so only its types are decoded again."""
        data = json.loads(text)
        decoder = Decoder(again=True)
        spec = decoder.decode(Spec, from_plain(data["spec"], Location(data["path"])))
        if decoder.problems:
            raise SpecError(decoder.problems)
        return cls(spec, Path(data["path"]), Path(data["root"]), fetched=data["fetched"], trusted=data["trusted"])


def load(path: Path, settings: tuple[str, ...] = ()) -> SpecFile:
    """Reads, decodes and checks a spec; ``settings`` are ``path.to.field=value``, from the command line.

    Raises:
        SpecError: with every problem (of more than 100, the first), in the order of the file.
    """
    label = str(path)
    absolute = real(path)
    root = work_tree(absolute.parent)
    document = layered(path, root, settings)
    decoder = Decoder()
    try:
        spec: Spec = decoder.decode(Spec, document)
        # What could be read is checked even where something else could not, so that all problems are told at once.
        checked = Spec(**decoder.top) if spec is INVALID else spec
        problems = decoder.problems + check(checked, absolute.parent, root, places(decoder, label))
    except TooManyProblems:
        problems = decoder.problems
    if problems:
        problems = sorted(problems, key=lambda problem: problem.where or Location(label))
        if len(problems) > MAX_PROBLEMS:
            more = Problem(f"it has more than {MAX_PROBLEMS} problems", "mend these first", Location(label))
            problems = [*problems[:MAX_PROBLEMS], more]
        raise SpecError(problems)
    told = tuple(redact(setting) for setting in settings)
    return SpecFile(spec, absolute, root, told, places=places(decoder, label))


def places(decoder: Decoder, label: str) -> Any:
    """A lookup: the place of a field, or of the nearest thing around it that stands in the file."""

    def where(*path: str | int) -> Location:
        found: FieldPath = path
        while found and found not in decoder.places:
            found = found[:-1]
        return decoder.places.get(found, Location(label))

    return where


def work_tree(folder: Path) -> Path:
    """The root of the Git work tree around ``folder``, else the folder itself."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder


def to_plain(value: Any) -> Any:
    """A spec, or a part of one, as JSON values without what is left at its default: the canonical form for keys."""
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
