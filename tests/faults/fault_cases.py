"""The faults and bad inputs that must be survived, and the tests that are marked with their names."""

import ast
from pathlib import Path

CASES = {
    "Y1": "alias bombs, recursion, merge keys, nesting 10,000 deep, a 50 MB file: refused in under a second",
    "Y2": "duplicate and unknown keys, two documents, NUL, not UTF-8, empty, a list at the top: line and column",
    "Y3": "YAML's own surprises (3.10, no, 010, 12:30, 1e3): the right value, or 'quote it'",
    "Y4": "random and mutated specs: no traceback, no hang",
    "Y5": "newlines, quotes and templates in every free text: the Dockerfile has the same instructions",
    "Y6": "paths that lead out, FIFOs, devices, folders where a file is meant: refused",
    "Y7": "several mistakes in one spec: all at once, each once",
    "M1": "malicious pickles, joblib files, whole torch modules: not executed unless the spec has their digest",
    "M2": "external data that leads out, is missing, too short or overlaps: an error before any session",
    "M3": "truncated, random, empty ONNX, unknown operators, a newer opset or IR: named",
    "M4": "an export that differs, has NaN, bakes in an axis, loses an output, is not deterministic: exit status 4",
    "M5": "an exporter that kills its process or never ends: an error, and the parent lives",
    "M6": "npz files with wrong names, dtypes, shapes, pickles, NaN, no rows: an error",
    "M7": "a quantizer that changes nothing, makes it slower, larger or wrong: refused, and said",
    "M8": "model code with a syntax error, a missing import, wrong arguments, weights that do not fit: named",
    "B1": "SIGKILL at every stage and at random points: old or complete output, and the next run reuses what is whole",
    "B2": "a full disk in the cache, the output, the engine: no partial output, and the cache is sound",
    "B3": "an engine that dies, cannot be reached, or is of another kind: one error that names the endpoint",
    "B4": "a registry that answers 401, 404, 500, resets, lies, dies or has no such tag: never taken for done",
    "B5": "a registry that answers 429 or 503 and then works: tried again, within bounds",
    "B7": "builds of one spec and of two at once over one cache: all right",
    "B8": "entries of the cache with a flipped bit, cut short, without a file: noticed, and made again",
    "B9": "an engine's answer that is cut, has no id, or an error behind its success: an error",
    "B11": "secrets in the environment, in .env, beside the spec: not in layers, labels, logs, reports",
    "B12": "a lock that is missing, stale, wrong or edited: the command that makes it anew",
    "B13": "no network, all in the cache and locked: the same image",
    "B14": "ctrl-C in every stage: exit status 130, no child left, nothing partial",
    "R1": "builds again and again: the same layers, and without a daemon the same image",
    "R2": "other file times, users, umasks, time zones, locales, hash seeds, folders: the same digests",
    "R5": "no path, user name or time of the machine in any layer, compiled module or label",
    "S1": "a wrong shape, dtype, name or count of inputs, ragged data, strings for numbers: 400 that says why",
    "S2": "sizes of 2^60, below zero, zero, that overflow: 400, and no memory",
    "S3": "bodies above the limit, compressed bombs, endless chunks, deep JSON, slow clients: refused, and no memory",
    "S4": "NaN and infinity, in and out: valid JSON",
    "S5": "more load than the server can take: 503 with Retry-After, health stays right, and it recovers",
    "S6": "SIGTERM while requests wait, while connections idle, while the model loads: exit status 0",
    "S7": "a model that is missing or damaged in the image: never ready, and the log says why",
    "S8": "100,000 requests of many shapes: memory is bounded",
    "S9": "any user, a read-only root, no capabilities, no network, half a CPU, 256 MB: it serves",
    "S10": "the OpenAPI document against the server, random bytes on the socket: no crash and no 5xx",
    "S11": "binary tensors whose lengths lie: 400",
}
"""By the names that tests carry in `pytest.mark.case`."""


def find_marked(folder: Path) -> dict[str, list[str]]:
    """Return the tests below a folder that carry each case's name, as ``file::test``."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = [
            name
            for node in module.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
            for name in _names(node.value)
        ]
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                own = [name for decorator in node.decorator_list for name in _names(decorator)]
                for name in dict.fromkeys((*everywhere, *own)):
                    found.setdefault(name, []).append(f"{path.relative_to(folder).as_posix()}::{node.name}")
    return found


def _names(tree: ast.expr) -> list[str]:
    """Return the arguments of every ``pytest.mark.case(…)`` in an expression."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    marks = [node for node in calls if ast.unparse(node.func) == "pytest.mark.case"]
    return [str(ast.literal_eval(argument)) for node in marks for argument in node.args]
