"""A build that would change nothing is known by its receipt alone, and whatever changed is noticed, one by one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import Here
from onnx_examples import RELU, make_model
from told import Told

from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError
from onnxpack.image.engine import Image
from onnxpack.pipeline import receipts
from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.present import Present
from onnxpack.pipeline.receipt_writer import write_receipt
from onnxpack.pipeline.receipts import (
    Asked,
    Receipt,
    find_change,
    find_last,
    find_outline,
    find_unchanged,
    make_key,
    renew,
)
from onnxpack.pipeline.report import Attempt, to_json
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import load

SPEC: dict[str, Any] = {
    "onnxpack": 1,
    "name": "example",
    "extends": "../common.yaml",
    "model": {"framework": "onnx", "path": "m.onnx"},
    "inputs": {"x": {"dtype": "float32", "shape": ["n", 4], "range": [-1, 1]}},
    "dynamic_axes": {"n": {"min": 1, "max": 16}},
}
SCORED = {"evaluation": {"data": "data.py:evaluate", "labels": "y", "metric": "judges.py:judge"}}
DATA = """
import os
from pathlib import Path
import numpy as np

PIECES = Path(__file__).parent / "pieces"

def evaluate():
    rows = np.concatenate([np.load(PIECES / name) for name in sorted(os.listdir(PIECES))])
    return {"x": rows, "y": np.arange(len(rows)) % 3}
"""
JUDGES = """
from scale import FACTOR

def judge(outputs, labels):
    return FACTOR * float((outputs["y"].argmax(1) == labels).mean())
