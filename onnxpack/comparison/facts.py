"""The facts of a build in one form, whatever they were read from, so that any two kinds can be compared."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from onnxpack.bundle.context import CONTENT_LABEL
from onnxpack.bundle.lock import Lock, name_base
from onnxpack.core.errors import Location
from onnxpack.core.text import format_bytes, plural
from onnxpack.inspection.signature import describe_signature
from onnxpack.spec.limits import effective_gates
from onnxpack.spec.load import to_plain
from onnxpack.spec.model import Spec

Value = str | int | float
Section = Mapping[str, Value]
_GREATEST = 2**63
"""No figure of a build is greater; NaN and infinity are none, and NaN would differ from itself."""
_OWN_LABEL = "dev.onnxpack."
_FROM_LABELS = {"opset": "opset", "precision": "precision", "sha256": "model.sha256"}
"""The facts of a model that an image's labels have, by the labels' names behind ours."""
_MODEL = ("opset", "precision", "size_bytes", "sha256")
_AGREEMENT = ("max_abs_diff", "max_rel_diff", "min_cosine", "min_sqnr_db", "argmax_agreement", "comparisons")
_SPEED = ("ready_seconds", "first_answer_seconds", "latency_p50_seconds", "peak_rss_bytes")
_LOAD = ("rate", "p50_seconds", "p90_seconds", "p99_seconds", "rss_bytes")


@dataclass(frozen=True)
class Facts:
    """What is known of one side: ``sections`` hold values by name; one that is missing there is not known.

    ``signature`` is in the form that ``inspection.signature`` compares.
    """

    kind: str
    place: str
    """The argument that it was read from."""
    title: str
    """Its name, version and target, as far as they are known."""
    signature: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)


def read_report_facts(report: Mapping[str, Any], kind: str, place: str) -> Facts:
    """Return the facts in a build's report.

    Raises:
        LookupError: it holds something else than a build writes.
        TypeError: the same.
        ValueError: the same.
        AttributeError: the same.
    """
    model, image, smoke = (report.get(part) or {} for part in ("model", "image", "smoke"))
    packages = report.get("packages") or ()
    found: dict[str, Section | None] = {
        "build": _choose(report, ("status", "stage")),
        "model": _choose(model, _MODEL) | _choose(report, ("exporter",)) if model else None,
        "operators": model.get("nodes"),
        "weights": _count_bytes(model.get("weights")),
        "agreement": _choose(report.get("parity") or {}, _AGREEMENT) or None,
        "score": _read_score(report.get("evaluation") or {}),
        "image": _choose(image, ("size_bytes", "platform", "compression", "digest")) or None,
        "layers": _list_layers(image["layers"]) if image else None,
        "base": _choose(image.get("base") or {}, ("reference", "digest", "python", "libc")) or None,
        "packages": {package["name"]: package["version"] for package in packages} or None,
        "left out": {package["name"]: package["reason"] for package in packages if not package["kept"]}
        if packages
        else None,
        "labels": _choose_labels(image.get("labels") or {}) if image.get("labels") is not None else None,
        "gates": report.get("gates"),
        "speed": _choose(smoke, _SPEED) or None,
        "load": dict(_list_load((smoke.get("load") or {}).get("points") or ())) or None,
        "tools": _list_tools(report["tools"]) if report.get("tools") else None,
    }
    title = " ".join(str(report[key]) for key in ("name", "version", "target") if report.get(key))
    return Facts(kind, place, title, report.get("client") or model, _drop_unknown(found))


def read_image_facts(image: Mapping[str, Any], kind: str, place: str) -> Facts:
    """Return the facts that an image tells of itself: its labels have some of the model's."""
    labels = image["labels"]
    own = {key: labels.get(f"{_OWN_LABEL}{name}") for key, name in _FROM_LABELS.items()}
    model = {key: int(value) if key == "opset" else value for key, value in own.items() if value}
    # In an archive an image is named by its manifest's digest; an engine's own name for it is another one.
    digest = next(iter(image.get("digests") or ()), image["id"] if kind == "archive" else "").rpartition("@")[2]
    found: dict[str, Section | None] = {
        "model": model or None,
        "image": _choose({**image, "digest": digest}, ("size_bytes", "platform", "digest")),
        "layers": _list_layers(image["layers"]),
        "base": _choose({"reference": labels.get("org.opencontainers.image.base.name")}, ("reference",)) or None,
        "labels": _choose_labels(labels),
    }  # fmt: skip
    title = " ".join(filter(None, (labels.get(f"org.opencontainers.image.{key}") for key in ("title", "version"))))
    target = labels.get(f"{_OWN_LABEL}target", "")
    return Facts(kind, place, f"{title} {target}".strip(), {}, _drop_unknown(found))


