"""For programs that a test interrupts."""

import signal


def listen() -> None:
    """Take ctrl-C as usual, in a child before its program starts.

    A shell script starts what is in its background with SIGINT ignored, and a program inherits that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
