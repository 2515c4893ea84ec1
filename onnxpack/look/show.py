"""Facts → lines for a person."""

import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from onnxpack.errors import Location, Problem, SpecError
from onnxpack.look.text import clean, section, size, table, tensor
from onnxpack.precision import candidates
from onnxpack.precision.candidates import Candidate

Facts = dict[str, Any]
_REPORTED = {
    "kind", "path", "name", "version", "target", "status", "stages", "model", "parity", "evaluation", "candidates",
    "image", "smoke", "stage", "exit_code", "problems", "spec", "until", "chain", "exporter", "notes", "not_judged",
    "ran_on_gpu", "last_good",
}  # fmt: skip


def lines(facts: Facts) -> list[str]:
    """The facts of any kind but a spec's, readably.

    Raises:
        SpecError: a report holds something else than a build writes.
    """
    shows: dict[str, Callable[[Facts], list[str]]] = {
        "onnx": _onnx, "bundle": _bundle, "image": _image, "report": _report,
    }  # fmt: skip
    try:
        return shows[facts["kind"]](facts)
    # What a report holds of another form, its table meets as any of these.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        if facts["kind"] == "onnx":
            raise
        hint = f"{type(error).__name__}: {error}"
        raise SpecError(Problem("it is not what a build writes", hint, Location(str(facts.get("path", ""))))) from None


