"""Documents that stand beside a spec, or that a build takes or leaves: locks, reports, bundles, indexes."""

import copy
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from fuzz_tools import ODD, Kind, change, mutate

from onnxpack.bundle import lock
from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.drift import find_drift
from onnxpack.bundle.places import Places
from onnxpack.comparison.differences import compare_facts
from onnxpack.comparison.show import show_text
from onnxpack.comparison.sides import read_side
from onnxpack.core.errors import SpecError
from onnxpack.inspection.bundle import bundle_facts
from onnxpack.inspection.report import read_report
from onnxpack.inspection.show import lines
from onnxpack.pipeline.attempt import mark_failed, require_free
from onnxpack.pipeline.plan import Plan
from onnxpack.reports import index as pages
from onnxpack.spec.load import SpecFile, load
from onnxpack.vendor.bundle import open_bundle
from onnxpack.vendor.index import (
    VENDOR_FILE,
    VendoredBase,
    VendoredEnvironment,
    VendoredSource,
    VendoredWheel,
    VendorIndex,
    read_index,
    write_index,
)

ROOT = Path(__file__).parents[2]


@cache
def _lock() -> Any:
    return json.loads((ROOT / "specs/iris/spec.lock").read_text())


def write_lock(folder: Path, version: str) -> None:
    """Write a lock in which numpy has this version."""
    found = copy.deepcopy(_lock())
    (runtime,) = found["runtimes"].values()
    runtime["packages"]["numpy"]["version"] = version
    (folder / "spec.lock").write_text(json.dumps(found))


def _make_lock(chance: random.Random, folder: Path) -> None:
    text = json.dumps(change(chance, _lock()) if chance.randrange(4) else _lock()).encode()
    (folder / "spec.lock").write_bytes(text if chance.randrange(2) else mutate(chance, text))


@cache
def _iris() -> SpecFile:
    return load(ROOT / "specs/iris/spec.yaml")


def _read_lock(folder: Path) -> bool:
    path = folder / "spec.lock"
    found = lock.read_lock(path)
    moved = list(find_drift(_iris(), found, Places(path.read_text(), path)))
    lock.write(folder / "again.lock", found.targets, found.pins)
    assert lock.read_lock(folder / "again.lock") == found
    return not moved and not find_stale(_iris().spec, found.targets)


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
    plan = Plan(_iris(), "cpu", place)
    refusals = []
    for act in (lambda: require_free(plan), lambda: mark_failed(folder, folder / "spec.yaml", SpecError("broken"))):
        try:
            act()
        except SpecError as error:
            refusals.append(error)
    (place / "report.json").write_bytes(text)
    facts = read_report(place / "report.json")
    json.dumps(facts, indent=2)
    assert "\n".join(lines(facts)).replace("\n", "").isprintable()
    assert pages.write_index(folder)
    side = read_side(str(place / "report.json"), None).facts
    compared = compare_facts(side, side)
    assert "".join(show_text(compared, ())).isprintable()
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


@cache
def _vendored() -> Any:
    wheel = VendoredWheel("a-1-py3-none-any.whl", "0" * 64, 1, ("iris",))
    environment = VendoredEnvironment(("a==1",), "3.11", "x86_64", ("0" * 64,), ("iris",))
    base = VendoredBase("python:3", "linux/amd64", f"sha256:{'1' * 64}", 2, ("iris",))
    source = VendoredSource("https://host/m.onnx", "2" * 64, 3, ("iris",))
    return json.loads(write_index(VendorIndex(1, (wheel,), (environment,), (base,), (source,))))


def _make_vendored(chance: random.Random, folder: Path) -> None:
    text = json.dumps(change(chance, _vendored()) if chance.randrange(4) else _vendored()).encode()
    (folder / VENDOR_FILE).write_bytes(text if chance.randrange(2) else mutate(chance, text))


def _read_vendored(folder: Path) -> bool:
    with open_bundle(folder) as bundle:
        assert all("/" not in wheel.name for wheel in bundle.index.wheels)
        assert read_index(write_index(bundle.index), "again") == bundle.index
    return True


TEXTS = (
    Kind("vendored", _make_vendored, _read_vendored, share=3),
    Kind("lock", _make_lock, _read_lock, share=9),
    Kind("report", _make_report, _read_report, share=9),
    Kind("bundle", _make_bundle, _read_bundle, share=4),
)
