"""Compares the facts of two builds: what both know is compared, what one lacks is said."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from onnxpack.comparison.facts import Facts, Section, Value
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.inspection.signature import Change, compare_signatures


@dataclass(frozen=True)
class Kind:
    """How a section of facts is compared.

    Attributes:
        name: the section's name, as people read it too.
        measured: whether the values differ from build to build by themselves.
        whole: whether a name that is missing is known to be absent; else it is not known.
    """

    name: str
    measured: bool = False
    whole: bool = False


KINDS = (
    Kind("spec", whole=True),
    Kind("files", whole=True),
    Kind("build"),
    Kind("model"),
    Kind("operators", whole=True),
    Kind("weights", whole=True),
    Kind("agreement", measured=True),
    Kind("score", measured=True),
    Kind("image"),
    Kind("layers", whole=True),
    Kind("base"),
    Kind("packages", whole=True),
    Kind("left out", whole=True),
    Kind("gates", whole=True),
    Kind("labels", whole=True),
    Kind("speed", measured=True),
    Kind("load", measured=True),
    Kind("tools", whole=True),
)
"""All sections, in the order in which they are shown."""
_IN_SPEC = ("gates", "model")
"""What two specs say field by field already."""
SIGNATURE = "inputs and outputs"


@dataclass(frozen=True)
class Difference:
    """One value that differs; None on the side that has none."""

    section: str
    name: str
    old: Value | None
    new: Value | None
    measured: bool = False
    """Whether it differs from build to build by itself, as a time does."""

    @property
    def relative(self) -> float | None:
        """Return by which share of the old value the new one is greater, if both are numbers."""
        old, new = self.old, self.new
        if not isinstance(old, int | float) or not isinstance(new, int | float) or not old:
            return None
        found = new / old - 1
        return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Result:
    """All that a comparison found."""

    old: Facts
    new: Facts
    changes: tuple[Change, ...]
    """The changes of what the model takes and gives."""
    differences: tuple[Difference, ...]
    missing: tuple[tuple[str, str], ...]
    """The place of a side, and the section that the other one has and this one lacks."""

    @property
    def breaking(self) -> tuple[Change, ...]:
        """Return the changes that break clients."""
        return tuple(change for change in self.changes if change.breaking)

    @property
    def lasting(self) -> tuple[Difference, ...]:
        """Return the differences that are more than another measurement."""
        return tuple(one for one in self.differences if not one.measured)

    @property
    def differs(self) -> bool:
        """Return whether the two builds are different, their measurements aside."""
        return bool(self.changes or self.lasting)


def compare_facts(old: Facts, new: Facts) -> Result:
    """Compare two sides.

    Raises:
        SpecError: a side describes inputs or outputs in no form that a build writes.
    """
    try:
        changes = compare_signatures(old.signature, new.signature)
    except ValueError as error:
        raise SpecError(Problem(str(error), "compare reports of this onnxpack version", Location(old.place))) from None
    kinds = [kind for kind in KINDS if not (kind.name in _IN_SPEC and {old.kind, new.kind} == {"spec"})]
    found = [one for kind in kinds for one in _compare_section(kind, old, new)]
    return Result(old, new, changes, tuple(found), tuple(_list_missing(kinds, old, new)))


def _compare_section(kind: Kind, old: Facts, new: Facts) -> Iterator[Difference]:
    before, after = old.sections.get(kind.name), new.sections.get(kind.name)
    if before is None or after is None:
        return
    for name in _merge_names(before, after):
        ends = (before.get(name), after.get(name))
        if ends[0] != ends[1] and (kind.whole or None not in ends):
            yield Difference(kind.name, name, *ends, measured=kind.measured)


def _merge_names(old: Section, new: Section) -> list[str]:
    """Return the names of both in the old one's order, those that are new at the end."""
    return list(dict.fromkeys((*old, *new)))


def _list_missing(kinds: list[Kind], old: Facts, new: Facts) -> Iterator[tuple[str, str]]:
    for side, other in ((old, new), (new, old)):
        if other.signature and not side.signature:
            yield side.place, SIGNATURE
        yield from (
            (side.place, kind.name)
            for kind in kinds
            if other.sections.get(kind.name) and kind.name not in side.sections
        )
