"""Specs: changed, made from the schema, in several layers, and with settings of the command line."""

import json
import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from command_line import SMALL
from fuzz_tools import ODD, Kind, change, mutate

from onnxpack.pipeline.resolved import describe_spec, write_spec_text
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.schema import make_schema

ROOT = Path(__file__).parents[2]
_BASES = (
    "base.yaml",
    "base.yaml",
    "base.yaml",
    "../base.yaml",
    "deep/base.yaml",
    "spec.yaml",
    "gone.yaml",
    ".",
    "/etc/passwd",
    "x" * 300,
    "",
)
EVERYTHING = """\
onnxpack: 1
name: all
version: "1.0"
description: Every part of a spec
model: {framework: torch, factory: "m.py:C", kwargs: {a: 1, b: [1, x, {c: null}]}, weights: w.pt, weights_key: a.b}
inputs:
  x: {dtype: float32, shape: [batch, 4], range: [0, 1]}
  y: {dtype: int64, shape: [batch], choices: [1, 2]}
outputs: [z]
dynamic_axes: {batch: {min: 1, opt: 2, max: 3}}
opset: 17
verify: {rtol: 0.1, atol: 1.0e-3, samples: s.npz, seed: 3}
calibration: {data: d.npz, samples: 3, method: entropy}
evaluation: {data: d.npz, labels: y, metric: "m.py:f"}
targets: {cpu: {device: cpu, threads: 2}, cuda: {device: cuda, precision: float16, platform: linux/amd64}}
gates: {max_degradation: 0.01, image_size: 150MB, cold_start: 2s}
runtime: {server: http, port: 80, threads: auto, max_body: 64MiB, warmup: true}
image: {repository: a.b/c, python: "3.11", labels: {a: b}, env: {A: b}}
"""
"""A spec whose files are all there, with nearly every part."""
_WORDS = ("a", "batch", "x", "model.onnx", "m.py:f", "a.b:C", "d.npz", "1.0", "64MiB", "2s", "linux/amd64", "3.12", "é")


@cache
def spec_texts() -> tuple[bytes, ...]:
    """Return all specs of the examples, the good and the bad ones."""
    paths = [*sorted(ROOT.glob("specs/*/spec.yaml")), *sorted(ROOT.glob("tests/bad_specs/*.yaml"))]
    return tuple(path.read_bytes() for path in paths)


@cache
def _documents() -> tuple[Any, ...]:
    examples = [yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("specs/*/spec.yaml"))]
    return (*(yaml.safe_load(text) for text in (SMALL, EVERYTHING)), *examples)


def _dump(document: Any) -> bytes:
    """Return the document as YAML: in flow, which takes any depth and is written sooner, it is JSON."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def from_schema(chance: random.Random, part: dict[str, Any], whole: dict[str, Any]) -> Any:
    """Return a value that a part of a JSON Schema describes, more or less."""
    if "$ref" in part:
        return from_schema(chance, whole["$defs"][part["$ref"].rpartition("/")[2]], whole)
    if chance.randrange(30) == 0:
        return chance.choice(ODD)
    if "examples" in part and chance.randrange(2):
        return part["examples"][0]
    if "anyOf" in part:
        return from_schema(chance, chance.choice(part["anyOf"]), whole)
    if "enum" in part:
        return chance.choice(part["enum"])
    match part.get("type"):
        case "object":
            needed = part.get("required", ())
            known = part.get("properties", {})
            names = [name for name in known if name in needed or not chance.randrange(4)]
            found = {name: from_schema(chance, known[name], whole) for name in names}
            if isinstance(more := part.get("additionalProperties"), dict):
                found |= {chance.choice(_WORDS): from_schema(chance, more, whole) for _ in range(chance.randrange(3))}
            return found
        case "array":
            items = part.get("items", {"type": "integer"})
            return [from_schema(chance, items, whole) for _ in range(chance.randrange(4))]
        case "integer" | "number":
            return chance.choice((part.get("minimum", 0), part.get("maximum", 9), 1, 2, 8, 0.5))
        case "boolean":
            return bool(chance.randrange(2))
    return chance.choice(_WORDS)


def _spec(chance: random.Random) -> bytes:
    match chance.randrange(5):
        case 0:
            return mutate(
                chance, chance.choice((SMALL.encode(), EVERYTHING.encode(), chance.choice(spec_texts()))), spec_texts()
            )
        case 1 | 2:
            document = chance.choice((*_documents()[:2], chance.choice(_documents())))
            return _dump(change(chance, document) if chance.randrange(4) else document)
        case 3:
            return _dump(from_schema(chance, _schema(), _schema()))
    return mutate(chance, _dump(from_schema(chance, _schema(), _schema())), spec_texts())


@cache
def _schema() -> dict[str, Any]:
    return make_schema()


def _make_spec(chance: random.Random, folder: Path) -> None:
    for name in ("model.onnx", "w.pt", "s.npz", "d.npz", "m.py"):
        (folder / name).touch()
    text = _spec(chance)
    if chance.randrange(3) == 0:
        (folder / "deep").mkdir()
        for name in ("base.yaml", "deep/base.yaml"):
            (folder / name).write_bytes(_extend(chance, _spec(chance)) if chance.randrange(2) else _spec(chance))
        text = _extend(chance, text)
    (folder / "spec.yaml").write_bytes(text)


def _extend(chance: random.Random, text: bytes) -> bytes:
    base = json.dumps(chance.choice(_BASES)).encode()
    return b'{"extends": ' + base + b"," + text[1:] if text.startswith(b"{") else b"extends: " + base + b"\n" + text


def _read_spec(folder: Path) -> bool:
    file = load(folder / "spec.yaml")
    assert SpecFile.from_json(file.to_json()).spec == file.spec
    json.dumps(describe_spec(file))
    # What is shown with all defaults is a spec itself.
    (folder / "shown.yaml").write_text(write_spec_text(file))
    shown = load(folder / "shown.yaml").spec
    assert shown == replace(file.spec, extends=None, dynamic_axes=shown.dynamic_axes)
    return True


def _make_settings(chance: random.Random, folder: Path) -> None:
    (folder / "model.onnx").touch()
    (folder / "spec.yaml").write_bytes(_dump(_documents()[0]))
    known = ("opset", "image.python", "image.labels.a", "model", "inputs.x.shape", "targets.cpu.threads", "name", "<<")
    settings = []
    for _ in range(chance.randint(1, 4)):
        path = chance.choice((*known, "a..b", "", "x.y.z", "a." * 5000 + "a", "é.\udcff", "inputs"))
        value = chance.choice(ODD) if chance.randrange(2) else from_schema(chance, _schema(), _schema())
        text = value if isinstance(value, str) else _dump(value).decode("utf-8", "replace")
        settings.append(f"{path}{chance.choice(('=', '=', '=', ''))}{text}"[:20_000].replace("\0", "\1"))
    good = (
        "opset=17",
        "verify.seed=3",
        "image.labels.a=b",
        "image.python='3.12'",
        "targets.cpu={device: cpu, threads: 2}",
    )
    settings = [setting if chance.randrange(2) else chance.choice(good) for setting in settings]
    (folder / "settings.json").write_text(json.dumps(settings))


def _read_settings(folder: Path) -> bool:
    load(folder / "spec.yaml", tuple(json.loads((folder / "settings.json").read_text())))
    return True


SPECS = (
    Kind("spec", _make_spec, _read_spec, share=30),
    Kind("settings", _make_settings, _read_settings, share=10),
)