def _named(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    return table((name, value) for name, value in pairs if value not in (None, "", [], {}))


def _onnx(facts: Facts) -> list[str]:
    total = sum(facts["weights"].values())
    weights = [f"{dtype} {size(count)}" for dtype, count in facts["weights"].items()]
    head = [
        ("size", size(facts["size_bytes"])),
        ("opset", ", ".join([str(facts["opset"]), *(f"{name} {number}" for name, number in facts["domains"].items())])),
        ("IR version", facts["ir_version"]),
        ("producer", facts["producer"]),
        ("parameters", f"{facts['parameters']:,}" + (f" in {size(total)}" if total else "")),
        ("in attributes", f"{facts['attribute_values']:,} numbers"),
        ("precision", f"{facts['precision']} ({', '.join(weights)})" if len(weights) > 1 else facts["precision"]),
        ("nodes", facts["nodes"]),
        ("functions", facts["functions"] or None),
    ]
    external = [
        (data["location"], size(data["used_bytes"]), "used of", _present(data["size_bytes"]))
        for data in facts["external_data"]
    ]
    return [
        f"{clean(facts['path'])}: ONNX model",
        *(f"  {line}" for line in _named(head)),
        *section("problems", map(clean, facts["problems"])),
        *section("inputs", table((info["name"], tensor(info)) for info in facts["inputs"])),
        *section("outputs", table((info["name"], tensor(info)) for info in facts["outputs"])),
        *section("ops", table(((count, name) for name, count in facts["ops"].items()), right=(0,))),
        *section("external data", table(external, right=(1, 3))),
        *section("metadata", table(facts["metadata"].items())),
    ]


def _present(count: int | None) -> str:
    return "a file that is not there" if count is None else size(count)


def _bundle(facts: Facts) -> list[str]:
    docker = facts["dockerfile"] or {}
    out = [f"{clean(facts['path'])}: bundle"]
    out += [f"  {line}" for line in _named((key, docker.get(key)) for key in ("base", "user", "port", "entrypoint"))]
    out += section("labels", table(docker.get("labels", {}).items()))
    out += section("environment", table(docker.get("env", {}).items()))
    for layer in facts["layers"]:
        title = f"layer {clean(layer['name'])}: {size(layer['size_bytes'])} in {layer['files']} files, the largest"
        rows = [(size(file["size_bytes"]), file["path"]) for file in layer["largest"]]
        out += section(title, table(rows, right=(0,)))
    out += section("packages", table((package["name"], package["version"]) for package in facts["packages"]))
    for part in ("model", "report"):
        if facts[part]:
            out += ["", *lines(facts[part])]
    return out


def _image(facts: Facts) -> list[str]:
    head = [
        ("id", facts["id"]),
        ("names", ", ".join(facts["names"])),
        ("digests", ", ".join(facts["digests"])),
        ("created", facts["created"]),
        ("platform", facts["platform"]),
        ("size", size(facts["size_bytes"])),
        ("user", facts["user"]),
        ("entrypoint", _words(facts["entrypoint"])),
        ("command", _words(facts["command"])),
        ("ports", ", ".join(facts["ports"])),
    ]
    return [
        f"{clean(facts['reference'])}: image",
        *(f"  {line}" for line in _named(head)),
        *section("layers", _layers(facts["layers"])),
        *section("provenance", _named((facts["provenance"] or {}).items())),
        *section("labels", table(facts["labels"].items())),
        *section("environment", table(facts["env"].items())),
    ]


def _words(command: list[str] | None) -> str:
    return " ".join(command or [])


def _layers(layers: list[Facts]) -> list[str]:
    rows = [(size(layer["size_bytes"]), layer["digest"], clean(layer["created_by"], 60)) for layer in layers]
    return table(rows, right=(0,))


def _report(facts: Facts) -> list[str]:
    model, parity, image, smoke = (facts.get(part) or {} for part in ("model", "parity", "image", "smoke"))
    known = model or facts["status"] != "failed"  # a build that passed has a model
    head = [
        ("status", facts["status"]),
        ("target", facts["target"]),
        ("stage", facts.get("stage")),
        ("model", f"opset {model['opset']}, {model['precision']}, {size(model['size_bytes'])}" if known else None),
        ("sha256", model.get("sha256")),
        ("exporter", facts.get("exporter") or None),
        ("ran on a GPU", facts.get("ran_on_gpu")),
        ("last good", facts.get("last_good")),
    ]
    stages = [
        (stage["name"], f"{stage['seconds']:.3f} s", "unchanged" if stage["cached"] else "done", str(stage["key"])[:12])
        for stage in facts.get("stages") or ()
    ]
    title = " ".join(str(part) for part in (facts["name"], facts.get("version")) if part)
    return [
        f"{clean(facts['path'])}: report of {clean(title)}",
        *(f"  {line}" for line in _named((key, value) for key, value in head if value is not None)),
        *section("problems", _problems(facts.get("problems") or ())),
        *section("stages", table(stages, right=(1,))),
        *section("inputs", table((info["name"], tensor(info)) for info in model.get("inputs", ()))),
        *section("outputs", table((info["name"], tensor(info)) for info in model.get("outputs", ()))),
        *section("parity", _named((key, value) for key, value in parity.items() if not isinstance(value, list))),
        *section("parity by output", _named((row["name"], _measures(row)) for row in parity.get("outputs", ()))),
        *section("not verified", map(clean, parity.get("notes", ()))),
        *section("gates not judged", _named((gate["gate"], gate["why"]) for gate in facts.get("not_judged") or ())),
        *section("evaluation", _named((facts.get("evaluation") or {}).items())),
        *section("precisions", _candidates(facts.get("candidates") or ())),
        *section("image", _report_image(image)),
        *section("smoke", _named(_measured(smoke))),
        *section("more", _named((key, json.dumps(value)) for key, value in facts.items() if key not in _REPORTED)),
    ]


def _problems(problems: Iterable[Facts]) -> list[str]:
    found = []
    for problem in problems:
        found.append(clean(problem["message"]))
        found += [f"  {clean(line)}" for line in [problem["hint"], *problem["detail"].splitlines()] if line]
    return found


def _measures(row: Facts) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items() if key != "name" and value is not None)


def _candidates(rows: Iterable[Facts]) -> list[str]:
    known = {field.name for field in fields(Candidate)}
    found = [Candidate(**{key: value for key, value in row.items() if key in known}) for row in rows]
    return [clean(line) for line in candidates.table(found).splitlines()] if found else []


def _report_image(image: Facts) -> list[str]:
    if not image:
        return []
    names = ", ".join(image.get("references") or [image["reference"] or ""])
    head = [("names", names), ("id", image["id"]), ("digest", image["digest"]), ("size", size(image["size_bytes"]))]
    return [*_named(head), *_layers(image["layers"])]


def _measured(smoke: Facts) -> Iterable[tuple[str, Any]]:
    for name, value in smoke.items():
        if value is not None and name.endswith("_seconds"):
            yield name.removesuffix("_seconds"), f"{value:.3f} s"
        elif value is not None and name.endswith("_bytes"):
            yield name.removesuffix("_bytes"), size(value)
        else:
            yield name, value
