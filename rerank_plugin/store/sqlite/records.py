"""Conversion between documents and rows of SQLite, and the checks of a document before anything is written."""

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from haystack.dataclasses import ByteStream, Document, SparseEmbedding

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.keywords.fields import SearchFields

# SQLite's JSON functions truncate strings at \u0000 and read integers of more than 63 bits as floats. Rows that may contain
# either are marked, and filters are evaluated in Python for them.
_NOT_PLAIN = re.compile(r"\\u0000|\d{19}")

_DEFAULTS = vars(Document(id="default"))
# The inner function of json.loads, called directly for speed: the text was written by this module.
_read_json: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

SINGLE = np.dtype("<f4")
DOUBLE = np.dtype("<f8")
_VECTORS_AT_A_TIME = 4096


# Fields of a record that an index of format 2 does not have.
CHECKSUMS = ("vector_checksum", "checksum")


class Record(NamedTuple):
    """A document as stored in SQLite, without its vector; the fields are the columns of the table `documents`."""

    id: str
    has_text: bool
    plain: bool
    meta: str
    content: str | None
    score: float | None
    blob: bytes | None
    blob_info: str | None
    sparse_embedding: str | None
    vector_checksum: int | None
    checksum: int | None


class DamagedRecordError(ValueError):
    """A row is damaged: a checksum differs, or a value cannot be read."""


def check_documents(documents: Iterable[Document]) -> list[Document]:
    """
    Return the documents as a list.

    :param documents: The argument of `write_documents`.
    :raises InvalidValueError: If it is not an iterable of Documents with strings as ids.
    """
    if isinstance(documents, (str, bytes)) or not isinstance(documents, Iterable):
        raise InvalidValueError(f"documents must be a list of Documents, got {type(documents).__name__}")
    batch = list(documents)
    for document in batch:
        if not isinstance(document, Document):
            raise InvalidValueError(f"documents must be a list of Documents, it contains a {type(document).__name__}")
        if not isinstance(document.id, str):
            raise InvalidValueError(f"the id of a document must be a string, got {shown(document.id)}")
    return batch


def encode(document: Document, search_fields: SearchFields, vector: bytes | None = None) -> Record:
    """
    Return a document as a row, without its vector.

    :param document: The document.
    :param search_fields: The fields that keyword search covers.
    :param vector: Its vector, for the checksum.
    :raises InvalidValueError: If its meta is not JSON-serialisable, or a string is not valid Unicode.
    """
    meta = encode_meta(document.meta, document.id)
    for text in (document.id, document.content or ""):
        _check_unicode(text, document.id)
    blob, sparse = document.blob, document.sparse_embedding
    record = Record(
        id=document.id,
        has_text=bool(search_fields.text(document.meta, document.content)),
        plain=_NOT_PLAIN.search(meta) is None,
        meta=meta,
        content=document.content,
        score=None if document.score is None else float(document.score),
        blob=None if blob is None else blob.data,
        blob_info=None if blob is None else encode_meta({"meta": blob.meta, "mime_type": blob.mime_type}, document.id),
        sparse_embedding=None if sparse is None else encode_meta(sparse.to_dict(), document.id),
        vector_checksum=None if vector is None else zlib.crc32(vector),
        checksum=None,
    )
    return record._replace(checksum=_checksum(record))


def encode_meta(meta: dict[str, Any], document_id: str) -> str:
    """
    Return meta as JSON.

    :param meta: The dictionary.
    :param document_id: The id of the document, for the message.
    :raises InvalidValueError: If JSON cannot represent a value, or a string is not valid Unicode.
    """
    try:
        text = json.dumps(meta, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"the meta of document {shown(document_id)} cannot be stored as JSON ({error}): use strings, numbers, booleans, "
            "None, lists and dictionaries only, and ISO 8601 strings for dates"
        ) from error
    _check_unicode(text, document_id)
    return text


def _checksum(record: Sequence[Any]) -> int:
    """Return the CRC-32 of a record without the checksums, so that meta can be replaced without reading the vector."""
    name, has_text, plain, meta, content, score, blob, blob_info, sparse, *_ = record
    value = zlib.crc32(meta.encode(), zlib.crc32(name.encode(), 2 * bool(has_text) + bool(plain)))
    if content is not None:
        value = zlib.crc32(content.encode(), value)
    if score is not None:
        value = zlib.crc32(repr(score).encode(), value)
    if blob is not None:
        value = zlib.crc32(blob_info.encode(), zlib.crc32(blob, value))
    return value if sparse is None else zlib.crc32(sparse.encode(), value)


def decode(columns: Sequence[Any], *, score: float | None = None, embedding_dim: int | None = None) -> Document:
    """
    Return the document of a row.

    :param columns: The record, and its vector or None.
    :param score: Replaces the stored score, unless None.
    :param embedding_dim: Length of the vectors of this index.
    :raises DamagedRecordError: If the row is damaged.
    """
    *record, embedding = columns
    name, _, _, meta, content, own_score, blob, blob_info, sparse, vector_checksum, checksum = record
    # The constructor of Document, which tracks its arguments, would take half of the time of a query that reads a hundred.
    document = Document.__new__(Document)
    values = vars(document)
    values.update(_DEFAULTS)
    try:
        # A row that an earlier version wrote has no checksum.
        if checksum is not None and _checksum(record) != checksum:
            raise DamagedRecordError(f"document {shown(name)} is corrupt: its checksum differs")
        values["id"], values["content"], values["score"] = name, content, own_score if score is None else score
        values["meta"] = decode_meta(meta)
        if blob is not None:
            values["blob"] = ByteStream(data=blob, **json.loads(blob_info))
        if sparse is not None:
            values["sparse_embedding"] = SparseEmbedding.from_dict(json.loads(sparse))
    except DamagedRecordError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DamagedRecordError(f"document {shown(name)} cannot be read: {error}") from error
    if embedding is not None:
        values["embedding"] = _decode_vector(embedding, embedding_dim).tolist()
        if vector_checksum is not None and zlib.crc32(embedding) != vector_checksum:
            raise DamagedRecordError(f"the vector of document {shown(name)} is corrupt: its checksum differs")
    return document


