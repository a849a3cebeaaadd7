"""Checks of runs and judgements that a caller passes: what trec_eval would misread, or would not survive, is an error."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from rerank_plugin.checks import shown
from rerank_plugin.collections.runs import Ranking
from rerank_plugin.errors import InvalidValueError

# trec_eval makes a table of this many numbers, one for each grade.
HIGHEST_GRADE = 1_000_000


def check_qrels(qrels: Mapping[str, Mapping[str, int]]) -> None:
    """
    Check judgements.

    :param qrels: For each query the grades of its judged documents.
    :raises InvalidValueError: If it has another shape, an id is no text, or a grade is no whole number.
    """
    if not isinstance(qrels, Mapping):
        raise InvalidValueError(f"qrels must be a mapping from query ids to grades by document, got {shown(qrels)}")
    check_ids("qrels", qrels)
    for query, grades in qrels.items():
        if not isinstance(grades, Mapping):
            raise InvalidValueError(
                f"qrels of query {query!r} must be a mapping from document ids to grades, got {shown(grades)}"
            )
        check_ids(f"qrels of query {query!r}", grades)
        for document, grade in grades.items():
            if type(grade) is not int or not -HIGHEST_GRADE <= grade <= HIGHEST_GRADE:
                _check_grade(query, document, grade)


def _check_grade(query: str, document: str, grade: Any) -> None:
    if not isinstance(grade, int) or isinstance(grade, bool) or not -HIGHEST_GRADE <= grade <= HIGHEST_GRADE:
        raise InvalidValueError(
            f"qrels of query {query!r}: the grade of document {document!r} must be a whole number up to {HIGHEST_GRADE}, "
            f"got {shown(grade)}"
        )


def check_ranking(query: str, ranking: Ranking) -> Ranking:
    """
    Check the shape of an answer.

    :param query: Id of the query, for the error.
    :param ranking: Scores by document id, or documents.
    :returns: The answer.
    :raises InvalidValueError: If it is neither.
    """
    if isinstance(ranking, Mapping):
        return ranking
    is_list = isinstance(ranking, Sequence) and not isinstance(ranking, str | bytes)
    if not is_list or not all(hasattr(document, "meta") and hasattr(document, "score") for document in ranking):
        raise InvalidValueError(
            f"query {query!r}: an answer must be scores by document id or a list of Documents, got {shown(ranking)}"
        )
    for document in ranking:
        if document.score is not None:
            _number(query, document.id, document.score)
    return ranking


def check_scores(query: str, scores: Mapping[str, Any]) -> Mapping[str, float]:
    """
    Check the ids and scores of an answer. NaN is left to `without_ties`.

    :param query: Id of the query, for the error.
    :param scores: Scores by document id; infinite ones are allowed.
    :returns: The scores as Python numbers.
    :raises InvalidValueError: If an id is no text, or a score is no number.
    """
    check_ids(f"run of query {query!r}", scores)
    if all(type(score) is float for score in scores.values()):
        return scores
    return {document: _number(query, document, score) for document, score in scores.items()}


def _number(query: str, document: str, score: Any) -> float:
    what = f"query {query!r}: the score of document {document!r} must be a number"
    if not isinstance(score, Real) or isinstance(score, bool | np.bool_):
        raise InvalidValueError(f"{what}, got {shown(score)}")
    try:
        return float(score)
    except OverflowError:
        raise InvalidValueError(f"{what} that a float can hold, got {shown(score)}") from None


def check_ids(what: str, ids: Iterable[str]) -> None:
    """
    Check ids.

    :param what: What they belong to, for the error.
    :param ids: The ids.
    :raises InvalidValueError: If one is no text, or holds a NUL or half a surrogate pair, which trec_eval cannot take.
    """
    try:
        text = "".join(ids)
        if text.isascii() and "\0" not in text:
            return
    except TypeError:
        pass
    for id_ in ids:
        if not isinstance(id_, str):
            raise InvalidValueError(f"{what}: ids must be strings, got {shown(id_)}: convert them with str()")
        if "\0" in id_ or any("\ud800" <= character <= "\udfff" for character in id_):
            raise InvalidValueError(f"{what}: the id {id_!r} holds a character that is not text: remove it")
