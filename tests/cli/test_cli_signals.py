"""Ctrl-C and SIGTERM in the middle of a verb: everything is put away, exit 130, one word, no traceback."""

import signal
import subprocess
import sys

import pytest

RUN = """
import signal, sys
from onnxpack import cli
from onnxpack.cli import validate

def load(*_):
    try:
        print("busy", flush=True)
        while True:
            signal.pause()
    finally:
        print("put away", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
validate.load = load
sys.argv = ["onnxpack", "validate", "one.yaml", "two.yaml"]
cli.main()
"""


@pytest.mark.case("B14")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_verb(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "busy\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "put away\n", "interrupted")
