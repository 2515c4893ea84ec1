"""An error tells the place that a person can do something about."""

import errno
import subprocess
import sys
from pathlib import Path

from onnxpack.core.errors import EngineError, Problem, SpecError, classify_error

COPY = """
import subprocess, sys
from pathlib import Path
from onnxpack.cli.failure import tell
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", sys.argv[2]], check=True)
import shutil
try:
    shutil.copyfile(sys.argv[1], Path(sys.argv[2], "model.onnx"))
except OSError as error:
    sys.exit(tell(error))
"""


def test_full_disk_of_the_output_names_the_outputs_file(tmp_path: Path) -> None:
    """On a real disk of 64 kB, in a mount namespace of its own."""
    (tmp_path / "cache").write_bytes(b"x" * 200_000)
    (tmp_path / "output").mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", COPY]
    ended = subprocess.run(
        [*command, str(tmp_path / "cache"), str(tmp_path / "output")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == EngineError.exit_code, ended.stderr
    assert f"No space left on device '{tmp_path}/output/model.onnx'" in ended.stderr


def test_error_of_the_machine_without_a_file_is_typed() -> None:
    known = classify_error(OSError(28, "No space left on device"))
    assert isinstance(known, EngineError)
    assert str(known).startswith("No space left on device")


def test_problem_with_half_a_surrogate_pair_can_be_written() -> None:
    problem = Problem("a \udc80 b", "c \ud800", detail="d" * 50_000 + "\udfff")
    assert (problem.message, problem.hint) == (r"a \udc80 b", r"c \ud800")
    assert problem.detail.encode().endswith(rb"d\udfff")


def test_typed_of_a_name_that_is_too_long_is_the_users_to_change() -> None:
    error = classify_error(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300))
    assert isinstance(error, SpecError)
    assert "shorten it" in str(error)
