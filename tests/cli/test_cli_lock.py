"""``onnxpack lock``: what it says and writes; `--check` asks nobody and writes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, Ended

from onnxpack.bundle import base, lock, resolve
from onnxpack.bundle.places import Places
from onnxpack.cli import lock_writing
from onnxpack.core.errors import EngineError, GateError
from onnxpack.parity.compare import Comparison, Tolerance
from onnxpack.pipeline.lock import Moving, make_lock
from onnxpack.pipeline.replay import Replay
from onnxpack.spec.load import load
from onnxpack.worker import uv

Run = Callable[..., Ended]
BASE = "gcr.io/distroless/python3-debian12"
UNPINNED = f"note: the base image {BASE}: it is not pinned: the registry cannot be reached\n"
OLD, NEW = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
RUNTIME = ("runtimes", "cpu linux/amd64")
PACKAGES = tuple(lock.Package(name, "9.0", ("0" * 64,)) for name in ("httptools", "numpy", "onnxruntime", "orjson"))


@pytest.fixture(autouse=True)
def _alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the index is asked")

    monkeypatch.chdir(project)
    monkeypatch.setattr(resolve, "run_uv", asked)
    monkeypatch.setattr(uv, "run_uv", asked)
    monkeypatch.setattr(base, "find_base", asked)
    lock_writing._ask_base.cache_clear()


def choose(spec: Any, name: str, *_: object) -> lock.TargetLock:
    """What an index answers whose packages all have the version that numpy may have."""
    packages = tuple(replace(one, version="2.4.6") if one.name == "numpy" else one for one in PACKAGES)
    return replace(lock.make_unresolved_lock(spec, name), packages=packages)


@pytest.fixture
def written(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A lock that answers the small spec, also as JSON."""
    with monkeypatch.context() as patch:
        patch.setattr(resolve, "resolve", choose)
        made = make_lock(load(project / "spec.yaml"), None, lambda *_: None, Moving())
    lock.write(project / "spec.lock", made.targets, made.pins)
    data: dict[str, Any] = json.loads((project / "spec.lock").read_text())
    return data


def rewrite(data: dict[str, Any]) -> None:
    """Write an edited lock as `onnxpack lock` writes one."""
    found = lock.parse(json.dumps(data).encode())
    lock.write(Path("spec.lock"), found.targets, found.pins)


def place(*keys: str) -> str:
    """Return where the lock has what these keys lead to."""
    path = Path("spec.lock")
    found = str(Places(path.read_text(), path).find(*keys))
    assert found.count(":") == 2
    return found


