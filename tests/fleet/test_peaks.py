"""The peak memory of a process with all that it started."""

import os
import subprocess
import sys
from pathlib import Path

from onnxpack.fleet.peaks import list_descendants, measure_peak

_BYTES = 150_000_000
_CHILD = f"""
import subprocess, sys
if len(sys.argv) > 1:
    held = bytearray({_BYTES})
    print("held", flush=True)
    del held
    sys.stdin.read()
else:
    subprocess.run([sys.executable, __file__, "again"])
"""


def test_a_descendants_peak_counts_also_once_it_is_over(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(_CHILD)
    with measure_peak() as peak:
        before = len(list_descendants(os.getpid()))
        child = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        assert len(list_descendants(os.getpid())) >= before + 2
        peak.look()
        child.stdin.close()
        child.wait()
        child.stdout.close()
    assert _BYTES < peak.bytes < 50 * _BYTES
