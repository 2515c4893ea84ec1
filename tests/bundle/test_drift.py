"""Whatever moves after a lock was made is found, once, with its place; nothing else is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx_examples import MATMUL, constant, make_model

from onnxpack.bundle import drift, lock, resolve, tools
from onnxpack.bundle.drift import require_fresh
from onnxpack.core.errors import Problem, SpecError
from onnxpack.parity import compare
from onnxpack.pipeline.lock import Moving, make_lock
from onnxpack.spec.load import load

SHA = "0123456789abcdef" * 4
FIELDS: dict[str, Any] = {
    "onnxpack": 1,
    "name": "m",
    "model": {"framework": "onnx", "path": "m.onnx"},
    "inputs": {"x": {"dtype": "float32", "shape": ["batch", 4]}},
    "dynamic_axes": {"batch": {"max": 4}},
    "calibration": {"data": "calibration.npz"},
    "evaluation": {"data": "code/data.py:rows", "metric": "code/data.py:score", "labels": "y"},
    "targets": {"cpu": {"precision": "int8-static"}, "edge": {"platform": "linux/arm64"}, "small": {}},
}
BASE = lock.LockedBase("gcr.io/distroless/python3-debian12", f"sha256:{SHA}")


class House:
    """A folder with a spec, all kinds of files, and a lock of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = folder / "spec.yaml"
        onnx.save_model(
            make_model(MATMUL, constants=[constant("w")]), folder / "m.onnx",
            save_as_external_data=True, location="m.weights", size_threshold=0,
        )  # fmt: skip
        np.savez(folder / "calibration.npz", x=np.zeros((8, 4), np.float32))
        (folder / "code").mkdir()
        (folder / "code/data.py").write_text("import numpy as np\nimport helper.rows\n")
        (folder / "code/helper").mkdir()
        (folder / "code/helper/__init__.py").write_text("from .deep import one\n")
        (folder / "code/helper/rows.py").write_text("import json\n")
        (folder / "code/helper/deep.py").write_text("one = 1\n")
        self.write(FIELDS)
        made = make_lock(load(self.spec), None, lambda wanted, platform, known: BASE, Moving())
        lock.write(self.place, made.targets, made.pins)

    @property
    def place(self) -> Path:
        return self.folder / "spec.lock"

    def write(self, fields: dict[str, Any]) -> None:
        self.spec.write_text(yaml.safe_dump(fields, sort_keys=False))

    def change(self, *path: Any, value: Any) -> None:
        """Change one field of the spec; None takes it away."""
        fields = inner = json.loads(json.dumps(FIELDS))
        for step in path[:-1]:
            inner = inner.setdefault(step, {})
        inner[path[-1]] = value
        if value is None:
            del inner[path[-1]]
        self.write(fields)

    def edit(self, *path: str, value: Any) -> None:
        """Change one place of the lock, and write it as `onnxpack lock` does."""
        data = inner = json.loads(self.place.read_text())
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        if value is None:
            del inner[path[-1]]
        found = lock.parse(json.dumps(data).encode())
        lock.write(self.place, found.targets, found.pins)

    def find(self) -> list[tuple[str, str]]:
        """Return what is found, each with the text at its place."""
        problems: tuple[Problem, ...] = ()
        try:
            require_fresh(load(self.spec))
        except SpecError as error:
            problems = error.problems
        # The cure is said once.
        cures = [problem.hint for problem in problems if problem.hint]
        assert cures == [f"run `onnxpack lock {self.spec}`"][: len(problems)]
        return [(problem.message, _text_at(problem.where)) for problem in problems]


def _text_at(where: Any) -> str:
    lines = Path(where.file).read_text().splitlines() if where.line else []
    return lines[where.line - 1][where.column - 1 :] if 0 < where.line <= len(lines) else Path(where.file).name


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(resolve, "resolve", choose)
    return House(tmp_path)


def choose(spec: Any, name: str, *_: object) -> lock.TargetLock:
    versions = {"httptools": "0.9", "numpy": "2.4.6", "onnxruntime": "1.32", "orjson": "3.13"}
    packages = tuple(
        lock.Package(one, version, (SHA,), files=(f"{one}-{version}-py3-none-any.whl",))
        for one, version in versions.items()
    )
    asked = lock.make_unresolved_lock(spec, name)
    return replace(asked, packages=packages)


