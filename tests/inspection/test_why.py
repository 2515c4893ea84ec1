"""Why a bundle has a file: the chain of what keeps it, and what is said of files that went or never were."""

import json
from pathlib import Path

import pytest

from onnxpack.bundle.layer import LayerFile, Why, write_files
from onnxpack.core.errors import SpecError
from onnxpack.inspection.why import explain, format_explanation

FILES = (
    LayerFile("ort/__init__.py", "ort", 100, True, Why("imported by", "app/inference.py")),
    LayerFile("ort/state.so", "ort", 3_000_000, True, Why("imported by", "ort/__init__.py")),
    LayerFile("ort/lib.so.1", "ort", 5_000, True, Why("linked by", "ort/state.so")),
    LayerFile("ort/tools.py", "ort", 700, False, Why("no module that an image loads imports it")),
    LayerFile("loop.py", "loop", 1, True, Why("imported by", "loop.py")),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_files(tmp_path / "files.json", FILES)
    for name in ("model/opt/onnxpack/app/server.py", "model/opt/onnxpack/app/model.onnx",
                 "runtime/opt/onnxpack/lib/ort/__pycache__/state.cpython-311.pyc",
                 "runtime/opt/onnxpack/lib/ort/state.so",
                 "runtime/usr/lib/python3.11/__pycache__/json.cpython-311.pyc"):  # fmt: skip
        path = tmp_path / "context/rootfs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12")
    (tmp_path / "context/Dockerfile").write_text("FROM x\n")
    return tmp_path


def tell(bundle: Path, wanted: str) -> list[str]:
    return format_explanation(explain(bundle, wanted))


@pytest.mark.parametrize(
    "wanted", ["lib.so.1", "ort/lib.so.1", "/opt/onnxpack/lib/ort/lib.so.1", "lib.so*", "o?t/lib.*"]
)
def test_a_file_is_told_with_the_whole_chain(bundle: Path, wanted: str) -> None:
    assert tell(bundle, wanted) == [
        "/opt/onnxpack/lib/ort/lib.so.1: 5.0 kB of ort",
        "  linked by ort/state.so",
        "  imported by ort/__init__.py",
        "  imported by app/inference.py",
    ]


def test_the_context_does_as_well_as_the_bundle(bundle: Path) -> None:
    assert tell(bundle / "context", "lib.so.1") == tell(bundle, "lib.so.1")


def test_a_file_that_went_says_why(bundle: Path) -> None:
    assert tell(bundle, "tools.py") == [
        "/opt/onnxpack/lib/ort/tools.py: 700 B of ort, left out",
        "  no module that an image loads imports it",
    ]


def test_files_that_come_from_no_wheel_are_explained(bundle: Path) -> None:
    assert tell(bundle, "model.onnx")[1:] == ["  the model"]
    assert tell(bundle, "server.py")[1:] == ["  made for this model"]
    assert tell(bundle, "state.cpython-311.pyc")[1:] == ["  compiled by the base's Python from ort/state.py"]
    assert tell(bundle, "json.cpython-311.pyc")[1:] == [
        "  compiled by the base's Python from /usr/lib/python3.11/json.py"
    ]


def test_several_files_are_told_the_largest_first(bundle: Path) -> None:
    heads = [line for line in tell(bundle, "ort/*") if line.startswith("/")]
    assert [line.partition(":")[0].rpartition("/")[2] for line in heads] == [
        "state.so", "lib.so.1", "__init__.py", "state.cpython-311.pyc", "tools.py",
    ]  # fmt: skip


def test_a_chain_that_leads_in_a_circle_ends(bundle: Path) -> None:
    assert tell(bundle, "loop.py")[1:] == ["  imported by loop.py"]


def test_an_unknown_file_names_what_is_like_it(bundle: Path) -> None:
    with pytest.raises(SpecError, match=r"neither the image nor the wheels have a file 'stat\.so'") as refused:
        explain(bundle, "stat.so")
    assert "state.so" in refused.value.problems[0].hint
    with pytest.raises(SpecError) as refused:
        explain(bundle, "zzz")
    assert "--why` lists the largest" in refused.value.problems[0].hint


def test_without_a_file_packages_and_the_largest_files_are_told(bundle: Path) -> None:
    lines = tell(bundle, "")
    assert "  ort   3.0 MB      3     700 B      1" in lines
    assert any(line.split() == ["3.0", "MB", "/opt/onnxpack/lib/ort/state.so", "imported", "by", "ort/__init__.py"]
               for line in lines)  # fmt: skip
    assert explain(bundle, "")["packages"][0] == {
        "name": "ort", "size_bytes": 3_005_100, "files": 3, "left_out_bytes": 700, "left_out_files": 1,
    }  # fmt: skip


def test_what_the_report_says_of_a_package_is_told_too(bundle: Path) -> None:
    report = {"name": "a", "target": "cpu", "status": "failed"}
    for packages in ([{"name": "ort", "reason": "loaded by Conv"}, "odd", {"name": "other"}], 3, None):
        (bundle / "report.json").write_text(json.dumps({**report, "packages": packages}))
        said = tell(bundle, "lib.so.1")
        assert ("  the package: loaded by Conv" in said) == isinstance(packages, list)


def test_a_bundle_without_a_list_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the list of the layer's files"):
        explain(tmp_path, "a")
