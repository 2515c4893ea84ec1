"""Whatever a spec is turned into (Y4): a value, or problems that each say where. Never anything else."""

import random
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from command_line import SMALL
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from onnxpack.cli.failure import describe
from onnxpack.core.errors import Problem, SpecError
from onnxpack.spec.load import SpecFile, load

ROOT = Path(__file__).parents[2] / "specs"
TEXTS = {"small": SMALL} | {path.parent.name: path.read_text() for path in sorted(ROOT.glob("*/spec.yaml"))}
EVERYTHING = """\
onnxpack: 1
name: all
version: "1.0"
description: Every part of a spec
model: {framework: torch, factory: "a.b:C", kwargs: {a: 1, b: [1, x, {c: null}]}, weights: w.pt, weights_key: a.b}
inputs:
  x: {dtype: float32, shape: [batch, 4], range: [0, 1]}
  y: {dtype: string, shape: [batch], choices: [a, "1"]}
outputs: [z]
dynamic_axes: {batch: {min: 1, opt: 2, max: 3}}
opset: 17
verify: {rtol: 0.1, atol: 1e-3, samples: s.npz, seed: 3}
calibration: {data: c.npz, samples: 3, method: entropy}
evaluation: {data: e.npz, labels: y, metric: "m.py:f"}
preprocess: [{op: normalize, input: x, mean: [0.5], std: [1], scale: 255}]
postprocess: [{op: topk, input: z, output: k, k: 2}]
targets: {cpu: {device: cpu, threads: 2}, cuda: {device: cuda, precision: float16, platform: linux/amd64}}
gates: {max_degradation: 0.01, image_size: 150MB, cold_start: 2s}
runtime: {server: http, port: 80, threads: auto, max_body: 64MiB, warmup: true, batching: {max_batch_size: 2}}
image: {repository: a.b:1/c, base: debian, python: "3.11", labels: {a: b}, env: {A: b}}
"""
TEXTS["everything"] = EVERYTHING
FILES = ("model.onnx", "w.pt", "s.npz", "c.npz", "e.npz", "m.py")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(["", "~", "<<", "3.10", "no", "010", "12:30", "1e3", "1e999", "9" * 5000, "\0", "٣", "64MiB"])
    | st.sampled_from(
        ["float32", "torch", "onnx", "sklearn", "x.py:F", "batch", "../x", "/etc/passwd", "${A}", "{{ a }}"]
    )
    | st.sampled_from(["$(id)", "a:b", "[", "!x", "&x", "*x", "|", "'", '"'])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | SCALARS, inner, max_size=4),
    max_leaves=6,
)
RARELY_SLOW = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples' files, so that specs that are otherwise right get as far as possible."""
    place = tmp_path_factory.mktemp("mutated") / "project"
    for name in ("digits", "iris", "transactions"):
        shutil.copytree(ROOT / name, place, dirs_exist_ok=True)
    for name in FILES:
        (place / name).touch()
    return place


def judge(folder: Path, data: bytes) -> None:
    """A spec or a SpecError with places: anything else fails."""
    path = folder / "mutated.yaml"
    path.write_bytes(data)
    problems: tuple[Problem, ...] = ()
    file = None
    try:
        file = load(path)
    except SpecError as error:
        problems = error.problems
    assert bool(problems) == (file is None)
    assert len(set(problems)) == len(problems), problems
    for problem in problems:
        assert problem.where, problem
        assert problem.where.file == str(path)
        assert problem.message
        assert click.unstyle(describe(problem)).replace("\n", "").isprintable(), problem
    if file:
        assert SpecFile.from_json(file.to_json()).spec == file.spec


def dump(document: Any) -> bytes:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything below a document's top."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *places(item, (*path, key))]]


