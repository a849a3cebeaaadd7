"""
The errors that rerank_plugin raises on a user's mistake.

Every message names the value that was wrong, where it stood, and what to do about it, in one line: the command line prints
it as it is. Each class also derives from the built-in exception that a caller would expect (`ValueError`, `ImportError`).
"""


class RerankError(Exception):
    """Base of all errors that rerank_plugin raises on purpose."""


class InputFileError(RerankError, ValueError):
    """A file that was given as input is missing, unreadable, or malformed."""


class InvalidValueError(RerankError, ValueError):
    """A parameter, a query or a document has a value that cannot be used."""


class ModelError(RerankError, ValueError):
    """A model cannot be found, or it is no cross-encoder with one output."""


class PipelineConfigError(RerankError, ValueError):
    """A pipeline YAML cannot be found or loaded."""


class StoreError(RerankError):
    """A document store cannot be opened, read or written."""


class IndexFormatError(StoreError):
    """An index on disk was written by a newer version, or is no index at all."""


class BusyError(StoreError):
    """Another run holds what only one at a time may have: an index being filled or built, the folder of an evaluation."""


class ScoreCacheError(RerankError):
    """A score cache on disk cannot be opened, read or written."""


class OutputError(RerankError):
    """A result cannot be written: the disk is full, or the folder may not be written."""


class MissingDependencyError(RerankError, ImportError):
    """An optional package is needed for what was asked."""
