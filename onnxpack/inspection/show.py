"""Turns facts into lines for a person."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

from onnxpack.core.errors import Location, Problem, SpecError, describe_error
from onnxpack.core.text import clean, format_bytes, format_section, format_table, format_tensor, format_time, plural
from onnxpack.parity.summary import format_measure, format_parity, read_outputs
from onnxpack.precision import candidates
from onnxpack.precision.candidates import Candidate

Facts = dict[str, Any]
_REPORTED = {
    "kind", "path", "name", "version", "target", "status", "stages", "model", "parity", "evaluation", "candidates",
    "image", "smoke", "stage", "exit_code", "problems", "spec", "until", "chain", "exporter", "notes", "not_judged",
    "ran_on_gpu", "last_good", "set", "sandbox", "batching",
}  # fmt: skip


def lines(facts: Facts) -> list[str]:
    """Return the facts of any kind but a spec's as lines for a person.

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
        hint = describe_error(error, 200)
        raise SpecError(
            Problem("it is not a report of this onnxpack version", hint, Location(str(facts.get("path", ""))))
        ) from None


def _show_pairs(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    return format_table((name, value) for name, value in pairs if value not in (None, "", [], {}))


def _onnx(facts: Facts) -> list[str]:
    total = sum(facts["weights"].values())
    weights = [f"{dtype} {format_bytes(count)}" for dtype, count in facts["weights"].items()]
    head = [
        ("size", format_bytes(facts["size_bytes"])),
        ("opset", ", ".join([str(facts["opset"]), *(f"{name} {number}" for name, number in facts["domains"].items())])),
        ("IR version", facts["ir_version"]),
        ("producer", facts["producer"]),
        ("parameters", f"{facts['parameters']:,}" + (f" in {format_bytes(total)}" if total else "")),
        ("in attributes", f"{facts['attribute_values']:,} numbers"),
        ("precision", f"{facts['precision']} ({', '.join(weights)})" if len(weights) > 1 else facts["precision"]),
        ("nodes", facts["nodes"]),
        ("functions", facts["functions"] or None),
    ]
    external = [
        (data["location"], format_bytes(data["used_bytes"]), "used of", _present(data["size_bytes"]))
        for data in facts["external_data"]
    ]
    return [
        f"{clean(facts['path'])}: ONNX model",
        *(f"  {line}" for line in _show_pairs(head)),
        *format_section("problems", map(clean, facts["problems"])),
        *format_section("inputs", format_table((info["name"], format_tensor(info)) for info in facts["inputs"])),
        *format_section("outputs", format_table((info["name"], format_tensor(info)) for info in facts["outputs"])),
        *format_section("ops", format_table(((count, name) for name, count in facts["ops"].items()), right=(0,))),
        *format_section("external data", format_table(external, right=(1, 3))),
        *format_section("metadata", format_table(facts["metadata"].items())),
    ]


def _present(count: int | None) -> str:
    return "a file that is not there" if count is None else format_bytes(count)


def _bundle(facts: Facts) -> list[str]:
    docker = facts["dockerfile"] or {}
    out = [f"{clean(facts['path'])}: bundle"]
    out += [
        f"  {line}" for line in _show_pairs((key, docker.get(key)) for key in ("base", "user", "port", "entrypoint"))
    ]
    out += format_section("labels", format_table(docker.get("labels", {}).items()))
    out += format_section("environment", format_table(docker.get("env", {}).items()))
    for layer in facts["layers"]:
        held = f"{format_bytes(layer['size_bytes'])} in {plural(layer['files'], 'file')}"
        title = f"layer {clean(layer['name'])}: {held}, the largest"
        rows = [(format_bytes(file["size_bytes"]), file["path"]) for file in layer["largest"]]
        out += format_section(title, format_table(rows, right=(0,)))
    out += format_section(
        "packages", format_table((package["name"], package["version"]) for package in facts["packages"])
    )
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
        ("size", format_bytes(facts["size_bytes"])),
        ("user", facts["user"]),
        ("entrypoint", _words(facts["entrypoint"])),
        ("command", _words(facts["command"])),
        ("ports", ", ".join(facts["ports"])),
    ]
    return [
        f"{clean(facts['reference'])}: image",
        *(f"  {line}" for line in _show_pairs(head)),
        *format_section("layers", _layers(facts["layers"])),
        *format_section("provenance", _show_pairs((facts["provenance"] or {}).items())),
        *format_section("labels", format_table(facts["labels"].items())),
        *format_section("environment", format_table(facts["env"].items())),
    ]


def _words(command: list[str] | None) -> str:
    return " ".join(command or [])


def _layers(layers: list[Facts]) -> list[str]:
    rows = [(format_bytes(layer["size_bytes"]), layer["digest"], clean(layer["created_by"], 60)) for layer in layers]
    return format_table(rows, right=(0,))