def decode_meta(text: Any) -> dict[str, Any]:
    """
    Return the meta of a row.

    :param text: The JSON.
    :raises DamagedRecordError: If it is not a JSON object.
    """
    try:
        meta, end = _read_json(text, 0)
    except (StopIteration, ValueError, TypeError) as error:
        raise DamagedRecordError(f"meta is not JSON: {error}") from error
    if not isinstance(meta, dict) or end != len(text):
        raise DamagedRecordError("meta is not a JSON object")
    return meta


def encode_vectors(documents: Sequence[Document], embedding_dim: int | None) -> tuple[int | None, list[bytes | None]]:
    """
    Return the vectors of the documents as bytes: float32, or float64 where float32 would change a value.

    :param documents: The documents; those without an embedding get `None`.
    :param embedding_dim: Length that every vector must have; `None`: that of the first one.
    :returns: The length of the vectors, and one entry per document.
    :raises InvalidValueError: If an embedding is not a list of finite numbers, or has another length.
    """
    blobs: list[bytes | None] = []
    for document in documents:
        if document.embedding is None:
            blobs.append(None)
            continue
        subject = f"the embedding of document {shown(document.id)}"
        vector = check_vector(document.embedding, subject)
        embedding_dim = vector.size if embedding_dim is None else embedding_dim
        check_dimension(vector.size, embedding_dim, subject)
        single = vector.astype(SINGLE)
        blobs.append((single if np.array_equal(single, vector) else vector.astype(DOUBLE)).tobytes())
    return embedding_dim, blobs


def check_vector(values: Any, subject: str) -> npt.NDArray[np.float64]:
    """
    Return a vector as an array.

    :param values: A list of numbers, or an array with one axis.
    :param subject: What the vector is, for the message.
    :raises InvalidValueError: If it is neither, or contains a number that is not finite in single precision.
    """
    try:
        vector = np.asarray(values)
    except ValueError as error:
        raise InvalidValueError(f"{subject} must be a flat list of numbers: {error}") from error
    if vector.ndim != 1 or vector.size == 0 or vector.dtype.kind not in "fiu":
        raise InvalidValueError(f"{subject} must be a flat, non-empty list of numbers, got {shown(values)}")
    if not bool((np.abs(vector) <= np.finfo(np.float32).max).all()):
        raise InvalidValueError(
            f"{subject} contains NaN, infinity or a number beyond single precision: embed the text again"
        )
    return vector.astype(np.float64)


def check_dimension(actual: int, expected: int, subject: str) -> None:
    """
    Check the length of a vector.

    :param actual: Its length.
    :param expected: The length of the vectors in the index.
    :param subject: What the vector is, for the message.
    :raises InvalidValueError: If they differ.
    """
    if actual != expected:
        raise InvalidValueError(
            f"{subject} has {actual} dimensions, but vectors in this index have {expected}: use the embedding model that "
            "the index was built with, or index the documents into a new folder"
        )


def decode_vectors(cursor: sqlite3.Cursor, embedding_dim: int | None) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """
    Read vectors in batches.

    :param cursor: A query that returns rows and vectors as bytes.
    :param embedding_dim: Length of the vectors of this index.
    :returns: Rows, and a matrix of shape (rows, dimension).
    :raises DamagedRecordError: If a vector has another length.
    """
    while batch := cursor.fetchmany(_VECTORS_AT_A_TIME):
        size = (embedding_dim or 0) * SINGLE.itemsize
        if size and all(isinstance(blob, bytes) and len(blob) == size for _, blob in batch):
            matrix = np.frombuffer(b"".join(blob for _, blob in batch), dtype=SINGLE).reshape(len(batch), -1)
        else:
            matrix = np.stack([_decode_vector(blob, embedding_dim) for _, blob in batch]).astype(np.float32)
        yield [row for row, _ in batch], matrix


def _decode_vector(blob: Any, embedding_dim: int | None) -> npt.NDArray[Any]:
    """Return a vector encoded by `encode_vectors`; the number of bytes distinguishes float32 from float64."""
    dim = embedding_dim or 0
    if not isinstance(blob, bytes) or not dim or len(blob) not in (dim * SINGLE.itemsize, dim * DOUBLE.itemsize):
        size = len(blob) if isinstance(blob, (bytes, str)) else blob
        raise DamagedRecordError(f"a vector of {embedding_dim} dimensions has {size} bytes")
    return np.frombuffer(blob, dtype=SINGLE if len(blob) == dim * SINGLE.itemsize else DOUBLE)


def _check_unicode(text: str, document_id: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            f"document {shown(document_id)} contains text that is not valid Unicode ({error.reason} at {error.start}): "
            "decode the source with errors='replace'"
        ) from error
