"""The asking side of a job that another machine builds: its request, and putting what comes back in its place."""

import json
import os
from dataclasses import replace
from pathlib import Path

from onnxpack.core.output import replacing
from onnxpack.fleet.events import AnyEvent
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.parcels import Parcels, list_tree
from onnxpack.fleet.remote import (
    BASE,
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
from onnxpack.pipeline.report import REPORT
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
        base = self._parcels.pack(_list_base(options.base)) if options.base else None
        return encode(Request(self._make_portable(), find_versions(), sources, base))

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
                (folder / REPORT).write_text(json.dumps(outcome.document, indent=2) + "\n")
                require_free(Plan(self._file, self.job.target, self._place))
        return outcome

    def _make_portable(self) -> Job:
        """Return the job with the work tree's folder taken out of its paths."""
        job, root = self.job, self._file.root
        options = replace(job.options, output=Path(OUTPUT))
        if options.base:
            options = replace(options, base=Path(BASE, options.base.name))
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
        base = {BASE: str(options.base.parent)} if options.base else {}
        return {TREE: str(self._file.root), OUTPUT: str(options.output), **base}

    def _bring_home(self, outcome: Outcome) -> Outcome:
        """Return an outcome that speaks of this machine's paths."""
        places = self._places
        document = translate(outcome.document, places)
        if "chain" in document:  # an attempt's report names its spec from its own place
            document["spec"] = os.path.relpath(self._file.path, self._place)
        result, crash = (translate(text, places) for text in (outcome.result, outcome.crash))
        return replace(outcome, document=document, result=result, crash=crash)


def _list_base(base: Path) -> list[tuple[str, Path]]:
    """Return the file of an archive, or the files of a layout, with the name that the base has where it is built."""
    return [(base.name, base), *((f"{base.name}/{name}", path) for name, path in list_tree(base))]
