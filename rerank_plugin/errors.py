"""
The errors of rerank_plugin, and the reason that another library's error gives.

Every message names the wrong value, its place and the remedy, in one line, which the command line prints unchanged. Each
class also derives from the built-in exception that a caller would expect (`ValueError`, `ImportError`).
"""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class RerankError(Exception):
    """Base class of all errors that rerank_plugin raises deliberately."""


class InputFileError(RerankError, ValueError):
    """An input file is missing, unreadable or malformed."""


class InvalidValueError(RerankError, ValueError):
    """A parameter, a query or a document has an invalid value."""


class ModelError(RerankError, ValueError):
    """A model cannot be found or loaded, or is not a cross-encoder with one output."""


class PipelineConfigError(RerankError, ValueError):
    """A pipeline YAML cannot be found or loaded."""


class StoreError(RerankError):
    """A document store cannot be opened, read or written."""


class IndexFormatError(StoreError):
    """An index on disk was written by a newer version, or is not an index."""


class BusyError(StoreError):
    """Another run holds what only one at a time may have: an index being filled or built, the folder of an evaluation."""


class ScoreCacheError(RerankError):
    """A score cache on disk cannot be opened, read or written."""


class OutputError(RerankError):
    """A result cannot be written: the disk is full, or the folder is not writable."""


class MissingDependencyError(RerankError, ImportError):
    """An optional package is required but not installed."""


class OverloadedError(RerankError):
    """
    A service has as much work waiting as it may have: the request was refused, and nothing of it was done.

    :param message: The message.
    :param retry_after: Seconds after which the work that is waiting now should be done.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerError(RerankError):
    """A server cannot be reached, or refuses a request."""


# Characters of another library's message that are shown; the cut is marked.
LONGEST_REASON = 500


def caused_by(error: BaseException, kind: type[E]) -> E | None:
    """
    Find the error of a kind that an error was raised from; Haystack wraps those of components.

    :param error: The error.
    :param kind: The kind.
    :returns: The error itself or the nearest of its causes; `None` if none is of that kind.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__
    return cause


def reason_of(error: BaseException, *, named: bool = False) -> str:
    """
    Return the message of another library's error on one line, as the reason in a message of ours.

    :param error: The error.
    :param named: Put the name of its class before it.
    :returns: The message; if it is empty, or cannot be made, the name of the class.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the message may contain objects whose str() fails
        text = ""
    if not text.strip():
        return name
    return one_line_reason(f"{name}: {text}" if named else text)


def one_line_reason(text: str) -> str:
    """
    Put the text of a reason on one line, and mark the place where it is cut if it is very long.

    :param text: The text.
    """
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}..."
