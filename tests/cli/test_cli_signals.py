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


TWO = """
import os, signal, sys
from onnxpack import cli
from onnxpack.cli import validate

def load(*_):
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    for number in NUMBERS:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)

NUMBERS = [signal.SIGINT, signal.SIGTERM]
signal.signal(signal.SIGINT, signal.default_int_handler)
validate.load = load
sys.argv = ["onnxpack", "validate", "one.yaml"]
cli.main()
"""
CHANGED = """
import os, signal, sys
from onnxpack import cli
from onnxpack.cli import validate

def load(*_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise ImportError("as compiled modules do it")

validate.load = load
sys.argv = ["onnxpack", "validate", "one.yaml"]
cli.main()
"""


@pytest.mark.parametrize("code", [TWO, CHANGED], ids=["two at once", "changed on its way"])
def test_signal_ends_a_verb_with_one_word_however_it_comes(code: str) -> None:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (130, "", "interrupted")
