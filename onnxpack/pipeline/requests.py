"""Requests as plain values: what a receipt remembers of a build's work, and a later build is compared with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from onnxpack.cache.changes import State, file_state
from onnxpack.cache.trace import Trace
from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest
from onnxpack.pipeline.installation import digest_installation
from onnxpack.spec.load import to_plain
from onnxpack.spec.part import SpecPart
from onnxpack.worker.task import Effort


@dataclass(frozen=True)
class Step:
    """One piece of a build's work: its request, and what its work read besides."""

    name: str
    of: str
    """A word that tells it apart from other steps of its name."""
    request: Any
    """The request as ``Description.tree``."""
    environment: str = ""
    """The key of the packages of an isolated environment."""
    trace: Trace = field(default_factory=Trace)


@dataclass
class Reads:
    """All that a build has read so far, besides what the store and this package hold."""

    steps: list[Step] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """The digests of files, by their absolute paths."""
    states: dict[str, State] = field(default_factory=dict)
    """The states of files that nothing of the build digests, by their absolute paths."""
    installation: str = field(default_factory=digest_installation)
    """What the build runs with, as it was when it began."""
    lasting: bool = True
    """Whether the same build would do nothing: False where a limit of time cut work short, or a file changed."""

    def note(self, step: Step) -> None:
        """Note a step that was done, or whose stored result was taken."""
        self.steps.append(step)

    def note_file(self, path: Path, digest: str) -> None:
        """Note the digest of a file; one that was read with two contents is no input that can be told."""
        if self.files.setdefault(str(path), digest) != digest:
            self.lasting = False

    def note_state(self, path: Path) -> None:
        """Note how a file is before and after it is read, for one that takes long to digest."""
        state = file_state(os.fspath(path))
        if state is None or self.states.setdefault(str(path), state) != state:
            self.lasting = False


@dataclass
class Description:
    """A request as plain values, and the files outside of the store that it names."""

    tree: Any = None
    """Dataclasses are mappings; an artifact is its digest, and so is what is too long to be compared by eye."""
    files: dict[str, str] = field(default_factory=dict)
    """The digests of the files that specs name, by their paths."""
    artifacts: list[Path] = field(default_factory=list)
    """The paths of all artifacts."""


def describe_request(request: Any) -> Description:
    """Return a task, or the request of other work, as plain values.

    Raises:
        OSError: a file that a spec names cannot be read.
    """
    found = Description()
    found.tree = _describe(request, found)
    return found


def _describe(value: Any, found: Description) -> Any:
    if isinstance(value, SpecPart):
        return _describe_part(value, found)
    if isinstance(value, Artifact):
        found.artifacts.append(value.path)
        return {"digest": value.digest}
    if isinstance(value, Effort):
        return None
    if isinstance(value, bytes):
        return {"digest": digest(value.hex())}
    if is_dataclass(value):
        return {one.name: _describe(getattr(value, one.name), found) for one in fields(value)}
    if isinstance(value, Mapping):
        plain = {str(key): _describe(item, found) for key, item in value.items()}
        # The sources of a whole layer: that they changed is said by other steps.
        return {"digest": digest(plain)} if any(isinstance(item, bytes) for item in value.values()) else plain
    if isinstance(value, list | tuple):
        return [_describe(item, found) for item in value]
    return value


def _describe_part(part: SpecPart, found: Description) -> dict[str, Any]:
    place, _, files = part.key_form()
    found.files |= {str(part.file.folder / name): known for name, known in files.items()}
    return {"place": place, "spec": to_plain(part.file.spec), "files": files}
