"""Tells by Git alone which specs the changes since a revision touch; no store and no build is needed."""

import os
from collections.abc import Iterator
from pathlib import Path

from onnxpack.bundle.lock import lock_path
from onnxpack.core.errors import EngineError, Problem, SpecError
from onnxpack.core.git import run_git
from onnxpack.core.text import clean
from onnxpack.pipeline.receipts import Receipt
from onnxpack.spec.load import SpecFile
from onnxpack.spec.messages import shorten
from onnxpack.spec.part import list_named_files


class Changes:
    """The files that differ between a revision and the work tree, what is not committed included."""

    def __init__(self, revision: str, folder: Path) -> None:
        """Ask Git about the work tree around ``folder``.

        Raises:
            SpecError: there is no such revision here.
            EngineError: there is no work tree, or Git fails.
        """
        self.root = Path(_ask(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
        commit = _find_commit(revision, self.root)
        differing = _ask(self.root, "diff", "--name-only", "--no-renames", "-z", commit, "--")
        untracked = _ask(self.root, "ls-files", "--others", "--exclude-standard", "-z")
        names = filter(None, f"{differing}{untracked}".split("\0"))
        self.files = {os.path.realpath(self.root / name): name for name in names}

    def find(self, file: SpecFile, receipt: Receipt | None) -> tuple[str, ...]:
        """Return the files that touch a spec, by what it and its lock name, and by what its last build had read."""
        known = {*file.layers, str(file.path), str(lock_path(file.path))}
        known |= {str(file.folder / name) for name in list_named_files(file)}
        if receipt:
            known |= {one.path for one in receipt.files}
        found = {self.files[real] for path in known if (real := os.path.realpath(path)) in self.files}
        return tuple(sorted(found | set(self._find_in_folders(receipt))))

    def find_file(self, spec: Path) -> tuple[str, ...]:
        """Return the same for a spec that cannot be read: its own file and its lock."""
        places = (os.path.realpath(path) for path in (spec, lock_path(spec)))
        return tuple(self.files[place] for place in places if place in self.files)

    def _find_in_folders(self, receipt: Receipt | None) -> Iterator[str]:
        """Yield the files that came into, or went from, a folder that the last build had listed."""
        folders = {os.path.realpath(Path(receipt.root, name)) for name in receipt.folders} if receipt else set()
        yield from (name for place, name in self.files.items() if os.path.dirname(place) in folders)  # noqa: PTH120


def _find_commit(revision: str, root: Path) -> str:
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    status, out, _ = run_git(*asked, folder=root)
    if status == 0:
        return out.decode().strip()
    shown = clean(shorten(revision))
    shallow = _ask(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    hint = "correct it: `git branch -a` and `git tag` list what there is"
    if shallow:
        hint = f"this clone is shallow: fetch it first, `git fetch --depth=1 origin {shown}`, and name it FETCH_HEAD"
    raise SpecError(Problem(f"there is no revision '{shown}' in this clone", hint))


def _ask(folder: Path, *arguments: str) -> str:
    status, out, words = run_git(*arguments, folder=folder)
    if status:
        raise EngineError(
            f"Git cannot say what changed in '{folder}'", "run this in a Git work tree", words.strip()[-500:]
        )
    return os.fsdecode(out)
