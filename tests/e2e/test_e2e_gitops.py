"""The example of a repository, from its first commit to a model that is trained anew, by the steps of its workflows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = Path(__file__).parents[2] / "examples" / "gitops" / "run"


def test_the_example_goes_through(base_archive: Path, tmp_path: Path) -> None:
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    # Eight models go the same ways as twenty, in less than half of the time.
    command = [sys.executable, _RUN, "--base", base_archive, "--keep", tmp_path / "scene", "--count", "8"]
    ended = subprocess.run(
        command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    assert ended.stdout.count("as it should be") == 4
