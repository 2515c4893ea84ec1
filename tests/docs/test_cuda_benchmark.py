"""The benchmark of CUDA is one command, which refuses where it could not measure and writes only what is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/cuda.md"


def run(tools: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command where no other programs than those in ``tools`` are found."""
    environment = {"PATH": str(tools), "HOME": str(tools), "PYTHONPATH": os.pathsep.join(sys.path[1:]), **variables}
    command = [sys.executable, "-m", "benchmarks.cuda", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def write_tool(folder: Path, script: str) -> None:
    """Write a stand-in for nvidia-smi."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "nvidia-smi does not answer"),
        ("echo 'No devices were found'; exit 9", "nvidia-smi ends with 9"),
        ("exit 0", "nvidia-smi ends with 0"),
    ],
    ids=["no driver", "no device", "no line"],
)
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path, script: str, words: str) -> None:
    if script:
        write_tool(tmp_path, script)
    before = PAGE.read_bytes()
    done = run(tmp_path, "--write")
    assert done.returncode == 5
    assert done.stderr.startswith(f"benchmarks.cuda: this machine has no GPU: {words} (run it on a machine with")
    assert "Traceback" not in done.stderr
    assert PAGE.read_bytes() == before


def test_images_need_an_engine_whose_containers_see_the_gpu(tmp_path: Path) -> None:
    write_tool(tmp_path, "echo 'NVIDIA H200, 580.65.06'")
    done = run(tmp_path, "--only", "images", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 5
    assert "benchmarks.cuda: images cannot run here: " in done.stderr
    assert "--only precision" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--write", "--only", "images"], "--write takes all parts"),
        (["--only", "speed"], "invalid choice: 'speed'"),
        (["--now"], "unrecognized arguments: --now"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_the_page_has_the_marks_between_which_it_writes() -> None:
    text = PAGE.read_text()
    head, mark, rest = text.partition("<!-- made by benchmarks/cuda -->\n\n")
    assert "python -m benchmarks.cuda --write" in head
    assert mark
    assert "<!-- end -->" in rest
