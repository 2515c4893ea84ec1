"""The part of a spec that a task is given: the fields that it names, and nothing else of the file."""

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, final, get_args, get_type_hints

from onnxpack.cache.remembered import digest_large_file
from onnxpack.spec.field_types import CodeReference, FilePath
from onnxpack.spec.load import SpecFile, to_plain
from onnxpack.spec.model import Model, Spec
from onnxpack.spec.origin import find_code_file, find_data_file, is_url
from onnxpack.spec.parts import name_folder_parts
from onnxpack.spec.traits import frameworks

_IDENTITY = ("onnxpack", "name", "inputs")
"""Fields without a default; ``name`` never counts, and inputs count always."""
_PATH, _CODE = (get_args(kind)[1] for kind in (FilePath, CodeReference))
"""The constraints in the annotations of fields that name files and code, by which such fields are found."""


@final
class SpecPart:
    """A spec of which only the named fields are left; every other field is at its default.

    A task that reads a field which it did not name finds the default, at every build alike: no result can depend on it.
    """

    __slots__ = ("file",)

    def __init__(self, file: SpecFile) -> None:
        self.file = file

    @classmethod
    def of(cls, file: SpecFile, *names: str) -> "SpecPart":
        """Keep the fields ``names`` of a spec, and its inputs."""
        changes: dict[str, Any] = {"name": "part"}
        for field in fields(Spec):
            if field.name in (*names, *_IDENTITY):
                continue
            if field.name == "model":  # it has no default: only its framework is left
                changes["model"] = Model(framework=file.spec.model.framework)
            elif field.default is not MISSING:
                changes[field.name] = field.default
            elif field.default_factory is not MISSING:
                changes[field.name] = field.default_factory()
        narrowed = replace(file.spec, **changes)
        named = {name for _, name in iterate_sources(narrowed)}
        kept = {url: place for url, place in file.fetched.items() if url in named}
        return cls(replace(file, spec=narrowed, settings=(), fetched=kept, places=None))

    def key_form(self) -> Any:
        """Return what a key is made of: the fields, the spec's place in its work tree, and the digests of its files.

        The file of a URL is represented by the spec's own ``sha256``.
        """
        place = self.file.path.parent.relative_to(self.file.root).as_posix()
        return [
            place,
            to_plain(self.file.spec),
            {name: self._digest(name) for name in list_named_files(self.file)},
        ]

    def to_json(self) -> str:
        """Return this value as JSON, for a child process."""
        return self.file.to_json()

    @classmethod
    def from_json(cls, text: str) -> "SpecPart":
        """Make the value again from ``to_json``."""
        return cls(SpecFile.from_json(text))

    def _digest(self, name: str) -> str:
        path = self.file.resolve(name)
        return digest_large_file(path) if path.is_file() else "absent"

    def __repr__(self) -> str:
        return f"SpecPart({self.file.path})"


def list_named_files(file: SpecFile) -> tuple[str, ...]:
    """Return the paths of the files that a spec names as models, data or code, found by its fields' annotations."""
    return tuple(dict.fromkeys(name for _, name in iterate_files(file) if not is_url(name)))


def iterate_files(file: SpecFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what ``iterate_sources`` does, and for a model's folder the files that it may have."""
    names = frameworks()[file.spec.model.framework].folder
    for place, name in iterate_sources(file.spec):
        if names and place == ("model", "path") and not is_url(name):
            yield from ((place, part) for part in name_folder_parts(file.folder / name, name, names))
        else:
            yield place, name


@cache
def _find_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def iterate_sources(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every path and URL that a field names, at any depth of the spec, behind the place of that field."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = _find_hints(type(value))
        for field in fields(value):
            item = getattr(value, field.name)
            if not isinstance(item, str):
                yield from iterate_sources(item, (*place, field.name))
            elif name := _find_file(item, hints[field.name]):
                yield (*place, field.name), name
    elif isinstance(value, dict | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from iterate_sources(item, (*place, key))


def _find_file(text: str, annotation: Any) -> str | None:
    if _has_mark(annotation, _PATH):
        return find_data_file(text)
    return find_code_file(text) if _has_mark(annotation, _CODE) else None


def _has_mark(annotation: Any, mark: Any) -> bool:
    return annotation == mark or any(_has_mark(part, mark) for part in get_args(annotation))
