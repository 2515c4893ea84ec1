"""Builds that are killed or interrupted at every step and at random, alone and several at once.

Each time the output is the old one or the new one, whole. The next build gives what a build from nothing gives, and
nothing that builds work with is left then: no scratch folder, no lock, no process.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kill_tools import PATIENCE, Place, eventually, make_quick_uv, make_template

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Scene:
    """A place where an output of version 1 stands, the spec says version 2, and the store is empty."""

    template: Place
    uv: Path
    """A program that does what uv does for these builds."""
    old: dict[str, str]
    new: dict[str, str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    template = make_template(tmp_path_factory.mktemp("template") / "place")
    template.build()
    old = template.seen()
    template.write_spec("2")
    after = template.copy(template.root.with_name("after"))
    after.build()
    shutil.rmtree(template.store)
    (template.root / "project/spec.lock").unlink()
    quick_uv = template.root.with_name("quick-uv")
    make_quick_uv(after, quick_uv)
    return Scene(template, quick_uv, old, after.seen())


class Builder:
    """Builds in forks of one process, as ``kill_at_step`` says."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def build(self, place: Place, step: int = -1, number: int = 0, when: str = "before") -> int:
        """Return the exit status of a build; negative for a signal."""
        mine = {name: value for name, value in place.environment().items() if os.environ.get(name) != value}
        order = {
            "folder": str(place.root), "environment": mine, "arguments": place.arguments(),
            "step": step, "signal": number, "when": when,
        }  # fmt: skip
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


@pytest.fixture(scope="module")
def builder(scene: Scene) -> Iterator[Builder]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, HERE / "kill_at_step.py", scene.uv]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield Builder(server)
        assert server.stdin
        server.stdin.close()


def words(place: Place) -> str:
    return (place.root / "words").read_text()


def require_whole(scene: Scene, place: Place, what: str) -> None:
    """Make sure that the old output or the new one stands, whole, and that no entry of the store is half there."""
    seen = place.seen()
    assert seen in (scene.old, scene.new), f"{what}: neither the old output nor the new one: {sorted(seen)}"
    assert place.damaged() == [], what
    eventually(lambda: place.processes() == [], f"{what}: no process is left of {place.processes()}")


class Recovery:
    """The build that comes next: of places that hold the same one is tried."""

    def __init__(self, scene: Scene, builder: Builder) -> None:
        self._scene, self._builder = scene, builder
        self._tried: set[str] = set()

    def require(self, place: Place, what: str) -> None:
        """Make sure that the next build is right, and leaves nothing that builds work with."""
        sketch = place.sketch()
        if sketch in self._tried:
            return
        self._tried.add(sketch)
        assert self._builder.build(place) == 0, f"{what}: {words(place)}"
        assert place.seen() == self._scene.new, what
        assert place.leftovers() == [], what
        assert place.damaged() == [], what


def attack_steps(
    scene: Scene, builder: Builder, folder: Path, attacks: Callable[[int, str], list[tuple[signal.Signals, str]]]
) -> Iterator[tuple[Place, signal.Signals, int, str]]:
    """Yield a place after each attack on a build, with the signal, the exit status and what was done."""
    whole = scene.template.copy(folder / "whole")
    assert builder.build(whole) == 0, words(whole)
    assert whole.seen() == scene.new
    steps = json.loads((whole.root / "steps").read_text())
    for step, name in enumerate(steps):
        for number, when in attacks(step, name):
            place = scene.template.copy(folder / f"{step}-{number.name}-{when}")
            yield place, number, builder.build(place, step, number, when), f"{number.name} {when} step {step}, {name}"
            shutil.rmtree(place.root)


