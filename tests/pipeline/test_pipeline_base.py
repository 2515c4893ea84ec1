"""The stage ``base`` fetches the base image, asks it once, and says all that keeps an image from working on it."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
from boxes import FakeContainer

from onnxpack.bundle.lock import LockedBase, lock_path, make_unresolved_lock, write
from onnxpack.cache.store import Store
from onnxpack.core.errors import SpecError
from onnxpack.core.progress import SilentProgress
from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.engine import Engine, Image, Layer
from onnxpack.pipeline.base import check_base, find_problems
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.load import load

SYSTEM = BaseSystem("3.11.2", "CPython", False, "glibc 2.36", "x86_64", True)


class FakeEngine:
    """An engine whose base says ``said`` of itself; it counts how often it is asked."""

    def __init__(self, said: str, base: str = "sha256:base") -> None:
        self.said, self.base = said, base
        self.asked = 0
        self.archive: Path | None = None
        self.wanted = ""

    def require_base(self, reference: str, platform: str, progress: Any) -> Image:
        self.wanted = reference
        return Image(self.base, 1, (Layer("sha256:layer", 1, ""),), {}, platform=platform)

    def add_base(self, archive: Path, reference: str, platform: str) -> Image:
        self.archive = archive
        return self.require_base(reference, platform, None)

    def container(
        self, image: str, files: dict[str, bytes], *, entrypoint: list[str], command: list[str]
    ) -> nullcontext[FakeContainer]:
        self.asked += 1
        return nullcontext(FakeContainer(self.said))


def say(system: BaseSystem) -> str:
    return json.dumps(asdict(system))


def check(project: Path, engine: FakeEngine, base: Path | None = None) -> tuple[Build, Product]:
    plan = Plan(load(project / "spec.yaml"), "cpu", project / "dist")
    run = Build(plan, Store(project / "store"), cast(Engine, engine), SilentProgress(), base=base)
    return run, check_base(run, Product())


def test_a_base_that_will_do_is_asked_once(project: Path) -> None:
    run, product = check(project, engine := FakeEngine(say(SYSTEM)))
    assert product.base
    assert (product.base.id, product.system) == ("sha256:base", SYSTEM)
    assert [(row.name, row.cached) for row in run.runner.records] == [("base", False)]

    run, product = check(project, engine)
    assert (engine.asked, product.system) == (1, SYSTEM)
    assert [(row.name, row.cached) for row in run.runner.records] == [("base", True)]

    check(project, other := FakeEngine(say(SYSTEM), base="sha256:other"))
    assert other.asked == 1


def test_a_base_may_come_from_an_archive(project: Path) -> None:
    engine = FakeEngine(say(SYSTEM))
    check(project, engine, base=project / "base.tar")
    assert engine.archive == project / "base.tar"


def test_what_is_wrong_stands_at_its_place_and_is_told_each_time(project: Path) -> None:
    engine = FakeEngine(say(replace(SYSTEM, python="3.13.5")))
    for _ in range(2):
        with pytest.raises(SpecError, match=r"has Python 3\.13\.5, and image\.python says 3\.11") as caught:
            check(project, engine)
        assert caught.value.problems[0].where
    assert engine.asked == 1


def test_a_base_without_python_is_not_kept(project: Path) -> None:
    engine = FakeEngine("nothing of the kind")
    for asked in (1, 2):
        with pytest.raises(SpecError, match="is no Python") as caught:
            check(project, engine)
        assert caught.value.problems[0].where
        assert engine.asked == asked


PROBLEMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "newer Python": ({"python": "3.13.5"}, "Python 3.13.5, and image.python says 3.11", 'image.python: "3.13"'),
    "Python of no wheels": ({"python": "3.10.1"}, "Python 3.10.1, and", "an image with Python 3.11"),
    "no version": ({"python": "nonsense"}, "Python nonsense, and", "an image with Python 3.11"),
    "PyPy": ({"implementation": "PyPy"}, "has PyPy", "the ordinary CPython"),
    "free-threaded": ({"free_threaded": True}, "without the global lock", "the ordinary CPython"),
    "musl": ({"libc": "musl"}, "has musl, and onnxruntime's packages need glibc", "Debian"),
    "unknown C library": ({"libc": ""}, "an unknown C library", "Debian"),
    "old glibc": ({"libc": "glibc 2.27"}, "has glibc 2.27, and onnxruntime's packages need 2.28", "a newer image"),
    "odd glibc": ({"libc": "glibc 2.x"}, "has glibc 2.x", "a newer image"),
    "another machine": ({"machine": "aarch64"}, "is for aarch64, the target for linux/amd64", "platform"),
    "no machine": ({"machine": ""}, "is for an unknown machine", "platform"),
    "no C++ runtime": ({"libstdcxx": False}, "no C++ runtime", "libstdc++6"),
}


@pytest.mark.parametrize(("changes", "text", "hint"), PROBLEMS.values(), ids=PROBLEMS)
def test_each_problem_says_what_to_do(project: Path, changes: dict[str, Any], text: str, hint: str) -> None:
    plan = Plan(load(project / "spec.yaml"), "cpu", project / "dist")
    (problem,) = find_problems(plan, replace(SYSTEM, **changes))
    assert text in problem.message
    assert hint in problem.hint
    assert problem.where


@pytest.mark.parametrize("changes", [{"libc": "glibc 2.28"}, {"libc": "glibc 3.0"}, {"libstdcxx": None}])
def test_what_will_do_is_no_problem(project: Path, changes: dict[str, Any]) -> None:
    plan = Plan(load(project / "spec.yaml"), "cpu", project / "dist")
    assert list(find_problems(plan, replace(SYSTEM, **changes))) == []


def test_all_problems_are_told_at_once(project: Path) -> None:
    engine = FakeEngine(say(replace(SYSTEM, python="3.9.1", libc="musl", libstdcxx=False)))
    with pytest.raises(SpecError) as caught:
        check(project, engine)
    assert len(caught.value.problems) == 3


DIGEST = f"sha256:{'1' * 64}"
NAME = "gcr.io/distroless/python3-debian12"


@pytest.mark.parametrize(
    ("locked", "wanted"),
    [(None, NAME), (LockedBase(NAME, DIGEST), f"{NAME}@{DIGEST}"), (LockedBase("python", DIGEST), NAME)],
)
def test_the_base_is_the_one_that_the_lock_pins(project: Path, locked: LockedBase | None, wanted: str) -> None:
    spec = load(project / "spec.yaml").spec
    write(lock_path(project / "spec.yaml"), {"cpu": replace(make_unresolved_lock(spec, "cpu"), base=locked)})
    check(project, engine := FakeEngine(say(SYSTEM)))
    assert engine.wanted == wanted
    check(project, engine, project / "base.tar")
    assert engine.wanted == NAME, "an archive that is named takes its place"