def test_a_lock_that_was_made_just_now_is_fresh_and_says_all(house: House) -> None:
    assert house.find() == []
    found = lock.read_lock(house.place)
    assert sorted(found.pins.sources) == [
        "calibration.npz", "code/data.py", "code/helper/__init__.py", "code/helper/deep.py", "code/helper/rows.py",
        "m.onnx", "m.onnx#m.weights",
    ]  # fmt: skip
    assert {"numpy", "onnx", "onnxpack", "onnxruntime", "scikit-learn"} <= found.pins.tools.keys()
    assert found.pins.tolerances["int8-static"].keys() == {"noise", "labels"}
    text = house.place.read_text()
    assert "://" not in text
    assert str(house.folder) not in text
    assert text.count('"httptools": {') == 2, "what two targets share is written once"


FILES = {
    "m.onnx": "m.onnx", "m.weights": '"m.onnx#m.weights"', "calibration.npz": "calibration.npz",
    "code/data.py": "code/data.py:rows", "code/helper/rows.py": "code/data.py:rows",
    "code/helper/deep.py": "code/data.py:rows",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_found_where_the_spec_names_it(house: House, name: str) -> None:
    path = house.folder / name
    if name == "m.onnx":
        model = onnx.load(path, load_external_data=False)
        model.producer_name = "other"
        onnx.save(model, path)
    else:
        path.write_bytes(path.read_bytes() + b"#")
    ((message, text),) = house.find()
    named = "m.onnx#m.weights" if name == "m.weights" else name
    before = lock.read_lock(house.place).pins.sources[named]
    assert message.startswith(f"'{named}' changed: its SHA-256 is ")
    assert message.endswith(f"…, and the lock has {before[:12]}…")
    assert text.startswith(FILES[name])


def test_a_file_that_is_gone_is_found(house: House) -> None:
    (house.folder / "m.weights").unlink()
    (house.folder / "code/helper/deep.py").unlink()
    assert sorted(message for message, _ in house.find()) == [
        "'m.onnx#m.weights' is not there, or cannot be read",
        "the lock has 'code/helper/deep.py', which the spec does not name",
    ]


def test_a_new_module_of_the_code_is_found(house: House) -> None:
    (house.folder / "code/helper/rows.py").write_text("import code.more\nimport other\n")
    (house.folder / "other.py").write_text("")
    assert [message.partition(":")[0] for message, _ in house.find()] == [
        "'code/helper/rows.py' changed", "'other.py' is not in the lock",
    ]  # fmt: skip


ALL = "the lock does not fit targets 'cpu', 'edge', 'small': "
TWO = "the lock does not fit targets 'cpu', 'small': "
CHANGES: dict[str, tuple[tuple[Any, ...], Any, list[tuple[str, str]]]] = {
    "name": (("name",), "other", []),
    "version": (("version",), "2", []),
    "opset": (("opset",), 18, []),
    "port": (("runtime", "port"), 80, []),
    "python": (
        ("image", "python"), "3.12",
        [(f"{ALL}its Python is 3.11, and the spec's is 3.12", "3.12")],
    ),
    "platform": (
        ("targets", "small", "platform"), "linux/arm64",
        [("the lock does not fit target 'small': its platform is linux/amd64, and the spec's is linux/arm64",
          "linux/arm64")],
    ),
    "device": (
        ("targets", "small", "device"), "cuda",
        [("the lock does not fit target 'small': it is for cpu, and the spec says cuda", "small")],
    ),
    "base": (
        ("image", "base"), "python:3.11",
        [(f"{ALL}its base image is gcr.io/distroless/python3-debian12, and the spec's is python:3.11", "python:3.11")],
    ),
    "requirement": (
        ("image", "requirements"), ["h11>=0.16"],
        [(f"{ALL}it was made without 'h11>=0.16', which the image needs", "h11>=0.16")],
    ),
    "target added": (("targets", "new"), {}, [("target 'new' is not in the lock", "new")]),
    "target removed": (
        ("targets", "small"), None,
        [("the lock has target 'small', and the spec does not", '"small": "cpu linux/amd64"')],
    ),
    "tolerance": (
        ("verify", "rtol"), 0.5,
        [("the tolerance of float32 is bfloat16 rtol 0.5, atol 0.01; float16 rtol 0.5, atol 0.001; float32 rtol 0.5, "
          "atol 0.0001; float64 rtol 0.5, atol 1e-06, and the lock has bfloat16 rtol 0.05, atol 0.01; float16 "
          "rtol 0.01, atol 0.001; float32 rtol 0.001, atol 0.0001; float64 rtol 1e-05, atol 1e-06", "0.5"),
         ("the tolerance of int8-static is bfloat16 rtol 0.5, atol 0.01; float16 rtol 0.5, atol 0.001; float32 "
          "rtol 0.5, atol 0.0001; float64 rtol 0.5, atol 1e-06, and the lock has noise 0.25; labels 0.1", "0.5")],
    ),
    "precision": (
        ("targets", "cpu", "precision"), "float32",
        [("the tolerance of int8-static is none, and the lock has noise 0.25; labels 0.1",
          '"int8-static": {"noise": "0.25", "labels": "0.1"}')],
    ),
    "data removed": (
        ("evaluation",), None,
        [(f"the lock has 'code/{name}', which the spec does not name", f'"code/{name}": ')
         for name in ("data.py", "helper/__init__.py", "helper/deep.py", "helper/rows.py")]
        ,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_field_is_found_if_it_moves_anything(house: House, kind: str) -> None:
    path, value, expected = CHANGES[kind]
    house.change(*path, value=value)
    found = house.find()
    assert [message for message, _ in found] == [message for message, _ in expected]
    for (_, text), (_, begins) in zip(found, expected, strict=True):
        assert text.strip("'\"").startswith(begins.strip("'\"")), "the place"


ENTRY = ("runtimes", "cpu linux/amd64")
EDITS: dict[str, tuple[tuple[str, ...], Any, list[str]]] = {
    "a digest": (("sources", "m.onnx"), SHA, ["'m.onnx' changed: its SHA-256 is "]),
    "a tool": (("tools", "onnx"), "1.0", [f"onnx is {tools.find_version('onnx')} here, and the lock has 1.0"]),
    "a tool that is not here": (("tools", "torchx"), "1.0", ["torchx is not installed here, and the lock has 1.0"]),
    "a tool less": (("tools", "scikit-learn"), None, ["the lock has no version of scikit-learn, which shapes the"]),
    "onnxpack": (("tools", "onnxpack"), "0.0.1", ["onnxpack is "]),
    "a tolerance": (("tolerances", "float32", "float64"), "rtol 9", ["the tolerance of float32 is "]),
    "no tolerances": (("tolerances",), {}, ["the tolerance of float32 is ", "the tolerance of int8-static is "]),
    "a source": (("sources", "gone.npz"), SHA, ["the lock has 'gone.npz', which the spec does not name"]),
    "a source outside": (
        ("sources", "m.onnx#../../etc/passwd"), SHA, ["the lock has 'm.onnx#../../etc/passwd', which the spec"],
    ),
    "a version": (
        (*ENTRY, "packages", "numpy", "version"), "2.4.7",
        [f"{TWO}it has numpy 2.4.7 with the wheel numpy-2.4.6-py3-none-any.whl"],
    ),
    "a wheel": (
        (*ENTRY, "packages", "numpy", "wheels"), {"orjson-2.4.6-py3-none-any.whl": SHA},
        [f"{TWO}it has numpy 2.4.6 with the wheel orjson-2.4.6-py3-none-any"],
    ),
    "no wheel's name": (
        (*ENTRY, "packages", "numpy", "wheels"), {"x.whl": SHA}, [f"{TWO}it has"],
    ),
    "python": (
        (*ENTRY, "python"), "3.12",
        [f"{TWO}its Python is 3.12, and the spec's is 3.11"],
    ),
    "requirement": (
        (*ENTRY, "requirements"), ["numpy>=1"],
        [f"{TWO}it was made without 'httptools>=0.6', which the image needs",
         f"{TWO}it was made without 'numpy>=2,<3', which the image needs",
         f"{TWO}it was made without 'onnxruntime>=1.27', which the image needs",
         f"{TWO}it was made without 'orjson>=3.10', which the image needs",
         f"{TWO}it asks for 'numpy>=1', and the image does not"],
    ),
    "environment": (("environment",), {"torch": "2.0"}, ["the lock has an environment for the model, and the spec"]),
}  # fmt: skip


@pytest.mark.case("B12")
@pytest.mark.parametrize("kind", EDITS)
def test_a_lock_that_was_edited_by_hand_is_found(house: House, kind: str) -> None:
    path, value, expected = EDITS[kind]
    data = json.loads(house.place.read_text())
    if path[0] in ("environment",):
        data[path[0]] = {}
        house.place.write_text(json.dumps(data))
    house.edit(*path, value=value)
    found = house.find()
    assert len(found) == len(expected)
    for (message, text), begins in zip(found, expected, strict=True):
        assert message.startswith(begins)
        assert text != "spec.lock" or kind == "no tolerances", "it has a place"


@pytest.mark.case("B12")
@pytest.mark.parametrize("how", ["formatted", "twice", "order"])
def test_a_lock_that_is_written_otherwise_is_found(house: House, how: str) -> None:
    text = house.place.read_text()
    if how == "formatted":
        house.place.write_text(json.dumps(json.loads(text), indent=2))
    elif how == "twice":  # as both sides of a merge
        house.place.write_text(text.replace('  "m.onnx": ', f'  "m.onnx": "{SHA}",\n  "m.onnx": ', 1))
    else:
        data = json.loads(text)
        data["tools"] = dict(reversed(data["tools"].items()))
        house.place.write_text(json.dumps(data))
    ((message, _),) = house.find()
    assert message.startswith("it is not written as `onnxpack lock` writes it: ")


@pytest.mark.case("B12")
def test_a_lock_that_is_missing_or_none_names_the_command(house: House) -> None:
    house.place.write_text('{\n "onnxpack-lock": 3,\n')
    ((message, _),) = house.find()
    assert message == "it is not a lock of this onnxpack version: Expecting property name enclosed in double quotes"
    house.place.write_text(json.dumps({"onnxpack-lock": 2, "targets": {}}))
    assert house.find() == [("it is not a lock of this onnxpack version: its format is 2, and 3 is read", "spec.lock")]
    house.place.unlink()
    assert house.find() == [("there is no lock", "spec.lock")]


def test_everything_at_once_is_told_once(house: House) -> None:
    fields = json.loads(json.dumps(FIELDS))
    fields["image"] = {"python": "3.13", "base": "python:3.13"}
    fields["targets"] = {"cpu": {}, "new": {}}
    house.write(fields)
    (house.folder / "calibration.npz").write_bytes(b"")
    house.edit("tools", "onnx", value="1.0")
    found = [message for message, _ in house.find()]
    assert len(found) == len(set(found)) == 8, found


def test_a_moved_tool_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "find_version", lambda name: "99" if name == "onnxruntime" else tools.find_version(name))
    ((message, text),) = house.find()
    assert message == f"onnxruntime is 99 here, and the lock has {tools.find_version('onnxruntime')}"
    assert text.startswith('"onnxruntime": ')


def test_a_tolerance_of_a_new_release_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compare.TOLERANCES, "float64", (1e-4, 1e-6))
    ((message, text),) = house.find()
    assert "float64 rtol 0.0001, atol 1e-06" in message
    assert text.startswith('"float32": {')


def test_the_file_of_a_url_counts_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "resolve", choose)
    fields = FIELDS | {"model": {"framework": "onnx", "path": "https://models.example.com/a/m.onnx", "sha256": SHA}}
    for name in ("calibration", "evaluation", "targets"):
        fields.pop(name)
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(fields))
    made = make_lock(load(spec), None, lambda *_: None, Moving())
    lock.write(tmp_path / "spec.lock", made.targets, made.pins)
    assert made.pins.sources == {"remote:m.onnx": SHA}
    require_fresh(load(spec))
    fields["model"]["sha256"] = SHA[::-1]
    spec.write_text(yaml.safe_dump(fields))
    with pytest.raises(SpecError, match=r"'remote:m\.onnx' changed"):
        require_fresh(load(spec))
