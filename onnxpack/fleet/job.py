"""A job, one target of one spec to build, and its outcome: plain values that any process or machine can be sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onnxpack.core.errors import BY_EXIT_CODE, Location, OnnxpackError, Problem
from onnxpack.oci import GZIP

State = Literal["built", "unchanged", "failed", "cancelled"]
"""What became of a job: ``unchanged`` means that every stage's result was there already, and ``cancelled`` that it was
not begun, or was ended, because the command ends."""


@dataclass(frozen=True)
class Options:
    """What a command asks of all of its builds."""

    output: Path
    """The absolute folder below which ``<name>/<target>/`` is written."""
    engine: str
    """The name of the image engine."""
    until: str = "smoke"
    """The last stage."""
    settings: tuple[str, ...] = ()
    """Changed fields of every spec, as ``path.to.field=value``."""
    trust: bool = False
    """Code of any origin may run."""
    sandbox: bool = False
    """Processes that run code of a model are confined."""
    budget: float = 600.0
    """Seconds that trying precisions may take."""
    require_gates: bool = False
    """A gate that cannot be judged fails the build."""
    compression: str = GZIP
    """How the image's layers are compressed."""
    base: Path | None = None
    """The archive or layout that the base image is taken from, instead of its registry."""
    vendor: Path | None = None
    """The bundle of ``onnxpack vendor`` that all is taken from which comes from outside; then no network is used."""
    keep_last: bool = False
    """The last good output is put aside if the build fails."""
    reproduce: bool = False
    """The image is built a second time, and must be the same."""
    push: bool = False
    """The image is pushed to its registry."""
    fresh: bool = False
    """Nothing that an earlier build made is taken."""


@dataclass(frozen=True)
class Needs:
    """What a job needs of the machine that it runs on."""

    memory_bytes: int = 0
    """The measured peak of the whole process tree in the last build of this target; 0 where none was measured."""
    seconds: float = 0.0
    """How long the last build of this target took that was not unchanged; 0 where none was measured."""
    cores: int = 1
    """Cores that its work keeps busy most of the time."""
    gpu: bool = False
    """The target is for a GPU: without one it can be built, and its gates on the GPU are not judged."""
    isa: str | None = None
    """The instruction set that the target's machines have, if the spec names one: the model runs on it in its test."""
    platform: str = ""
    """The platform of the target's image, as ``linux/amd64``."""


@dataclass(frozen=True)
class Job:
    """One target of one spec to build."""

    number: int
    """Its place in the command's order, from 0; unique in one command."""
    spec: Path
    """The spec's file as the user named it; a relative path starts from ``folder``."""
    folder: Path
    """The absolute working folder of the command: paths in messages are relative to it."""
    name: str
    """The spec's name."""
    target: str
    options: Options
    needs: Needs = field(default_factory=Needs)


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: int
    """The job's number."""
    state: State
    document: Mapping[str, Any]
    """The report, as in ``report.json``; also of a job that failed or was cancelled."""
    result: str = ""
    """What a build prints for other programs: the image's reference, or the path of the model or context."""
    pushed: str = ""
    """The id of the image, if it was pushed."""
    crash: str = ""
    """The stack of an error that nobody expected, which is a bug; empty for all others."""
    seconds: float = 0.0
    peak_bytes: int = 0
    """The peak of the resident memory of the process tree that built it; 0 where it was not measured."""

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command if this was its only job: 0 for what did not fail."""
        return int(self.document.get("exit_code", 1)) if self.state == "failed" else 0

    @property
    def error(self) -> OnnxpackError | None:
        """Return the error that it failed with; None if it did not fail, or by a bug."""
        kind = BY_EXIT_CODE.get(self.exit_code)
        return kind(read_problems(self.document)) if kind else None


def read_problems(document: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return the problems in a report of what failed; nothing where there are none."""
    return tuple(_read_problem(one) for one in document.get("problems", ()))


def _read_problem(values: Mapping[str, Any]) -> Problem:
    where = values.get("where")
    return Problem(values["message"], values["hint"], Location(**where) if where else None, values["detail"])