def _report(facts: Facts) -> list[str]:
    parts = ("model", "client", "parity", "image", "smoke")
    model, client, parity, image, smoke = (facts.get(part) or {} for part in parts)
    served = {name: value for name, value in smoke.items() if name != "load"}
    known = model or facts["status"] != "failed"  # a build that passed has a model
    head = [
        ("status", facts["status"]),
        ("target", facts["target"]),
        ("stage", facts.get("stage")),
        (
            "model",
            f"opset {model['opset']}, {model['precision']}, {format_bytes(model['size_bytes'])}" if known else None,
        ),
        ("sha256", model.get("sha256")),
        ("exporter", facts.get("exporter") or None),
        ("ran on a GPU", _plain(facts.get("ran_on_gpu"))),
        ("sandbox", None if facts.get("sandbox") == "none" else facts.get("sandbox")),
        ("set", _plain(facts.get("set") or None)),
        ("last good", facts.get("last_good")),
    ]
    stages = [
        (
            f"{stage['name']} {stage.get('of') or ''}".strip(),
            f"{stage['seconds']:.3f} s",
            "unchanged" if stage["cached"] else "done",
            str(stage["key"])[:12],
        )
        for stage in facts.get("stages") or ()
    ]
    title = " ".join(str(part) for part in (facts["name"], facts.get("version")) if part)
    return [
        f"{clean(facts['path'])}: report of {clean(title)}",
        *(f"  {line}" for line in _show_pairs((key, value) for key, value in head if value is not None)),
        *format_section("problems", _problems(facts.get("problems") or ())),
        *format_section("stages", format_table(stages, right=(1,))),
        *format_section("clients send", _list_tensors(client.get("inputs", ()))),
        *format_section("clients get", _list_tensors(client.get("outputs", ()))),
        *format_section("inputs", _list_tensors(model.get("inputs", ()))),
        *format_section("outputs", _list_tensors(model.get("outputs", ()))),
        *format_section("parity", _show_pairs(_parity(parity))),
        *format_section("parity by output", _outputs(parity.get("outputs") or ())),
        *format_section("not verified", map(clean, parity.get("notes", ()))),
        *format_section(
            "gates not judged", _show_pairs((gate["gate"], gate["why"]) for gate in facts.get("not_judged") or ())
        ),
        *format_section("evaluation", _show_pairs(_evaluation(facts.get("evaluation") or {}))),
        *format_section("precisions", _candidates(facts.get("candidates") or ())),
        *format_section("batching", _show_pairs(_show_measures(facts.get("batching") or {}))),
        *format_section("image", _report_image(image)),
        *format_section("smoke", _show_pairs(_show_measures(served))),
        *format_section("load", _show_pairs(_show_load(smoke.get("load") or {}))),
        *format_section(
            "more", _show_pairs((key, _plain(value)) for key, value in facts.items() if key not in _REPORTED)
        ),
    ]


def _list_tensors(infos: Iterable[Facts]) -> list[str]:
    return format_table((info["name"], format_tensor(info)) for info in infos)


def _problems(problems: Iterable[Facts]) -> list[str]:
    found = []
    for problem in problems:
        found.append(clean(problem["message"]))
        found += [f"  {clean(line)}" for line in [problem["hint"], *problem["detail"].splitlines()] if line]
    return found


def _parity(parity: Facts) -> Iterator[tuple[str, Any]]:
    for key, value in parity.items():
        if key == "passed":
            yield key, "yes" if value else f"NO: {parity.get('differs') or 'values'}"
        elif key != "differs" and value is not None and not isinstance(value, list):
            yield key, format_measure(key, value)


def _outputs(rows: Iterable[Facts]) -> list[str]:
    found = read_outputs(rows)
    return format_parity(found).splitlines() if found else []


def _evaluation(scored: Facts) -> Iterator[tuple[str, Any]]:
    for key, value in scored.items():
        yield key, str(value)[:12] if key == "model_digest" else _plain(value)


def _plain(value: Any) -> Any:
    """Return a JSON value in a person's words: ``yes`` and ``no``, six digits of a number, text without quotes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, list | dict) else value


def _candidates(rows: Iterable[Facts]) -> list[str]:
    known = {field.name for field in fields(Candidate)}
    found = [Candidate(**{key: value for key, value in row.items() if key in known}) for row in rows]
    return [clean(line) for line in candidates.format_candidates(found).splitlines()] if found else []


def _report_image(image: Facts) -> list[str]:
    if not image:
        return []
    names = ", ".join(image.get("references") or [image["reference"] or ""])
    head = [
        ("names", names),
        ("id", image["id"]),
        ("digest", image["digest"]),
        ("size", format_bytes(image["size_bytes"])),
    ]
    return [*_show_pairs(head), *_layers(image["layers"])]


def _show_load(load: Facts) -> Iterator[tuple[str, str]]:
    """Yield what the server did for each number of clients; its histogram is for the report's page."""
    for point in load.get("points", ()):
        times = ", ".join(f"{name} {format_time(point[f'{name}_seconds'])}" for name in ("p50", "p99"))
        yield plural(point["clients"], "client"), f"{point['rate']:.6g} requests/s, {times}"


def _show_measures(measures: Facts) -> Iterable[tuple[str, Any]]:
    for name, value in measures.items():
        if isinstance(value, dict):
            yield from ((f"{name} {inner}", found) for inner, found in _show_measures(value))
        elif value is not None and name.endswith("_seconds"):
            yield name.removesuffix("_seconds"), format_time(value)
        elif value is not None and name.endswith("_bytes"):
            yield name.removesuffix("_bytes"), format_bytes(value)
        else:
            yield name, _plain(value)
