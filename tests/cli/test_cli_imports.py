"""What costs nobody its start: these commands load no framework, no engine and no numerics."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "onnx", "onnxruntime", "onnxscript", "docker", "numpy", "scipy", "sklearn", "skl2onnx", "jinja2"}
SPECS = Path(__file__).parents[2] / "specs"
RUN = """
import json, sys
from onnxpack.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)), file=sys.stderr)
"""


def loaded(*arguments: str | Path) -> tuple[int, set[str]]:
    """The exit code, and the top-level modules that are loaded when a command ends."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    return ended.returncode, set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["validate", "--help"], 0),
        (["validate", SPECS], 0),
        (["validate", "missing.yaml"], 2),
        (["unknown"], 2),
    ],
    ids=lambda value: " ".join(getattr(word, "name", word) for word in value) if isinstance(value, list) else "",
)
def test_nothing_heavy_is_loaded(arguments: list[str | Path], code: int) -> None:
    ended, modules = loaded(*arguments)
    assert ended == code
    assert "click" in modules
    assert not modules & HEAVY


def test_help_does_not_read_yaml_either() -> None:
    _, modules = loaded("--help")
    assert "yaml" not in modules