@pytest.mark.case("B1")
def test_build_killed_at_each_step_leaves_a_whole_output_and_the_next_build_is_right(
    scene: Scene, builder: Builder, tmp_path: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    recovery, made = Recovery(scene, builder), 0

    def choose(step: int, name: str) -> list[tuple[signal.Signals, str]]:
        if factor > 1:
            return [(signal.SIGKILL, "before"), (signal.SIGKILL, "after")]
        # After one step is before the next one, nearly; a lock ends with its process; and removals are many.
        left_out = name == "flock" or (name in ("rmtree", "unlink", "rmdir") and step % 3)
        return [] if left_out else [(signal.SIGKILL, "before")]

    for place, number, status, what in attack_steps(scene, builder, tmp_path, choose):
        assert status == -number, what
        require_whole(scene, place, what)
        recovery.require(place, what)
        made += 1
    count_attacks(made)


@pytest.mark.case("B14")
def test_build_interrupted_at_each_step_leaves_a_whole_output_and_nothing_else(
    scene: Scene, builder: Builder, tmp_path: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    def choose(step: int, name: str) -> list[tuple[signal.Signals, str]]:
        both = (signal.SIGINT, signal.SIGTERM)  # they go the same way
        every = [(number, when) for when in ("after", "before") for number in both]
        if factor > 1:
            return every
        return [every[step // 3 % 2]] if step % 3 == 0 else []  # between the steps: the test of every instruction

    recovery, made = Recovery(scene, builder), 0
    for place, _, status, what in attack_steps(scene, builder, tmp_path, choose):
        assert (status, words(place).splitlines()[-1]) == (130, "interrupted"), f"{what}: {words(place)}"
        assert place.leftovers() == [], what
        require_whole(scene, place, what)
        recovery.require(place, what)
        made += 1
    count_attacks(made)


STAGES = ("export", "verify", "bundle")


@pytest.mark.case("B1")
@pytest.mark.case("B14")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_build_with_a_signal_in_each_stage_leaves_a_whole_output_and_no_process(
    scene: Scene,
    builder: Builder,
    tmp_path: Path,
    number: signal.Signals,
    factor: int,
    count_attacks: Callable[[int], None],
) -> None:
    recovery, chances = Recovery(scene, builder), random.Random(number)
    # Ctrl-C in every stage; what comes of the others is mostly known from the tests above.
    stages = STAGES if number == signal.SIGINT or factor > 1 else (chances.choice(STAGES),)
    for attack, stage in enumerate(stages * factor):
        place = scene.template.copy(tmp_path / str(attack))
        with place.start() as running:
            said = read_until(running, f"{stage} …")
            time.sleep(chances.uniform(0, 0.5))
            # A terminal sends ctrl-C to the whole group; who ends one process sends it to that one.
            (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
            said += running.communicate(timeout=PATIENCE)[1]
        what = f"{number.name} in {stage}: {said}"
        assert running.returncode in (0, -number if number == signal.SIGKILL else 130), what
        if running.returncode == 130:
            assert said.splitlines()[-1] == "interrupted", what
            assert "Traceback" not in said, what
            assert place.processes() == [], what
            assert place.leftovers() == [], what
        require_whole(scene, place, what)
        recovery.require(place, what)
    count_attacks(len(stages) * factor)


START = """
import shutil
from onnxpack.worker.uv import _run
_run((shutil.which("sleep"), "300"), print)
"""


@pytest.mark.case("B1")
def test_uv_of_a_killed_build_ends_with_it(tmp_path: Path, count_attacks: Callable[[int], None]) -> None:
    place = Place(tmp_path / "place", tmp_path / "index")
    place.temporary.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", START], env=place.environment()) as parent:
        eventually(lambda: any("sleep 300" in words for words in place.processes()), "uv was started")
        parent.kill()
    eventually(lambda: place.processes() == [], "uv is gone")
    count_attacks(1)


def read_until(running: "subprocess.Popen[str]", line: str) -> str:
    """Return what a build says up to a line, or up to its end."""
    assert running.stderr
    said = ""
    for words in running.stderr:
        said += words
        if words.strip() == line:
            break
    return said


@pytest.mark.case("B1")
@pytest.mark.case("B7")
def test_four_builds_at_once_of_which_two_are_killed_let_the_others_be_right(
    scene: Scene, builder: Builder, tmp_path: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    chances = random.Random(7)
    for attack in range(factor):
        place = scene.template.copy(tmp_path / str(attack))
        builds = [place.start() for _ in range(4)]
        victims = chances.sample(builds, 2)
        for victim in victims:
            read_until(victim, chances.choice([f"{stage} …" for stage in STAGES]))
            victim.kill()
        said = [running.communicate(timeout=PATIENCE)[1] for running in builds]
        for running, words in zip(builds, said, strict=True):
            assert running.returncode in ((0, -signal.SIGKILL) if running in victims else (0,)), words
        assert place.seen() == scene.new, said
        require_whole(scene, place, "four builds at once")
        Recovery(scene, builder).require(place, "four builds at once")
    count_attacks(2 * factor)
