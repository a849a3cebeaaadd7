"""Single keys from a terminal, without Enter and without an echo."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What a terminal sends at the end of its input, and what is returned when it is closed.
END = "\x04"
_MOST_BYTES = 64


@contextmanager
def keyboard() -> Iterator[Callable[[], str]]:
    """
    Take the keys of standard input, which is a terminal, one by one until the end of the `with` block.

    The terminal stays in this mode in between: keys that are pressed while a search runs are neither lost nor shown.

    :returns: A function that waits for a key, and returns it with any that were pressed since; `END` if there are no more.
        Ctrl-C raises KeyboardInterrupt.
    """
    if sys.platform == "win32":
        import msvcrt

        yield msvcrt.getwch
        return
    import termios
    import tty
    from codecs import getincrementaldecoder

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    decoder = getincrementaldecoder("utf-8")(errors="replace")

    def read() -> str:
        text = ""
        while not text:  # a key may come as several bytes
            data = os.read(descriptor, _MOST_BYTES)
            if not data:
                return END
            text = decoder.decode(data)
        return text

    # Not TCSAFLUSH, the default, which would throw away what was typed ahead.
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
