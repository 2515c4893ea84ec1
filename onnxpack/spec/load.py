"""A spec file → a checked ``SpecFile``, or one error that lists every problem."""

import json
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpack.errors import Location, SpecError
from onnxpack.spec.checks import check
from onnxpack.spec.decode import INVALID, Decoder
from onnxpack.spec.decode import Path as FieldPath
from onnxpack.spec.model import Spec
from onnxpack.spec.nodes import from_plain, parse, read_text


@dataclass(frozen=True)
class SpecFile:
    """A valid spec, where it stands, and the folder that its paths may not leave."""

    spec: Spec
    path: Path
    root: Path

    @cached_property
    def folder(self) -> Path:
        """What the spec's paths are relative to."""
        return self.path.parent

    def resolve(self, relative: str) -> Path:
        """A path of the spec as an absolute one."""
        return (self.folder / relative).resolve()

    def to_json(self) -> str:
        """All that a child process needs to have this value again."""
        return json.dumps({"spec": to_plain(self.spec), "path": str(self.path), "root": str(self.root)})

    @classmethod
    def from_json(cls, text: str) -> "SpecFile":
        """The inverse of ``to_json``; the spec was checked before, so only its types are decoded again."""
        data = json.loads(text)
        decoder = Decoder()
        spec = decoder.decode(Spec, from_plain(data["spec"], Location(data["path"])))
        if decoder.problems:
            raise SpecError(decoder.problems)
        return cls(spec, Path(data["path"]), Path(data["root"]))


def load(path: Path) -> SpecFile:
    """Reads, decodes and checks a spec.

    Raises:
        SpecError: with every problem, in the order of the file.
    """
    label = str(path)
    document = parse(read_text(path, label), label)
    decoder = Decoder()
    spec: Spec = decoder.decode(Spec, document)
    problems = decoder.problems
    absolute = path.resolve()
    file = SpecFile(spec, absolute, work_tree(absolute.parent))
    if spec is not INVALID:
        problems = problems + check(spec, file.folder, file.root, places(decoder, label))
    if problems:
        raise SpecError(sorted(problems, key=lambda problem: problem.where or Location(label)))
    return file


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
        }
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value
