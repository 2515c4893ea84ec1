"""The specs of a command, read and judged before anything is built: their targets, jobs, and what is unchanged."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onnxpack.core.errors import OnnxpackError, Problem, SpecError
from onnxpack.fleet.job import Job, Needs, Options, Outcome
from onnxpack.fleet.rows import Row
from onnxpack.spec.load import choose_targets

if TYPE_CHECKING:
    from onnxpack.cache.store import Store
    from onnxpack.pipeline.receipts import Receipt
    from onnxpack.pipeline.unchanged import Unchanged
    from onnxpack.spec.load import SpecFile


@dataclass
class PreparedSpec:
    """One spec of a command, and the numbers of its rows."""

    path: Path
    file: "SpecFile | None" = None
    """None where it cannot be read, or need not be."""
    numbers: tuple[int, ...] = ()


@dataclass
class Prepared:
    """All specs of a command, with a row for each target; those that are to be built have a job of the row's number."""

    options: Options
    targets: tuple[str, ...]
    store: "Store"
    reports: bool
    """Whether the reports of unchanged targets are wanted: reading them takes longer than to know that they are."""
    specs: list[PreparedSpec] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    _places: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first spec that builds each name and target."""

    def add_all(self, paths: Iterable[Path]) -> None:
        """Read all specs, a file that is named twice once; what is wrong with one becomes its row's outcome."""
        from onnxpack.fleet.asked import describe_asked
        from onnxpack.pipeline.unchanged import Unchanged

        unchanged = Unchanged(self.store, lambda spec: describe_asked(self.options, spec))
        files = {os.path.realpath(path): PreparedSpec(path) for path in paths}
        self.specs += files.values()
        for spec in self.specs:
            if not self._pass_over(spec, unchanged):
                self._read(spec, unchanged)

    def add(self, spec: PreparedSpec, row: Row) -> int:
        """Add a row of a spec and return its number."""
        number = len(self.rows)
        spec.numbers = (*spec.numbers, number)
        self.rows.append(row)
        return number

    def _pass_over(self, spec: PreparedSpec, unchanged: "Unchanged") -> bool:
        """Return whether nothing of a spec changed, which then is not even read."""
        # One name for all platforms is pushed by what the spec says.
        found = None if self.options.push else unchanged.find_all(spec.path, self.targets)
        if found is None or not all(self._claim(one.name, one.target, one.asked.spec) for one in found):
            return False
        for receipt in found:
            self._add_unchanged(spec, receipt)
        return True

    def _read(self, spec: PreparedSpec, unchanged: "Unchanged") -> None:
        """Read a spec, and add its targets; of one that cannot be read, a row says why."""
        from onnxpack.pipeline.attempt import mark_failed
        from onnxpack.pipeline.report import describe_failed_attempt
        from onnxpack.spec.load import load
        from onnxpack.spec.trust import trust_code

        try:
            spec.file = trust_code(load(spec.path, self.options.settings), trusted=self.options.trust)
            names = choose_targets(spec.file, self.targets)
        except OnnxpackError as error:
            document = describe_failed_attempt(str(spec.path), "spec", error)
            self.add(spec, Row(spec.path, outcome=Outcome(len(self.rows), "failed", document)))
            # No output is left that could be taken for one of the spec as it is now.
            mark_failed(self.options.output, spec.path, error)
            return
        for target in names:
            if receipt := self._find(spec.file, target, unchanged):
                self._add_unchanged(spec, receipt)
            else:
                self._add_job(spec, spec.file, target)

    def _find(self, file: "SpecFile", target: str, unchanged: "Unchanged") -> "Receipt | None":
        own = self._claim(file.spec.name, target, str(file.path))
        return unchanged.find(file.path, target) if own else None

    def _add_job(self, spec: PreparedSpec, file: "SpecFile", target: str) -> None:
        from onnxpack.fleet.figures import read_figures
        from onnxpack.fleet.work import fail_job
        from onnxpack.targets import load_device

        name, wanted = file.spec.name, file.spec.targets[target]
        known = read_figures(self.store, spec.path, target)
        needs = Needs(
            known.peak_bytes, known.seconds, gpu=load_device(wanted.device).gpu, isa=wanted.isa,
            platform=wanted.platform,
        )  # fmt: skip
        number = self.add(spec, Row(spec.path, name, target))
        job = Job(number, spec.path, Path.cwd(), name, target, self.options, needs)
        if self._claim(name, target, str(file.path)):
            self.jobs.append(job)
            return
        first = Path(self._places[name, target])
        text = f"'{first.name}' in {first.parent} builds '{name}', target '{target}' too"
        error = SpecError(Problem(text, "change the `name` of one of them", file.where("name")))
        self.rows[number] = Row(spec.path, name, target, fail_job(job, error))

    def _add_unchanged(self, spec: PreparedSpec, receipt: "Receipt") -> None:
        from onnxpack.pipeline.report import describe_unchanged

        document = describe_unchanged(Path(receipt.output)) if self.reports else {}
        pushed = receipt.image if receipt.image and receipt.pushed else ""
        outcome = Outcome(len(self.rows), "unchanged", document, receipt.result, pushed)
        self.add(spec, Row(spec.path, receipt.name, receipt.target, outcome))

    def _claim(self, name: str, target: str, spec: str) -> bool:
        """Return whether the outputs of a name are a spec's own: the first that builds them has them."""
        return self._places.setdefault((name, target), spec) == spec
