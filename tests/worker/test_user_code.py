"""What a spec names as code is found, run once, and its failures are told."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.core.errors import SourceError
from onnxpack.spec.load import SpecFile
from onnxpack.worker.user_code import call_function, import_attribute


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"})


def test_keyword_arguments_may_have_any_name() -> None:
    given = call_function(lambda **kwargs: kwargs, "a:b", "look", function=1, reference=2, hint=3)
    assert given == {"function": 1, "reference": 2, "hint": 3}


def test_a_file_is_run_once_and_its_neighbours_are_importable(file: SpecFile) -> None:
    (file.folder / "user_code_first.py").write_text("from user_code_second import B\nclass A:\n    x = B\n")
    (file.folder / "user_code_second.py").write_text("B = []\n")
    found = import_attribute(file, "user_code_first.py:A")
    assert import_attribute(file, "user_code_first.py:A") is found
    assert import_attribute(file, "user_code_first.py:A.x") is import_attribute(file, "user_code_second:B")


@pytest.mark.case("M8")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("B = 1", "has no 'A' (it has: B)"),
        ("A =", "line 1: invalid syntax"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("import no_such_package", "No module named 'no_such_package'"),
    ],
)
def test_code_that_cannot_be_imported_is_refused(file: SpecFile, text: str, words: str) -> None:
    name = f"user_code_{abs(hash(text))}.py"
    (file.folder / name).write_text(text)
    with pytest.raises(SourceError) as refused:
        import_attribute(file, f"{name}:A")
    assert words in str(refused.value)


@pytest.mark.parametrize("function", [lambda: 1 / 0, 3])
def test_a_function_that_fails_is_told(function: Any) -> None:
    with pytest.raises(SourceError, match=r"a\.py:f raised .*\(look there\)"):
        call_function(function, "a.py:f", "look there")
