"""The figures of a build that go into its report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageRecord:
    """One stage of one build: how long it took, and the key of its result."""

    name: str
    seconds: float
    cached: bool
    key: str
    of: str = ""
    """A word that tells it apart from other stages of its name: a precision, the source."""
    why: tuple[str, ...] = ()
    """Why its work was done, by what the last build of the target remembers; empty where nothing was done."""


@dataclass(frozen=True)
class Evaluated:
    """The evaluation metric of the source model and of the model that ships, on the same data."""

    metric: str
    source: float
    model: float
    degradation: float
    model_digest: str = ""
    """The digest of the file that was scored, with its external data."""
