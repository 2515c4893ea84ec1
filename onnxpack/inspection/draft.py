"""A first spec: its fields, the comments about them, and the file that holds both."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem, SpecError, naming
from onnxpack.core.regular import is_regular
from onnxpack.core.scratch import replace_file, write_whole
from onnxpack.inspection.spelling import UNSET, document
from onnxpack.spec.decode import Decoder
from onnxpack.spec.load import SpecFile, find_work_tree, load
from onnxpack.spec.model import Spec
from onnxpack.spec.yaml_nodes import from_plain

_ORDER = (
    "onnxpack", "name", "version", "model", "inputs", "outputs", "dynamic_axes", "opset", "preprocess",
    "postprocess", "verify", "targets",
)  # fmt: skip
AXIS = {"min": 1, "opt": 8, "max": 64}
"""The sizes that a draft gives an axis about which nothing is known."""


@dataclass
class Draft:
    """A spec that grows while a model is looked into: JSON values, and comments by the field they stand above."""

    fields: dict[str, Any]
    notes: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """The texts of files that the spec names and that are to stand beside it, by name."""

    def note(self, *path: str, text: str) -> None:
        """Add a comment above the field at ``path``."""
        self.notes.setdefault(path, []).append(text)

    def declare_axes(self) -> None:
        """Declare every axis that a shape names and that is not declared yet."""
        axes = self.fields.setdefault("dynamic_axes", {})
        for tensor in self.fields["inputs"].values():
            for name in tensor["shape"]:
                if isinstance(name, str):
                    axes.setdefault(name, dict(AXIS))
        if not axes:
            del self.fields["dynamic_axes"]

    def file(self, destination: Path) -> SpecFile:
        """Return the spec as a value, as if it stood at ``destination``.

        Raises:
            SpecError: a field is wrong.
        """
        decoder = Decoder()
        spec = decoder.decode(Spec, from_plain(self.fields, Location(str(destination))))
        if decoder.problems:
            raise SpecError([Problem(problem.message, problem.hint) for problem in decoder.problems])
        return SpecFile(spec, destination, find_work_tree(destination.parent))

    @property
    def checks(self) -> int:
        """Return how many comments ask the user to check something."""
        return sum(line.startswith("check") for lines in self.notes.values() for line in lines)

    def text(self) -> str:
        """Return the spec's YAML."""
        fields = {key[0]: UNSET for key in self.notes if len(key) == 1} | self.fields
        return document({key: fields[key] for key in _ORDER if key in fields}, self.notes)


def write(draft: Draft, destination: Path, *, force: bool) -> None:
    """Write the spec, whole or not at all, after it was read back as what was meant.

    Raises:
        SpecError: it would not be valid, or something stands there already and ``force`` is not given.
    """
    require_free(destination, force=force)
    with _files_beside(draft, destination.parent, force=force), _beside(destination, draft.text()) as partial:
        try:
            read = load(partial)
        except SpecError as error:
            where = Location(str(destination))
            raise SpecError([Problem(problem.message, problem.hint, where) for problem in error.problems]) from None
        if read.spec != draft.file(partial).spec:
            raise RuntimeError(f"the draft reads back as another spec:\n{draft.text()}")
        if force:
            replace_file(partial, destination)
            return
        try:
            # Unlike a rename, a link never takes the place of a file that came meanwhile.
            destination.hardlink_to(partial)
        except OSError as error:
            # File systems without hard links refuse them in one of these ways.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                require_free(destination, force=force)
                raise
            partial.rename(destination)


@contextlib.contextmanager
def _files_beside(draft: Draft, folder: Path, *, force: bool) -> Iterator[None]:
    """Write the files that stand beside a spec; those that were not there go again if the spec is not written.

    Raises:
        SpecError: another one is there, and ``force`` is not given.
    """
    places = {folder / name: text for name, text in draft.files.items()}
    changed = [place for place, text in places.items() if not is_regular(place) or place.read_bytes() != text.encode()]
    for place in changed:
        require_free(place, force=force)
    new = [place for place in changed if not place.exists()]
    try:
        for place in changed:
            write_whole(place, places[place])
        yield
    except BaseException:  # whatever ended it is raised again: only what was new goes
        for place in new:
            place.unlink(missing_ok=True)
        raise


def require_free(destination: Path, *, force: bool) -> None:
    """Make sure that no file is overwritten unless ``force`` asks for it.

    Raises:
        SpecError: something is there, or no file can be.
    """
    where = Location(str(destination))
    if destination.is_dir():
        raise SpecError(Problem("it is a folder", "give --output the path of a file", where))
    if not destination.parent.is_dir():
        raise SpecError(Problem("its folder does not exist", f"run `mkdir -p {destination.parent}`", where))
    if not force and os.path.lexists(destination):
        raise SpecError(
            Problem("it exists already", "overwrite it with --force, or choose another path with --output", where)
        )


@contextlib.contextmanager
def _beside(destination: Path, text: str) -> Iterator[Path]:
    """Write a hidden file into the destination's folder, so that the spec's relative paths lead to the same files."""
    # A name has at most 255 bytes on the usual file systems, and what is added must fit as well.
    partial = destination.with_name(f".{destination.name[:50]}-{secrets.token_hex(4)}.yaml")
    with naming(destination):  # a read-only disk refuses also to remove what is not there
        try:
            partial.write_text(text, encoding="utf-8")
            yield partial
        finally:
            partial.unlink(missing_ok=True)
