"""The arguments of a call: checked before anything is scored, then turned into passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from numbers import Real
from typing import Any

from haystack import Document

from rerank_plugin.checks import check_count, check_flag, check_number, check_text, shown
from rerank_plugin.components.config import RankerConfig
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.fusion import SCORE_FUSIONS


@dataclass(frozen=True)
class Overrides:
    """
    Parameters that a call overrides; `None` means as configured.

    :param top_k: Maximum number of documents.
    :param scale_score: Probabilities or logits.
    :param score_threshold: Lowest score.
    :param time_budget_ms: Milliseconds for the call.
    :param priority: Lower values are more urgent, see `CallLimits`; `None`: 0.
    :raises InvalidValueError: If a value has the wrong type or is out of range.
    """

    top_k: int | None = None
    scale_score: bool | None = None
    score_threshold: float | None = None
    time_budget_ms: float | None = None
    priority: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None:
            check_count("top_k", self.top_k)
        if self.scale_score is not None:
            check_flag("scale_score", self.scale_score)
        if self.score_threshold is not None:
            check_number("score_threshold", self.score_threshold)
        if self.time_budget_ms is not None:
            check_number("time_budget_ms", self.time_budget_ms, above=0)
        if self.priority is not None:
            check_number("priority", self.priority)


def check_queries(queries: Any, documents: Any) -> None:
    """
    Check the arguments of `rank_many`.

    :raises InvalidValueError: If they are not lists, or not of equal length.
    """
    for name, value, items in (("queries", queries, "texts"), ("documents", documents, "lists of Documents")):
        if not isinstance(value, list | tuple):
            raise InvalidValueError(f"{name} must be a list of {items}, got {shown(value)}")
    if len(queries) != len(documents):
        raise InvalidValueError(
            f"rank_many got {len(queries)} queries and {len(documents)} lists of documents: pass one list for each query"
        )


def check_documents(documents: Any, *, fusion: str) -> None:
    """
    Check candidates.

    :param documents: The candidates, which should be a list of Documents.
    :param fusion: The fusion that will use their scores.
    :raises InvalidValueError: If they are not, or one of them cannot be ranked.
    """
    if not isinstance(documents, list | tuple):
        raise InvalidValueError(f"documents must be a list of Documents, got {shown(documents)}")
    for position, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InvalidValueError(
                f"documents[{position}] must be a Document, got {shown(document)}: wrap the text in Document(content=...)"
            )
        if not isinstance(document.id, str) or not isinstance(document.meta, dict):
            raise InvalidValueError(
                f"documents[{position}] must have a text as id and a dictionary as meta, got {shown(document.id)} and "
                f"{shown(document.meta)}"
            )
        if document.content is not None:
            check_text(f"content of document {shown(document.id)}", document.content, empty=True)
        _check_score(document, fusion)


def _check_score(document: Document, fusion: str) -> None:
    score = document.score
    if score is not None and (not isinstance(score, Real) or isinstance(score, bool)):
        raise InvalidValueError(f"score of document {shown(document.id)} must be a number or None, got {shown(score)}")
    if fusion not in SCORE_FUSIONS:
        return
    if score is None:
        raise InvalidValueError(
            f"fusion {fusion!r} needs the first stage's score of every document, but {shown(document.id)} has none: "
            "use fusion 'rrf'"
        )
    if not isfinite(score):
        raise InvalidValueError(
            f"fusion {fusion!r} needs finite first-stage scores, but document {shown(document.id)} has {score}: "
            "use fusion 'rrf'"
        )


def deduplicate(documents: Sequence[Document]) -> list[Document]:
    """Keep the highest-scored document of each id, at the position of the first."""
    best: dict[str, Document] = {}
    for document in documents:
        kept = best.get(document.id)
        if kept is None or _score_or_least(document) > _score_or_least(kept):
            best[document.id] = document
    return list(best.values())


def _score_or_least(document: Document) -> float:
    # nan also ranks below every score; it is the only value unequal to itself.
    return -inf if document.score is None or document.score != document.score else document.score


def passage_of(document: Document, config: RankerConfig) -> str:
    """
    Build the passage that the model reads of a document.

    :param document: The document.
    :param config: Names the metadata fields to include, the prefix and the suffix.
    :returns: The passage; it ends with the content and the suffix.
    :raises InvalidValueError: If a metadata field is not valid text.
    """
    values = [(name, document.meta.get(name)) for name in config.meta_fields_to_embed]
    fields = [_field_text(document, name, value) for name, value in values if value is not None]
    text = config.embedding_separator.join([*fields, document.content or ""])
    return config.document_prefix + text + config.document_suffix


def _field_text(document: Document, name: str, value: Any) -> str:
    try:
        text = str(value)
    except Exception as error:
        raise InvalidValueError(
            f"meta[{name!r}] of document {shown(document.id)} cannot be converted to text: {error}"
        ) from error
    return check_text(f"meta[{name!r}] of document {shown(document.id)}", text, empty=True)
