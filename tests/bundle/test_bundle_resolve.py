"""What uv answers becomes packages with the wheels that fit; versions that are known stay while they fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model
from wheels import make_wheel

from onnxpack.bundle import resolve as resolving
from onnxpack.bundle.lock import Package
from onnxpack.bundle.resolve import read_versions, read_wheels, resolve
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.spec.model import Spec
from onnxpack.worker.uv import run_uv

SHA = "0123456789abcdef" * 4
LISTED = """\
numpy==2.4.6              # via -r requirements.txt, onnxruntime
onnxruntime==1.31.1       # via -r requirements.txt
protobuf==7.0             # via onnxruntime
"""


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Spec]:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return lambda **fields: write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields).spec


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Let uv list these packages, each with one wheel; return the options that it is given."""

    def answer(listed: str) -> list[str]:
        asked: list[str] = []

        def run(*arguments: str, what: str) -> str:
            asked.extend(arguments)
            if "--output-file" in arguments:
                Path(arguments[arguments.index("--output-file") + 1]).write_text(listed)
                return listed
            entry = (
                '[[packages]]\nname = "{0}"\nwheels = [{{url = "https://h/{0}-{1}-py3-none-any.whl", hashes = {2}}}]\n'
            )
            found = read_versions(listed).items()
            return "".join(entry.format(name, version, f"{{sha256 = '{SHA}'}}") for name, (version, _) in found)

        monkeypatch.setattr(resolving, "run_uv", run)
        return asked

    return answer


def test_resolve_sorts_packages_and_asks_for_the_images_python(
    spec: Callable[..., Spec], answer: Callable[[str], list[str]]
) -> None:
    asked = answer(LISTED)
    found = resolve(spec(image={"python": "3.12"}), "cpu")
    assert found.packages == (
        Package("numpy", "2.4.6", (SHA,)),
        Package("onnxruntime", "1.31.1", (SHA,), ("numpy", "protobuf")),
    ), "what onnxruntime declares and a session never imports is not locked"
    assert found.packages[0].files == ("numpy-2.4.6-py3-none-any.whl",)
    assert found.python == "3.12"
    assert asked[asked.index("--python-version") + 1] == "3.12"


def test_resolve_keeps_an_unused_package_that_an_added_one_requires(
    spec: Callable[..., Spec], answer: Callable[[str], list[str]]
) -> None:
    answer(
        f"extra==1  # via -r requirements.txt\n{LISTED}".replace("# via onnxruntime\n", "# via extra, onnxruntime\n")
    )
    found = resolve(spec(image={"requirements": ["extra"]}), "cpu")
    assert [package.name for package in found.packages] == ["extra", "numpy", "onnxruntime", "protobuf"]


def test_resolve_refuses_a_second_onnxruntime(spec: Callable[..., Spec], answer: Callable[[str], list[str]]) -> None:
    answer("extra==1\nonnxruntime==1.31.1  # via extra\nonnxruntime-gpu==1.31.1\n")
    added = spec(targets={"cpu": {"device": "cuda"}}, image={"requirements": ["extra"]})
    with pytest.raises(SpecError, match="extra requires onnxruntime, which fills the folder of onnxruntime-gpu"):
        resolve(added, "cpu")


def test_read_wheels_takes_names_from_paths_and_addresses() -> None:
    entry = "[[packages]]\nname = 'Some_Thing'\nwheels = [{{{0}, hashes = {{sha256 = '{1}'}}}}]\n"
    assert read_wheels(entry.format("url = 'https://h/a/some-1%2Bcpu-x.whl#frag'", SHA)) == {
        "some-thing": {"some-1+cpu-x.whl": SHA}
    }
    assert read_wheels(entry.format("path = '../w/some-1-x.whl'", SHA)) == {"some-thing": {"some-1-x.whl": SHA}}
    assert read_wheels("lock-version = '1.0'") == {}


@pytest.fixture
def index(wheels: Path) -> Path:
    """An index with two versions of what an image needs."""
    for name in ("numpy", "onnxruntime", "httptools", "orjson"):
        for version in ("2.1", "2.2"):
            make_wheel(wheels, name, version, ("numpy",) if name == "onnxruntime" else ())
    return wheels


def versions(*arguments: Any) -> dict[str, str]:
    return {one.name: one.version for one in resolve(*arguments).packages}


FIELDS = {"runtime": {"server": "none"}, "image": {"requirements": ["httptools>=2", "orjson>=2"]}}


def test_resolve_keeps_what_still_fits_and_moves_what_is_named(spec: Callable[..., Spec], index: Path) -> None:
    asked = spec(**FIELDS)
    newest = dict.fromkeys(("httptools", "numpy", "onnxruntime", "orjson"), "2.2")
    assert versions(asked, "cpu") == newest
    old = [Package(name, "2.1", (SHA,)) for name in newest]
    assert versions(asked, "cpu", old) == dict.fromkeys(newest, "2.1")
    assert versions(asked, "cpu", old, {"orjson"}) == dict.fromkeys(newest, "2.1") | {"orjson": "2.2"}
    assert versions(asked, "cpu", old, None) == newest
    gone = [Package(name, "2.0", (SHA,)) for name in newest]
    assert versions(asked, "cpu", gone) == newest, "a version that the index has no more"
    stricter = spec(runtime={"server": "none"}, image={"requirements": ["httptools>2.1", "orjson>=2"]})
    assert versions(stricter, "cpu", old) == dict.fromkeys(newest, "2.1") | {"httptools": "2.2"}
    locked = resolve(asked, "cpu", old).packages
    assert [one.files for one in locked] == [(f"{one.name}-2.1-py3-none-any.whl",) for one in locked]
    assert dict.fromkeys(one.requires for one in locked) == {(): None, ("numpy",): None}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("error sending request for url", "check the network"),
        ("Hash mismatch for numpy", "onnxpack lock SPEC"),
        ("No solution found", "uv's reason"),
        ("something else", "the end of uv's output"),
    ],
)
def test_resolve_that_fails_shows_what_uv_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, hint: str
) -> None:
    failing = tmp_path / "uv"
    failing.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(failing))
    with pytest.raises(EngineError) as told:
        run_uv("pip", "compile", what="resolve")
    (problem,) = told.value.problems
    assert hint in problem.hint
    assert problem.detail == words
