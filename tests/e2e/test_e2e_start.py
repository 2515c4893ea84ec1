"""How an image starts: from modules that are compiled, and asking itself costs little."""

import re
from pathlib import Path
from typing import Any

from e2e_tools import Built, box


def test_a_start_compiles_nothing(example: Built, engine: Any) -> None:
    """Neither of the standard library, nor of the packages, nor of the model's own modules."""
    with box(engine, example.reference, entrypoint=["python3", "-v", "-m", "server"]) as server:
        log = server.ready().log()
    taken = re.findall(r"^# code object from '(.+)'$", log, re.MULTILINE)
    compiled = re.findall(r"^# code object from (/.+)$", log, re.MULTILINE)
    assert {"server", "inference"} <= {Path(path).name.partition(".")[0] for path in taken}
    assert {"/opt/onnxpack/app", "/opt/onnxpack/lib/numpy"} <= {str(Path(path).parents[1]) for path in taken}
    assert compiled == []


ASK_HEALTH = """
import subprocess, sys
done = subprocess.run([sys.executable, "-v", "-m", "healthcheck"], stderr=subprocess.PIPE, text=True, check=True)
print(done.stderr)
"""


def test_a_health_check_compiles_nothing(iris: Built, engine: Any) -> None:
    with box(engine, iris.reference) as server:
        log = server.ready().python(ASK_HEALTH)
    assert "/healthcheck." in log
    assert re.findall(r"^# code object from (/.+)$", log, re.MULTILINE) == []


def test_the_command_line_compiles_nothing_before_it_reads(iris: Built, engine: Any) -> None:
    with box(engine, iris.reference, ["--help"], entrypoint=["python3", "-v", "-m", "inference"]) as made:
        assert engine.wait(made.id, timeout=120)["StatusCode"] == 0, made.log()
        log = made.log()
    assert re.findall(r"^# code object from (/.+)$", log, re.MULTILINE) == []


def test_the_report_says_which_python_compiled(iris: Built) -> None:
    assert re.fullmatch(r"3\.11\.\d+", iris.report["image"]["base"]["python"])