def holder(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A good spec with one to three values replaced, keys slipped, or things removed or doubled."""
    document = yaml.safe_load(TEXTS[draw(st.sampled_from(sorted(TEXTS)))])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)))
        part, key = holder(document, path), path[-1]
        match draw(st.sampled_from(["replace", "replace", "remove", "double", "slip", "nest"])):
            case "replace":
                part[key] = draw(VALUES)
            case "nest":
                part[key] = draw(st.sampled_from([[part[key]], {"a": part[key]}, str(part[key])]))
            case "remove":
                del part[key]
            case "double" if isinstance(part, list):
                part.append(part[key])
            case "slip" if isinstance(part, dict):
                part[draw(st.sampled_from([f"{key}s", str(key)[:-1], str(key).upper(), f" {key}"]))] = part.pop(key)
        if not places(document):
            break
    return document


@pytest.mark.case("Y4")
@pytest.mark.parametrize("name", TEXTS)
def test_the_texts_are_judged(name: str, folder: Path) -> None:
    judge(folder, TEXTS[name].encode())


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(document=changed())
def test_values_keys_and_structure(document: Any, folder: Path) -> None:
    judge(folder, dump(document))


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(document=VALUES)
def test_any_document(document: Any, folder: Path) -> None:
    judge(folder, dump(document))


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(name=st.sampled_from(sorted(TEXTS)), field=st.integers(0), value=VALUES)
def test_any_value_in_any_field(name: str, field: int, value: Any, folder: Path) -> None:
    document = yaml.safe_load(TEXTS[name])
    paths = places(document)
    path = paths[field % len(paths)]
    holder(document, path)[path[-1]] = value
    judge(folder, dump(document))


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(
    name=st.sampled_from(sorted(TEXTS)), seed=st.integers(0, 2**32), words=st.lists(st.binary(max_size=6), max_size=4)
)
@example(name="small", seed=0, words=[b"\0"])
@example(name="small", seed=1, words=[b"\xff", b"\xed\xa0\x80"])
def test_any_bytes_in_any_place(name: str, seed: int, words: list[bytes], folder: Path) -> None:
    data = bytearray(TEXTS[name].encode())
    generator = random.Random(seed)
    for word in words:
        start = generator.randrange(len(data) + 1)
        data[start : start + generator.choice([0, 0, 1, 5, 40])] = word
    judge(folder, bytes(data))


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(name=st.sampled_from(sorted(TEXTS)), seed=st.integers(0, 2**32))
def test_lines_moved_lost_doubled_and_indented(name: str, seed: int, folder: Path) -> None:
    generator = random.Random(seed)
    lines = TEXTS[name].splitlines(keepends=True)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(lines))
        match generator.randrange(4):
            case 0:
                lines.insert(generator.randrange(len(lines)), lines[at])
            case 1 if len(lines) > 1:
                del lines[at]
            case 2:
                lines[at] = generator.choice([" ", "\t", "- ", "  "]) + lines[at]
            case 3:
                lines[at] = (
                    lines[at].rstrip("\n") + generator.choice([" x", ":", "#", " &a", "\r", '"', ",", "]", "|"]) + "\n"
                )
    judge(folder, "".join(lines).encode())


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(data=st.binary(max_size=200) | st.text("-:[]{}&*!|>'\"%@`?, \n\tab01~<$\\", max_size=80).map(str.encode))
def test_any_bytes_at_all(data: bytes, folder: Path) -> None:
    judge(folder, data)


PATHS = st.sampled_from(
    ["opset", "image.python", "image.labels.a", "model", "inputs.x.shape", "a..b", "", "name.x", "<<"]
)


@pytest.mark.case("Y4")
@RARELY_SLOW
@given(path=PATHS | st.text(max_size=8), value=st.text(max_size=12) | VALUES.map(lambda value: dump(value).decode()))
@example(path="name", value="[")
@example(path="name", value="\ud800")
@example(path="a\0.b", value="1")
def test_any_setting(path: str, value: str, folder: Path) -> None:
    spec = folder / "small.yaml"
    spec.write_text(SMALL)
    try:
        load(spec, (f"{path}={value}",))
    except SpecError as error:
        found = error.problems
    else:
        return
    assert found
    assert all(problem.where and click.unstyle(describe(problem)) for problem in found)
