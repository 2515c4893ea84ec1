"""What is looked at while other work goes on."""

import threading
import time

from onnxpack.core.periodic import repeating


def test_it_looks_until_the_block_ends_and_not_after_it() -> None:
    seen, enough = [], threading.Event()

    def look() -> None:
        seen.append(len(seen))
        if len(seen) < 3:
            raise FileNotFoundError("it is not there yet")
        enough.set()

    with repeating(look, 0.001):
        assert enough.wait(10), "an error of one call ended the others"
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count
