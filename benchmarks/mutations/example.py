"""Plant faults in the export of one example, judge each as a build would, and print a row of JSON for each.

python benchmarks/mutations/example.py NAME COUNT
"""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from classic_faults import CLASSIC
from faults import NETWORK
from mutant import Mutant, NoPlaceError

from onnxpack.core.values import MODEL, REFERENCE
from onnxpack.data.domains import list_domains
from onnxpack.data.test_inputs import Arrays, draw, find_row_axis
from onnxpack.graph.check import open_session
from onnxpack.hunt import hunt
from onnxpack.hunt.search import climb, search_network
from onnxpack.hunt.trees import hunt_trees
from onnxpack.hunt.trial import Case, Trials
from onnxpack.parity.compare import Tolerance, compare_case, read_case, verify_model
from onnxpack.sources.export import export_model
from onnxpack.spec.load import load

SPECS = Path(__file__).parents[2] / "specs"
SEED = 9
_TRIES = 4000
_CLIMBS = 6
_ROUNDS = 60
_DRAWS = 30
Row = dict[str, Any]


class Example:
    """An exported example with its source at hand."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.file = load(SPECS / name / "spec.yaml")
        (folder / "out").mkdir()
        self.exported = export_model(self.file, folder / "out")
        self.model = folder / "out" / MODEL
        self.source = importlib.import_module(f"onnxpack.sources.{self.file.spec.model.framework}")
        self.loaded = self.source.load(self.file)
        self.proto = onnx.load(self.model)
        self.highest = {key: float(list_domains(tensor)[0].ends[1]) for key, tensor in self.spec.inputs.items()
                        if tensor.dtype != "string"}  # fmt: skip
        inputs, expected = read_case(folder / "out" / REFERENCE, self.exported.reference.cases[0])
        answers = dict(zip(expected, self.answer(inputs), strict=True))
        assert not any(row.reason for row in compare_case("", expected, answers)), "the source answers as it did"

    def answer(self, inputs: Arrays) -> list[Any]:
        """Return the source's answers."""
        found: list[Any] = self.source.run(self.loaded, inputs)
        return found

    @property
    def spec(self) -> Any:
        """Return the model's own spec, without steps."""
        return self.file.spec


def main() -> None:
    """Judge ``COUNT`` faults."""
    name, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        example = Example(name, Path(folder))
        for fault, what, model in plant_faults(example, count):
            row = judge(example, model)
            sys.stdout.write(json.dumps({"example": name, "fault": fault, "what": what, **row}) + "\n")
            sys.stdout.flush()


def plant_faults(example: Example, count: int) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """Yield different faulty models that onnxruntime loads and runs at one size: one that it refuses never ships."""
    generator = np.random.default_rng([SEED, sum(map(ord, example.name))])
    faults = [*NETWORK.items(), *CLASSIC.items()]
    seen = {example.proto.SerializeToString(deterministic=True)}
    found = 0
    for number in range(_TRIES):
        model = onnx.ModelProto()
        model.CopyFrom(example.proto)
        name, fault = faults[number % len(faults)]
        try:
            what = fault.plant(Mutant(model, generator, example.highest))
        except NoPlaceError:
            continue
        data = model.SerializeToString(deterministic=True)
        if data in seen or not _runs(example, model):
            continue
        seen.add(data)
        found += 1
        yield name, what, model
        if found == count:
            return
    sys.stderr.write(f"{example.name}: only {found} different faults\n")


def _runs(example: Example, model: onnx.ModelProto) -> bool:
    """Return whether the model gives outputs of the right dtypes at the sizes that an export is tried with first."""
    inputs, expected = read_case(example.folder / "out" / REFERENCE, example.exported.reference.cases[0])
    try:
        answers = open_session(model.SerializeToString()).run(None, inputs)
    except Exception:  # onnxruntime's exceptions share no base
        return False
    return all(("U" if right.dtype.kind == "U" else right.dtype) == ("U" if got.dtype.kind in "OU" else got.dtype)
               for right, got in zip(expected.values(), answers, strict=True))  # fmt: skip


def judge(example: Example, model: onnx.ModelProto) -> Row:
    """Return what the random cases of the real export say, what a hunt adds, and how far the faulty file is off."""
    path = example.folder / "faulty.onnx"
    onnx.save(model, path)
    rows = verify_model(path, replace(example.exported.reference, hunted={}), Tolerance())
    if any(row.reason for row in rows):
        return {"caught": "random"}
    began = time.monotonic()
    found = hunt(example.spec, path, path.stat().st_size, example.answer)
    took = time.monotonic() - began
    for case in found.cases:
        if differs(example, path, case):
            return {"caught": "hunt", "by": case.name, "seconds": round(took, 3)}
    far, told = exhaust(example, path)
    return {"caught": "", "equivalent": not told and far <= 1, "tolerances": far, "seconds": round(took, 3)}


def differs(example: Example, path: Path, case: Case) -> bool:
    """Return whether the build's comparison holds a hunted case against the faulty file."""
    trials = Trials(example.spec, path, lambda _: list(case.outputs.values()))
    trial = trials.run(case.inputs)
    return trial is not None and trials.differs(trial)


def exhaust(example: Example, path: Path) -> tuple[float, bool]:
    """Return how far the faulty file is from the right one on very many inputs, in tolerances, and whether one tells.

    The right file answers in the place of the source, which it agrees with, since it is faster.
    """
    running = open_session(example.model)
    names = [output.name for output in running.get_outputs()]

    def answer(inputs: Arrays) -> list[Any]:
        answers = running.run(names, inputs)
        return [found.astype(str) if found.dtype.kind == "O" else found for found in answers]

    trials = Trials(example.spec, path, answer)
    far, told = 0.0, False
    for seed in range(_CLIMBS):
        top = climb(trials, np.random.default_rng([SEED, seed]), lambda _: _ROUNDS)
        far = max(far, *(score for score in top.scores if np.isfinite(score)), 0.0)
        told = told or any(tells(trials, inputs) for inputs in top.inputs)
    rows = find_row_axis(example.spec)
    for number in range(_DRAWS):
        at = {axis.name: axis.opt for axis in example.spec.axes}
        if rows:
            at[rows] = min(example.spec.dynamic_axes[rows].max, 256)
        told = told or tells(trials, draw(example.spec, at, 1000 + number))
    for case in (*hunt_trees(trials, path).cases, *hunt_trees(trials, example.model).cases,
                 *search_network(trials, path).cases):  # fmt: skip
        told = told or tells(trials, case.inputs)
    return float(f"{far:.3g}"), told


def tells(trials: Trials, inputs: Arrays) -> bool:
    """Return whether both differ on the inputs, other than where the right one itself jumps."""
    trial = trials.run(inputs)
    return trial is not None and trials.differs(trial) and not trials.is_cliff(trial)


if __name__ == "__main__":
    main()
