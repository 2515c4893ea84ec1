"""Bring the digests of builds' images into manifests that are there, and change nothing else in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.regular import read_regular
from onnxpack.deploy.builds import Build
from onnxpack.deploy.files import LARGEST, replace_contents
from onnxpack.deploy.names import make_name
from onnxpack.deploy.places import Edit, Place, apply_edits, find_edits
from onnxpack.oci.reference import ImageReference, parse_reference

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Released:
    """A build, and its image in the registry by digest."""

    build: Build
    image: ImageReference

    @property
    def shown(self) -> ImageReference:
        """Return the image with the tag of its version, for values that know no digest."""
        tag = parse_reference(self.build.serving.image).tag
        return ImageReference(self.image.registry, self.image.repository, tag, self.image.digest)

    def is_meant(self, names: frozenset[str], tag: str) -> bool:
        """Return whether names, or the tag that is there so far, say that a place is for this build's target."""
        return self._are_of(self.build.target, names, tag)

    def is_other(self, names: frozenset[str], tag: str) -> bool:
        """Return whether they say that it is for another target of its spec."""
        return any(self._are_of(target, names, tag) for target in self.build.serving.other_targets)

    def _are_of(self, target: str, names: frozenset[str], tag: str) -> bool:
        return make_name(f"{self.build.name}-{target}") in names or tag.endswith(f"-{target}")


@dataclass(frozen=True)
class Updated:
    """A file with its new text, and what is new in it."""

    path: Path
    text: str
    edits: tuple[Edit, ...]


@dataclass
class Update:
    """What is to be changed below some paths."""

    files: list[Updated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was left out, in words."""


def find_updates(paths: Sequence[Path], released: Sequence[Released]) -> Update:
    """Return what is to be changed in files, and in the YAML files of folders, for the images of builds.

    Raises:
        SpecError: a file cannot be read, an image is in none of them, or nobody can tell which target is meant.
    """
    update, seen, problems = Update(), set[int](), list[Problem]()
    for path in _list_files(paths):
        text = _read(path)
        if not any(one.image.repository.rpartition("/")[2] in text for one in released):
            continue
        chooser = _Chooser(released, path, seen, problems)
        try:
            edits = find_edits(text, chooser)
        except (yaml.YAMLError, RecursionError):
            update.notes.append(f"{path} is left as it is: it is not YAML")
            continue
        if edits:
            update.files.append(Updated(path, apply_edits(text, edits), tuple(edits)))
    missing = [one for number, one in enumerate(released) if number not in seen]
    where = ", ".join(map(str, paths))
    hint = "make its manifests first: `onnxpack manifests … --format kustomize --output DIR`; or check the path"
    problems += [Problem(f"{one.build.label}: nothing in {where} names {one.image.name}", hint) for one in missing]
    if problems:
        raise SpecError(problems)
    return update


def write_updates(update: Update) -> None:
    """Let the changed files take the places of the old ones, each whole."""
    for file in update.files:
        replace_contents(file.path, [file.text.encode()])


@dataclass
class _Chooser:
    """Chooses the build whose image belongs at a place of a file."""

    released: Sequence[Released]
    path: Path
    seen: set[int]
    """The indexes of the builds that have a place."""
    problems: list[Problem]

    def __call__(self, place: Place) -> ImageReference | None:
        """Return the image for a place; None of somebody else's."""
        same = [number for number, one in enumerate(self.released) if one.image.name == place.reference.name]
        if not same:
            return None
        if len(same) == 1 and not self.released[same[0]].build.serving.other_targets:
            return self._take(same[0])
        tag = place.reference.tag or ""
        # What stands in the file says more than the folder that it lies in.
        for names, old in ((place.names, tag), (frozenset(self.path.absolute().parts), "")):
            for number in same:
                if self.released[number].is_meant(names, old):
                    return self._take(number)
            if any(self.released[number].is_other(names, old) for number in same):
                return None
        one = self.released[same[0]]
        hint = f"say it by a name, a label app.kubernetes.io/instance, or a folder: {one.build.resource}"
        words = f"{place.reference.name} is of several targets, and nothing here says which one is meant"
        self.problems.append(Problem(words, hint, Location(str(self.path), place.line, 1)))
        return None

    def _take(self, number: int) -> ImageReference:
        self.seen.add(number)
        return self.released[number].shown


def _list_files(paths: Sequence[Path]) -> Iterator[Path]:
    """List files, and the YAML files of folders, each once; hidden folders and links are left out."""
    known: set[Path] = set()
    for path in paths:
        found = sorted(_walk(path)) if path.is_dir() else [path]
        for file in found:
            if file.absolute() not in known:
                known.add(file.absolute())
                yield file


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if path.suffix in _SUFFIXES and not path.is_symlink():
                yield path


def _read(path: Path) -> str:
    """Return a file's text, its line ends included.

    Raises:
        SpecError: it cannot be read, or is no text.
    """
    try:
        return read_regular(path, LARGEST).decode()
    except OSError as error:
        raise SpecError(Problem(f"cannot read it: {error.strerror}", "check the path", Location(str(path)))) from None
    except UnicodeDecodeError:
        raise SpecError(Problem("it is not text in UTF-8", "name YAML files", Location(str(path)))) from None