def read_bundle_facts(bundle: Mapping[str, Any], place: str) -> Facts:
    """Return the facts of a bundle without a report: its Dockerfile, packages and model."""
    docker, model = bundle["dockerfile"] or {}, bundle["model"] or {}
    labels = docker.get("labels") or {}
    found: dict[str, Section | None] = {
        "model": _choose(model, ("opset", "precision", "size_bytes")) or None,
        "operators": model.get("ops"),
        "weights": _count_bytes(model.get("weights")),
        "base": _choose({"reference": docker.get("base")}, ("reference",)) or None,
        "packages": {package["name"].lower(): package["version"] for package in bundle["packages"]} or None,
        "labels": _choose_labels(labels) if docker else None,
    }
    return Facts("bundle", place, labels.get("org.opencontainers.image.title", ""), model, _drop_unknown(found))


def read_spec_facts(spec: Spec, target: str, lock: Lock | None, place: str) -> Facts:
    """Return what a spec and its lock say of a target before anything is built."""
    chosen, locked = spec.targets[target], lock.targets.get(target) if lock else None
    precision = None if chosen.precision == "auto" else chosen.precision
    base = {"reference": name_base(spec, target), "digest": locked.base.digest if locked and locked.base else None}
    limits = asdict(effective_gates(spec, target, lambda *_: Location(place)).limits)
    found: dict[str, Section | None] = {
        "spec": dict(_flatten(to_plain(spec))),
        "model": _choose({"opset": spec.opset, "precision": precision}, _MODEL) or None,
        "base": _choose(base, ("reference", "digest")),
        "packages": {package.name: package.version for package in locked.packages} if locked else None,
        "files": lock.pins.sources if lock else None,
        "tools": lock.pins.tools if lock else None,
        "gates": _choose(limits, limits),
    }
    title = " ".join(filter(None, (spec.name, spec.version, target)))
    return Facts("spec", place, title, describe_signature(spec), _drop_unknown(found))


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the fields of a spec by their paths, as they are given to ``--set``; a list is one value."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flatten(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _read_score(evaluation: Mapping[str, Any]) -> Section | None:
    if not evaluation:
        return None
    return {evaluation["metric"]: evaluation["model"], f"{evaluation['metric']} of the source": evaluation["source"]}


def _count_bytes(weights: Mapping[str, int] | None) -> Section | None:
    return {f"{dtype}_bytes": count for dtype, count in weights.items()} if weights is not None else None


def _list_layers(layers: Iterable[Mapping[str, Any]]) -> Section:
    """Return each layer by its place: what is behind it may have been made the same way."""
    return {
        f"{number} {layer['created_by']}": f"{_shorten(layer['digest'])}, {format_bytes(layer['size_bytes'])}"
        for number, layer in enumerate(layers, 1)
    }


def _shorten(digest: str) -> str:
    return digest.partition(":")[2][:12]


def _list_load(points: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Value]]:
    for point in points:
        for name, value in _choose(point, _LOAD).items():
            yield f"{plural(point['clients'], 'client')} {name}", value


def _list_tools(tools: Mapping[str, Any]) -> Section:
    return _choose(tools, ("onnxpack", "python", "machine")) | (tools.get("distributions") or {})


def _choose_labels(labels: Mapping[str, str]) -> dict[str, Value]:
    """Return the labels without those that repeat what is known of the model."""
    return {key: value for key, value in labels.items() if not key.startswith(_OWN_LABEL) or key == CONTENT_LABEL}


def _choose(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Value]:
    """Return those of the values that are known."""
    return {name: values[name] for name in names if values.get(name) not in (None, "")}


def _drop_unknown(sections: Mapping[str, Section | None]) -> dict[str, Section]:
    return {
        name: {str(key): _make_value(value) for key, value in dict(section).items()}
        for name, section in sections.items()
        if section is not None
    }


def _make_value(value: Any) -> Value:
    """Return a value of a document from anywhere as a number that can be computed with, or as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _GREATEST:
        return value
    return json.dumps(value)
