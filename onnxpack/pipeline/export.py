"""The stage ``export``: source model → ONNX file and Reference."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnxpack.bundle.lock import lock_path, read_lock
from onnxpack.cache.trace import digest_content
from onnxpack.download.resolve import fetch_sources
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.runner import Apart
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Evaluation
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.export import ExportModel
from onnxpack.vendor.bundle import fill_environment, take_source
from onnxpack.worker.environments import find_pins, make_environment_key, provide_environment

_FIELDS = (
    "model", "outputs", "dynamic_axes", "opset", "verify", "preprocess", "postprocess", "evaluation",
)  # fmt: skip


def export(run: Build, product: Product) -> Product:
    """Export the source model, in its own environment where the spec asks for one."""
    file = run.plan.file
    apart = Apart(make_environment_key(file.spec, read_environment(run)), lambda: prepare_export(run))
    exported = run.runner.run(export_task(file), apart)
    for note in exported.reference.notes:
        run.progress.note(note)
    return replace(product, exported=exported, model=exported.model)


def export_task(file: SpecFile) -> ExportModel:
    """Return the request of an export; of the evaluation it needs the data alone, whatever the metric is."""
    asked = file.spec.evaluation
    if asked:
        file = replace(file, spec=replace(file.spec, evaluation=Evaluation(asked.data, asked.labels)))
    return ExportModel(SpecPart.of(file, *_FIELDS))


def prepare_export(run: Build) -> tuple[ExportModel, Path | None]:
    """Fetch what the spec names by URL and make the model's environment; return the request and its Python."""
    file, python = prepare_source(run)
    return export_task(file), python


def prepare_source(run: Build) -> tuple[SpecFile, Path | None]:
    """Return the spec with all its files here, and the Python that its model needs."""
    take, fill = (
        (partial(take_source, run.vendor), partial(fill_environment, run.vendor)) if run.vendor else (None, None)
    )
    file = fetch_sources(run.plan.file, run.store, run.progress, take)
    return file, provide_environment(file.spec, run.store, run.progress, read_environment(run), fill)


def read_environment(run: Build) -> Mapping[str, str]:
    """Return the versions in the model's isolated environment: those of the run, else those of the spec's lock.

    Raises:
        SpecError: what stands in the lock's place is none.
    """
    file = run.plan.file
    path = lock_path(file.path)
    if run.environment is not None:
        return run.environment
    if not find_pins(file.spec.model):
        return {}
    run.runner.read.note_file(path, digest_content(path))
    return read_lock(path).pins.environment if path.exists() else {}