def refused(onnxpack: Run, *told: str) -> None:
    """Expect that a check tells these and nothing else, one cure for all, and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    ended = onnxpack("lock", "--check", "spec.yaml")
    lines = [line for line in ended.err.splitlines() if " | " not in line]
    expected = [*(f"error: {words}" for words in told), "  → run `onnxpack lock spec.yaml`"]
    assert (ended.code, ended.out, lines) == (2, "", expected)
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before


@pytest.mark.case("B12")
def test_a_missing_lock(onnxpack: Run) -> None:
    refused(onnxpack, "spec.lock: there is no lock")


@pytest.mark.usefixtures("written")
def test_a_fresh_lock(onnxpack: Run) -> None:
    assert onnxpack("lock", "--check", "spec.yaml") == Ended(0, "", "spec.lock: fresh\n")


@pytest.mark.usefixtures("written")
def test_a_lock_that_answers_another_question(onnxpack: Run) -> None:
    fit = "the lock does not fit target 'cpu': "
    Path("spec.yaml").write_text(SMALL + 'image: {python: "3.12"}\n')
    refused(onnxpack, f"spec.yaml:10:17: {fit}its Python is 3.11, and the spec's is 3.12")
    Path("spec.yaml").write_text(SMALL + "runtime: {server: none}\n")
    refused(
        onnxpack,
        f"{place(*RUNTIME, 'requirements')}: {fit}it asks for 'httptools>=0.6', and the image does not",
        f"{place(*RUNTIME, 'requirements')}: {fit}it asks for 'orjson>=3.10', and the image does not",
    )
    Path("spec.yaml").write_text(SMALL + "targets: {cpu: {device: cuda}}\n")
    refused(onnxpack, f"spec.yaml:10:11: {fit}it is for cpu, and the spec says cuda")


@pytest.mark.usefixtures("written")
def test_a_lock_without_one_of_the_targets(onnxpack: Run) -> None:
    Path("spec.yaml").write_text(SMALL + "targets: {edge: {}, cuda: {device: cuda}}\n")
    refused(
        onnxpack,
        "spec.yaml:10:11: target 'edge' is not in the lock",
        "spec.yaml:10:21: target 'cuda' is not in the lock",
        f"{place('targets', 'cpu')}: the lock has target 'cpu', and the spec does not",
    )


@pytest.mark.case("B12")
def test_a_lock_with_an_added_package_is_stale(onnxpack: Run, written: dict[str, Any]) -> None:
    packages = written["runtimes"]["cpu linux/amd64"]["packages"]
    packages["evil"] = {"version": "1.0", "requires": [], "wheels": {"evil-1.0-py3-none-any.whl": "0" * 64}}
    rewrite(written)
    words = "it holds 'evil', which nothing requires"
    refused(onnxpack, f"{place(*RUNTIME, 'packages', 'evil')}: the lock does not fit target 'cpu': {words}")


def test_a_lock_without_a_package_that_is_asked_for_is_stale(onnxpack: Run, written: dict[str, Any]) -> None:
    del written["runtimes"]["cpu linux/amd64"]["packages"]["httptools"]
    rewrite(written)
    words = "'httptools' is missing, which the spec needs"
    refused(onnxpack, f"{place(*RUNTIME, 'packages')}: the lock does not fit target 'cpu': {words}")


def test_requirements_edited_by_hand(onnxpack: Run, written: dict[str, Any]) -> None:
    written["runtimes"]["cpu linux/amd64"]["requirements"].append("anything")
    rewrite(written)
    words = "it asks for 'anything', and the image does not"
    refused(onnxpack, f"{place(*RUNTIME, 'requirements')}: the lock does not fit target 'cpu': {words}")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"onnxpack-lock": 2}'])
def test_file_that_is_not_a_lock_is_refused(text: bytes, onnxpack: Run) -> None:
    Path("spec.lock").write_bytes(text)
    ended = onnxpack("lock", "--check", "spec.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: spec.lock:")
    assert ": it is not a lock of this onnxpack version: " in ended.err
    assert ended.err.endswith("  → run `onnxpack lock spec.yaml`\n")


@pytest.mark.usefixtures("written")
def test_the_others_are_still_checked(onnxpack: Run) -> None:
    Path("other.yaml").write_text(SMALL)
    Path("bad.yaml").write_text(SMALL + "opsett: 1\n")
    ended = onnxpack("lock", "--check", "bad.yaml", "other.yaml", "spec.yaml")
    assert ended.code == 2
    assert "bad.yaml:10:1: unknown field" in ended.err
    assert "other.lock: there is no lock" in ended.err
    assert ended.err.endswith("spec.lock: fresh\n")


def test_the_examples_locks_are_fresh(onnxpack: Run) -> None:
    specs = Path(__file__).parents[2] / "specs"
    ended = onnxpack("lock", "--check", specs)
    assert (ended.code, ended.err.count(": fresh\n")) == (0, len(list(specs.glob("*/spec.yaml"))))


def resolve_as_written(monkeypatch: pytest.MonkeyPatch, digest: str | None = None) -> None:
    """Let the index answer what the lock of the fixture ``written`` holds, and registries ``digest`` for every base."""
    monkeypatch.setattr(resolve, "resolve", choose)
    lock_writing._ask_base.cache_clear()

    def find_base(reference: str, platform: str) -> lock.LockedBase:
        if digest is None:
            raise EngineError("the registry cannot be reached")
        return lock.LockedBase(reference, digest)

    monkeypatch.setattr(base, "find_base", find_base)


@pytest.mark.usefixtures("written")
def test_a_lock_that_would_be_the_same_is_left_as_it_is(onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as_written(monkeypatch)
    before = Path("spec.lock").stat()
    assert onnxpack("lock", "spec.yaml") == Ended(0, "", f"{UNPINNED}spec.lock: unchanged\n")
    after = Path("spec.lock").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("text", [None, "no lock", '{"onnxpack-lock": 2}'])
def test_a_lock_that_cannot_be_read_is_written_anew(
    text: str | None, onnxpack: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_as_written(monkeypatch)
    whole = Path("spec.lock").read_text()
    Path("spec.lock").unlink() if text is None else Path("spec.lock").write_text(text)
    assert onnxpack("lock", "spec.yaml") == Ended(0, "", f"{UNPINNED}spec.lock: written\n")
    assert Path("spec.lock").read_text() == whole


@pytest.mark.usefixtures("written")
def test_a_base_is_pinned_once_and_moved_when_asked(onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def pinned() -> lock.LockedBase | None:
        return lock.read(Path("spec.lock"))["cpu"].base

    resolve_as_written(monkeypatch, OLD)
    assert onnxpack("lock", "spec.yaml") == Ended(0, "", "spec.lock: written\n")
    assert pinned() == lock.LockedBase(BASE, OLD)
    assert onnxpack("lock", "--check", "spec.yaml").code == 0
    resolve_as_written(monkeypatch, NEW)
    assert onnxpack("lock", "spec.yaml") == Ended(0, "", "spec.lock: unchanged\n")
    assert onnxpack("lock", "--upgrade", "spec.yaml") == Ended(0, "", "spec.lock: written\n")
    assert pinned() == lock.LockedBase(BASE, NEW)
    resolve_as_written(monkeypatch)
    ended = onnxpack("lock", "--upgrade", "spec.yaml")
    assert ended.code == 0
    assert f"the base image {BASE}: its digest stays as it was: the registry cannot be reached" in ended.err
    assert pinned() == lock.LockedBase(BASE, NEW)


@pytest.mark.usefixtures("written")
def test_a_lock_of_another_base_is_stale(onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_as_written(monkeypatch, OLD)
    onnxpack("lock", "spec.yaml")
    Path("spec.yaml").write_text(SMALL + "image: {base: 'registry.example.com/python:3.11'}\n")
    words = f"its base image is {BASE}, and the spec's is registry.example.com/python:3.11"
    refused(onnxpack, f"spec.yaml:10:15: the lock does not fit target 'cpu': {words}")
    resolve_as_written(monkeypatch, NEW)
    onnxpack("lock", "spec.yaml")
    assert lock.read(Path("spec.lock"))["cpu"].base == lock.LockedBase("registry.example.com/python:3.11", NEW)
    Path("spec.yaml").write_text(SMALL + f"image: {{base: 'registry.example.com/python@{OLD}'}}\n")
    assert onnxpack("lock", "spec.yaml") == Ended(0, "", "spec.lock: written\n")
    assert lock.read(Path("spec.lock"))["cpu"].base is None


def test_a_check_upgrades_nothing(onnxpack: Run) -> None:
    for one, other in (("--check", "--upgrade"), ("--check", "--export=pylock"), ("--upgrade", "--export=pylock")):
        ended = onnxpack("lock", one, other, "spec.yaml")
        assert ended.code == 2
        assert "give one of them" in ended.err
    assert "name a spec" in onnxpack("lock", "--upgrade", "numpy").err


@pytest.fixture
def replays(written: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let the index have numpy 2.5, whose answers stay; return the versions of numpy that are compared."""
    found: list[tuple[str, str]] = []

    def resolve_newer(spec: Any, name: str, known: Any, moving: Any) -> lock.TargetLock:
        asked = {one.name: one.version for one in known}
        moved = moving is None or "numpy" in moving
        version = "2.5" if moved else asked["numpy"]
        wheel = f"numpy-{version}-py3-none-any.whl"
        packages = tuple(
            replace(one, version=version, files=(wheel,)) if one.name == "numpy" else one for one in PACKAGES
        )
        return replace(lock.make_unresolved_lock(spec, name), packages=packages)

    def compare(run: Any, old: lock.Lock, new: lock.Lock) -> Replay:
        before, after = (
            next(one.version for one in side.targets["cpu"].packages if one.name == "numpy") for side in (old, new)
        )
        found.append((before, after))
        row = Comparison("first", "y", 2e-7, 1e-6)
        return Replay((f"numpy {before} → {after}",), Tolerance.of("float32"), [row], [row], ("a note",))

    resolve_as_written(monkeypatch, OLD)
    monkeypatch.setattr(resolve, "resolve", resolve_newer)
    monkeypatch.setattr("onnxpack.pipeline.replay.replay", compare)
    return found


