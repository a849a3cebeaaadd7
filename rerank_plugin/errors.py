"""
The errors of rerank_plugin.

Every message names the wrong value, its place and the remedy, in one line, which the command line prints unchanged. Each
class also derives from the built-in exception that a caller would expect (`ValueError`, `ImportError`).
"""


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
