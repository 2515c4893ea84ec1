"""Ctrl-C and worse, at every stage; and several builds at once."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from e2e_proxy import proxy
from e2e_tools import PATIENCE, STAGES, Built, Running, Workshop, alive, contents, eventually, traces, without_leftovers


@pytest.fixture(scope="session")
def scene(workshop: Workshop, engine: Any, iris: Built) -> "Scene":
    """A build of its own cache, whose output stands from before and whose image does not."""
    spec = workshop.copy("iris", "interrupted", version="1.0.0-interrupted")
    output = workshop.root / "interrupted-dist"
    shutil.copytree(workshop.root / "dist" / "iris", output / "iris")
    report = output / "iris/cpu/report.json"
    whose = os.path.relpath(spec, report.parent)  # what stands there is this spec's own
    report.write_text(json.dumps(json.loads(report.read_text()) | {"spec": whose}))
    return Scene(workshop, engine, spec, output)


class Scene:
    def __init__(self, workshop: Workshop, engine: Any, spec: Path, output: Path) -> None:
        self.workshop, self.engine, self.spec, self.output = workshop, engine, spec, output
        self.cache = workshop.root / "interrupted-cache"

    def start(self, **variables: str) -> Running:
        arguments = ("build", self.spec, "--output", self.output)
        return self.workshop.start(*arguments, ONNXPACK_CACHE=str(self.cache), **variables)

    def build(self) -> Built:
        return self.workshop.build(self.spec, self.output, ONNXPACK_CACHE=str(self.cache))

    def begin(self, stage: str) -> tuple[Running, set[int]]:
        """A build in the midst of a stage, with the processes that work on it."""
        self.forget(stage)
        running = self.start()
        running.reaches(stage)
        if stage in ("export", "verify", "bundle"):
            eventually(running.family, f"{stage} had a process of its own")
        if stage == "smoke":
            eventually(lambda: traces(self.engine, self.workshop.token)[0], "the smoke test had a container")
        return running, running.family()

    def forget(self, stage: str) -> None:
        """So that the next build has that stage to do."""
        shutil.rmtree(self.cache / stage, ignore_errors=True)
        if stage == "image":
            for name in self.names():
                self.engine.remove_image(name)

    def names(self) -> set[str]:
        """Of the images that stand; nothing else must be left of a build that ended."""
        names = without_leftovers(self.engine, self.workshop.token)
        return {name for name in names if name.startswith(self.workshop.repository("interrupted/iris"))}

    def partial(self) -> list[Path]:
        """What was being made: in the output beside what stands there, and in the cache."""
        return sorted(path for folder in (self.output, self.cache) for path in folder.rglob(".*"))

    def keep_images(self) -> None:
        """Gives those that a build is busy with a name of the test's own."""
        _, tags = traces(self.engine, self.workshop.token)
        for tag in tags:
            if tag.startswith("onnxpack-build"):
                self.engine.tag(tag, self.workshop.repository("kept"), tag.rpartition(":")[2])

    def sweep(self) -> None:
        """Removes what a killed build left in the engine."""
        containers, tags = traces(self.engine, self.workshop.token)
        for container in containers:
            self.engine.remove_container(container, force=True, v=True)
        for tag in tags:
            if tag.startswith("onnxpack-build"):
                self.engine.remove_image(tag, force=True)


@pytest.mark.case("B14")
@pytest.mark.parametrize("stage", dict.fromkeys(STAGES))
def test_ctrl_c(scene: Scene, stage: str) -> None:
    scene.forget(stage)
    before, partial, names = contents(scene.output / "iris" / "cpu"), scene.partial(), scene.names()
    running, family = scene.begin(stage)

    os.killpg(running.process.pid, signal.SIGINT)
    result = running.finish()

    assert (result.code, result.out) == (130, ""), result.err
    assert result.err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in result.err
    assert alive(family) == set()
    assert contents(scene.output / "iris" / "cpu") == before
    assert scene.partial() == partial
    assert scene.names() == names


