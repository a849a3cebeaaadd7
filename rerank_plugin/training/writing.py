"""Write errors, such as a full disk, as one error that names the folder and the remedy."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.errors import OutputError, reason_of

WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# torch and safetensors write from C++ and Rust, where the error number is lost or only in the message.
WRITE_MESSAGES = re.compile(
    r"PytorchStreamWriter failed writing|unexpected pos \d+|iostream error|I/O error|No space left|File too large"
)


@contextmanager
def writing_to(folder: Path, *, remedy: str) -> Iterator[None]:
    """
    Turn the libraries' write errors into one error.

    :param folder: The folder that the block writes to.
    :param remedy: What to do, for the message.
    :raises OutputError: If the block could not write. Other errors pass through unchanged.
    """
    try:
        yield
    except Exception as error:
        by_number = isinstance(error, OSError) and error.errno in WRITE_ERRORS
        if not by_number and not WRITE_MESSAGES.search(str(error)):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else reason_of(error)
        raise OutputError(f"{folder} cannot be written: {reason}; {remedy}") from error
