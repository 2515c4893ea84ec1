"""What `onnxpack validate` says about each spec of tests/bad_specs, word for word."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended

FOLDER = Path(__file__).parents[1] / "bad_specs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy outside any Git work tree, so that no message depends on where the project lies."""
    return Path(shutil.copytree(FOLDER, tmp_path_factory.mktemp("work") / "bad_specs"))


@pytest.mark.case("Y2")
@pytest.mark.case("Y3")
@pytest.mark.parametrize("name", NAMES)
def test_the_message_is_exactly_this(
    name: str,
    elsewhere: Path,
    onnxpack: Callable[..., Ended],
    expected: Callable[[Path, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(elsewhere)
    ended = onnxpack("validate", f"{name}.yaml")
    assert (ended.code, ended.out) == (2, "")
    expected(FOLDER / f"{name}.txt", ended.err)


def test_every_message_has_its_spec() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES
