"""Why work has to be done is said by the field, the file or the package that is another one."""

import platform
from pathlib import Path
from typing import Any

import pytest

from onnxpack.cache.trace import Trace, digest_content
from onnxpack.pipeline.reasons import (
    GONE,
    NEVER,
    compare_fields,
    compare_packages,
    compare_steps,
    compare_trace,
    explain_records,
)
from onnxpack.pipeline.receipts import History
from onnxpack.pipeline.records import StageRecord
from onnxpack.pipeline.requests import Step

PART = {"place": "a", "spec": {"opset": 17, "calibration": {"method": "minmax"}}, "files": {"m.onnx": "1"}}


def step(**fields: Any) -> Step:
    return Step("export", "", {"spec": PART | fields, "model": {"digest": "1"}, "level": "all"})


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (step(), []),
        (step(spec={"opset": 17, "calibration": {"method": "entropy"}}), ["calibration.method minmax → entropy"]),
        (step(spec={"calibration": {"method": "minmax"}}), ["opset 17 was taken away"]),
        (step(spec=PART["spec"] | {"name": "x"}), ["name was set to x"]),
        (step(files={"m.onnx": "2"}), ["m.onnx changed"]),
        (step(place="b"), ["the spec's folder a → b"]),
        (Step("export", "", {**step().request, "model": {"digest": "2"}}), ["its input changes"]),
        (Step("export", "", {**step().request, "level": "basic"}), ["level all → basic"]),
        (Step("export", "", step().request, "key"), ["the packages of its environment changed"]),
    ],
)
def test_compare_steps_names_the_field_or_file(new: Step, words: list[str]) -> None:
    assert compare_steps(step(), new) == words


def test_compare_packages_names_versions_and_hashes() -> None:
    old = [{"name": name, "version": "1.0", "hashes": ["a"]} for name in ("a", "b", "c", "d")]
    new = [old[0], old[1] | {"version": "1.1"}, old[2] | {"hashes": ["b"]}, old[3] | {"name": "e"}]
    words = ["b 1.0 → 1.1 in the lock", "c has other hashes in the lock", "d is gone from the lock"]
    assert list(compare_packages(old, new)) == [*words, "e 1.0 is new in the lock"]
    asked = [Step("bundle", "", {"packages": packages}) for packages in (old, new)]
    assert compare_steps(*asked) == [*words, "e 1.0 is new in the lock"]


def test_compare_trace_names_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("first")
    trace = Trace(
        files={"file": digest_content(tmp_path / "file"), "gone": "0" * 64},
        folders={".": "0" * 64},
        imports={"code": "0" * 64},
        modules={"onnxpack.spec.load": "0" * 64},
        distributions={"numpy": "0.1"},
    )
    found = compare_trace(trace, tmp_path)
    assert found[:4] == [
        "gone changed", "the names of files in . changed", "the modules in code changed", "onnxpack.spec.load changed",
    ]  # fmt: skip
    assert found[4].startswith("numpy 0.1 → ")


def test_long_and_hostile_values_are_shortened_and_cleaned() -> None:
    (words,) = compare_fields({"a": "x" * 99}, {"a": "\x1b[2J"})
    assert words == f"a {'x' * 39}… → \N{REPLACEMENT CHARACTER}[2J"


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (None, (NEVER,)),
        (History(python=platform.python_version()), (NEVER,)),
        (History((step(),), python=platform.python_version()), (GONE,)),
        (History((step(),), python="3.1"), (f"Python 3.1 → {platform.python_version()}",)),
        (History((step(files={"m.onnx": "2"}),), python="3.1"), ("m.onnx changed",)),
        (History((Step("export", "", {str(n): n for n in range(30)}),)), None),
    ],
)
def test_explain_records_says_why_work_was_done(
    tmp_path: Path, last: History | None, words: tuple[str, ...] | None
) -> None:
    record = StageRecord("export", 1.0, False, "k")
    kept = StageRecord("verify", 0.0, True, "k")
    (told, other) = explain_records([record, kept], [step()], last, tmp_path)
    assert other is kept
    if words is None:
        assert (len(told.why), told.why[-1]) == (21, "and 13 more")
    else:
        assert told.why == words
