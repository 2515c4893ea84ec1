"""Forecasts what a build of a target would do: nothing, or which stages, why, and what clients will notice."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.cache.store import Store
from onnxpack.pipeline.present import Present
from onnxpack.pipeline.receipts import Asked, Receipt, find_change, find_last_receipt, find_outline

NOTHING, CHANGED, NEW, FAILED, TOUCHED = "unchanged", "changed", "new", "failed", "touched"
"""What a target is: as its last build left it; changed since; never built here; known to fail; touched, by Git."""


@dataclass(frozen=True)
class StageForecast:
    """What a build would do in one stage: ``unchanged``, ``runs``, ``follows`` or ``fails``, and why."""

    stage: str
    status: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Effect:
    """What clients of an image will notice, known before the build."""

    words: str
    breaking: bool


@dataclass(frozen=True)
class Forecast:
    """What a build of one target would do."""

    spec: str
    """The spec's path, as it was given."""
    name: str
    target: str
    status: str
    reasons: tuple[str, ...] = ()
    """Why, where no single stage says it."""
    stages: tuple[StageForecast, ...] = ()
    effects: tuple[Effect, ...] = ()

    @property
    def is_due(self) -> bool:
        """Return whether a build would do something."""
        return self.status != NOTHING


@dataclass
class Forecaster:
    """Looks at many specs, at one moment."""

    store: Store
    settings: tuple[str, ...] = ()
    trust: bool = False
    _present: dict[str, Present] = field(default_factory=dict)

    def forecast(self, path: Path, targets: tuple[str, ...]) -> Iterator[Forecast]:
        """Yield the forecast of each target of a spec; nothing is read of one of which nothing changed.

        Raises:
            SpecError: the spec is not valid, or has no such target.
        """
        known = self._list_targets(path)
        chosen = targets or known
        if known and chosen and set(chosen) <= set(known):
            found = [self._pass_over(path, target) for target in chosen]
            if all(found):
                yield from (one for one in found if one)
                return
        from onnxpack.pipeline.forecast_changes import forecast_changes

        yield from forecast_changes(self, path, targets)

    def find_receipt(self, path: Path, target: str) -> Receipt | None:
        """Return the receipt of the last build of a target."""
        return find_last_receipt(self.store, os.path.realpath(path), target)

    def look(self, asked: Asked) -> Present:
        """Return what is here, by the engine that a build uses."""
        return self._present.setdefault(asked.engine, Present(asked.engine))

    def ask(self, path: Path) -> Asked:
        """Return what a spec is asked that was never built."""
        return Asked(os.path.realpath(path), str(Path("dist").absolute()), self.settings, self.trust)

    def compare(self, receipt: Receipt) -> str | None:
        """Return the first thing that changed since the build of a receipt; None if nothing has."""
        if receipt.asked.settings != self.settings:
            return "other settings"
        return find_change(receipt, self.look(receipt.asked))

    def _list_targets(self, path: Path) -> tuple[str, ...] | None:
        asked = self.ask(path)
        outline = find_outline(self.store, asked, self.look(asked))
        return outline.targets if outline else None

    def _pass_over(self, path: Path, target: str) -> Forecast | None:
        receipt = self.find_receipt(path, target)
        if receipt is None or self.compare(receipt):
            return None
        return Forecast(str(path), receipt.name, target, NOTHING)
