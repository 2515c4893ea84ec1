"""Reads a spec and its lock as they were in a revision of a Git repository, and no file that the spec names."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.bundle.lock import Lock, lock_path, parse
from onnxpack.core.errors import EngineError, Location, Problem, SpecError
from onnxpack.core.git import run_git
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.spec.load import load_alone
from onnxpack.spec.model import Spec
from onnxpack.spec.yaml_nodes import Scalar, decode_text
from onnxpack.spec.yaml_nodes import parse as parse_yaml

_REVISION = re.compile(r"(?P<revision>[^-:\s][^:\s]{0,199}):(?P<path>[^:\0]{1,1000}\.ya?ml)")
_LIMIT = 16 * 2**20  # bytes of one file
_MAX_LAYERS = 20


@dataclass(frozen=True)
class Committed:
    """A spec as it was in a revision; ``lock`` is None where there was no lock, or one that cannot be read any more."""

    spec: Spec
    lock: Lock | None
    notes: tuple[str, ...] = ()


def split_revision(argument: str) -> tuple[str, str] | None:
    """Return the revision and the path of ``REV:path/spec.yaml``; None for anything else."""
    found = _REVISION.fullmatch(argument)
    return (found["revision"], found["path"]) if found and not Path(argument).exists() else None


def read_committed(revision: str, path: str) -> Committed:
    """Read a spec, what it extends, and its lock, from the repository around the working folder.

    Raises:
        SpecError: there is no such revision or file, or it is no spec.
        EngineError: Git is not there, or fails.
    """
    commit = _find_commit(revision)
    path = _normalise(path)
    with make_temporary_folder() as folder:
        for name, data in _read_layers(commit, path, f"{revision}:{path}"):
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        try:
            spec = load_alone(folder / path, folder)
        except SpecError as error:
            raise SpecError([_relocate(problem, folder, revision) for problem in error.problems]) from None
    lock, notes = _read_lock(commit, lock_path(Path(path)).as_posix(), revision)
    return Committed(spec, lock, notes)


def _find_commit(revision: str) -> str:
    status, out, words = run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if status and words:  # it is quiet about a revision that is not there
        text = f"Git cannot look for the revision '{revision}' here"
        raise SpecError(text, "run this in the repository; see its words below", words)
    if status:
        hint = (
            "see `git log`; a shallow clone gets more by `git fetch --unshallow` or `git fetch --depth 1 origin COMMIT`"
        )
        raise SpecError(f"this repository has no revision '{revision}'", hint)
    return out.decode().strip()


def _normalise(path: str) -> str:
    """Return a path from the repository's root; one that begins with a dot is from here, as Git has it."""
    if not path.startswith(("./", "../")):
        return posixpath.normpath(path)
    _, out, _ = run_git("rev-parse", "--show-prefix")
    return posixpath.normpath(posixpath.join(out.decode().strip(), path))


def _read_layers(commit: str, path: str, label: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a spec, its own first: what it extends is needed to know its fields."""
    for _ in range(_MAX_LAYERS):
        data = _read_file(commit, path)
        if data is None:
            hint = "check the path, which is from the repository's root"
            raise SpecError(Problem(f"that revision has no file '{path}'", hint, Location(label)))
        yield path, data
        pairs = parse_yaml(decode_text(data, label), label).pairs
        base = next((value.text for key, value in pairs if key.text == "extends" and isinstance(value, Scalar)), None)
        if not base:
            return
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), base))
        if path.startswith(("..", "/")):
            text = f"it extends '{base}', which is outside the repository"
            raise SpecError(Problem(text, "choose another revision", Location(label)))


def _read_lock(commit: str, path: str, revision: str) -> tuple[Lock | None, tuple[str, ...]]:
    data = _read_file(commit, path)
    if data is None:
        return None, (f"{revision} has no {path}",)
    try:
        return parse(data), ()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None, (f"{revision}:{path} is a lock of another version of onnxpack, and is not compared",)


def _read_file(commit: str, path: str) -> bytes | None:
    """Return a file of a commit, through no link; None if there is none.

    Raises:
        EngineError: Git cannot read it, or it is too large.
    """
    status, out, _ = run_git("ls-tree", "-z", "-l", "--full-tree", commit, "--", path)
    found = re.fullmatch(rb"100\d{3} blob ([0-9a-f]+) +(\d+)\t[^\0]*\0", out) if status == 0 else None
    if not found:
        return None
    if int(found[2]) > _LIMIT:
        raise EngineError(f"'{path}' has more than {_LIMIT} bytes in that revision", "give the path of a spec")
    status, data, words = run_git("cat-file", "blob", found[1].decode())
    if status:
        raise EngineError(f"Git cannot read '{path}' of that revision", "see its words below", words)
    return data


def _relocate(problem: Problem, folder: Path, revision: str) -> Problem:
    """Return a problem in a file that was copied out with its place in the revision."""
    where = problem.where
    if where is None or not where.file.startswith(f"{folder}/"):
        return problem
    return replace(problem, where=replace(where, file=f"{revision}:{where.file.removeprefix(f'{folder}/')}"))
