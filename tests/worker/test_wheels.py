"""uv tells where the wheels are that it would install."""

import hashlib
from pathlib import Path

import pytest
from wheels import make_wheel

from onnxpack.core.errors import EngineError
from onnxpack.worker import wheels as module
from onnxpack.worker.uv import list_image_options
from onnxpack.worker.wheels import IndexWheel, find_wheels

OPTIONS = list_image_options("3.11", "linux/amd64")


def test_a_wheel_with_a_local_version_has_its_name_and_digest(wheels: Path) -> None:
    make_wheel(wheels, "small-package", "1.0+cpu")
    (wheel,) = wheels.glob("small_package-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (found,) = find_wheels([f"small-package==1.0+cpu --hash=sha256:{digest}"], OPTIONS, "a test")
    assert (found.name, found.sha256) == ("small_package-1.0+cpu-py3-none-any.whl", digest)
    assert found.url.startswith("file:///")


def test_a_wheel_that_is_not_there_is_told(wheels: Path) -> None:
    with pytest.raises(EngineError, match="cannot find the wheels of a test"):
        find_wheels([f"nothing==1.0 --hash=sha256:{'0' * 64}"], OPTIONS, "a test")


@pytest.mark.parametrize(
    "listed", ["not toml =", '[[packages]]\nname = "a"\n', '[[packages]]\nwheels = [{url = "u"}]\n']
)
def test_what_uv_says_otherwise_is_told(listed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_uv", lambda *arguments, what: listed)
    with pytest.raises(EngineError, match="cannot be read"):
        find_wheels([], OPTIONS, "a test")


def test_a_wheel_in_two_places_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    row = '{{ url = "{url}", hashes = {{ sha256 = "{digest}" }} }}'
    rows = ", ".join(
        row.format(url=f"https://h/{name}.whl", digest=digest) for name, digest in (("a", 1), ("b", 1), ("c", 2))
    )
    monkeypatch.setattr(module, "run_uv", lambda *arguments, what: f"[[packages]]\nwheels = [{rows}]\n")
    found = find_wheels([], OPTIONS, "a test")
    assert found == (IndexWheel("a.whl", "https://h/a.whl", "1"), IndexWheel("c.whl", "https://h/c.whl", "2"))
