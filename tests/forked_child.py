"""Calls in a forked child, with an end: one that waits for a lock of its parent is reported as hung."""

import os
import select
import signal


def in_child(work):
    """Return what `work` returns or raises in a forked child, as text, or `hung`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            result = str(work())
        except BaseException as error:  # noqa: BLE001
            result = f"{type(error).__name__}: {error}"
        os.write(writing, result.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        ready, _, _ = select.select([stream], [], [], 20)
        if not ready:
            os.kill(child, signal.SIGKILL)
        result = stream.read() if ready else "hung"
    os.waitpid(child, 0)
    return result
