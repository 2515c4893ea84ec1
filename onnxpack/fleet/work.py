"""Builds one job in this process, whichever process that is: the same for every executor."""

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from onnxpack.cache.store import Store
from onnxpack.core.errors import OnnxpackError, Problem, SpecError, describe_error
from onnxpack.core.redact import redact
from onnxpack.fleet.asked import describe_asked
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.figures import keep_figures
from onnxpack.fleet.job import Job, Outcome, State
from onnxpack.fleet.peaks import measure_peak
from onnxpack.fleet.telling import JobProgress
from onnxpack.image import load_engine
from onnxpack.pipeline.attempt import Wanted, build, leave_failed
from onnxpack.pipeline.plan import Plan, output_folder, place_output
from onnxpack.pipeline.push import require_registry
from onnxpack.pipeline.receipt_writer import write_receipt
from onnxpack.pipeline.report import Attempt, describe_attempt, describe_failed_attempt
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import load
from onnxpack.spec.trust import trust_code

_LONGEST = 1_000  # characters of an unexpected error


def run_job(job: Job, store: Store, tell: Tell, look: Callable[[Attempt], None] | None = None) -> Outcome:
    """Build a job, tell its stages, and return what became of it; an error of any kind is part of the outcome.

    The caller tells ``Started`` and ``Finished``, and works in the job's folder. ``look`` receives the attempt, which
    no other process can be sent; it is not called where a build did not get so far.
    """
    started = time.monotonic()
    with measure_peak() as peak:
        try:
            outcome = _build(job, store, tell, look)
        except (OnnxpackError, OSError) as error:
            outcome = fail_job(job, error)
        except Exception as error:  # a bug: it ends this job alone
            outcome = crash_job(job, error)
    outcome = replace(outcome, seconds=time.monotonic() - started, peak_bytes=peak.bytes)
    keep_figures(store, job, outcome)
    return outcome


def leave_failure(job: Job, outcome: Outcome) -> None:
    """Leave the outcome of a job, whose process could not, as the report of the target's last attempt."""
    place = place_output(job.options.output, job.name, job.target, job.options.until)
    with contextlib.suppress(OSError):  # the outcome says more than that there is no room either
        leave_failed(place, job.folder / job.spec, dict(outcome.document))


def fail_job(job: Job, error: Exception, stage: str = "output") -> Outcome:
    """Return the outcome of a job that failed before, or outside of, its build."""
    document = describe_failed_attempt(str(job.spec), stage, error)
    return Outcome(job.number, "failed", document | {"name": job.name, "target": job.target})


def cancel_job(job: Job) -> Outcome:
    """Return the outcome of a job that was not begun, or was ended by the command's end."""
    document = {"name": job.name, "target": job.target, "status": "cancelled", "spec": str(job.spec)}
    return Outcome(job.number, "cancelled", document)


def crash_job(job: Job, error: Exception) -> Outcome:
    """Return the outcome of a job that met a bug."""
    text = f"unexpected {describe_error(error, _LONGEST)}".rstrip(": ")
    outcome = fail_job(job, _BugError(Problem(text, "this is a bug in onnxpack: please report it")))
    return replace(outcome, crash=redact("".join(traceback.format_exception(error))))


class _BugError(OnnxpackError):
    """An error that nobody expected; its exit code is 1."""


def _build(job: Job, store: Store, tell: Tell, look: Callable[[Attempt], None] | None) -> Outcome:
    options = job.options
    run = Build(
        _plan(job), store, load_engine(options.engine), JobProgress(job.number, tell), options.budget,
        options.require_gates, options.compression, options.base,
        options.vendor,
    )  # fmt: skip
    attempt = build(run, Wanted(options.until, options.keep_last))
    write_receipt(run, describe_asked(options, str(run.plan.file.path)), attempt)
    if look:
        look(attempt)
    return _describe(job, attempt)


def _plan(job: Job) -> Plan:
    """Return the plan of a job.

    Raises:
        SpecError: the spec cannot be read any more, has another name now, or needs a registry that it does not name.
    """
    options = job.options
    file = trust_code(load(job.spec, options.settings), trusted=options.trust)
    if file.spec.name != job.name or job.target not in file.spec.targets:
        text = f"the spec changed while it waited to be built: it was '{job.name}' with a target '{job.target}'"
        raise SpecError(Problem(text, "build it again", file.where("name")))
    place = output_folder(options.output, file, job.target, options.until)
    plan = Plan(file, job.target, place, options.sandbox, options.reproduce, options.push)
    if plan.push:
        require_registry(plan)
    return plan


def _describe(job: Job, attempt: Attempt) -> Outcome:
    document, product = describe_attempt(attempt), attempt.product
    if attempt.error:
        return Outcome(job.number, "failed", document)
    state: State = "unchanged" if all(record.cached for record in attempt.records) else "built"
    pushed = product.image.id if product.image and product.pushed else ""
    return Outcome(job.number, state, document, attempt.result, pushed)
