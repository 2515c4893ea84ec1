"""Source model → ONNX file and Reference, and the proof that both agree."""

import json
import time
from pathlib import Path
from typing import Any

from onnxpack.child import call
from onnxpack.errors import OnnxpackError
from onnxpack.isolated import environment
from onnxpack.reads import remember, remembered
from onnxpack.remote import brought_here
from onnxpack.report import Built, Parity, StageRecord, parity_of
from onnxpack.spec.load import SpecFile
from onnxpack.stages.judging import comparisons
from onnxpack.stages.run import Build, Exported
from onnxpack.values import MODEL, REFERENCE, SERVED, OnnxModel, Reference, model_from
from onnxpack.verify import Comparison, require

LOCATE_SECONDS = 300
"""How long a build that failed may look for where the difference comes from."""


def export(run: Build) -> tuple[Built, Exported]:
    """Source model → ONNX file and Reference, in a child process."""
    started = time.monotonic()
    file = run.plan.file
    key = remembered(run.store, file)
    found = run.store.get("export", key) if key else None
    if key and found:
        run.taken("export", key, started)
        return _read_export(run, key, found)
    file, python = at_hand(run)
    began = time.time_ns()
    with run.progress.stage("export"), run.store.scratch() as scratch:
        out = scratch / "out"
        out.mkdir()
        request = {"spec": file.to_json(), "destination": str(out)}
        facts = call("onnxpack.export:export_model", request, scratch, python)
        key = remember(run.store, file, facts["files"], facts["distributions"], began)
        with run.store.making("export", key) as folder:
            (folder / "facts.json").write_text(json.dumps(facts))
            for path in out.iterdir():
                path.rename(folder / path.name)
    run.stages.append(StageRecord("export", round(time.monotonic() - started, 3), False, key))
    return _read_export(run, key, run.store.path("export", key))


def at_hand(run: Build) -> tuple[SpecFile, Path | None]:
    """The spec with all its files here, and the Python that its model needs."""
    file = brought_here(run.plan.file, run.store, run.progress)
    return file, environment(file.spec.model, run.store, run.progress)


def verify(run: Build, model: OnnxModel, exported: Exported) -> Parity:
    """The gate: the exported model against the source model's answers.

    Raises:
        ParityError: they differ; with where the difference begins, as far as that can be found.
    """
    for note in exported.reference.notes:
        run.progress.note(note)
    rows = comparisons(run, model, exported.reference, exported.key, run.plan.tolerance("float32"))
    what = "the exported model differs from its source"
    if any(row.reason for row in rows):
        require(what, rows, _place(run, model, exported, rows))
    require(what, rows)
    return parity_of(rows, exported.reference.notes)


def _place(run: Build, model: OnnxModel, exported: Exported, rows: list[Comparison]) -> str:
    """Where the difference comes from, as far as it can be found in bounded time; never an error of its own."""
    reference = exported.reference
    run.progress.note("looking for where it differs")
    try:
        file, python = at_hand(run)
        request = {
            "spec": file.to_json(),
            "model": str(model.path),
            "reference": str(reference.folder),
            "sizes": reference.all_sizes,
            "reasons": {row.case: row.reason for row in reversed(rows) if row.reason},
            **vars(run.plan.tolerance("float32")),
        }
        with run.store.scratch() as scratch:
            words: str = call("onnxpack.locate:locate", request, scratch, python, LOCATE_SECONDS)
    except OnnxpackError as error:
        return f"where it differs was not found: {error.problems[0].message}"
    return words


def _read_export(run: Build, key: str, folder: Path) -> tuple[Built, Exported]:
    facts = json.loads((folder / "facts.json").read_text())
    model = model_from(facts["model"], folder / MODEL)
    reference = _reference(folder / REFERENCE, facts)
    served = _reference(folder / SERVED, facts["served"]) if "served" in facts else reference
    return Built(run.plan, (), model), Exported(key, folder, reference, served)


def _reference(folder: Path, facts: dict[str, Any]) -> Reference:
    return Reference(
        folder, tuple(facts["cases"]), tuple(facts["sizes"]), tuple(facts["notes"]), facts.get("hunted", {})
    )
