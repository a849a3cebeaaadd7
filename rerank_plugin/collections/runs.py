"""Runs: for each query, the documents that a system retrieved, with scores."""

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError

if TYPE_CHECKING:
    from haystack import Document

Run = dict[str, dict[str, float]]
# The answer to one query, in either form that the functions of this package accept.
Ranking: TypeAlias = "Mapping[str, float] | Sequence[Document]"
Runs: TypeAlias = Mapping[str, Ranking]


def document_key(document: "Document") -> str:
    """Return the collection's id of a document: `meta["doc_id"]`, which `rerank index` writes, or else `document.id`."""
    return str(document.meta.get("doc_id", document.id))


def scores_by_rank(documents: Sequence["Document"]) -> dict[str, float]:
    """
    Return scores that any tool sorts into the order of the documents.

    These are the documents' own scores, lowered where they do not decrease from one document to the next: `trec_eval` reads
    single precision, sorts by score alone and breaks ties by id, and so would change a ranking with equal or missing scores.

    :param documents: Best first. Of several passages of one document (see `document_key`) only the first counts.
    :returns: Strictly decreasing, finite scores by id. If single precision cannot represent such scores, they are the
        negated ranks.
    """
    scores: dict[str, float] = {}
    previous = np.float32(0.0)  # used if the first document has no score
    for document in documents:
        key = document_key(document)
        if key in scores:
            continue
        with np.errstate(over="ignore"):  # checked below
            below = np.nextafter(previous, np.float32(-np.inf)) if scores else previous
            score = below if document.score is None or isnan(document.score) else np.float32(document.score)
        previous = min(score, below) if scores else score
        scores[key] = float(previous)
    if not all(isfinite(score) for score in scores.values()):
        return {key: float(-rank) for rank, key in enumerate(scores)}
    return scores


def as_scores(ranking: Ranking) -> Mapping[str, float]:
    """
    Return the scores of a ranking.

    :param ranking: Scores by id, or Haystack documents, best first.
    :returns: Scores by id, higher is better.
    """
    return ranking if isinstance(ranking, Mapping) else scores_by_rank(ranking)


def best_first(ranking: Ranking) -> list[tuple[str, float]]:
    """Return ids and scores of a ranking, best first; equal scores are ordered by id, in descending order."""
    return sorted(as_scores(ranking).items(), key=lambda item: (item[1], item[0]), reverse=True)


def without_ties(query: str, scores: Mapping[str, float]) -> dict[str, float]:
    """
    Break ties as `trec_eval` does, so that every measure sees the same ranking.

    `trec_eval` compares scores in single precision, and orders equal scores by id, in descending order. Measures from other
    tools break ties differently.

    :param query: The id of the query, for the error message.
    :param scores: Scores by id.
    :returns: The scores themselves if no two are equal, otherwise the negated ranks.
    :raises InvalidValueError: If a score is not a number.
    """
    try:
        values = np.fromiter(scores.values(), dtype=np.float32, count=len(scores))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if np.isnan(values).any():
        name, value = next((id_, s) for id_, s in scores.items() if not isinstance(s, int | float) or isnan(s))
        raise InvalidValueError(
            f"query {shown(query)}: the score of document {shown(name)} must be a number, got {shown(value)}"
        )
    if len(np.unique(values)) == len(values):
        return cast("dict[str, float]", scores) if isinstance(scores, dict) else dict(scores)
    ranked = sorted(zip(values.tolist(), scores, strict=True), reverse=True)
    return {id_: float(-rank) for rank, (_, id_) in enumerate(ranked)}
