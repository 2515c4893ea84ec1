"""The asking side of a job that another machine builds: its request, and putting what comes back in its place."""

import os
from dataclasses import replace
from pathlib import Path

from onnxpack.core.output import replacing
from onnxpack.fleet.events import AnyEvent
from onnxpack.fleet.figures import keep_figures
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.parcels import Parcels, make_given_name
from onnxpack.fleet.remote import (
    GIVEN,
    OUTPUT,
    TREE,
    Answer,
    Request,
    find_output,
    find_versions,
    translate,
    translate_event,
)
from onnxpack.fleet.sources import list_sources
from onnxpack.pipeline.attempt import require_free
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.report import write_report
from onnxpack.spec.load import SpecFile, load
from onnxpack.worker.codec import decode, encode


class Delivery:
    """One job that is sent away, and its way back."""

    def __init__(self, job: Job, parcels: Parcels) -> None:
        """Read the job's spec.

        Raises:
            SpecError: it is not valid any more, or the place of the outputs holds something else.
        """
        self.job = job
        self._parcels = parcels
        self._file: SpecFile = load(job.folder / job.spec, job.options.settings)
        self._place = find_output(job)
        require_free(Plan(self._file, job.target, self._place))

    def make_request(self) -> bytes:
        """Return the encoded request, with what the build reads, or the digests of it.

        Raises:
            SpecError: it is too much.
            EngineError: it is too much without a shared store.
        """
        options, file = self.job.options, self._file
        sources = self._parcels.pack(list_sources(file, options.output))
        given = self._parcels.pack_once(tuple(filter(None, (options.base, options.vendor))))
        return encode(Request(self._make_portable(), find_versions(), sources, given))

    def accept(self, data: bytes) -> Outcome:
        """Put what a build left in its place, all of it or nothing, and return its outcome.

        Raises:
            EngineError: a part is missing, or is not what was sent.
            SpecError: the place of the outputs holds something else by now.
            OSError: there is no room.
        """
        answer = decode(data, Answer)
        outcome = self._bring_home(answer.outcome)
        if answer.outputs:
            with replacing(self._place) as folder:
                for parcel in answer.outputs:
                    self._parcels.unpack(parcel, folder)
                write_report(outcome.document, folder)
                require_free(Plan(self._file, self.job.target, self._place))
        keep_figures(self._parcels.store, self.job, outcome)
        return outcome

    def _make_portable(self) -> Job:
        """Return the job with the work tree's folder taken out of its paths."""
        job, root = self.job, self._file.root
        base, vendor = map(_place_given, (job.options.base, job.options.vendor))
        options = replace(job.options, output=Path(OUTPUT), base=base, vendor=vendor)
        spec = Path(TREE, self._file.path.relative_to(root))
        folder = Path(TREE)
        if job.folder.is_relative_to(root):
            folder /= job.folder.relative_to(root)
            named = Path(os.path.normpath(job.folder / job.spec))
            if not job.spec.is_absolute() and named == self._file.path:  # not through a link, which is not sent
                spec = job.spec  # messages name it as the user did
        return replace(job, spec=spec, folder=folder, options=options)

    def bring_home(self, event: AnyEvent) -> AnyEvent:
        """Return an event that speaks of this machine's paths."""
        return translate_event(event, self._places)

    @property
    def _places(self) -> dict[str, str]:
        """Return this machine's folders by what stands for them."""
        options = self.job.options
        given = {str(_place_given(path)): str(path) for path in (options.base, options.vendor) if path}
        return {TREE: str(self._file.root), OUTPUT: str(options.output), **given}

    def _bring_home(self, outcome: Outcome) -> Outcome:
        """Return an outcome that speaks of this machine's paths."""
        places = self._places
        document = translate(outcome.document, places)
        if "chain" in document:  # an attempt's report names its spec from its own place
            document["spec"] = os.path.relpath(self._file.path, self._place)
        result, crash = (translate(text, places) for text in (outcome.result, outcome.crash))
        return replace(outcome, document=document, result=result, crash=crash)


def _place_given(path: Path | None) -> Path | None:
    """Return where a file or folder of the command line is on the machine that builds."""
    return Path(GIVEN, make_given_name(path)) if path else None
