"""Whatever a document holds, its reader takes it or says what is wrong: no traceback, no hang, memory bounded."""

import json
import random
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from command_line import Ended
from fuzz_arrays import head, write_bomb
from fuzz_child import Child
from fuzz_documents import KINDS
from fuzz_found import FOUND, LOADED, TAKEN
from fuzz_texts import REPORT, write_report
from fuzz_tools import PATIENCE, Kind, judge, judge_made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError, SpecError
from onnxpack.core.values import Reference
from onnxpack.data.npz import Npz, write_arrays
from onnxpack.image import smoke
from onnxpack.image.engine import Container
from onnxpack.parity.compare import Tolerance

CASES = {
    "spec": "Y4", "settings": "Y4", "lock": "B12", "store entry": "B8", "stored result": "B8", "traces": "B8",
    "remembered digest": "B8",
    "samples": "M6", "data": "M6", "handed arrays": "M6", "onnx head": "M3", "onnx loaded": "M3", "checkpoint": "M1",
    "estimator head": "M1", "safetensors": "M8", "shards": "M8",
}  # fmt: skip
EXAMPLES = 60
"""Of each kind, at factor 1."""
FEWER = {"checkpoint": 30, "estimator head": 10, "onnx loaded": 40}
RARELY = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def _with_case(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.case(CASES[name]) if name in CASES else ())


@pytest.mark.parametrize("name", [_with_case(name) for name, kind in KINDS.items() if not kind.native])
def test_fuzzed_document_of_any_content_is_taken_or_refused(
    name: str, factor: int, count_attacks: Callable[[int], None]
) -> None:
    kind, seen = KINDS[name], []

    @settings(max_examples=FEWER.get(name, EXAMPLES) * factor, suppress_health_check=RARELY)
    @given(chance=st.randoms(use_true_random=False))
    def attack(chance: random.Random) -> None:
        outcome = judge_made(kind, chance)
        seen.append(outcome)
        assert not outcome.failure, outcome.failure

    attack()
    count_attacks(len(seen))


@pytest.mark.case("M3")
def test_fuzzed_model_that_is_loaded_is_taken_or_refused(factor: int, count_attacks: Callable[[int], None]) -> None:
    child, count = Child(PATIENCE), FEWER["onnx loaded"] * factor
    try:
        failures = [child.ask("onnx loaded", f"test-{number}").failure for number in range(count)]
    finally:
        child.end()
    assert not [words for words in failures if words and not words.startswith("it died")]
    assert sum(map(bool, failures)) < count / 2  # one that dies of every model would tell nothing
    count_attacks(count)


@pytest.mark.case("Y4")
@pytest.mark.case("M6")
@pytest.mark.parametrize("name", FOUND)
def test_found_document_of_old_failure_is_refused(
    name: str, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    kind, write = FOUND[name]
    write(tmp_path)
    outcome = judge(KINDS[kind], tmp_path, 20.0)
    assert not outcome.failure, outcome.failure
    if kind != "traces":  # the second trace of the file holds
        assert not outcome.accepted
    count_attacks(1)


@pytest.mark.case("M2")
@pytest.mark.case("M3")
@pytest.mark.parametrize("name", LOADED)
def test_found_model_of_old_failure_is_refused(name: str, tmp_path: Path, count_attacks: Callable[[int], None]) -> None:
    LOADED[name](tmp_path)
    outcome = judge(KINDS["onnx loaded"], tmp_path, 20.0)
    assert not outcome.failure, outcome.failure
    assert not outcome.accepted
    count_attacks(1)


@pytest.mark.parametrize("name", TAKEN)
def test_found_document_of_old_refusal_is_taken(name: str, tmp_path: Path) -> None:
    kind, write = TAKEN[name]
    write(tmp_path)
    outcome = judge(KINDS[kind], tmp_path)
    assert not outcome.failure, outcome.failure
    assert outcome.accepted


BOMBS = {
    "aliases of aliases": "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a, *a]\n" for n in range(30)),
    "an alias of itself": "a: &a [*a]\n",
    "merges of merges": "a: &a {x: 1}\nb: &b {<<: [*a, *a, *a]}\nc: {<<: [*b, *b]}\n",
    "10,000 lists": "a: " + "[" * 10_000,
    "10,000 mappings": "".join(f"{' ' * n}a:\n" for n in range(1000)) + "a: " + "{a: " * 10_000,
    "50 MB": "a: b\n" * 10 * 2**20,
}


@pytest.mark.case("Y1")
@pytest.mark.parametrize("name", BOMBS)
def test_spec_of_a_bomb_is_refused_with_bounded_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(BOMBS[name])
    outcome = judge(KINDS["spec"], tmp_path)
    assert not outcome.failure, outcome.failure
    assert not outcome.accepted
    assert outcome.peak < KINDS["spec"].allowance


