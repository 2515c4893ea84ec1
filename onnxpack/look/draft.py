"""A first spec: fields, what is to be said about them, and the file that holds both."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxpack.errors import Location, Problem, SpecError, naming
from onnxpack.look.spelling import UNSET, document
from onnxpack.scratch import replace_file
from onnxpack.spec.decode import Decoder
from onnxpack.spec.load import SpecFile, load, work_tree
from onnxpack.spec.model import Spec
from onnxpack.spec.nodes import from_plain

_ORDER = (
    "onnxpack", "name", "version", "model", "inputs", "outputs", "dynamic_axes", "opset", "verify", "targets",
)  # fmt: skip
AXIS = {"min": 1, "opt": 8, "max": 64}
"""Of an axis about which nothing is known."""


@dataclass
class Draft:
    """A spec that grows while a model is looked into: JSON values, and comments by the field they stand above."""

    fields: dict[str, Any]
    notes: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def note(self, *path: str, text: str) -> None:
        """Adds a comment above the field at ``path``."""
        self.notes.setdefault(path, []).append(text)

    def declare_axes(self) -> None:
        """Declares every name in a shape that is not declared yet."""
        axes = self.fields.setdefault("dynamic_axes", {})
        for tensor in self.fields["inputs"].values():
            for name in tensor["shape"]:
                if isinstance(name, str):
                    axes.setdefault(name, dict(AXIS))
        if not axes:
            del self.fields["dynamic_axes"]

    def file(self, destination: Path) -> SpecFile:
        """The spec as a value, as if it stood at ``destination``.

        Raises:
            SpecError: a field is wrong.
        """
        decoder = Decoder()
        spec = decoder.decode(Spec, from_plain(self.fields, Location(str(destination))))
        if decoder.problems:
            raise SpecError([Problem(problem.message, problem.hint) for problem in decoder.problems])
        return SpecFile(spec, destination, work_tree(destination.parent))

    @property
    def checks(self) -> int:
        """How many comments ask the user to look."""
        return sum(line.startswith("check") for lines in self.notes.values() for line in lines)

    def text(self) -> str:
        """The spec's YAML."""
        fields = {key[0]: UNSET for key in self.notes if len(key) == 1} | self.fields
        return document({key: fields[key] for key in _ORDER if key in fields}, self.notes)


def write(draft: Draft, destination: Path, *, force: bool) -> None:
    """Writes the spec, whole or not at all, after it was read back as what was meant.

    Raises:
        SpecError: it would not be valid, or something stands there already and ``force`` is not given.
    """
    require_free(destination, force=force)
    with _beside(destination, draft.text()) as partial:
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
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                require_free(destination, force=force)
                raise
            partial.rename(destination)


def require_free(destination: Path, *, force: bool) -> None:
    """Nothing may be overwritten unless that is asked for.

    Raises:
        SpecError: something is there, or no file can be.
    """
    where = Location(str(destination))
    if destination.is_dir():
        raise SpecError(Problem("it is a folder", "name the file to write", where))
    if not destination.parent.is_dir():
        raise SpecError(Problem("its folder does not exist", f"mkdir -p {destination.parent}", where))
    if not force and os.path.lexists(destination):
        raise SpecError(Problem("it exists already", "--force overwrites it, --output names another", where))


@contextlib.contextmanager
def _beside(destination: Path, text: str) -> Iterator[Path]:
    """A hidden file in the destination's folder, so that the spec's relative paths lead where they will."""
    partial = destination.with_name(f".{destination.name[:50]}-{secrets.token_hex(4)}.yaml")
    with naming(destination):  # a read-only disk refuses also to remove what is not there
        try:
            partial.write_text(text, encoding="utf-8")
            yield partial
        finally:
            partial.unlink(missing_ok=True)
