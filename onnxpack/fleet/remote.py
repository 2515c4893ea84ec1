"""A job on another machine: what is sent there, how it is built there, and what comes back.

The machine that builds has no disk in common with the one that asks. It unpacks the sources into a folder of its own,
builds there in a process of its own, and sends back what the build left, with its own paths taken out.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxpack import __version__
from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError, OnnxpackError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.fleet.events import AnyEvent, Noted
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.parcels import Parcel, Parcels, list_tree
from onnxpack.fleet.work import crash_job, fail_job
from onnxpack.pipeline.plan import place_output
from onnxpack.worker.codec import decode, encode

RunJob = Callable[[Job, Tell], Outcome]
"""Builds a job in a process of its own."""
TREE, OUTPUT, GIVEN = "@tree", "@output", "@given"
"""What stands in an answer for the folders of the machine that built."""
_TREE, _OUTPUT, _GIVEN = "tree", "dist", "given"
_SHARED_PARTS = "context/rootfs/runtime"
"""The part of an output that all images of one lock have alike: a parcel of its own, which is sent once."""


@dataclass(frozen=True)
class Versions:
    """What two machines must have in common to make the same of the same job."""

    onnxpack: str
    python: str

    def __str__(self) -> str:
        return f"onnxpack {self.onnxpack} on Python {self.python}"


@dataclass(frozen=True)
class Request:
    """A job with all that its build reads."""

    job: Job
    """Its paths below the work tree begin with ``TREE``."""
    versions: Versions
    sources: Parcel
    given: Parcel | None
    """What the command line names: the archive of the base image, and the bundle that all is taken from."""


@dataclass(frozen=True)
class Answer:
    """What became of a job, and the files that its build left."""

    outcome: Outcome
    outputs: tuple[Parcel, ...] = ()


def find_versions() -> Versions:
    """Return the versions of this process."""
    return Versions(__version__, platform.python_version())


def answer_request(data: bytes, open_store: Callable[[], Store], tell: Tell, run: RunJob) -> bytes:
    """Build a job that another machine sent, and return the encoded answer; an error is an answer too."""
    request = decode(data, Request)
    try:
        require_versions(request.versions)
        with make_temporary_folder() as scratch:
            answer = _build(request, Parcels(open_store()), scratch, tell, run)
    except (OnnxpackError, OSError) as error:
        answer = Answer(fail_job(request.job, error))
    except Exception as error:  # a bug: it ends this job alone
        answer = Answer(crash_job(request.job, error))
    return encode(answer)


def require_versions(wanted: Versions) -> None:
    """Make sure that this process has the versions of the one that asks.

    Raises:
        EngineError: it has others; the text names both.
    """
    if (own := find_versions()) != wanted:
        text = f"the worker has {own}, and the command {wanted}"
        raise EngineError(text, "give both the same environment: other versions could make something else")


def _build(request: Request, parcels: Parcels, scratch: Path, tell: Tell, run: RunJob) -> Answer:
    places = {TREE: scratch / _TREE, OUTPUT: scratch / _OUTPUT, GIVEN: scratch / _GIVEN}
    # What a spec's paths may not leave is found by this folder, as on the machine that asks.
    (places[TREE] / ".git").mkdir(parents=True)
    parcels.unpack(request.sources, places[TREE])
    if request.given:
        parcels.unpack(request.given, places[GIVEN])
    job = translate_job(request.job, {name: str(path) for name, path in places.items()})
    job.folder.mkdir(parents=True, exist_ok=True)
    back = {str(path): name for name, path in places.items()}

    def tell_translated(event: AnyEvent) -> None:
        tell(translate_event(event, back))

    outcome = run(job, tell_translated)
    outputs: tuple[Parcel, ...] = ()
    folder = find_output(job)
    if outcome.state != "cancelled" and folder.is_dir():
        outputs = _pack_outputs(parcels, folder)
    told = replace(
        outcome,
        document=translate(outcome.document, back),
        result=translate(outcome.result, back),
        crash=translate(outcome.crash, back),
    )
    return Answer(told, outputs)


def _pack_outputs(parcels: Parcels, folder: Path) -> tuple[Parcel, ...]:
    files = list_tree(folder)
    shared = [(name, path) for name, path in files if Path(name).is_relative_to(_SHARED_PARTS)]
    rest = [(name, path) for name, path in files if not Path(name).is_relative_to(_SHARED_PARTS)]
    return tuple(parcels.pack(part) for part in (rest, shared) if part)


def find_output(job: Job) -> Path:
    """Return the folder that a build of a job leaves its outputs in."""
    return place_output(job.options.output, job.name, job.target, job.options.until)


def translate_job(job: Job, places: Mapping[str, str]) -> Job:
    """Return a job with other paths."""
    options = job.options

    def move(path: Path) -> Path:
        return Path(translate(str(path), places))

    base, vendor = (move(path) if path else None for path in (options.base, options.vendor))
    options = replace(options, output=move(options.output), base=base, vendor=vendor)
    return replace(job, spec=move(job.spec), folder=move(job.folder), options=options)


def translate_event(event: AnyEvent, places: Mapping[str, str]) -> AnyEvent:
    """Return an event with other paths in what it tells a person."""
    return Noted(event.job, translate(event.text, places)) if isinstance(event, Noted) else event


def translate(value: Any, places: Mapping[str, str]) -> Any:
    """Return JSON values with some folders' paths replaced by others in every text."""
    if isinstance(value, str):
        for old, new in places.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {key: translate(item, places) for key, item in value.items()}
    return [translate(item, places) for item in value] if isinstance(value, list | tuple) else value