MISTAKES = {
    "a key twice": "onnxpack: 1\nname: a\nname: b\n", "an unknown key": "onnxpack: 1\nnmae: b\n",
    "two documents": "onnxpack: 1\n---\na: 1\n", "NUL": "onnxpack: 1\nname: a\0b\n", "a list": "- onnxpack: 1\n",
    "a version that is no text": "onnxpack: 1\nversion: 3.10\n", "a name that is false": "onnxpack: 1\nname: no\n",
    "a time": "onnxpack: 1\nversion: 12:30\n", "octal digits": "onnxpack: 1\nversion: 010\n",
}  # fmt: skip


@pytest.mark.case("Y2")
@pytest.mark.case("Y3")
@pytest.mark.parametrize("name", MISTAKES)
def test_spec_with_a_mistake_is_refused_with_its_place(
    name: str, tmp_path: Path, onnxpack: Callable[..., Ended]
) -> None:
    (tmp_path / "spec.yaml").write_text(MISTAKES[name])
    ended = onnxpack("validate", tmp_path / "spec.yaml")
    assert ended.code == 2
    assert re.search(r"spec\.yaml:[123]:\d+: ", ended.err)


@pytest.mark.parametrize(
    ("changes", "code"), [({"kind": "onnx"}, 0), ({"smoke": {"peak_rss_bytes": 10**400}}, 2), ({"path": ["a"]}, 0)]
)
def test_inspect_of_a_report_that_lies_is_no_bug(
    changes: dict[str, Any], code: int, tmp_path: Path, onnxpack: Callable[..., Ended]
) -> None:
    write_report(tmp_path, json.dumps(REPORT | changes).encode())
    ended = onnxpack("inspect", tmp_path / "iris" / "cpu" / "report.json")
    assert ended.code == code
    assert "bug" not in ended.err


def test_setting_ten_thousand_deep_is_a_mistake_of_the_command_line(
    project: Path, onnxpack: Callable[..., Ended]
) -> None:
    ended = onnxpack("validate", project / "spec.yaml", "--set", f"{'a.' * 10_000}b=1")
    assert ended.code == 2
    assert "nested more than 50 deep" in ended.err


@pytest.mark.case("M6")
@pytest.mark.parametrize(
    ("descr", "shape"), [("<U0", (2**62,)), ("<f4", (2**62, 0)), ("<f4", (4, 2**62, 0)), ("|S0", (3,))]
)
def test_heads_of_rows_that_take_no_bytes_are_refused(descr: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", head(descr, shape))
    with pytest.raises(SpecError, match=r"shape that no array has|has dtype"):
        Npz(tmp_path / "d.npz", "data").headers(("x",))


@pytest.mark.case("M6")
@pytest.mark.parametrize("code", [0x110000, 0xD800, 2**32 - 1])
def test_strings_that_are_no_text_are_refused(code: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", head(">U1", (1,)) + code.to_bytes(4, "big"))
    with pytest.raises(SpecError, match="'x' holds what is no text"):
        Npz(tmp_path / "d.npz", "data").array("x")


def test_answer_of_an_image_that_is_no_archive_is_a_failed_gate(tmp_path: Path) -> None:
    for name in ("a.inputs.npz", "a.outputs.npz"):
        write_arrays(tmp_path / name, {"x": np.ones(2, np.float32)})
    reference = Reference(Artifact.of(tmp_path), ("a",), ({},), (), {})
    box = cast(Container, SimpleNamespace(fetch=lambda name: {"a.inputs.npz": b"no archive"}))
    with pytest.raises(GateError, match="no archive of arrays"):
        smoke._compare_replay(reference, box, Tolerance("float32", None, None))


def _grow(folder: Path) -> bool:
    """Take memory, as a reader must not."""
    return len(b"x" * (200 * 2**20)) > 0


def _sleep(folder: Path) -> bool:
    time.sleep(60)
    return True


def _work(folder: Path) -> bool:
    while True:
        pass


def _raise(folder: Path) -> bool:
    raise KeyError("x")


def _say_nothing(folder: Path) -> bool:
    raise SpecError([])


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (_grow, "MB of memory"),
        (_sleep, "more than 0.2 s"),
        (_work, "more than 0.2 s"),
        (_raise, "KeyError"),
        (_say_nothing, "0 problems"),
    ],
)
def test_judge_of_a_reader_that_breaks_a_rule_says_so(read: Callable[[Path], bool], words: str, tmp_path: Path) -> None:
    kind = Kind("any", lambda chance, folder: None, read)
    assert words in judge(kind, tmp_path, 0.2 if read in (_sleep, _work) else PATIENCE).failure


def test_bomb_of_the_tests_is_a_bomb(tmp_path: Path) -> None:
    write_bomb(tmp_path / "b.npz", zipfile.ZIP_BZIP2, 16, (2**20, 4))
    assert (tmp_path / "b.npz").stat().st_size < 1000
    with np.load(tmp_path / "b.npz") as archive:
        assert archive["x"].nbytes == 2**24