"""


@dataclass
class Shelf:
    """An engine that keeps names and files."""

    names: dict[str, str] = field(default_factory=dict)
    parts: tuple[Path, ...] = ()
    gpu: bool = False
    silent: bool = False

    def list_names(self) -> dict[str, str]:
        if self.silent:
            raise EngineError("no engine answers")
        return dict(self.names)

    def list_parts(self, image: str) -> tuple[Path, ...]:
        return self.parts

    def has_gpu(self) -> bool:
        return self.gpu


@dataclass(frozen=True)
class Project:
    """A project with one spec, and the store and outputs of its builds."""

    folder: Path
    asked: Asked
    store: Store
    engine: Any

    @property
    def spec(self) -> Path:
        return self.folder / "spec"

    @property
    def output(self) -> Path:
        return Path(self.asked.output, "example/cpu")

    def build(self, **product: Any) -> Attempt:
        """Build the target up to its model, and write the receipt, with more in the product than that build makes."""
        run = Build(Plan(load(self.spec / "spec.yaml"), "cpu", self.output), self.store, self.engine, Told())
        attempt = build(run, Wanted("optimize"))
        assert attempt.passed, attempt.error
        if product:
            attempt = replace(attempt, product=replace(attempt.product, **product))
            (self.output / "report.json").write_text(to_json(attempt))
        assert write_receipt(run, self.asked, attempt)
        return attempt

    def look(self) -> Present:
        looked = Present("docker")
        looked.__dict__["engine"] = self.engine
        return looked

    def find(self) -> Receipt | None:
        """Look for the receipt as a new command would."""
        return find_unchanged(self.store, self.asked, "cpu", self.look())

    def why(self) -> str | None:
        found = find_last(self.store, self.asked.spec, "cpu")
        assert found
        return find_change(found[0], self.look())


def make_project(folder: Path, **fields: Any) -> Project:
    spec = folder / "project/spec"
    (spec / "pieces").mkdir(parents=True)
    (spec.parent / ".git").mkdir()
    (spec.parent / "common.yaml").write_text("description: all of ours\n")
    (spec / "spec.yaml").write_text(json.dumps(SPEC | fields))
    onnx.save(make_model(RELU), spec / "m.onnx")
    (spec / "data.py").write_text(DATA)
    (spec / "judges.py").write_text(JUDGES)
    (spec / "scale.py").write_text("FACTOR = 1.0\n")
    np.save(spec / "pieces/one.npy", np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4))
    asked = Asked(str(spec / "spec.yaml"), str(folder / "dist"), until="optimize", engine="docker")
    return Project(spec.parent, asked, Store(folder / "store"), Shelf())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One whose tasks run in this process, untraced."""
    for module in ("runner", "verify"):
        monkeypatch.setattr(f"onnxpack.pipeline.{module}.call", Here())
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One with code of a user, whose tasks ran as they ship."""
    made = make_project(tmp_path_factory.mktemp("traced"), **SCORED)
    made.build()
    return made


def edit(place: str, text: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        path = project.folder / place
        path.write_bytes(path.read_bytes() + text.encode() if path.exists() else text.encode())

    return change


def alter_spec(**fields: Any) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        (project.spec / "spec.yaml").write_text(json.dumps(SPEC | SCORED | fields))

    return change


def link_elsewhere(project: Project) -> None:
    """Let the same file be reached by another way, which leaves the project."""
    moved = shutil.move(project.spec / "data.py", project.folder.parent / "data.py")
    (project.spec / "data.py").symlink_to(moved)


CHANGES: dict[str, tuple[Callable[[Project], Any], str]] = {
    "a field": (alter_spec(description="another"), "spec/spec.yaml changed"),
    "a comment": (edit("spec/spec.yaml", "\n# only words\n"), "spec/spec.yaml changed"),
    "a file that the spec extends": (edit("common.yaml", "version: 1.0.0\n"), "common.yaml changed"),
    "the weights": (edit("spec/m.onnx", " "), "spec/m.onnx changed"),
    "the code of the data": (edit("spec/data.py", "\nMORE = 1\n"), "spec/data.py changed"),
    "what code imports": (edit("spec/scale.py", "FACTOR = 0.5\n"), "spec/scale.py changed"),
    "a file that code reads": (edit("spec/pieces/one.npy", " "), "spec/pieces/one.npy changed"),
    "a file gone": (lambda project: (project.spec / "scale.py").unlink(), "spec/scale.py changed"),
    "one more file in a folder that code lists": (
        edit("spec/pieces/two.npy", "x"), "the names of files in spec/pieces changed",
    ),
    "a module that takes another's place": (edit("spec/onnxruntime.py", ""), "the modules in spec changed"),
    "a link in the place of a file": (link_elsewhere, "spec/data.py changed"),
    "a nearer work tree": (lambda project: (project.spec / ".git").mkdir(), "the Git work tree is another one"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_build_read_and_is_changed_is_noticed_and_named(traced: Project, name: str) -> None:
    change, words = CHANGES[name]
    assert traced.find()
    kept = shutil.copytree(traced.folder, traced.folder.parent / "kept")
    try:
        change(traced)
        assert traced.find() is None
        assert traced.why() == words
    finally:
        shutil.rmtree(traced.folder)
        shutil.copytree(kept, traced.folder)
        shutil.rmtree(kept)
    assert traced.find()  # the same content in new files is the same


def test_what_no_stage_reads_may_change(traced: Project) -> None:
    (traced.folder / "README.md").write_text("for people")
    (traced.spec / "notes.txt").write_text("for people")
    assert traced.find()


def test_an_outline_tells_the_targets_while_all_reads_as_it_did(traced: Project) -> None:
    def targets() -> tuple[str, ...] | None:
        found = find_outline(traced.store, traced.asked, traced.look())
        return found and found.targets

    assert targets() == ("cpu",)
    (traced.folder / "common.yaml").write_text("description: some of ours\n")
    assert targets() is None
    (traced.folder / "common.yaml").write_text("description: all of ours\n")
    assert targets() == ("cpu",)
    other = replace(traced.asked, settings=("version=2.0.0",))
    assert find_outline(traced.store, other, traced.look()) is None


@pytest.mark.parametrize(
    "option",
    [
        {"settings": ("opset=18",)}, {"trust": True}, {"sandbox": True}, {"until": "export"}, {"engine": "oci"},
        {"base": "/base.tar"}, {"compression": "zstd"}, {"budget": 1.0}, {"require_gates": True}, {"push": True},
        {"reproduce": True}, {"output": "/elsewhere"},
    ],
    ids=lambda option: next(iter(option)),
)  # fmt: skip
def test_another_option_is_another_build(traced: Project, option: dict[str, Any]) -> None:
    assert find_unchanged(traced.store, replace(traced.asked, **option), "cpu", traced.look()) is None
    assert find_unchanged(traced.store, traced.asked, "other", traced.look()) is None


def test_a_fresh_store_is_asked_nothing(traced: Project) -> None:
    fresh = Store(traced.store.root, fresh=True)
    assert find_unchanged(fresh, traced.asked, "cpu", traced.look()) is None


def test_another_installation_is_noticed(traced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "digest_installation", lambda: "another")
    assert traced.find() is None
    assert traced.why() == "onnxpack, Python or an installed package changed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda output: (output / "model.onnx").unlink(), "an output changed"),
        (lambda output: (output / "model.onnx").write_bytes((output / "model.onnx").read_bytes()), "an output changed"),
        (lambda output: (output / "more").touch(), "an output changed"),
        (lambda output: (output / "report.json").write_text("{}"), "an output changed"),
        (lambda output: (output / "model.onnx").chmod(0o600), "an output changed"),
        (lambda output: output.rename(output.parent / "moved"), "the outputs are gone"),
    ],
)
def test_outputs_that_changed_are_noticed(project: Project, change: Callable[[Path], Any], words: str) -> None:
    project.build()
    assert project.find()
    change(project.output)
    assert project.find() is None
    assert project.why() == words


BASE, OTHER, IMAGE = (Image(f"sha256:{name}", 1, (), {}) for name in ("base", "other", "image"))


def build_image(project: Project, part: Path) -> None:
    part.write_text("a layer")
    names = {"docker.io/library/base:1": BASE.id, "docker.io/library/example:1": IMAGE.id}
    project.engine.names, project.engine.parts = names, (part,)
    project.build(base=BASE, image=IMAGE, references=("example:1",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": {"docker.io/library/base:1": BASE.id}}, "the engine has another image docker.io/library/example"),
        (
            {"names": {"docker.io/library/base:1": OTHER.id, "docker.io/library/example:1": IMAGE.id}},
            "the engine has another image docker.io/library/base:1, or none",
        ),
        ({"silent": True}, "the engine does not answer"),
    ],
    ids=["the image is gone", "the base is another one", "no engine answers"],
)  # fmt: skip
def test_images_that_changed_are_noticed(project: Project, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    build_image(project, tmp_path / "part")
    found = project.find()
    assert found
    assert (found.image, found.references, found.result) == (IMAGE.id, ("example:1",), "example:1")
    for name, value in change.items():
        setattr(project.engine, name, value)
    assert project.find() is None
    assert (project.why() or "").startswith(words)


def test_a_part_of_an_image_that_changed_is_noticed(project: Project, tmp_path: Path) -> None:
    build_image(project, tmp_path / "part")
    assert project.find()
    (tmp_path / "part").write_text("a worse")
    assert project.why() == "a part of the image is gone"


def test_an_image_that_the_engine_lost_meanwhile_gets_no_receipt(project: Project, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        project.build(base=BASE, image=IMAGE, references=("example:1",))
    assert project.find() is None


def test_outputs_of_another_build_get_no_receipt(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Build(Plan(load(project.spec / "spec.yaml"), "cpu", project.output), project.store, project.engine, Told())
    attempt = build(run, Wanted("optimize"))
    report = json.loads((project.output / "report.json").read_text())
    report["stages"][0]["seconds"] += 1
    (project.output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    assert not write_receipt(run, project.asked, attempt)


@pytest.mark.parametrize("place", ["spec/spec.yaml", "common.yaml", "spec/m.onnx"])
def test_an_input_that_changed_since_it_was_read_gives_no_receipt(project: Project, place: str) -> None:
    run = Build(Plan(load(project.spec / "spec.yaml"), "cpu", project.output), project.store, project.engine, Told())
    attempt = build(run, Wanted("optimize"))
    edit(place, "\n")(project)
    assert not write_receipt(run, project.asked, attempt)


def test_work_that_time_cut_short_gives_no_receipt(project: Project) -> None:
    run = Build(Plan(load(project.spec / "spec.yaml"), "cpu", project.output), project.store, project.engine, Told())
    attempt = build(run, Wanted("optimize"))
    run.runner.read.lasting = False
    assert not write_receipt(run, project.asked, attempt)


def test_a_receipt_is_renewed_once_times_can_be_trusted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.build()
    found = project.find()
    assert found
    assert [file.state for file in found.files] == [None] * len(found.files)  # written a moment ago
    monkeypatch.setattr("onnxpack.cache.remembered._SETTLED_NS", -(10**18))
    renew(project.store, project.asked, found)
    monkeypatch.setattr("onnxpack.cache.known.digest_content", lambda path: pytest.fail("it is read again"))
    again = project.find()
    assert again
    assert all(file.state for file in again.files)
    assert replace(again, files=found.files) == found


def test_damaged_receipts_are_none(project: Project) -> None:
    project.build()
    place = project.store.root / "receipts" / make_key(project.asked, "cpu")
    whole = place.read_bytes()
    for position in range(0, len(whole), 97):
        place.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert project.find() is None
    place.write_bytes(whole[:-1])
    assert project.find() is None
    place.write_bytes(whole)
    assert project.find()
    other = replace(project.asked, budget=2.0)
    shutil.copy(place, place.with_name(make_key(other, "cpu")))
    assert find_unchanged(project.store, other, "cpu", project.look()) is None


def test_the_history_holds_the_steps_with_their_requests(traced: Project) -> None:
    found = find_last(traced.store, traced.asked.spec, "cpu")
    assert found
    history = found[1]
    steps = {f"{step.name} {step.of}".strip(): step for step in history.steps}
    assert list(steps) == ["export", "verify export", "evaluate source", "evaluate float32", "batch speed"]
    export, score = steps["export"], steps["evaluate source"]
    assert export.request["spec"]["files"].keys() == {"m.onnx", "data.py"}
    assert export.request["spec"]["spec"]["model"] == {"framework": "onnx", "path": "m.onnx"}
    assert "spec/scale.py" in score.trace.files
    assert {entry.path for entry in history.outputs} == {"model.onnx", "report.html", "report.json"}