@pytest.mark.parametrize("request_path", ["/containers/create", "/tag?"])
def test_ctrl_c_while_the_engine_makes_something(scene: Scene, request_path: str) -> None:
    """The engine makes what it was asked for, whoever waits for the answer: so the build does, and removes it."""
    scene.forget("image")
    scene.forget("smoke")
    with proxy(request_path, cut=False) as between:
        running = scene.start(DOCKER_HOST=between.host)
        assert between.reached.wait(PATIENCE)
        scene.keep_images()  # so that the engine can still make a container of one
        os.killpg(running.process.pid, signal.SIGINT)
        time.sleep(0.5)  # for a build that would not wait; the outcome of one that does is the same without it
        between.go.set()
        result = running.finish()
        assert between.answered.wait(PATIENCE)
    assert result.code == 130, result.err
    assert scene.names() == set()


@pytest.mark.parametrize("stage", ["export", "bundle", "smoke"])
def test_sigkill(scene: Scene, stage: str) -> None:
    """Nobody can clean up after that; but what stands is whole, and the next build is not disturbed."""
    before = contents(scene.output / "iris" / "cpu")
    running, family = scene.begin(stage)

    running.process.kill()
    assert running.finish().code == -signal.SIGKILL

    assert contents(scene.output / "iris" / "cpu") == before
    eventually(lambda: not alive(family), "the processes of a killed build ended")
    scene.sweep()


def test_the_next_build_takes_what_was_whole(scene: Scene, iris: Built, engine: Any) -> None:
    """After all of the above, or alone: a build that works, and a second one that finds all of it done."""
    built = scene.build()
    assert built.report["version"] == "1.0.0-interrupted"
    assert built.layers[:-1] == iris.layers[:-1]
    again = scene.build()
    assert [stage["cached"] for stage in again.report["stages"]] == [True] * len(STAGES)
    without_leftovers(engine, scene.workshop.token)


def test_two_builds_of_one_spec_at_once(workshop: Workshop, engine: Any, iris: Built, tmp_path: Path) -> None:
    """One cache, one output, one image name; one of them takes nothing that the other made."""
    spec = workshop.copy("iris", "at-once")
    variables = {"ONNXPACK_CACHE": str(tmp_path / "cache")}
    arguments = ("build", spec, "--output", tmp_path / "dist")
    running = [workshop.start(*arguments, *more, **variables) for more in ([], ["--no-cache"])]
    results = [one.finish() for one in running]
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    assert {result.out for result in results} == {f"{workshop.repository('at-once/iris')}:1.0.0-cpu\n"}

    built = Built(spec, results[0], tmp_path / "dist" / "iris" / "cpu")
    assert built.report["status"] == "passed"
    assert built.layers == iris.layers
    assert engine.inspect_image(built.reference)["RootFS"]["Layers"] == iris.layers
    assert contents(built.context) == contents(iris.context)
    assert [path.name for path in built.output.parent.iterdir()] == ["cpu"]
    without_leftovers(engine, workshop.token)
    again = workshop.build(spec, tmp_path / "dist", **variables)
    assert [stage["cached"] for stage in again.report["stages"][:3]] == [True, True, True]


def test_two_specs_at_once_over_one_cache(
    workshop: Workshop, engine: Any, iris: Built, digits: Built, tmp_path: Path
) -> None:
    """They make the same runtime layer at the same time."""
    specs = [workshop.copy(example, "together") for example in ("iris", "digits")]
    cache = tmp_path / "cache"
    shutil.copytree(workshop.cache, cache, ignore=shutil.ignore_patterns("bundle", "smoke"))
    arguments = [("build", spec, "--output", tmp_path / "dist") for spec in specs]
    running = [workshop.start(*each, ONNXPACK_CACHE=str(cache)) for each in arguments]
    results = [one.finish() for one in running]
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    for good in (iris, digits):
        made = tmp_path / "dist" / good.report["name"] / "cpu" / "context"
        assert contents(made) == contents(good.context)
    without_leftovers(engine, workshop.token)
