"""Places in a lock's file, by the keys that lead there."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from onnxpack.core.errors import Location, Problem
from onnxpack.core.text import clean


class Places:
    """The lines of a lock, as ``onnxpack.bundle.lock_file`` writes them: one deeper key, one more space."""

    def __init__(self, text: str, shown: Path) -> None:
        """Take the text of the lock that a user calls ``shown``."""
        self._lines = text.splitlines()
        self._shown = str(shown)

    def find(self, *keys: str) -> Location:
        """Return the place of the last of the keys that is there, each inside the one before it."""
        found, start = Location(self._shown), 0
        for depth, key in enumerate(keys, 1):
            head, closing = f'{" " * depth}"{key}":', " " * (depth - 1) + "}"
            for number in range(start, len(self._lines)):
                if self._lines[number].startswith(head):
                    found, start = Location(self._shown, number + 1, depth + 1), number + 1
                    break
                if number > start and self._lines[number].startswith(closing):
                    return found
            else:
                return found
        return found

    def compare_writing(self, written: str) -> Iterator[Problem]:
        """Yield the first line that is not as ``onnxpack lock`` writes it, as those of a merge by hand are."""
        for number, (here, right) in enumerate(zip_longest(self._lines, written.splitlines()), 1):
            if here != right:
                text = f"it is not written as `onnxpack lock` writes it: {clean(here or '', 80) or 'a line'}"
                yield Problem(text, where=Location(self._shown, number, 1))
                return
