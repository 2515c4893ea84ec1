"""Requests and results cross whole; a key is made of what counts, and of nothing that depends on the place."""

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import SpecError
from onnxpack.spec.load import SpecFile
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Effort
from onnxpack.worker.codec import decode, digest_value, encode

SOME, OTHER = "a" * 64, "b" * 64


@dataclass(frozen=True)
class Inner:
    text: str
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outer:
    """A value of every kind that requests and results are made of."""

    inner: Inner
    several: tuple[Inner, ...]
    by_name: dict[str, Inner]
    mixed: tuple[int | str, ...]
    maybe: Inner | None
    number: float
    score: float | None
    data: bytes
    flag: bool
    file: Artifact
    file_or_none: Artifact | None
    path: Path
    path_or_none: Path | None


def outer(place: Path) -> Outer:
    return Outer(
        inner=Inner("ä\n\u2028", {"n": 1}),
        several=(Inner("1"), Inner("2")),
        by_name={"z": Inner("3"), "a": Inner("4")},
        mixed=("n", 4),
        maybe=None,
        number=math.inf,
        score=None,
        data=b"\x00\xff",
        flag=True,
        file=Artifact(place / "file", SOME),
        file_or_none=Artifact(place / "sub/file", OTHER),
        path=place / "path",
        path_or_none=None,
    )


@pytest.fixture
def spec(tmp_path: Path) -> SpecFile:
    (tmp_path / "spec").mkdir()
    onnx.save(make_model(RELU), tmp_path / "spec/m.onnx")
    return write_spec(tmp_path / "spec", {"framework": "onnx", "path": "m.onnx"})


def test_a_value_with_all_that_is_in_it_crosses_whole(tmp_path: Path) -> None:
    value = outer(tmp_path)
    found = decode(encode(value), Outer)
    assert found == value
    assert (found.file.path, found.file_or_none and found.file_or_none.path) == (
        tmp_path / "file",
        tmp_path / "sub/file",
    )
    assert list(found.by_name) == ["z", "a"], "the order is kept"


@pytest.mark.parametrize("number", [0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan])
def test_every_float_crosses(number: float) -> None:
    found = decode(encode((number,)), tuple[float, ...])[0]
    assert repr(found) == repr(number)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(type(None), None), (bool, False), (int, 2**63 - 1), (int, -(2**63)), (str, ""), (bytes, b""), (dict, {"a": [1]})],
)
def test_a_plain_value_crosses(kind: Any, value: Any) -> None:
    assert decode(encode(value), kind) == value


def test_paths_below_the_root_follow_it_and_others_stay() -> None:
    value = replace(outer(Path("/made/here")), path=Path("/elsewhere/path"))
    data = encode(value, Path("/made/here"))
    assert b"/made/here" not in data
    found = decode(data, Outer, Path("/stored/there"))
    assert found.path == Path("/elsewhere/path")
    assert found.file.path == Path("/stored/there/file")
    assert found.file_or_none
    assert found.file_or_none.path == Path("/stored/there/sub/file")
    assert decode(encode(Path("/made/here"), Path("/made/here")), Path, Path("/there")) == Path("/there")
    assert decode(encode(Path("/made/hereafter"), Path("/made/here")), Path, Path("/there")) == Path("/made/hereafter")


def test_a_part_of_a_spec_crosses_whole(spec: SpecFile) -> None:
    part = SpecPart.of(spec, "model", "opset")
    found = decode(encode((part,)), tuple[SpecPart])[0]
    assert found.file.spec == part.file.spec
    assert (found.file.path, found.file.root) == (spec.path, spec.root)
    assert found.key_form() == part.key_form()


def test_a_limit_crosses() -> None:
    assert decode(encode((Effort(2.5),)), tuple[Effort])[0].seconds == 2.5


@pytest.mark.parametrize("value", [object(), {1: Outer}, lambda: None, 1j])
def test_what_is_no_value_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a request or result cannot hold a"):
        encode(value)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03", b"\x81\xa5inner\x01", encode(Inner("1"))])
def test_what_is_no_such_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(data, Outer)


# Keys


@dataclass(frozen=True)
class Request:
    file: Artifact
    limit: Effort
    number: float = 1.0
    names: tuple[str, ...] = ("a", "b")
    by_name: dict[str, Artifact] = field(default_factory=dict)


REQUEST = Request(Artifact(Path("/one"), SOME), Effort(1), by_name={"x": Artifact(Path("/x"), SOME)})


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"file": Artifact(Path("/elsewhere/two"), SOME)}, True),
        ({"limit": Effort(99)}, True),
        ({"by_name": {"x": Artifact(Path("/y"), SOME)}}, True),
        ({"file": Artifact(Path("/one"), OTHER)}, False),
        ({"by_name": {"x": Artifact(Path("/x"), OTHER)}}, False),
        ({"by_name": {"y": Artifact(Path("/x"), SOME)}}, False),
        ({"number": math.nextafter(1.0, 2)}, False),
        ({"number": math.nan}, False),
        ({"names": ("b", "a")}, False),
        ({"names": ("ab",)}, False),
    ],
)
def test_a_key_is_of_contents_and_not_of_places_and_efforts(changes: dict[str, Any], same: bool) -> None:
    assert (digest_value(replace(REQUEST, **changes)) == digest_value(REQUEST)) == same


def test_a_key_does_not_depend_on_the_order_of_a_mapping() -> None:
    assert digest_value({"a": 1, "b": 2}) == digest_value({"b": 2, "a": 1})


def test_values_that_look_alike_have_keys_of_their_own() -> None:
    values = [None, False, 0, 0.5, "", "0", b"0", [], [0], [[0]], {}, {"0": 0}]
    assert len({digest_value(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [Path("/a"), (Path("/a"),), {"a": Path("a")}])
def test_a_bare_path_makes_no_key(value: Any) -> None:
    with pytest.raises(TypeError, match="a key cannot be made of a"):
        digest_value(value)


def test_the_key_of_a_part_of_a_spec_is_of_its_fields_and_files(spec: SpecFile) -> None:
    key = digest_value(SpecPart.of(spec, "model"))
    assert digest_value(SpecPart.of(spec, "model", "opset")) == key, "a field at its default is as one left out"
    other = replace(spec, spec=replace(spec.spec, opset=18))
    assert digest_value(SpecPart.of(other, "model")) == key
    assert digest_value(SpecPart.of(other, "model", "opset")) != key
    with (spec.folder / "m.onnx").open("ab") as stream:
        stream.write(b"\0")
    assert digest_value(SpecPart.of(spec, "model")) != key


def test_encode_of_a_name_that_is_no_text_is_the_users_to_change() -> None:
    name = os.fsdecode(b"m\xff.onnx")
    for value in (Path("models") / name, {"files": {name: "digest"}}):
        with pytest.raises(
            SpecError, match=r"m\\udcff\.onnx' is not in UTF-8 \(give the file or folder another name\)"
        ):
            encode(value)
