"""The commands that the page about serving shows for /predict, as a shell runs them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundle_examples import write_app
from PIL import Image
from serving import Server, serving

PAGE = Path(__file__).resolve().parents[2] / "docs/serving.md"
SECTION = PAGE.read_text().partition("\n## What people have")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^curl localhost:8080.*$", SECTION, re.MULTILINE)
ANSWERS = {"pictures": {"colour"}, "sentence": {"label", "scores"}, "declared": {"total", "place"}}
ANSWERS["iris"] = {"label", "probabilities"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ANSWERS}
    for name, folder in folders.items():
        write_app(folder, name, server="http")
    with (
        serving(folders["pictures"]) as pictures,
        serving(folders["sentence"]) as sentence,
        serving(folders["declared"]) as declared,
        serving(folders["iris"]) as iris,
    ):
        yield {"pictures": pictures, "sentence": sentence, "declared": declared, "iris": iris}


def find_model(command: str) -> str:
    """Return the example that a command is for."""
    words = {"picture": "pictures", "like": "sentence", "5.1": "iris"}
    return next((model for word, model in words.items() if word in command), "declared")


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl is installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_answered(command: str, servers: dict[str, Server], tmp_path: Path) -> None:
    for name in ("picture", "other"):
        Image.new("RGB", (30, 20), (200, 10, 10)).save(tmp_path / f"{name}.png")
    (tmp_path / "people.csv").write_text("city,joined\nLima,2024-02-29\nOslo,2024-03-01\n")
    model = find_model(command)
    line = command.replace("localhost:8080", f"127.0.0.1:{servers[model].port}")
    done = subprocess.run(["sh", "-c", f"{line} -sS"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout)
    rows = answer if isinstance(answer, list) else [answer]
    assert {frozenset(row) for row in rows} == {frozenset(ANSWERS[model])}, (done.stdout, done.stderr)
    assert isinstance(answer, list) == any(word in command for word in ("other", "'[", "csv"))


def test_each_kind_of_model_is_shown() -> None:
    assert {find_model(command) for command in COMMANDS} == set(ANSWERS)
    assert len(COMMANDS) == 10
