"""Documents that builds leave for later ones, and the messages of their child processes."""

import errno
import json
import random
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
from fuzz_tools import ODD, Kind, change, mutate
from told import Told

from onnxpack.bundle.layer import FILES_FILE, Needs
from onnxpack.cache import remembered
from onnxpack.cache.store import Store
from onnxpack.cache.trace import Trace
from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest_tree
from onnxpack.core.progress import Progress
from onnxpack.inspection.why import explain, format_explanation
from onnxpack.pipeline.runner import Runner
from onnxpack.tasks.packages import Installed, InstallPackages
from onnxpack.worker import call
from onnxpack.worker.code import digest_code
from onnxpack.worker.codec import digest_value
from onnxpack.worker.process import Ended

_KEY = "0" * 64
_FILES: tuple[Any, ...] = ([], [1, 2], "ab", None, {"a": 1}, ["/dev/zero", "a" * 64], [["a"], {}], ["\0", ""])
_TASK = InstallPackages("3.12", "linux/amd64", (), Needs(()), None)


def _describe_result(files: Any) -> Any:
    listed = {
        "path": "a.py",
        "package": "a",
        "size_bytes": 1,
        "kept": True,
        "why": {"how": "imported by", "by": "b.py"},
    }
    return {"files": files, "listing": [listed]}


def _make_entry(chance: random.Random, folder: Path) -> None:
    data = folder / "stage" / _KEY / "data"
    (data / "files").mkdir(parents=True)
    (data / "result").write_bytes(b"result")
    (data / "files" / "a").write_bytes(b"a")
    manifest: Any = digest_tree(data)
    text = json.dumps(change(chance, manifest) if chance.randrange(3) else manifest).encode()
    match chance.randrange(4):
        case 0:
            text = mutate(chance, text)
        case 1:
            text = json.dumps(chance.choice(ODD)).encode()
        case 2:
            (data / chance.choice(("b\udcff", "files/c\n", "d" * 200))).write_bytes(b"more")
    (data.parent / "manifest.json").write_bytes(text)


def _read_entry(folder: Path) -> bool:
    store = Store(folder)
    text = (folder / "stage" / _KEY / "manifest.json").read_bytes()
    found = store.get("stage", _KEY)
    if found:
        assert json.loads(text) == digest_tree(found)
    return found is not None


@cache
def _traces() -> Any:
    trace = Trace({"a.py": "absent"}, {"b": "absent"}, {".": "absent"}, {"onnxpack.x": "absent"}, {"numpy": "1"})
    return json.loads(msgspec.json.encode([trace, Trace(isolated=True)]))


def _change_message(chance: random.Random, document: Any) -> bytes:
    changed = change(chance, document)
    try:
        message = msgspec.msgpack.encode(changed)
    except (OverflowError, ValueError):  # what MessagePack has no form for: integers of 65 bits, half a character
        message = msgspec.msgpack.encode(document)
    return message if chance.randrange(2) else mutate(chance, message)


def write_traces(folder: Path, part: str, name: str) -> None:
    """Write a trace in which a part names something, and a second one that holds."""
    _place(folder).write_bytes(msgspec.msgpack.encode([{part: {name: "absent"}}, {}]))


def _place(folder: Path) -> Path:
    place = folder / "traces" / "bundle" / _KEY
    place.parent.mkdir(parents=True)
    return place


def _make_traces(chance: random.Random, folder: Path) -> None:
    document = _traces()
    if chance.randrange(2):
        part = chance.choice(("files", "folders", "imports", "modules", "distributions"))
        name = chance.choice(
            ("\0", "", ".", "/", "onnxpack./", "onnxpack.\0", "..", "x" * 300, "a b", "/dev/zero", "é")
        )
        document = [{"files": {}, part: {name: "absent"}}, *document]
    _place(folder).write_bytes(_change_message(chance, document))


def _read_traces(folder: Path) -> bool:
    runner = Runner(Store(folder), cast(Progress, Told()), folder)
    assert runner._recall("bundle", _KEY) is None  # there is no entry
    return bool(runner.read_traces("bundle", _KEY))


def _make_digest(chance: random.Random, folder: Path) -> None:
    line = f"100 {10**18} {10**18} {'a' * 64}\n".encode()
    (folder / "remembered").write_bytes(mutate(chance, line) if chance.randrange(8) else line * 1000)


def _read_digest(folder: Path) -> bool:
    found = remembered._read_known(folder / "remembered", f"100 {10**18} {10**18}")
    assert found is None or (len(found) == 64 and int(found, 16))
    return found is not None


@cache
def _answers() -> tuple[Any, ...]:
    result = msgspec.msgpack.encode(_describe_result(["packages", "a" * 64]))
    good = call.Answer(result, Trace({"a": "b"}), ("numpy",))
    bad = call.Answer(exit_code=3, problems=())
    crash = call.Answer(crash="ValueError: x", stack="Stack")
    return tuple(msgspec.to_builtins(answer, builtin_types=(bytes,)) for answer in (good, bad, crash))


def write_answer(folder: Path, **fields: Any) -> None:
    """Write the answer of a child process."""
    (folder / call.ANSWER).write_bytes(msgspec.msgpack.encode(fields))


def _make_answer(chance: random.Random, folder: Path) -> None:
    document = dict(chance.choice(_answers()))
    result = document.pop("result")
    document = json.loads(json.dumps(document))
    if chance.randrange(3) == 0:
        document = change(chance, document)
    if chance.randrange(3) == 0:
        problem = {
            "message": chance.choice(("a", "", "\x1b[2J", "x" * 50_000)),
            "hint": "b",
            "where": None,
            "detail": "",
        }
        document |= {
            "exit_code": chance.choice((1, 2, 3, 4, 5, -1, 2**40)),
            "problems": [problem, change(chance, problem)],
        }
    if result is not None:
        files: Any = ["a", "b"]
        if chance.randrange(2):
            files = chance.choice(_FILES)
        result = msgspec.msgpack.encode(_describe_result(files))
        document["result"] = result if chance.randrange(4) else mutate(chance, result)
    try:
        message = msgspec.msgpack.encode(document)
    except (OverflowError, ValueError):  # what MessagePack has no form for
        message = b""
    (folder / call.ANSWER).write_bytes(message if chance.randrange(4) else mutate(chance, message))


def _read_answer(folder: Path) -> bool:
    try:
        outcome = call._read_outcome(_TASK, Ended(0, "printed"), folder, folder)
    except OSError as error:  # an answer may say that a disk is full, which is told as that
        if error.errno != errno.ENOSPC:
            raise
        return False
    assert isinstance(outcome.result.files, Artifact)
    assert outcome.result.files.path.is_relative_to(folder) or outcome.result.files.path.is_absolute()
    assert isinstance(outcome.result.files.digest, str)
    return True


_REQUEST = ("request",)
_CODE = "onnxpack.tasks.packages"


def write_result(folder: Path, message: bytes) -> None:
    """Write an entry that is whole and holds this result: whoever wrote it, the store believes it."""
    with Store(folder).making("kept", digest_value(("kept", digest_code(_CODE), _REQUEST))) as entry:
        (entry / "files").mkdir()
        (entry / "files" / "packages").write_bytes(b"x")
        (entry / "result").write_bytes(message)


def _make_result(chance: random.Random, folder: Path) -> None:
    files = chance.choice((["packages", "a" * 64], *_FILES))
    write_result(
        folder,
        _change_message(chance, _describe_result(files))
        if chance.randrange(4)
        else msgspec.msgpack.encode(_describe_result(files)),
    )


def _read_result(folder: Path) -> bool:
    runner = Runner(Store(folder), cast(Progress, Told()), folder)
    result = runner.keep("kept", _REQUEST, Installed, _CODE, _refuse)
    assert isinstance(result.files, Artifact)
    return True


def _refuse() -> Installed:
    raise AssertionError("there is an entry")


def _make_files(chance: random.Random, folder: Path) -> None:
    whole = _describe_result(None)["listing"]
    document = {"onnxpack_files": 1, "files": whole * chance.randrange(1, 4)}
    text = json.dumps(change(chance, document) if chance.randrange(4) else document).encode()
    (folder / FILES_FILE).write_bytes(mutate(chance, text) if chance.randrange(3) == 0 else text)


def _read_files(folder: Path) -> bool:
    shown = format_explanation(explain(folder, ""))
    assert all(line.isprintable() for line in shown)
    return True


KEPT = (
    Kind("files of a layer", _make_files, _read_files, share=2),
    Kind("store entry", _make_entry, _read_entry, share=8),
    Kind("stored result", _make_result, _read_result, share=2),
    Kind("traces", _make_traces, _read_traces, share=6),
    Kind("remembered digest", _make_digest, _read_digest, share=2),
    Kind("answer", _make_answer, _read_answer, share=6),
)
