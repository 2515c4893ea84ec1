"""Calling a factory: what it takes, and what it must return."""

from pathlib import Path

import pytest
from exporting import write_spec

from onnxpack.core.errors import SourceError
from onnxpack.sources.factories import call_factory
from onnxpack.spec.load import SpecFile


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    (tmp_path / "m.py").write_text(
        "def none(width):\n    pass\n"
        "def number(width):\n    return width\n"
        "def words(*parts, **more):\n    return 'net'\n"
        "def bare():\n    return 1\n"
        "def inner(width):\n    return int(width, width, width)\n"
    )
    return write_spec(tmp_path, {"framework": "torch", "factory": "m.py:number", "weights": "none"})


def test_call_factory_of_the_right_arguments_returns_the_model(file: SpecFile) -> None:
    assert call_factory(file, "m.py:number", int, "number", width=3) == 3


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("number", {"widht": 3}, "has no argument 'widht' (it takes: width)"),
        ("number", {}, "cannot be called: missing a required argument: 'width' (it takes: width)"),
        ("bare", {"width": 3}, "(it takes: no arguments)"),
        ("none", {"width": 3}, "returned None (end it with `return net`, where net is the number)"),
        ("number", {"width": [3]}, "returned a list (let it return a number)"),
        ("words", {"width": 3}, "returned a str (let it return a number)"),
        ("inner", {"width": 3}, "raised TypeError"),
    ],
)
def test_call_factory_that_fails_says_what_to_change(
    file: SpecFile, name: str, kwargs: dict[str, object], words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        call_factory(file, f"m.py:{name}", int, "number", **kwargs)
    assert str(refused.value).startswith(f"m.py:{name} ")
    assert words in str(refused.value)


def test_call_factory_with_stars_takes_any_arguments(file: SpecFile) -> None:
    assert call_factory(file, "m.py:words", str, "text", "a", depth=2) == "net"


def test_a_model_that_is_changed_in_place_is_what_comes_back(file: SpecFile) -> None:
    assert call_factory(file, "m.py:none", int, "number", 7) == 7
    with pytest.raises(SourceError, match="returned None"):
        call_factory(file, "m.py:none", str, "text", 7)