def numpy_version() -> str:
    return next(one.version for one in lock.read(Path("spec.lock"))["cpu"].packages if one.name == "numpy")


def test_an_upgrade_of_one_package_is_written_once_its_answers_were_compared(
    onnxpack: Run, replays: list[tuple[str, str]]
) -> None:
    ended = onnxpack("lock", "--upgrade", "NumPy", "spec.yaml")
    assert ended == Ended(
        0, "", "note: target 'cpu': a note\n"
        "target 'cpu', numpy 2.4.6 → 2.5: 1 answer compared, at most 2e-07 from the old ones "
        "(rtol 0.001, atol 0.0001)\n"
        "spec.lock: written\n  cpu linux/amd64: numpy 2.4.6 → 2.5\n",
    )  # fmt: skip
    assert (replays, numpy_version()) == ([("2.4.6", "2.5")], "2.5")
    assert onnxpack("lock", "--upgrade", "numpy", "spec.yaml") == Ended(0, "", "spec.lock: unchanged\n")


def test_an_upgrade_whose_answers_move_keeps_the_old_lock(
    onnxpack: Run, replays: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Replay:
        raise GateError("the answers moved", "the lock stays as it was")

    monkeypatch.setattr("onnxpack.pipeline.replay.replay", refuse)
    before = Path("spec.lock").read_bytes()
    for words in (["--upgrade"], ["--upgrade", "numpy"]):
        ended = onnxpack("lock", *words, "spec.yaml")
        assert ended == Ended(4, "", "error: the answers moved\n  → the lock stays as it was\n")
        assert Path("spec.lock").read_bytes() == before


def test_a_version_that_was_changed_by_hand_is_an_upgrade(onnxpack: Run, replays: list[tuple[str, str]]) -> None:
    text = Path("spec.lock").read_text()
    Path("spec.lock").write_text(text.replace('"version": "2.4.6"', '"version": "2.5"'))
    words = "the lock does not fit target 'cpu': it has numpy 2.5 with the wheel numpy-2.4.6-1-py3-none-any.whl"
    refused(onnxpack, f"{place(*RUNTIME, 'packages', 'numpy')}: {words}")
    ended = onnxpack("lock", "spec.yaml")
    assert (ended.code, replays) == (0, [("2.4.6", "2.5")])
    assert ended.err.endswith("  cpu linux/amd64: numpy 2.4.6 → 2.5\n")
    assert onnxpack("lock", "--check", "spec.yaml").code == 0


def test_an_upgrade_of_what_no_lock_has_says_what_it_may_be(onnxpack: Run, replays: list[tuple[str, str]]) -> None:
    ended = onnxpack("lock", "--upgrade", "nunpy", "onnxruntime", "spec.yaml")
    assert (ended.code, replays) == (2, [])
    assert ended.err == "error: no lock here has a package 'nunpy'\n  → did you mean 'numpy'?\n"


def test_a_folder_of_a_packages_name_is_a_folder(onnxpack: Run, replays: list[tuple[str, str]]) -> None:
    Path("numpy").mkdir()
    ended = onnxpack("lock", "--upgrade", "numpy", "spec.yaml")
    assert (ended.code, replays) == (2, [])
    assert "there is no spec in this folder" in ended.err


@pytest.mark.usefixtures("written")
def test_a_locked_build_refuses_what_moved_before_anything_is_built(onnxpack: Run) -> None:
    Path("other.yaml").write_text(SMALL.replace("name: ", "name: other-"))
    Path("model.onnx").write_bytes(b"another")
    listed = sorted(Path().iterdir())
    ended = onnxpack("build", "--locked", "spec.yaml", "other.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert ": 'model.onnx' changed: its SHA-256 is " in ended.err
    assert "→ run `onnxpack lock spec.yaml`" in ended.err
    assert "error: other.lock: there is no lock\n  → run `onnxpack lock other.yaml`" in ended.err
    assert sorted(Path().iterdir()) == listed
    ended = onnxpack("build", "--locked", "--json", "spec.yaml", "other.yaml")
    assert [(one["stage"], one["status"]) for one in json.loads(ended.out)] == [("lock", "failed")] * 2
    told = onnxpack("build", "--locked", "--junit", "j.xml", "--code-quality", "q.json", "spec.yaml", "other.yaml")
    assert told.code == 2
    assert 'failures="2"' in Path("j.xml").read_text()
    places = {one["location"]["path"] for one in json.loads(Path("q.json").read_text())}
    assert len(places) == 2


@pytest.mark.usefixtures("written")
def test_a_locked_build_goes_on_where_nothing_moved(onnxpack: Run) -> None:
    ended = onnxpack("build", "--locked", "--until", "export", "spec.yaml")
    assert ended.code == 3, "the model of the small spec is none"
    assert "onnxpack lock" not in ended.err
