"""Forecasts the targets of a spec of which something changed, by reading it and walking their chains."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxpack.cache.known import find_difference, list_entries
from onnxpack.core.progress import SilentProgress
from onnxpack.image import load_engine
from onnxpack.inspection.signature import compare_signatures, describe_signature
from onnxpack.pipeline.forecast import CHANGED, FAILED, NEW, NOTHING, Effect, Forecast, Forecaster, StageForecast
from onnxpack.pipeline.plan import Plan, output_folder
from onnxpack.pipeline.preview import FAILS, FOLLOWS, RUNS, UNCHANGED, Before, preview_stages
from onnxpack.pipeline.reasons import compare_fields
from onnxpack.pipeline.receipts import History, find_last
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import SpecFile, choose_targets, load, to_plain
from onnxpack.spec.trust import trust_code

if TYPE_CHECKING:
    from onnxpack.spec.model import Spec

_SERVING = ("runtime.server ", "runtime.port ")
"""The fields of a spec that say where an image is asked."""


def forecast_changes(forecaster: Forecaster, path: Path, targets: tuple[str, ...]) -> Iterator[Forecast]:
    """Yield the forecast of each target of a spec.

    Raises:
        SpecError: the spec is not valid, or has no such target.
    """
    file = trust_code(load(path, forecaster.settings), trusted=forecaster.trust)
    for target in choose_targets(file, targets):
        yield _forecast_target(forecaster, path, file, target)


def _forecast_target(forecaster: Forecaster, path: Path, file: SpecFile, target: str) -> Forecast:
    found = find_last(forecaster.store, str(file.path), target)
    forecast = Forecast(str(path), file.spec.name, target, NOTHING)
    if found and forecaster.compare(found[0]) is None:
        return forecast
    before = Before(*found) if found else Before()
    asked = replace(found[0].asked, settings=forecaster.settings) if found else forecaster.ask(path)
    output = output_folder(Path(asked.output), file, target, asked.until)
    plan = Plan(file, target, output, asked.sandbox, asked.reproduce, asked.push)
    base = Path(asked.base) if asked.base else None
    run = Build(plan, forecaster.store, load_engine(asked.engine or "oci"), SilentProgress(), asked.budget, base=base)
    stages = preview_stages(run, asked, before, forecaster.look(asked))
    if all(stage.status == UNCHANGED for stage in stages):
        stages += _look_at_outputs(output, before.history)
    status = _name_status(stages, new=found is None)
    return replace(forecast, status=status, stages=stages, effects=tuple(_find_effects(before.history, file.spec)))


def _look_at_outputs(output: Path, history: History) -> tuple[StageForecast, ...]:
    """Return the last step of a build, where all results stand and the outputs do not."""
    try:
        changed = find_difference(list(history.outputs), list_entries(output))
    except OSError:
        changed = f"{os.path.relpath(output)} is gone"
    return (StageForecast("output", RUNS, (changed,)),) if changed else ()


def _name_status(stages: tuple[StageForecast, ...], *, new: bool) -> str:
    found = {stage.status for stage in stages}
    if FAILS in found:
        return FAILED
    if not found & {RUNS, FOLLOWS}:
        return NOTHING
    return NEW if new else CHANGED


def _find_effects(history: History, spec: "Spec") -> Iterator[Effect]:
    if not history.signature:
        return
    for change in compare_signatures(history.signature, describe_signature(spec)):
        yield Effect(change.words, change.breaking)
    for words in compare_fields(history.spec, to_plain(spec)):
        if words.startswith(_SERVING):
            yield Effect(words, breaking=True)
