"""Of what a child prints the two ends are kept, and nobody is waited for."""

import os

from onnxpack.worker.log import Log


def test_log_of_a_short_output_is_whole() -> None:
    read, write = os.pipe()
    log = Log(read)
    os.write(write, b"one\n\xff two\n")
    os.close(write)
    log.close()
    assert log.text() == "one\n\N{REPLACEMENT CHARACTER} two\n"


def test_log_of_a_long_output_keeps_its_head_and_tail() -> None:
    read, write = os.pipe()
    log = Log(read)
    os.write(write, b"first\n")
    for _ in range(1000):
        os.write(write, b"x" * 1023 + b"\n")
    os.write(write, b"last\n")
    os.close(write)
    log.close()
    text = log.text()
    assert text.startswith("first\nxxx")
    assert text.endswith("xxx\nlast\n")
    assert f"\n… {6 + 1024 * 1000 + 5 - 2 * 64 * 1024} bytes left out …\n" in text
    assert len(text) < 132 * 1024
    assert len(log.last_lines().splitlines()) == 20


def test_log_whose_other_end_stays_open_is_closed_all_the_same() -> None:
    read, write = os.pipe()
    log = Log(read)
    os.write(write, b"words")
    log.close()
    os.close(write)
    assert log.text() == "words"
