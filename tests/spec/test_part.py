"""A part of a spec holds the named fields alone, and its key the content of every file that they name."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.spec.field_types import CodeReference, FilePath
from onnxpack.spec.load import SpecFile, load, to_plain
from onnxpack.spec.model import Model, Spec
from onnxpack.spec.part import SpecPart, list_named_files
from onnxpack.worker.codec import digest_value

MARKS = {get_args(FilePath)[1]: "named.dat", get_args(CodeReference)[1]: "named.py:make"}
"""What a field is annotated with that names a file, and what to write into it."""

Place = tuple[str, ...]


def marked(kind: type, above: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield every field below a dataclass of the spec that names a file, with a text for it."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        place = (*above, field.name)
        for part in parts(hints[field.name]):
            if part in MARKS:
                yield place, MARKS[part]
            elif is_dataclass(part) and isinstance(part, type):
                yield from marked(part, place)


def parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from parts(part)
    for part in getattr(annotation, "__metadata__", ()):
        yield part


NAMING = sorted(set(marked(Spec)))


def blank(kind: type) -> Any:
    """Return a dataclass of which only the fields without a default have values."""
    hints = get_type_hints(kind)
    needed = (field for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING)
    return kind(**{field.name: {} if get_origin(hints[field.name]) is Mapping else "x" for field in needed})


def written(value: Any, place: Place, text: str) -> Any:
    """Return the dataclass with ``text`` in the field at ``place``; what is missing above it is made."""
    name, *below = place
    if not below:
        return replace(value, **{name: text})
    inner = getattr(value, name)
    if not is_dataclass(inner):
        annotation = get_type_hints(type(value))[name]
        (kind,) = {part for part in parts(annotation) if is_dataclass(part)}
        inner = written(blank(kind), tuple(below), text)
        return replace(value, **{name: (inner,) if get_origin(annotation) is tuple else inner})
    return replace(value, **{name: written(inner, tuple(below), text)})


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    folder = tmp_path / "spec"
    folder.mkdir()
    onnx.save(make_model(RELU), folder / "m.onnx")
    for name in ("named.dat", "named.py"):
        (folder / name).write_text("before")
    found = write_spec(folder, {"framework": "onnx", "path": "m.onnx"})
    assert found.root == folder
    return found


def test_the_fields_that_name_files_are_found() -> None:
    """So that the tests below cannot be of none."""
    places = {place for place, _ in NAMING}
    assert {("model", "path"), ("model", "factory"), ("calibration", "data"), ("evaluation", "metric")} <= places
    assert ("postprocess", "labels") in places


@pytest.mark.parametrize(("place", "text"), NAMING, ids=[".".join(place) for place, _ in NAMING])
def test_a_kept_field_counts_with_the_content_of_its_file(
    file: SpecFile, tmp_path: Path, place: Place, text: str
) -> None:
    name = text.partition(":")[0]
    asking = replace(file, spec=written(file.spec, place, text))
    part = SpecPart.of(asking, place[0])
    assert name in list_named_files(part.file)
    key = digest_value(part)
    moved = Path(shutil.copytree(file.root, tmp_path / "elsewhere"))
    assert digest_value(SpecPart.of(replace(asking, path=moved / "spec.yaml", root=moved), place[0])) == key
    (file.root / name).write_text("behind")
    changed = digest_value(part)
    (file.root / name).unlink()
    assert len({key, changed, digest_value(part)}) == 3
    (file.root / name).write_text("before")
    assert digest_value(part) == key


@pytest.mark.parametrize(("place", "text"), NAMING, ids=[".".join(place) for place, _ in NAMING])
def test_a_field_that_is_not_kept_counts_in_no_way(file: SpecFile, place: Place, text: str) -> None:
    other = "verify" if place[0] != "verify" else "model"
    asking = replace(file, spec=written(file.spec, place, text))
    part = SpecPart.of(asking, other)
    assert digest_value(part) == digest_value(SpecPart.of(file, other))
    assert text not in part.to_json()
    (file.root / text.partition(":")[0]).unlink()
    assert digest_value(part) == digest_value(SpecPart.of(file, other))


OTHERS: dict[str, Any] = {
    "version": "2",
    "description": "words",
    "outputs": ("z",),
    "opset": 18,
    "extends": "named.dat",
    "targets": {},
    "dynamic_axes": {},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Spec)])
def test_only_the_named_fields_and_the_inputs_are_left(file: SpecFile, name: str) -> None:
    whole = replace(file.spec, **OTHERS)
    part = SpecPart.of(replace(file, spec=whole), name).file.spec
    for field in fields(Spec):
        found = getattr(part, field.name)
        if field.name == "name":
            assert found == "part"
        elif field.name in (name, "inputs", "onnxpack"):
            assert found == getattr(whole, field.name)
        elif field.name == "model":
            assert found == Model("onnx")
        else:
            assert found == (field.default if field.default is not MISSING else field.default_factory())  # type: ignore[misc]


def test_names_and_settings_of_a_build_do_not_count(file: SpecFile) -> None:
    other = replace(file, spec=replace(file.spec, name="other", version="2"), settings=("name=other",))
    assert digest_value(SpecPart.of(other, "model")) == digest_value(SpecPart.of(file, "model"))


def test_the_place_of_the_spec_in_its_work_tree_counts(file: SpecFile) -> None:
    """A path in it may lead to another file from there."""
    below = file.root / "below"
    below.mkdir()
    for name in ("m.onnx", "spec.yaml"):
        shutil.copyfile(file.root / name, below / name)
    other = replace(load(below / "spec.yaml"), root=file.root)
    assert digest_value(SpecPart.of(other, "model")) != digest_value(SpecPart.of(file, "model"))


def test_a_url_counts_by_its_text_and_digest_and_not_by_where_it_was_fetched_to(file: SpecFile) -> None:
    def with_model(url: str, sha256: str, **fetched: str) -> str:
        model = Model("onnx", path=url, sha256=sha256)
        asking = replace(file, spec=replace(file.spec, model=model), fetched=fetched)
        assert list_named_files(asking) == ()
        return digest_value(SpecPart.of(asking, "model"))

    url, some, other = "https://example.org/m.onnx", "a" * 64, "b" * 64
    assert with_model(url, some) == with_model(url, some, **{url: str(file.root / "named.dat")})
    assert len({with_model(url, some), with_model(url, other), with_model(f"{url}2", some)}) == 3


def test_only_the_fetched_files_of_kept_fields_are_kept(file: SpecFile) -> None:
    url = "https://example.org/m.onnx"
    model = Model("onnx", path=url, sha256="a" * 64)
    asking = replace(file, spec=replace(file.spec, model=model), fetched={url: "/store/m.onnx"})
    assert SpecPart.of(asking, "model").file.fetched == {url: "/store/m.onnx"}
    assert SpecPart.of(asking, "verify").file.fetched == {}


def test_a_package_s_module_names_no_file_beside_the_spec(file: SpecFile) -> None:
    model = Model("torch", factory="package.module:Net")
    assert list_named_files(replace(file, spec=replace(file.spec, model=model))) == ()


def test_a_part_is_the_same_in_a_child(file: SpecFile) -> None:
    part = SpecPart.of(file, "model", "dynamic_axes")
    found = SpecPart.from_json(part.to_json())
    assert to_plain(found.file.spec) == to_plain(part.file.spec)
    assert found.key_form() == part.key_form()
