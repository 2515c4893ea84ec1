"""Which code a spec may name without --trust."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from command_line import Ended
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.core.errors import SpecError
from onnxpack.spec.load import SpecFile
from onnxpack.spec.trust import trust_code
from onnxpack.worker.user_code import import_attribute

OWN = "import functools, os, subprocess\ndef make(): ...\nclass Net: ...\nrun = functools.partial(os.system, 'true')\n"


def write(folder: Path, **model: Any) -> SpecFile:
    """Write a spec with code beside it, some of it under names that Python's own modules have."""
    for name in ("model.py", "code.py", "beside.py", "trust_other.py"):
        (folder / name).write_text(OWN)
    (folder / "package").mkdir()
    return write_spec(folder, {"framework": "torch", "factory": "model.py:make", "weights": "none"} | model)


@pytest.mark.parametrize(
    "factory",
    ["model.py:make", "code.py:make", "model.py:Net.make", "torch.nn:Identity", "torchvision.models:resnet18",
     "timm:create_model", "beside:make", "package.inner:make"],
)  # fmt: skip
def test_trust_code_of_the_project_or_the_framework_is_taken(tmp_path: Path, factory: str) -> None:
    file = write(tmp_path, factory=factory)
    assert trust_code(file, trusted=False) == file


@pytest.mark.parametrize(
    ("pin", "factory"), [("open-clip-torch==2.1", "open_clip:make"), ("Some.Nets[all]==1.0", "some_nets.big:make")]
)
def test_trust_code_that_the_requirements_pin_is_taken(tmp_path: Path, pin: str, factory: str) -> None:
    assert trust_code(write(tmp_path, factory=factory, requirements=[pin]), trusted=False)
    (tmp_path / "other").mkdir()
    with pytest.raises(SpecError, match="which the spec does not pin"):
        trust_code(write(tmp_path / "other", factory=factory), trusted=False)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("os:system", "a part of Python's own module 'os'"),
        ("subprocess:run", "a part of Python's own module 'subprocess'"),
        ("code:interact", "a part of Python's own module 'code'"),
        ("torch:os.system", "a part of Python's own module 'os'"),
        ("model.py:os.system", "a part of Python's own module 'os'"),
        ("torch.hub:load", "a part of 'torch.hub', which runs what its arguments name"),
        ("torch:hub.load", "a part of 'torch.hub', which runs what its arguments name"),
        ("torch:load", "a part of 'torch.load', which runs what its arguments name"),
        ("torch.utils.collect_env:run", "a part of 'torch.utils.collect_env', which runs what its arguments name"),
        ("numpy:load", "a part of 'numpy.load', which runs what its arguments name"),
        ("yaml:unsafe_load", "code of 'yaml', which the spec does not pin"),
        ("nowhere.inner:make", "code of 'nowhere', which the spec does not pin"),
        ("keras.models:load_model", "a part of 'keras.models.load_model', which runs what its arguments name"),
        ("keras.applications:ResNet50", "code of 'keras', which the spec does not pin"),
    ],
)
def test_trust_code_of_another_origin_is_refused_at_its_place(tmp_path: Path, factory: str, reason: str) -> None:
    file = write(tmp_path, factory=factory, kwargs={"command": "true"})
    with pytest.raises(SpecError) as refused:
        trust_code(file, trusted=False)
    (problem,) = refused.value.problems
    assert problem.message == f"'{factory}' is {reason}, and a build would run it"
    assert "--trust" in problem.hint
    assert problem.where == file.where("model", "factory")
    assert problem.where.line
    assert trust_code(file, trusted=True).trusted


@pytest.mark.parametrize("name", ["site-packages", "dist-packages"])
def test_trust_code_of_an_environment_in_the_work_tree_is_refused_by_either_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "spec").mkdir()
    package = f"installed_{name[:4]}"
    (tmp_path / "deps" / package).mkdir(parents=True)
    (tmp_path / "deps" / package / "__init__.py").touch()
    (tmp_path / name).symlink_to("deps")
    monkeypatch.syspath_prepend(str(tmp_path / name))
    with pytest.raises(SpecError, match="which the spec does not pin"):
        trust_code(write(tmp_path / "spec", factory=f"{package}:make"), trusted=False)


def test_trust_code_of_every_field_is_looked_at(tmp_path: Path) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    fields = {
        "calibration": {"data": "os:listdir"},
        "evaluation": {"data": "os:walk", "metric": "shutil:rmtree"},
    }
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields)
    with pytest.raises(SpecError) as refused:
        trust_code(file, trusted=False)
    assert [problem.message.split()[0] for problem in refused.value.problems] == [
        "'os:listdir'",
        "'os:walk'",
        "'shutil:rmtree'",
    ]


@pytest.mark.parametrize("reference", ["trust_other.py:run", "trust_other.py:subprocess.Popen"])
def test_attribute_that_is_python_s_own_under_another_name_is_refused(tmp_path: Path, reference: str) -> None:
    file = write(tmp_path)
    with pytest.raises(SpecError, match=r"a part of Python's own module '(posix|subprocess)'"):
        import_attribute(file, reference)
    assert import_attribute(trust_code(file, trusted=True), reference)


@pytest.mark.parametrize("reference", ["torch.nn:functional.torch.hub.load", "torch.nn:functional.torch.load"])
def test_attribute_that_runs_what_its_arguments_name_is_refused_by_any_way_to_it(
    tmp_path: Path, reference: str
) -> None:
    file = write(tmp_path, factory=reference)
    assert trust_code(file, trusted=False), "by its name alone it is not known"
    with pytest.raises(
        SpecError, match=r"is a part of 'torch\.(hub|serialization)', which runs what its arguments name"
    ):
        import_attribute(file, reference)
    assert import_attribute(trust_code(file, trusted=True), reference)


def test_attribute_of_a_project_file_named_as_a_module_of_python_is_taken(tmp_path: Path) -> None:
    # In a process of its own, as the tests' own may have imported Python's module of this name.
    write(tmp_path)
    code = "import sys\nfrom pathlib import Path\nfrom onnxpack.spec.load import load\n"
    code += "from onnxpack.worker.user_code import import_attribute\n"
    code += "print(import_attribute(load(Path(sys.argv[1])), 'code.py:Net').__module__)\n"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "spec.yaml")], capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("code\n", "")


@pytest.mark.parametrize("verb", [("build", "--engine", "none"), ("verify",), ("bench",)])
def test_a_verb_with_a_factory_of_python_s_own_runs_nothing(onnxpack: Any, tmp_path: Path, verb: tuple[str, ...],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, factory="os:system", kwargs={"command": f"touch {tmp_path}/ran"})
    ended: Ended = onnxpack(*verb, "spec.yaml")
    assert ended.code == 2
    assert "error: spec.yaml:1:" in ended.err
    assert "'os:system' is a part of Python's own module 'os'" in ended.err
    assert "--trust" in ended.err
    assert not (tmp_path / "ran").exists()
    assert onnxpack(*verb, "--trust", "spec.yaml").code == 3
    assert (tmp_path / "ran").exists()
