"""Looks for the targets that a build would leave as they are, by their receipts alone."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from onnxpack.cache.store import Store
from onnxpack.core.errors import OnnxpackError
from onnxpack.pipeline.present import Present
from onnxpack.pipeline.receipts import Asked, Receipt, find_outline, find_unchanged, renew


class Unchanged:
    """The targets of many specs, as they are at one moment: once something was built, ``forget`` is to be called."""

    def __init__(self, store: Store, ask: Callable[[str], Asked]) -> None:
        """``ask`` gives what is asked of a spec, whose absolute path with links followed it is given."""
        self._store = store
        self._ask = ask
        self._present: Present | None = None

    def forget(self) -> None:
        """Look at folders and images anew from here on."""
        self._present = None

    def ask(self, spec: Path) -> Asked:
        """Return what is asked of a spec."""
        return self._ask(os.path.realpath(spec))

    def list_targets(self, spec: Path) -> tuple[str, ...] | None:
        """Return the targets of a spec without reading it; None where it would read otherwise than it did."""
        asked = self.ask(spec)
        outline = find_outline(self._store, asked, self._look(asked))
        return outline.targets if outline else None

    def find_all(self, spec: Path, targets: Iterable[str]) -> tuple[Receipt, ...] | None:
        """Return the receipts of those ``targets`` of a spec, or else of all of them, if nothing of any changed."""
        known = self.list_targets(spec)
        chosen = tuple(targets) or known
        if known is None or not chosen or not set(chosen) <= set(known):
            return None
        found = []
        for target in chosen:
            receipt = self.find(spec, target)
            if receipt is None:
                return None
            found.append(receipt)
        return tuple(found)

    def find(self, spec: Path, target: str) -> Receipt | None:
        """Return the receipt of a target if nothing of it changed, and all that it was pushed to has its image."""
        asked = self.ask(spec)
        receipt = find_unchanged(self._store, asked, target, self._look(asked))
        if receipt is None or (asked.push and not _is_pushed(receipt)):
            return None
        renew(self._store, asked, receipt)
        return receipt

    def _look(self, asked: Asked) -> Present:
        if self._present is None:
            self._present = Present(asked.engine)
        return self._present


def _is_pushed(receipt: Receipt) -> bool:
    """Ask the registry; a push tells what is wrong with it, or mends it."""
    from onnxpack.image.deliver import is_pushed  # a client of HTTP, which takes a while to import

    try:
        return receipt.pushed is not None and is_pushed(receipt.pushed.partition("@")[2], receipt.references)
    except OnnxpackError:
        return False
