"""Documents that people write or look at: specs, settings, locks, reports, bundles."""

import copy
import json
import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml
from command_line import SMALL
from fuzz_tools import ODD, Kind, change, mutate

from onnxpack.bundle import lock
from onnxpack.bundle.closure import find_stale
from onnxpack.errors import SpecError
from onnxpack.look.bundle import bundle_facts
from onnxpack.look.report import read_report
from onnxpack.look.resolved import spec_facts, spec_text
from onnxpack.look.show import lines
from onnxpack.pipeline.attempt import mark_failed, require_free
from onnxpack.pipeline.run import Build
from onnxpack.plan import Plan
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.schema import schema

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
    return schema()


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
    json.dumps(spec_facts(file))
    # What is shown with all defaults is a spec itself.
    (folder / "shown.yaml").write_text(spec_text(file))
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
    (folder / "settings.json").write_text(json.dumps(settings))


def _read_settings(folder: Path) -> bool:
    load(folder / "spec.yaml", tuple(json.loads((folder / "settings.json").read_text())))
    return True


@cache
def _lock() -> Any:
    return json.loads((ROOT / "specs/iris/spec.lock").read_text())


def write_lock(folder: Path, version: str) -> None:
    """Write a lock in which numpy has this version."""
    found = copy.deepcopy(_lock())
    for package in found["targets"]["cpu"]["packages"]:
        if package["name"] == "numpy":
            package["version"] = version
    (folder / "spec.lock").write_text(json.dumps(found))


def _make_lock(chance: random.Random, folder: Path) -> None:
    text = json.dumps(change(chance, _lock()) if chance.randrange(4) else _lock()).encode()
    (folder / "spec.lock").write_bytes(text if chance.randrange(2) else mutate(chance, text))


@cache
def _iris() -> SpecFile:
    return load(ROOT / "specs/iris/spec.yaml")


def _read_lock(folder: Path) -> bool:
    found = lock.read(folder / "spec.lock")
    reasons = find_stale(_iris().spec, found)
    lock.write(folder / "again.lock", found)
    assert lock.read(folder / "again.lock") == found
    return not reasons


REPORT: dict[str, Any] = {
    "name": "iris", "version": "1.0", "target": "cpu", "status": "passed", "spec": "spec.yaml", "until": "smoke",
    "chain": ["export", "verify"], "last_good": None, "set": [], "sandbox": "none", "exporter": "sklearn",
    "stages": [{"name": "export", "seconds": 1.5, "cached": False, "key": "a" * 64, "of": ""}],
    "model": {"opset": 17, "precision": "float32", "size_bytes": 1000, "sha256": "a" * 64, "digest": "a" * 64,
              "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}],
              "outputs": [{"name": "y", "dtype": "int64", "shape": ["batch"]}]},
    "parity": {"passed": True, "differs": "", "comparisons": 4, "max_abs_diff": 0.0, "notes": ["a"],
               "outputs": [{"name": "y", "passed": True, "differs": "", "comparisons": 4, "max_abs_diff": 0.1}]},
    "evaluation": {"metric": "accuracy", "source": 0.9, "model": 0.9, "degradation": 0.0, "model_digest": ""},
    "candidates": [{"precision": "float32", "reason": "", "size_bytes": 9, "speedup": 1.0, "passed": True}],
    "image": {"reference": "iris:1", "references": ["iris:1"], "id": "sha256:a", "digest": None, "size_bytes": 90000000,
              "layers": [{"digest": "sha256:a", "size_bytes": 1000, "created_by": "COPY"}]},
    "smoke": {"comparisons": 3, "ready_seconds": 1.2, "peak_rss_bytes": 100000000, "on_gpu": False},
    "problems": [{"message": "a", "hint": "b", "where": None, "detail": "c"}], "notes": [], "not_judged": [],
    "ran_on_gpu": None,
}  # fmt: skip


def _report(chance: random.Random) -> bytes:
    document = change(chance, REPORT)
    if chance.randrange(4) == 0:
        document[chance.choice(("kind", "path", "more"))] = chance.choice(("onnx", "bundle", "image", *ODD))
    text = json.dumps(document).encode()
    return text if chance.randrange(2) else mutate(chance, text)


def _make_report(chance: random.Random, folder: Path) -> None:
    write_report(folder, _report(chance))


def write_report(folder: Path, text: bytes) -> None:
    """Write a report to where a build of the example would leave it."""
    place = folder / "iris" / "cpu"
    place.mkdir(parents=True)
    (place / "report.json").write_bytes(text)


def _read_report(folder: Path) -> bool:
    """Look at it, and let a build and a spec that cannot be read any more meet it as what stands in their place."""
    place = folder / "iris" / "cpu"
    text = (place / "report.json").read_bytes()
    run = cast(Build, SimpleNamespace(plan=Plan(_iris(), "cpu", place)))
    refusals = []
    for act in (lambda: require_free(run), lambda: mark_failed(folder, folder / "spec.yaml", SpecError("broken"))):
        try:
            act()
        except SpecError as error:
            refusals.append(error)
    (place / "report.json").write_bytes(text)
    facts = read_report(place / "report.json")
    json.dumps(facts, indent=2)
    assert "\n".join(lines(facts)).replace("\n", "").isprintable()
    return not refusals


_DOCKERFILE = b"""\
FROM gcr.io/distroless/python3-debian12@sha256:aa
LABEL org.opencontainers.image.title="iris" a='b c'
ENV A="b" PATH=/opt/venv/bin
COPY rootfs/runtime /
USER 65532
EXPOSE 8080
HEALTHCHECK CMD ["python", "-m", "x"]
ENTRYPOINT ["python", "server.py"]
"""


def _make_bundle(chance: random.Random, folder: Path) -> None:
    info = folder / "rootfs" / chance.choice(("runtime", "a\nb", "é")) / "site" / "numpy-1.dist-info"
    info.mkdir(parents=True)
    (folder / "Dockerfile").write_bytes(mutate(chance, _DOCKERFILE))
    (info / "METADATA").write_bytes(mutate(chance, b"Name: numpy\nVersion: 2.0\n\nText\n"))
    if chance.randrange(2):
        (folder / "report.json").write_bytes(_report(chance))


def _read_bundle(folder: Path) -> bool:
    facts = bundle_facts(folder)
    json.dumps(facts, indent=2)
    assert "\n".join(lines(facts)).replace("\n", "").isprintable()
    return True


TEXTS = (
    Kind("spec", _make_spec, _read_spec, share=30),
    Kind("settings", _make_settings, _read_settings, share=10),
    Kind("lock", _make_lock, _read_lock, share=9),
    Kind("report", _make_report, _read_report, share=9),
    Kind("bundle", _make_bundle, _read_bundle, share=4),
)
